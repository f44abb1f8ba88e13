/**
 * Damage: bytes of a bundle that are not as they were made, cannot be read or are not there; as data, and as
 * the error that names all of it. A header that is another than the index wants is no damage but a deviation.
 */
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";

/** Both inclusive, counted from 0. */
export interface ByteRange {
  from: number;
  to: number;
}

/** A range within one part of a bundle that was cut in parts. */
export interface PartRange extends ByteRange {
  /** the part's file name */
  part: string;
}

/** What was found at one blob; `from` and `to` are where its bytes stand in the bundle. */
export interface FoundDamage extends ByteRange {
  /** None: these are the blocks that end the archive. */
  digest?: Digest;
  reason: "other bytes" | "unreadable" | "cut off";
  /** Not of "other bytes": what of it cannot be read, or is not there. A digest does not say which byte is wrong. */
  lost?: ByteRange;
  /** Of a bundle in parts: where what is lost stands, or else the whole blob. */
  parts?: PartRange[];
}

export interface Damage extends FoundDamage {
  /** the images that need it ("team/app:1"), or in words what else does; all of them */
  users: string[];
}

/** One blob's damage. Its message stands for itself; where all damage is collected, damageError has the text. */
export class DamagedBlob extends DrydockError {
  readonly damage: FoundDamage;

  constructor(message: string, damage: FoundDamage, cause?: unknown) {
    super("integrity", message, { hint: whatToCopy([damage]), cause });
    this.damage = damage;
  }
}

/** So many are described in full. Of more, a stick that is nearly dead say, the digest is enough. */
const described = 25;
/** So many users are named in the text; the data has all. */
const usersNamed = 4;

/** As much of a bundle as its error needs. */
interface DamagedBundle {
  /** as the user named it */
  name: string;
  index: { blobs: readonly unknown[] };
  lacking: string[];
}

/**
 * The one error for everything that is damaged; `data.damage` is the list.
 * @param next what to do once there is a good copy, as whole sentences; not said if there are `besides`
 * @param besides what else is wrong with the archive, or ended the reading
 */
export function damageError(
  { name, index, lacking }: DamagedBundle,
  damage: Damage[],
  next: string,
  besides: (DrydockError & { parts?: string[] })[] = [],
): DrydockError {
  const lines = [`read bundle ${JSON.stringify(name)}: ${summary(damage, index.blobs.length)}`, ...lacking];
  for (const one of damage.slice(0, described)) lines.push(...describe(one));
  const others = damage.slice(described);
  if (others.length > 0) lines.push(`and ${others.length} more (--json tells as much of them):`);
  for (const { digest } of others) lines.push(`  ${digest ?? endName}`);
  const messages = besides.map(({ message }) => message);
  lines.push(...messages.slice(0, described));
  if (messages.length > described) lines.push(`and ${messages.length - described} more such places`);
  return new DrydockError("integrity", lines.join("\n"), {
    hint:
      besides.length > 0
        ? whatToCopy([...damage, ...besides.map(inParts)])
        : `${whatToCopy(damage)}\n${next}`,
    data: { damage, ...(messages.length > 0 ? { besides: messages } : {}) },
    cause: besides[0],
  });
}

function summary(damage: Damage[], blobs: number): string {
  const bad = damage.filter(({ digest }) => digest !== undefined).length;
  if (bad === 0) return damage.length > 0 ? "its end is damaged" : "it is not as its index says";
  const how = damage.some(({ reason }) => reason === "cut off") ? "damaged or not there" : "damaged";
  return `${bad} of its ${blobs} blobs ${bad === 1 ? "is" : "are"} ${how}`;
}

const endName = "the end-of-archive blocks";

function describe({ digest, from, to, reason, lost, parts, users }: Damage): string[] {
  const all = `bytes ${from} to ${to}`;
  const some = `${all}, of which ${lost?.from} to ${lost?.to}`;
  const isAll = lost?.from === from && lost.to === to;
  const what = {
    "other bytes": `${all}: they are not what they were`,
    unreadable: isAll ? `${all}: they cannot be read` : `${some} cannot be read`,
    "cut off": isAll ? `${all}: they are not there` : `${some} are not there`,
  };
  const named = users.slice(0, usersNamed);
  if (users.length > usersNamed) named.push(`${users.length - usersNamed} more`);
  return [
    digest ?? endName,
    ...(named.length > 0 ? [`  needed by ${listed(named)}`] : []),
    `  ${what[reason]}`,
    ...(parts ?? []).map((one) => `  in part ${JSON.stringify(one.part)}: bytes ${one.from} to ${one.to}`),
  ];
}

const inParts = ({ parts = [] }: { parts?: string[] }) => ({ parts: parts.map((part) => ({ part })) });

function whatToCopy(damage: { reason?: FoundDamage["reason"]; parts?: { part: string }[] }[]): string {
  const parts = [...new Set(damage.flatMap((one) => one.parts ?? []).map(({ part }) => part))].sort();
  const what = parts.length === 0 ? "the bundle" : listed(parts.map((part) => JSON.stringify(part)));
  const copy = `Copy ${what} again, from where it was made or from another stick.`;
  const isFailing = damage.some(({ reason }) => reason === "unreadable");
  return isFailing ? `${copy} Do not trust the stick or disk on which bytes cannot be read.` : copy;
}

/** "a", "a and b", "a, b and c" */
export function listed(names: readonly string[]): string {
  const last = names.at(-1) ?? "";
  return names.length < 2 ? last : `${names.slice(0, -1).join(", ")} and ${last}`;
}
