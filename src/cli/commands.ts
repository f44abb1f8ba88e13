/**
 * The command table. It is explicit, so that a bundler can follow it into a single executable.
 */
import type { Command } from "@oclif/core";
import Bundle from "../commands/bundle.ts";
import Inspect from "../commands/inspect.ts";
import Install from "../commands/install.ts";
import Prune from "../commands/prune.ts";
import Rollback from "../commands/rollback.ts";
import Status from "../commands/status.ts";
import Trust from "../commands/trust.ts";
import Uninstall from "../commands/uninstall.ts";
import Verify from "../commands/verify.ts";

export const commands: Record<string, Command.Class> = {
  bundle: Bundle,
  inspect: Inspect,
  verify: Verify,
  install: Install,
  trust: Trust,
  status: Status,
  rollback: Rollback,
  prune: Prune,
  uninstall: Uninstall,
};
