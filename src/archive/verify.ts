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
    await bundle.forEachBlob({
      concurrency,
      wants: () => true,
      use: async (blob) => {
        try {
          for await (const chunk of blob.read()) step.advance(chunk.length);
        } catch (error) {
          // One damaged blob says nothing about the next: all of them are named in the end.
          if (!(error instanceof DrydockError) || error.kind !== "integrity") throw error;
          damaged.push(error);
        }
      },
    });
    const [first] = damaged;
    if (first && damaged.length === 1) throw first;
    if (first) throw new DrydockError("integrity", damaged.map(errorText).join("\n"), { hint: first.hint });
  });
}
