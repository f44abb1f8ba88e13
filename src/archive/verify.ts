/** Reads all of a bundle and uses nothing of it: the reader's own checks are the verification. */
import { DrydockError } from "../errors.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { damageError } from "./damage.ts";
import type { Bundle } from "./reader.ts";

/** Enough for one to be hashed while the other is read. */
const concurrency = 2;

/** What is said after what to copy again. */
const next = "`drydock install` places what is good of this one, and reads only the rest of a good copy.";

/**
 * @param bundle opened to go on, or else the first damage ends it
 * @throws DrydockError "integrity" naming each damaged blob (`data.damage` is a list of Damage), or where the
 *   archive deviates from its index; "host" if it cannot be read any more.
 */
export async function verify(bundle: Bundle, reporter: Reporter): Promise<void> {
  await runStep(reporter, "verify", async (step) => {
    step.total(bundle.index.blobs.reduce((sum, { size }) => sum + size, 0));
    for (const bytes of bundle.certificates.values()) step.advance(bytes.length);
    const deviations: DrydockError[] = [];
    const pass = bundle.forEachBlob({
      concurrency,
      wants: () => true,
      use: async (blob) => {
        for await (const chunk of blob.read()) step.advance(chunk.length);
      },
      deviation: (error) => deviations.push(error),
    });
    const stoppedBy = await pass.then(() => [], integrityError);
    const besides = [...deviations, ...stoppedBy];
    const damage = await bundle.damage();
    const [first, second] = besides;
    if (damage.length > 0 || second) throw damageError(bundle, damage, next, besides);
    if (first) throw first;
  });
}

/** @throws what is none */
function integrityError(error: unknown): [DrydockError] {
  if (error instanceof DrydockError && error.kind === "integrity") return [error];
  throw error;
}
