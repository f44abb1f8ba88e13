/**
 * A process that prunes until it is killed: at the begin of the step that is named it says so on its stdout,
 * and stands still; with a number, when that many of the step's blobs are removed. Arguments: the site, how
 * many releases are kept, the step, the number.
 */
import { writeSync } from "node:fs";
import { prune } from "../../src/install/prune.ts";
import { type Reporter, silentReporter } from "../../src/reporter.ts";

const [site = "", keep = "", stopAt = "", number] = process.argv.slice(2);

function standStill(): never {
  writeSync(1, "there\n");
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

const reporter: Reporter = {
  ...silentReporter,
  step(title) {
    const step = silentReporter.step(title);
    if (title !== stopAt) return step;
    if (number === undefined) return standStill();
    let left = Number(number);
    const advance = () => {
      left -= 1;
      if (left === 0) standStill();
    };
    return { ...step, advance };
  },
};

await prune({ site, keep: Number(keep) }, reporter);
throw new Error(`no step "${stopAt}"`);
