/** Parts that are not what their list says, found by reading them. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { dirname, join } from "node:path";
import { DrydockError } from "../errors.ts";
import { listed } from "./damage.ts";
import { Deviation } from "./deviation.ts";
import { partsOf, readPartList } from "./find-parts.ts";

export interface WrongPart {
  /** the part's file name */
  part: string;
  /** the part whose bytes it has; none: it is damaged */
  holds?: string | undefined;
  /** It is missing, or the disk does not give it. */
  unreadable?: true;
}

/**
 * Compares parts with the sha256 that their list has for them; none is wrong if there is no list.
 * @param path the bundle's, without a part's ending @param asked their file names; all if left out
 */
export async function wrongParts(path: string, asked?: ReadonlySet<string>): Promise<WrongPart[]> {
  const list = (await readPartList(path)) ?? [];
  const found: WrongPart[] = [];
  for (const { name, sha256 } of list) {
    if (asked && !asked.has(name)) continue;
    const is = await sha256Of(join(dirname(path), name)).catch(() => undefined);
    if (is === undefined) found.push({ part: name, unreadable: true });
    else if (is !== sha256) found.push({ part: name, holds: list.find((one) => one.sha256 === is)?.name });
  }
  return found;
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
  return hash.digest("hex");
}

/**
 * Reads a bundle with `read`; if it deviates from its index and is a set of parts, all of them are read once
 * more, so that the error says which ones to copy again. Damage names its parts already.
 * @param path as the user gave it
 */
export async function namingParts<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!isDeviation(error) || path === "-") throw error;
    const whole = await partsOf(path);
    const all = whole === undefined ? [] : await wrongParts(whole);
    // What cannot be read is named by the error that is there already.
    const wrong = all.filter(({ unreadable }) => !unreadable);
    if (wrong.length === 0) throw error;
    throw new DrydockError("integrity", [error.message, ...wrong.map(describe)].join("\n"), {
      hint: whatToDo(wrong),
      data: error.data,
      cause: error,
    });
  }
}

function isDeviation(error: unknown): error is DrydockError {
  return error instanceof Deviation || (error instanceof DrydockError && error.data?.besides !== undefined);
}

function describe({ part, holds }: WrongPart): string {
  const name = JSON.stringify(part);
  return holds === undefined
    ? `part ${name} is damaged`
    : `part ${name} holds what ${JSON.stringify(holds)} should hold`;
}

function whatToDo(wrong: WrongPart[]): string {
  const named = listed(wrong.map(({ part }) => JSON.stringify(part)));
  const names = new Set(wrong.map(({ part }) => part));
  const isSwapped = wrong.every(({ holds }) => holds !== undefined && names.has(holds));
  return isSwapped ? `Give ${named} their right names, or copy them again.` : `Copy ${named} again.`;
}
