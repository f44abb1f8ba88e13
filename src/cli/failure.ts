/**
 * What is told of an error, as text or as JSON, and the exit code.
 */
import { Errors } from "@oclif/core";
import { nearest } from "../did-you-mean.ts";
import { DrydockError, type ErrorKind, errorCode, errorText, exitCodes } from "../errors.ts";
import { printable } from "./format.ts";
import { wrapped } from "./wrapped.ts";

export interface Failure {
  kind: ErrorKind;
  message: string;
  hint?: string | undefined;
  /** what the message tells, for programs */
  data?: Record<string, unknown> | undefined;
  /** of a bug */
  stack?: string | undefined;
  exitCode: number;
}

/** Codes of the system by which the host itself has failed, whoever asked. */
const hostCodes = new Set(["ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE", "ENFILE"]);

/**
 * @param bin the program's name, @param id the command's, if there was one
 */
export function describeFailure(error: unknown, bin: string, id?: string): Failure {
  if (error instanceof DrydockError)
    return { ...expected(error.kind, error.message, error.hint), data: error.data };
  if (isUsageError(error)) {
    const message = error.message
      .replace(/\n?See more help with --help$/, "")
      // Ours take one value each (multipleNonGreedy): an argument may stand behind them.
      .replace(/\n\nNote: .* allows? multiple values\..*$/s, "");
    const suggestion = flagSuggestion(error);
    const help = `See \`${id === undefined ? bin : `${bin} ${id}`} --help\`.`;
    return expected("usage", lowerFirst(message), suggestion ? `${suggestion} ${help}` : help);
  }
  const code = errorCode(error);
  if (code !== undefined && hostCodes.has(code)) return expected("host", errorText(error));
  const stack = error instanceof Error ? error.stack : undefined;
  return { ...expected("bug", errorText(error)), stack: stack ?? errorText(error) };
}

function expected(kind: ErrorKind, message: string, hint?: string): Failure {
  return { kind, message, hint, exitCode: exitCodes[kind] };
}

/** oclif's own errors are about flags and arguments, but for those of its module loader. */
function isUsageError(error: unknown): error is Errors.CLIError {
  return error instanceof Errors.CLIError && !(error instanceof Errors.ModuleLoadError);
}

/** What oclif's NonExistentFlagsError holds besides its message. */
interface UnknownFlags {
  flags: string[];
  parse: { input: { flags: Record<string, unknown> } };
}

function flagSuggestion(error: Error): string | undefined {
  if (error.constructor.name !== "NonExistentFlagsError") return undefined;
  const { flags, parse } = error as unknown as UnknownFlags;
  const known = Object.keys(parse.input.flags).map((name) => `--${name}`);
  const near = flags.map((flag) => nearest(flag, known)).find((name) => name !== undefined);
  return near === undefined ? undefined : `Did you mean ${near}?`;
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}

/**
 * For stderr: "Error: message", then the hint. `color` makes the first word red.
 * @param width of the terminal, to break lines between words; without it they are as long as they are
 */
export function failureText(failure: Failure, color: boolean, width?: number): string {
  const [label, paint] = failure.kind === "interrupted" ? ["Interrupted", "33"] : ["Error", "31"];
  const painted = (text: string) =>
    color ? text.replace(`${label}:`, `\u001b[${paint};1m${label}:\u001b[0m`) : text;
  if (failure.kind === "bug") {
    const stack = printable(failure.stack ?? "", true);
    return painted(`${label}: this is a bug in drydock; please report it with all these lines.\n${stack}\n`);
  }
  const hint = failure.hint === undefined ? "" : `${printable(failure.hint, true)}\n`;
  return painted(wrapped(`${label}: ${printable(failure.message, true)}\n${hint}`, width));
}

export function failureJson(failure: Failure): string {
  return `${JSON.stringify({ error: failure }, null, 2)}\n`;
}
