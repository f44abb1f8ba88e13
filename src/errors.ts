/**
 * The one error type, and the one table of exit codes.
 *
 * A DrydockError is an expected failure: something outside this program is not as it must be, and the
 * text says what. Anything else that is thrown is a bug and ends with exit code 1 and its stack.
 */

/** Why a command ended. Each command's help repeats the ones it can end with. */
export const exitCodes = {
  /** a bug: report it */
  bug: 1,
  /** wrong usage: an unknown flag, an output that exists without --force */
  usage: 2,
  /** an input is wrong: manifest, inventory, seed, passphrase, key */
  input: 3,
  /** a digest, a size or the archive's shape does not match */
  integrity: 4,
  /** done for some clients, not for others */
  partial: 5,
  /** found before the first write: space, port, clock, names, engine, somebody else's registry */
  preflight: 6,
  /** an upstream registry or server: no such tag, credentials refused, network, after retries */
  upstream: 7,
  /** a certificate has ended or ends soon */
  certificate: 8,
  /** this host failed midway: disk full, read error, engine stopped */
  host: 9,
  /** interrupted: what was done is kept */
  interrupted: 130,
} as const;

export type ErrorKind = keyof typeof exitCodes;

export interface ErrorOptionsWithHint {
  /** What to do about it, as a whole sentence; shown apart from the message. */
  hint?: string | undefined;
  /** What the message tells, for programs: --json shows it. */
  data?: Record<string, unknown> | undefined;
  cause?: unknown;
}

/**
 * An expected failure. The message begins in lower case with the action or the thing ("read manifest
 * \"x.yaml\": …"), quotes the input, and says what was wanted and what was got.
 */
export class DrydockError extends Error {
  override name = "DrydockError";
  readonly kind: ErrorKind;
  readonly hint: string | undefined;
  readonly data: Record<string, unknown> | undefined;
  /** Read by oclif with --json. */
  readonly exitCode: number;
  /** Read by oclif without --json. */
  readonly oclif: { exit: number };

  constructor(kind: ErrorKind, message: string, options: ErrorOptionsWithHint = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.hint = options.hint;
    this.data = options.data;
    this.exitCode = exitCodes[kind];
    this.oclif = { exit: this.exitCode };
  }
}

/** The text of anything that was thrown, without what Node advises who has started it by himself. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message.replace(advice, "") : String(error);
}

const advice = /; if the root CA is installed locally, try running Node\.js with --use-system-ca$/;

/** What the file system said, in words where it is a common one: the path stands before it already. */
export function fileErrorText(error: unknown): string {
  return fileErrors.get(errorCode(error) ?? "") ?? errorText(error);
}

const fileErrors = new Map([
  ["ENOENT", "there is no such file"],
  ["ENOTDIR", "what stands before the last slash is no folder"],
  ["EISDIR", "it is a folder"],
  ["EACCES", "permission denied"],
  ["ENOSPC", "the disk is full"],
  ["EROFS", "its file system is mounted read-only"],
]);

/** The system's error code ("ENOENT") of anything that was thrown, if it has one. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
