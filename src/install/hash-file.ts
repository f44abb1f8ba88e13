/** Hashing a file as it is on the disk: directly where that is to be had, so past the system's page cache. */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { openDirect } from "../direct.ts";
import type { Digest } from "../oci/digest.ts";

/** Smaller files are not worth the second opening. */
const directFrom = 64 * 1024;

/**
 * @param buffers two of the same size, a multiple of 4096; as alignedBuffers makes them, for direct I/O
 * @param onBytes called with the length of what was read, each time
 * @throws the system's error (EIO, ENOENT, EACCES)
 */
export async function hashFile(
  path: string,
  size: number,
  buffers: readonly [Buffer, Buffer],
  onBytes: (bytes: number) => void,
): Promise<Digest> {
  const file = await open(path, "r");
  const direct = size >= directFrom ? await openDirect(path, "read") : undefined;
  const read = async (buffer: Buffer, at: number) => {
    const got = await direct?.read(buffer, 0, buffer.length, at).catch(() => undefined);
    // One that was cut short elsewhere than at the end goes on in the ordinary way, which says what is wrong.
    if (got && (got.bytesRead === buffer.length || at + got.bytesRead === size)) return got.bytesRead;
    return (await file.read(buffer, 0, buffer.length, at)).bytesRead;
  };
  const hash = createHash("sha256");
  let next: Promise<number> | undefined;
  try {
    let [filling, other] = buffers;
    next = read(filling, 0);
    for (let at = 0; ; ) {
      const length = await next;
      next = undefined;
      if (length === 0) return `sha256:${hash.digest("hex")}`;
      at += length;
      const bytes = filling.subarray(0, length);
      [filling, other] = [other, filling];
      next = read(filling, at);
      // Its error is thrown where it is awaited.
      next.catch(() => {});
      hash.update(bytes);
      onBytes(length);
    }
  } finally {
    // Nothing may still be read into buffers that serve the next file.
    await next?.catch(() => {});
    await direct?.close();
    await file.close();
  }
}
