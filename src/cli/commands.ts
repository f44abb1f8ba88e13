/**
 * The command table. It is explicit, so that a bundler can follow it into a single executable.
 */
import type { Command } from "@oclif/core";

export const commands: Record<string, Command.Class> = {};
