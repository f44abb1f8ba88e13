/**
 * Whether a host is the one we know: the decision about the key it shows.
 */
import { shellWord, shellWords } from "../shell-words.ts";
import { ClientFailure } from "./client.ts";
import { fingerprint, type HostKey, type KnownHosts, keyType, knownName, lookup } from "./known-hosts.ts";

/** Whose key is judged. */
export interface KeyOwner {
  host: string;
  port: number;
  /** HostKeyAlias: the name in known_hosts, without a port */
  alias?: string;
}

/** What was found out before the host showed its key. */
export interface Judgement {
  known: KnownHosts;
  acceptNew: boolean;
  /** the key that a certificate of a known authority speaks for */
  vouchedFor?: HostKey;
  /** why no such certificate was taken, where an authority is known for the host */
  notVouched?: string;
}

/** The host and port by which known_hosts has it. */
export function knownAs({ host, port, alias }: KeyOwner): { host: string; port: number } {
  return alias === undefined ? { host, port } : { host: alias, port: 22 };
}

/**
 * Judges the key that a host has shown.
 * @returns the key if it is new, and new ones are accepted: it is to be remembered; undefined if it is known
 * @throws ClientFailure "refused" if the key is revoked, has changed, or is unknown
 */
export function judgeHostKey(owner: KeyOwner, blob: Buffer, judgement: Judgement): HostKey | undefined {
  const { known, vouchedFor } = judgement;
  const entry = knownAs(owner);
  const { keys, withoutPort, revoked } = lookup(known, entry.host, entry.port);
  const type = keyType(blob);
  const shown = `${type} ${fingerprint(blob)}`;
  const bad = revoked.find((key) => key.blob.equals(blob));
  if (bad !== undefined) {
    throw new ClientFailure(
      "refused",
      `its host key ${shown} is revoked in ${JSON.stringify(bad.file)}`,
      "Somebody may hold this key who should not. Find out before you go on.",
    );
  }
  if ([...keys, ...withoutPort].some((key) => key.blob.equals(blob))) return undefined;
  const [first] = keys;
  if (first !== undefined) {
    const wanted = keys.map((key) => `${key.type} ${fingerprint(key.blob)}`).join(", ");
    const name = knownName(entry.host, entry.port);
    throw new ClientFailure(
      "refused",
      `its host key has changed: ${JSON.stringify(first.file)} has ${wanted}, it shows ${shown}`,
      "It may be another machine that answers. If its key was really changed, remove the old one, and the next run " +
        `says how to take the new one: \`${shellWords(["ssh-keygen", "-R", name, "-f", first.file])}\`.`,
    );
  }
  if (vouchedFor?.blob.equals(blob)) return undefined;
  if (judgement.acceptNew) return { type, blob };
  throw unknownKey(owner, { type, blob }, judgement);
}

/** What is added is the very key whose fingerprint was compared: who asks the host again may get another answer. */
function unknownKey(owner: KeyOwner, { type, blob }: HostKey, judgement: Judgement): ClientFailure {
  const { known, notVouched } = judgement;
  const entry = knownAs(owner);
  const words = [knownName(entry.host, entry.port), type, blob.toString("base64")];
  const keyFile = `/etc/ssh/ssh_host_${/ed25519|ecdsa|rsa/.exec(type)?.[0] ?? "*"}_key.pub`;
  const shown = `${type} ${fingerprint(blob)}`;
  const why = notVouched === undefined ? "" : `, and ${notVouched}`;
  return new ClientFailure(
    "refused",
    `its host key ${shown} is not in ${JSON.stringify(known.file)}${why}`,
    `Compare the fingerprint at the host: \`ssh-keygen -lf ${keyFile}\`. If it is the same, add the key: ` +
      `\`${shellWords(["echo", ...words])} >> ${shellWord(known.file)}\`. ` +
      "Or run again with --accept-new-host-keys, which takes it as it is.",
  );
}
