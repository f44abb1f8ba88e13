/**
 * The command table. It is explicit, so that a bundler can follow it into a single executable.
 */
import type { Command } from "@oclif/core";
import Bundle from "../commands/bundle.ts";
import Inspect from "../commands/inspect.ts";
import Verify from "../commands/verify.ts";

export const commands: Record<string, Command.Class> = {
  bundle: Bundle,
  inspect: Inspect,
  verify: Verify,
};
