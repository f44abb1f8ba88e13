/**
 * A process that installs a bundle, or rolls back, until it is killed: at a certain moment it says so on its
 * stdout, and stands still. Arguments: the site, the moment, the bundle or "rollback"; then --adopt, --new-certs.
 * A moment is the begin of a step by its title, or "rename PATH" or "remove PATH": right before that is done, the
 * path being the end of one.
 */
import { writeSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { install } from "../../src/install/install.ts";
import { rollback } from "../../src/install/rollback.ts";
import { type Reporter, silentReporter } from "../../src/reporter.ts";

const [site = "", moment = "", bundle = "", ...flags] = process.argv.slice(2);

function standStill(): never {
  writeSync(1, "there\n");
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

const { rename, rm } = fs;
const isMoment = (action: string, path: unknown) =>
  moment.startsWith(`${action} `) && String(path).endsWith(moment.slice(action.length + 1));
Object.assign(fs, {
  rename: async (from: string, to: string) =>
    isMoment("rename", to) ? standStill() : await rename(from, to),
  rm: async (path: string, options: object) =>
    isMoment("remove", path) ? standStill() : await rm(path, options),
});
syncBuiltinESMExports();

const reporter: Reporter = {
  ...silentReporter,
  step: (title) => (title === moment ? standStill() : silentReporter.step(title)),
};

const [adopt, newCertificates] = [flags.includes("--adopt"), flags.includes("--new-certs")];
if (bundle === "rollback") await rollback({ site }, reporter);
else await install({ site, bundle, adopt, newCertificates, askPassphrase: undefined }, reporter);
throw new Error(`no moment "${moment}"`);
