/** What a command was given: a path, a part of a bundle, or "-" for standard input; and what it holds. */
import { isatty } from "node:tty";
import { Header } from "tar";
import { DrydockError } from "../errors.ts";
import { detectCompression } from "../oci/storage-tarball.ts";
import { partsOf } from "./find-parts.ts";
import { blockSize, topNames } from "./layout.ts";
import { openParts } from "./parts-source.ts";
import { type ByteSource, openFile, openPipe } from "./source.ts";

const chunkSize = 1024 * 1024;

/**
 * @throws DrydockError "usage" if a terminal would be read, "input" if it cannot be opened, "integrity" if a part is
 *   missing or short.
 */
export async function openSource(path: string): Promise<ByteSource> {
  if (path === "-") {
    if (!isatty(0)) return openPipe();
    throw new DrydockError("usage", 'open bundle "-": standard input is a terminal', {
      hint: "Put the command before it that gives the bundle: `ssh HOST cat site.tar | drydock …`",
    });
  }
  const parts = await partsOf(path);
  return parts === undefined ? await openFile(path) : await openParts(parts);
}

/**
 * What a source begins like. A bundle's first entry is SHA256SUMS; any other tar, and what is compressed,
 * is a tarball.
 * @returns also a source that gives all of it, since a pipe cannot go back
 */
export async function beginningOf(
  source: ByteSource,
): Promise<{ kind: "bundle" | "tarball" | "other"; source: ByteSource }> {
  const head = Buffer.alloc(blockSize);
  const got = await source.readAt(0, head);
  const again = source.sequential ? withHead(source, head.subarray(0, got)) : source;
  return { kind: kindOf(head.subarray(0, got)), source: again };
}

function kindOf(head: Buffer): "bundle" | "tarball" | "other" {
  if (detectCompression(head) !== "none") return "tarball";
  const name = Buffer.from(`${topNames.sums}\0`);
  if (head.length < blockSize || head.subarray(0, name.length).equals(name)) return "bundle";
  try {
    return new Header(head, 0).cksumValid ? "tarball" : "other";
  } catch {
    // Numbers in it that are none.
    return "other";
  }
}

/** A pipe from whose beginning some bytes have been taken. */
function withHead(source: ByteSource, head: Buffer): ByteSource {
  const readAt = async (position: number, buffer: Buffer) => {
    const taken = position < head.length ? head.copy(buffer, 0, position) : 0;
    if (taken === buffer.length || head.length < blockSize) return taken;
    return taken + (await source.readAt(position + taken, buffer.subarray(taken)));
  };
  return { ...source, readAt };
}

/** All of it, forwards, in chunks that are not used again. */
export async function* chunksOf(source: ByteSource): AsyncGenerator<Buffer, void> {
  for (let at = 0; ; ) {
    const buffer = Buffer.allocUnsafe(chunkSize);
    const got = await source.readAt(at, buffer);
    if (got > 0) yield buffer.subarray(0, got);
    if (got < buffer.length) return;
    at += got;
  }
}
