/**
 * The errors of an archive that is not as its index says. Each names the place in bytes, so that one can
 * look there with other tools.
 */
import { DrydockError } from "../errors.ts";
import { listed } from "./damage.ts";
import type { ByteSource } from "./source.ts";

export function truncated(source: ByteSource, where: string): DrydockError {
  return new DrydockError(
    "integrity",
    `read bundle ${JSON.stringify(source.name)}: it is truncated: it ends ${where}`,
    {
      hint: source.sequential
        ? "What is before the pipe ended too early: see what it says, then run both again."
        : "Copy the bundle again; the stick may have been full or pulled out too early.",
    },
  );
}

/** Something else stands where the index leaves no choice. */
export class Deviation extends DrydockError {
  /** the parts in which it stands, if the bundle was cut in parts */
  readonly parts: string[];

  constructor(message: string, parts: string[], hint: string) {
    super("integrity", message, { hint });
    this.parts = parts;
  }
}

export function deviates(source: ByteSource, at: number, wanted: string, found: string): Deviation {
  const parts = partsAt(source, at);
  const place = `read bundle ${JSON.stringify(source.name)}: at byte ${at}${placeOf(source, at)}`;
  return new Deviation(`${place}: wanted ${wanted}, found ${found}`, parts, copyAgain(parts));
}

/** What to do about bytes that are others than drydock wrote. @param parts in which they stand */
export function copyAgain(parts: string[]): string {
  const what = "The archive is not as drydock made it.";
  if (parts.length === 0) return `${what} Copy it again from where it was made.`;
  const named = listed(parts.map((part) => JSON.stringify(part)));
  return `${what} Copy ${named} again, unless parts have only got each other's names.`;
}

export function partsAt(source: ByteSource, from: number, to = from): string[] {
  return source.partsOf?.({ from, to }).map(({ part }) => part) ?? [];
}

/** The part in which these bytes stand, if the bundle was cut in parts. */
export function placeOf(source: ByteSource, from: number, to = from): string {
  const parts = partsAt(source, from, to).map((part) => JSON.stringify(part));
  return parts.length === 0 ? "" : ` (in ${listed(parts)})`;
}
