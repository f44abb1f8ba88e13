/** A zip archive that is the same, byte for byte, for the same files. */
import { buffer } from "node:stream/consumers";
import { ZipArchive } from "archiver";
import type { KitFile } from "./contents.ts";

/**
 * @param files in the order in which they stand in the archive
 * @param date of all files; a zip knows no time zone, and this is in UTC
 */
export async function zip(files: readonly KitFile[], date: Date): Promise<Buffer> {
  // Not compressed: another zlib would make other bytes, and there is next to nothing to save.
  const archive = new ZipArchive({ store: true });
  for (const { path, text } of files) archive.append(text, { name: path, date, mode: 0o644 });
  const [bytes] = await Promise.all([buffer(archive), archive.finalize()]);
  return bytes;
}
