/** `drydock prune`: removes the releases that are not kept, and all that only they use. */
import { Flags } from "@oclif/core";
import { DrydockCommand } from "../cli/base-command.ts";
import { describePrune } from "../cli/describe-prune.ts";
import type { PruneResult } from "../install/prune.ts";

export default class Prune extends DrydockCommand {
  static override summary = "Remove old releases and what only they use (isolated side).";
  static override description =
    "Keeps the current release and those before it, as many as --keep says, and the last release of every " +
    "other bundle that is installed beside it. What the others brought and nothing else uses is removed: " +
    "tags, image manifests, layers, files, the releases' folders. What clients have pushed stays, and so does " +
    "everything that a tag or an image index which stays leads to. The registry stands still meanwhile, and " +
    "is then asked over TLS for every tag of the releases that are kept. `install --prune` does the same " +
    "after an install.";
  static override flags = {
    site: Flags.string({
      helpValue: "DIR",
      description: "the site's directory [default: where install put it]",
    }),
    keep: Flags.integer({
      helpValue: "N",
      min: 1,
      default: 2,
      description: "how many releases stay: the current one and those before it",
    }),
    "dry-run": Flags.boolean({ description: "show what would go, and how many bytes; change nothing" }),
  };
  static override examples = [
    "<%= config.bin %> prune --dry-run",
    "<%= config.bin %> prune",
    "<%= config.bin %> prune --keep 1 --json",
  ];
  static override exitCodes = ["input", "integrity", "preflight", "host"] as const;
  static override whenInterrupted =
    "The registry may be stopped; run the same command to complete it, which starts the registry again.";

  async run(): Promise<PruneResult> {
    const { flags } = await this.parse(Prune);
    const { prune } = await import("../install/prune.ts");
    const site = flags.site === undefined ? {} : { site: flags.site };
    const result = await prune({ ...site, keep: flags.keep, dryRun: flags["dry-run"] }, this.reporter);
    this.log(describePrune(result));
    return result;
  }
}
