/**
 * The errors of an archive that is not as its index says. Each names the place in bytes, so that one can
 * look there with other tools.
 */
import { DrydockError } from "../errors.ts";
import type { ByteSource } from "./source.ts";

export function truncated(source: ByteSource, where: string): DrydockError {
  return new DrydockError(
    "integrity",
    `read bundle ${JSON.stringify(source.name)}: it is truncated: it ends ${where}`,
    {
      hint: "Copy the bundle again; the stick may have been full or pulled out too early.",
    },
  );
}

/** Something else stands where the index leaves no choice. */
export class Deviation extends DrydockError {}

export function deviates(source: ByteSource, at: number, wanted: string, found: string): Deviation {
  return new Deviation(
    "integrity",
    `read bundle ${JSON.stringify(source.name)}: at byte ${at}${placeOf(source, at)}: wanted ${wanted}, found ${found}`,
    {
      hint: "The archive is not as drydock made it. Copy it again from where it was made.",
    },
  );
}

/** The part in which these bytes stand, if the bundle was cut in parts. */
export function placeOf(source: ByteSource, from: number, to = from): string {
  const parts = source.partsOf?.({ from, to }) ?? [];
  return parts.length === 0 ? "" : ` (in ${parts.map(({ part }) => JSON.stringify(part)).join(" and ")})`;
}
