/**
 * The bytes of a seed from a URL, saved beside the bundle while they are read: what an earlier try got is
 * read from there, and only the rest is fetched. Whoever reads checks the sha256 over all of it.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { inBytes } from "../archive/output.ts";
import { DrydockError, errorText, fileErrorText } from "../errors.ts";
import type { Step } from "../reporter.ts";
import { openDownload } from "./download.ts";

const readSize = 1024 * 1024;

export interface SeedDownload {
  url: string;
  /** where it is saved, and where an earlier try may have left its first bytes */
  file: string;
  /** 64 hexadecimal digits: of this the file is whole, and nobody is asked */
  sha256: string;
  /** the URL as it may be shown */
  name: string;
}

/**
 * Once. @param step is told the whole's size as soon as it is known
 * @throws DrydockError as openDownload, and "host" if the file cannot be read or written
 */
export async function* savedDownload(seed: SeedDownload, step: Step): AsyncGenerator<Uint8Array, void> {
  const { url, file, sha256, name } = seed;
  const handle = await open(file, constants.O_RDWR | constants.O_CREAT, 0o600).catch((error) => {
    throw cannotSave(file, error);
  });
  try {
    const hash = createHash("sha256");
    let at = 0;
    for await (const chunk of chunksOf(handle, file)) {
      hash.update(chunk);
      at += chunk.length;
      yield chunk;
    }
    if (at > 0 && hash.digest("hex") === sha256.toLowerCase()) return;
    const { size, body, close } = await openDownload(url, `seed ${JSON.stringify(name)}`, at);
    try {
      if (size !== undefined) {
        step.total(size);
        await checkSpace(seed, size - at);
      }
      for await (const chunk of body) {
        await write(handle, chunk, at).catch((error) => {
          throw cannotSave(file, error);
        });
        at += chunk.length;
        yield chunk;
      }
    } finally {
      await close();
    }
  } finally {
    await handle.close();
  }
}

/** @throws DrydockError "preflight" if the file system has less space than what is still to come */
async function checkSpace({ name, file }: SeedDownload, needed: number): Promise<void> {
  const folder = dirname(file);
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= needed) return;
  throw new DrydockError(
    "preflight",
    `save seed ${JSON.stringify(name)}: it needs ${inBytes(needed)} more, ${JSON.stringify(folder)} has ${inBytes(bavail * bsize)} left`,
    {
      hint: "It is saved beside the bundle, which needs its own space besides: give a path on a larger file system with -o.",
    },
  );
}

async function* chunksOf(handle: FileHandle, file: string): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; ; ) {
    const buffer = Buffer.allocUnsafe(readSize);
    const { bytesRead } = await handle.read(buffer, 0, readSize, at).catch((cause) => {
      throw new DrydockError("host", `read ${JSON.stringify(file)}: ${errorText(cause)}`, { cause });
    });
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function write(handle: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    done += (await handle.write(chunk, done, chunk.length - done, position + done)).bytesWritten;
  }
}

function cannotSave(file: string, cause: unknown): DrydockError {
  return new DrydockError("host", `save the download to ${JSON.stringify(file)}: ${fileErrorText(cause)}`, {
    cause,
  });
}
