/**
 * What every command has: --json, a reporter, and exit codes in its help. A command imports the work that
 * it does only when it does it: loading all of it takes longer than most that go wrong.
 */
import { Command } from "@oclif/core";
import type { ErrorKind } from "../errors.ts";
import type { Reporter } from "../reporter.ts";
import { type LiveReporter, terminalReporter } from "./terminal-reporter.ts";
import { wrappedLines } from "./wrapped.ts";

/**
 * Errors go through: main.ts shows them, all in one way. A command returns its result as an object,
 * which oclif prints with --json; `this.log` prints for people and is silent then.
 */
export abstract class DrydockCommand extends Command {
  static override enableJsonFlag = true;

  /** How it can end besides 0, 1, 2 and 130, which every command can; shown in its help. */
  static exitCodes: readonly ErrorKind[] = [];

  /** Said when it is interrupted: what stays. */
  static whenInterrupted = "What was finished is kept; the same command can be run again.";

  #reporter: LiveReporter | undefined;

  /** Shows progress on stderr. */
  protected get reporter(): Reporter {
    this.#reporter ??= terminalReporter(process.stderr);
    return this.#reporter;
  }

  /** Lines that the terminal would break inside of a word are broken between words. */
  override log(message = "", ...args: unknown[]): void {
    super.log(wrappedLines(message, process.stdout.columns), ...args);
  }

  protected override async catch(error: Error): Promise<never> {
    throw error;
  }

  protected override async finally(error: Error | undefined): Promise<void> {
    this.#reporter?.close();
    await super.finally(error);
  }
}
