/** `drydock status`: what is installed, whether it serves as it should, and what to do about what is wrong. */
import { Flags } from "@oclif/core";
import { DrydockCommand } from "../cli/base-command.ts";
import { describeStatus } from "../cli/describe-status.ts";
import { hasColor } from "../cli/terminal.ts";
import { exitCodes } from "../errors.ts";
import type { SiteStatus } from "../install/status.ts";

export default class Status extends DrydockCommand {
  static override summary = "Show what is installed and whether it serves as it should (isolated side).";
  static override description =
    "Looks at the engine, the container, the port, TLS under each name and address, the certificates and " +
    "their ends, the clock, and whether the storage is as recorded: every blob there with its size, every " +
    "tag naming what it should. With --deep it reads and hashes every blob of all releases that are kept. " +
    "Nothing is changed; it can run at any time, also during an install. The exit code is for monitoring: 0 " +
    "all is well, 4 the storage is damaged, 8 a certificate has ended or ends within 60 days and nothing else " +
    "is wrong, 9 it does not serve as it should, 3 nothing is installed there.";
  static override flags = {
    site: Flags.string({
      helpValue: "DIR",
      description: "the site's directory [default: where install put it]",
    }),
    deep: Flags.boolean({ description: "read and hash every blob" }),
  };
  static override examples = [
    "<%= config.bin %> status",
    "<%= config.bin %> status --deep",
    "<%= config.bin %> status --json | jq -r '.findings[] | select(.level == \"error\") | .text'",
  ];
  static override exitCodes = ["input", "integrity", "certificate", "host"] as const;
  static override whenInterrupted = "Nothing was changed.";

  async run(): Promise<SiteStatus> {
    const { flags } = await this.parse(Status);
    const { siteStatus, whatIsWrong } = await import("../install/status.ts");
    const status = await siteStatus(
      { deep: flags.deep, ...(flags.site === undefined ? {} : { site: flags.site }) },
      this.reporter,
    );
    this.log(describeStatus(status, { color: hasColor(process.stdout), width: process.stdout.columns }));
    const wrong = whatIsWrong(status.findings);
    if (wrong !== undefined) process.exitCode = exitCodes[wrong];
    return status;
  }
}
