/**
 * The command reference, docs/commands.md: each command's own help, as one page.
 */
import type { Command } from "@oclif/core";
import { loadConfiguration, type Program } from "./configuration.ts";
import { DrydockHelp } from "./help.ts";

class PlainHelp extends DrydockHelp {
  textOf(command: Command.Loadable): string {
    return this.formatCommand(command).trim();
  }
}

/** The page's text. */
export async function commandReference(program: Program): Promise<string> {
  const config = await loadConfiguration(program);
  const help = new PlainHelp(config, { stripAnsi: true, maxWidth: 100 });
  const page = ["# Commands", "", "What `--help` says of each command. Made by `npm run generate`."];
  for (const id of Object.keys(program.commands)) {
    const command = config.findCommand(id, { must: true });
    page.push("", `## ${config.bin} ${id}`, "", "```text", help.textOf(command), "```");
  }
  return `${page.join("\n").replaceAll(/[ \t]+\n/g, "\n")}\n`;
}
