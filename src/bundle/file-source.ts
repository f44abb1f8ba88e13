/** The files that `files:` names, as content of a bundle. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { DrydockError, errorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { Content } from "./content.ts";
import type { ManifestCarriedFile } from "./manifest-files.ts";

const bufferSize = 1024 * 1024;

/** Reads each file once, for its digest. @throws DrydockError "input" if one cannot be read. */
export async function planFiles(files: ManifestCarriedFile[]): Promise<Content> {
  const planned: { name: string; path: string; digest: Digest; size: number }[] = [];
  for (const { name, path } of files) {
    try {
      planned.push({ name, path, digest: await digestOfFile(path), size: (await stat(path)).size });
    } catch (error) {
      throw new DrydockError("input", `read file ${JSON.stringify(path)}: ${errorText(error)}`, {
        cause: error,
      });
    }
  }
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

function readFile(path: string): AsyncIterable<Uint8Array> {
  return createReadStream(path, { highWaterMark: bufferSize });
}

async function digestOfFile(path: string): Promise<Digest> {
  const hash = createHash("sha256");
  for await (const chunk of readFile(path)) hash.update(chunk);
  return `sha256:${hash.digest("hex")}`;
}
