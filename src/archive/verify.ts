/** Reads all of a bundle and uses nothing of it: the reader's own checks are the verification. */
import { DrydockError, errorText } from "../errors.ts";
import { type Reporter, runStep } from "../reporter.ts";
import type { Bundle } from "./reader.ts";

/** Enough for one to be hashed while the other is read. */
const concurrency = 2;

/**
 * @throws DrydockError "integrity" naming each damaged blob, or where the archive deviates from its index;
 *   "host" if it cannot be read.
 */
export async function verify(bundle: Bundle, reporter: Reporter): Promise<void> {
  const damaged: DrydockError[] = [];
  await runStep(reporter, "verify", async (step) => {
    step.total(bundle.index.blobs.reduce((sum, { size }) => sum + size, 0));
    const pass = bundle.forEachBlob({
      concurrency,
      wants: () => true,
      use: async (blob) => {
        let read = 0;
        try {
          for await (const chunk of blob.read()) {
            read += chunk.length;
            step.advance(chunk.length);
          }
        } catch (error) {
          // One damaged blob says nothing about the next: all of them are named in the end. But where one
          // is cut, the archive is no longer as the index says, and nothing more is to be had.
          if (!isDamage(error) || read < blob.size) throw error;
          damaged.push(error);
        }
      },
    });
    await pass.catch((error: unknown) => {
      if (!isDamage(error)) throw error;
      damaged.push(error);
    });
    const [first] = damaged;
    if (first && damaged.length === 1) throw first;
    if (first) throw new DrydockError("integrity", damaged.map(errorText).join("\n"), { hint: first.hint });
  });
}

function isDamage(error: unknown): error is DrydockError {
  return error instanceof DrydockError && error.kind === "integrity";
}
