/** `drydock rollback`: the site serves another of its releases again. */
import { Args, Flags } from "@oclif/core";
import { DrydockCommand } from "../cli/base-command.ts";
import { describeRollback } from "../cli/describe-rollback.ts";
import type { RollbackResult } from "../install/rollback.ts";

export default class Rollback extends DrydockCommand {
  static override summary = "Go back to an earlier release, or forward again (isolated side).";
  static override description =
    "Puts tags, registry image, settings and certificates back to what they were at that release, out of what " +
    "is at the site: the bundle is not needed. Tags that no bundle has set are left alone. Everything is " +
    "looked for before the first tag moves. Without RELEASE it is the one before the current one; after an " +
    "install that was interrupted, that install is undone. Before the first release of a site that install " +
    "--adopt took over, it gives that registry back, as it was, and takes drydock's records away.";
  static override args = {
    release: Args.string({
      description: "a release's number or name, or the first six digits or more of its bundle's digest",
    }),
  };
  static override flags = {
    site: Flags.string({
      helpValue: "DIR",
      description: "the site's directory [default: where install put it]",
    }),
  };
  static override examples = [
    "<%= config.bin %> rollback",
    "<%= config.bin %> rollback 12",
    "<%= config.bin %> rollback 3f9a1c --json",
  ];
  static override exitCodes = ["input", "integrity", "preflight", "host"] as const;
  static override whenInterrupted =
    "Some tags may have moved; run the same command to continue, or name the release to go back to.";

  async run(): Promise<RollbackResult> {
    const { args, flags } = await this.parse(Rollback);
    const { rollback } = await import("../install/rollback.ts");
    const result = await rollback(
      {
        ...(flags.site === undefined ? {} : { site: flags.site }),
        ...(args.release === undefined ? {} : { release: args.release }),
      },
      this.reporter,
    );
    this.log(describeRollback(result));
    return result;
  }
}
