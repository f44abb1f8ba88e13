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

export function deviates(source: ByteSource, at: number, wanted: string, found: string): DrydockError {
  return new DrydockError(
    "integrity",
    `read bundle ${JSON.stringify(source.name)}: at byte ${at}${placeOf(source, at)}: wanted ${wanted}, found ${found}`,
    {
      hint: "The archive is not as drydock made it. Copy it again from where it was made.",
    },
  );
}

/** The part in which these bytes stand, if the bundle was cut in some. */
export function placeOf(source: ByteSource, from: number, to = from): string {
  const place = source.place?.(from, to) ?? "";
  return place === "" ? "" : ` (in ${place})`;
}
