/**
 * The help of drydock and of each command: oclif's, with the exit codes at the end.
 */
import { type Command, CommandHelp, Help, type Interfaces } from "@oclif/core";
import { type ErrorKind, exitCodes } from "../errors.ts";
import { columns } from "./format.ts";
import { wrappedLines } from "./wrapped.ts";

const meanings: Record<ErrorKind, string> = {
  bug: "a bug in drydock: please report it",
  usage: "wrong usage: an unknown flag, an output that exists",
  input: "an input is wrong: the manifest, a seed, an inventory, a passphrase, a key",
  integrity: "a digest, a size or the archive's shape does not match",
  partial: "done for some clients, not for others",
  preflight: "found before the first write: space, port, clock, names, engine, another registry",
  upstream: "upstream: no such image, credentials refused, network",
  certificate: "a certificate has ended or ends soon",
  host: "this host failed midway: disk full, read error, engine stopped",
  interrupted: "interrupted: what was done is kept",
};

const everyCommand: readonly ErrorKind[] = ["bug", "usage", "interrupted"];

/** The lines of the exit codes: 0, those that every command has, and `own`. */
export function exitCodeLines(own: readonly ErrorKind[]): string {
  const kinds = Object.keys(exitCodes) as ErrorKind[];
  const used = kinds.filter((kind) => everyCommand.includes(kind) || own.includes(kind));
  const rows = used.map((kind) => [String(exitCodes[kind]), meanings[kind]]);
  return columns([["0", "done"], ...rows], { right: [0] });
}

class DrydockCommandHelp extends CommandHelp {
  protected override sections() {
    const { exitCodes: own } = this.command as Command.Loadable & { exitCodes?: ErrorKind[] };
    const generate = () => wrappedLines(exitCodeLines(own ?? []), this.opts.maxWidth - this.indentSpacing);
    const section = { header: "EXIT CODES", generate };
    return [...super.sections(), section];
  }
}

export class DrydockHelp extends Help {
  protected override CommandHelpClass = DrydockCommandHelp;

  /** oclif breaks lines before it moves them in by two columns. */
  constructor(config: Interfaces.Config, options: Partial<Interfaces.HelpOptions> = {}) {
    super(config, { maxWidth: Math.max(40, (process.stdout.columns ?? 80) - 2), ...options });
  }
}
