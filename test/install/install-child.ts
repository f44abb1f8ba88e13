/**
 * A process that installs a bundle, or rolls back, until it is killed: at the begin of the step that is named
 * it says so on its stdout, and stands still. Arguments: the site, the step, the bundle or "rollback"; then
 * --adopt.
 */
import { writeSync } from "node:fs";
import { install } from "../../src/install/install.ts";
import { rollback } from "../../src/install/rollback.ts";
import { type Reporter, silentReporter } from "../../src/reporter.ts";

const [site = "", stopAt = "", bundle = "", flag] = process.argv.slice(2);

const reporter: Reporter = {
  ...silentReporter,
  step(title) {
    if (title !== stopAt) return silentReporter.step(title);
    writeSync(1, "there\n");
    for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
};

if (bundle === "rollback") await rollback({ site }, reporter);
else await install({ site, bundle, adopt: flag === "--adopt", askPassphrase: undefined }, reporter);
throw new Error(`no step "${stopAt}"`);
