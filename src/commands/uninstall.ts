/** `drydock uninstall`: nothing is left of drydock but the data, or nothing at all. */
import { Flags } from "@oclif/core";
import { DrydockCommand } from "../cli/base-command.ts";
import { confirm } from "../cli/confirm.ts";
import { printable } from "../cli/format.ts";
import { commandLines } from "../cli/wrapped.ts";
import { DrydockError, exitCodes } from "../errors.ts";
import type { UninstallResult } from "../install/uninstall.ts";
import { shellWords } from "../shell-words.ts";

export default class Uninstall extends DrydockCommand {
  static override summary = "Remove the registry and drydock's records (isolated side).";
  static override description =
    "Removes the container, the registry's image in the engine, the releases' records, and what this host " +
    "remembers of the site. The images that were served (storage), certificates and files stay, unless " +
    "--delete-data is given, now or later. It works after an install that failed, goes on past what it cannot remove, and " +
    "can be run again. Clients are not touched: it ends with the command that takes the CA away from them. A registry that install --adopt took over gets its container " +
    "back, on the data as they are now; with --delete-data it is removed, since its data goes. Data are not " +
    "deleted while another container uses them, or while the engine cannot say whether one does.";
  static override flags = {
    site: Flags.string({
      helpValue: "DIR",
      description: "the site's directory [default: where install put it]",
    }),
    "delete-data": Flags.boolean({
      description:
        "delete the whole site directory, images, certificates and keys with it, and the container that --adopt took over",
    }),
    yes: Flags.boolean({ description: "don't ask before data is deleted" }),
  };
  static override examples = [
    "<%= config.bin %> uninstall",
    "<%= config.bin %> uninstall --delete-data",
    "<%= config.bin %> uninstall --site /data/registry --delete-data --yes",
  ];
  static override exitCodes = ["preflight", "host"] as const;
  static override whenInterrupted = "What was removed is gone; run the same command to continue.";

  async run(): Promise<UninstallResult> {
    const { flags } = await this.parse(Uninstall);
    const { isDeletable } = await import("../install/deletable.ts");
    const { uninstall } = await import("../install/uninstall.ts");
    const deleteData = flags["delete-data"];
    if (deleteData && !flags.yes) {
      const found = await isDeletable(flags.site);
      const container =
        found?.container === undefined
          ? ""
          : `, and the container "${found.container}" that was here before drydock`;
      const question = `Delete all of ${found?.folder}, images, certificates and keys with it${container}?`;
      if (found !== undefined && !(await confirm(question)))
        throw new DrydockError("usage", "uninstall: the answer was not yes; nothing was removed");
    }
    const site = flags.site === undefined ? {} : { site: flags.site };
    const result = await uninstall({ ...site, deleteData }, this.reporter);
    this.log(printable(describe(result), true));
    if (result.left.length > 0) process.exitCode = exitCodes.host;
    return result;
  }
}

function describe(result: UninstallResult): string {
  const { site, removed, kept, emptied, givenBack, served, left, deletable } = result;
  const width = process.stdout.columns;
  const again = (...flags: string[]) => shellWords(["drydock", "uninstall", ...flags, "--site", site]);
  const indented = (lines: string[]) => lines.map((line) => `  ${line}`);
  const nothing = `Nothing of drydock's is at ${site}${kept.length > 0 ? " but data" : ""}.`;
  const lines = removed.length === 0 ? [nothing] : ["Removed:", ...indented(removed)];
  if (givenBack !== undefined)
    lines.push("Given back, as it was before drydock:", `  container ${givenBack}`);
  if (kept.length > 0) {
    lines.push("Kept:", ...indented(kept));
    if (deletable)
      lines.push("When nobody needs that any more:", ...commandLines(again("--delete-data"), width));
  }
  if (emptied.length > 0) lines.push("Empty now, and still mounted:", ...indented(emptied));
  if (left.length > 0) {
    lines.push("Could not be removed:", ...indented(left.map(({ what, why }) => `${what}: ${why}`)));
    lines.push("Mend that, then once more:", ...commandLines(again(), width));
  }
  if (served !== undefined)
    lines.push(
      "Clients still trust its CA. To take it away from them:",
      ...commandLines(forget(served), width),
    );
  return lines.join("\n");
}

/** The site is no longer there to say where the registry was. */
function forget({ addresses, port }: NonNullable<UninstallResult["served"]>): string {
  const at = addresses.flatMap((address) => ["--address", address]);
  const words = ["drydock", "trust", "--clients", "INVENTORY", "--remove", ...at];
  return shellWords(port === 443 ? words : [...words, "--port", String(port)]);
}
