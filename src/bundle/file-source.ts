/** The files that `files:` names, as content of a bundle. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { DrydockError, errorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { Content } from "./content.ts";
import type { ManifestCarriedFile } from "./manifest-files.ts";

const bufferSize = 1024 * 1024;

/** Reads each file once, for digest and size. @throws DrydockError "input" if one cannot be read. */
export async function planFiles(files: ManifestCarriedFile[]): Promise<Content> {
  const planned: { name: string; path: string; digest: Digest; size: number }[] = [];
  for (const { name, path } of files) planned.push({ name, path, ...(await measure(path)) });
  return {
    name: "files",
    blobs: planned.map(({ digest, size }) => ({ digest, size, role: "file" })),
    repositories: {},
    files: planned.map(({ name, digest }) => ({ name, digest })),
    fill: async (sink) => {
      for (const { digest, path } of planned) await sink.write(digest, readFile(path), path);
    },
  };
}

async function* readFile(path: string): AsyncGenerator<Uint8Array, void> {
  try {
    yield* createReadStream(path, { highWaterMark: bufferSize });
  } catch (error) {
    throw new DrydockError("input", `read file ${JSON.stringify(path)}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

async function measure(path: string): Promise<{ digest: Digest; size: number }> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of readFile(path)) {
    hash.update(chunk);
    size += chunk.length;
  }
  return { digest: `sha256:${hash.digest("hex")}`, size };
}
