/** What a command was given: a bundle's path, a part of one, or "-" for standard input. */
import { openParts, partsOf } from "./parts-source.ts";
import { type ByteSource, openFile, openPipe } from "./source.ts";

/** @throws DrydockError "input" if it cannot be opened, "integrity" if a part is missing or short. */
export async function openSource(path: string): Promise<ByteSource> {
  if (path === "-") return openPipe();
  const parts = await partsOf(path);
  return parts === undefined ? await openFile(path) : await openParts(parts);
}
