/**
 * The command line's one entrance: runs a command, shows what went wrong, gives the exit code. It never
 * ends the process itself; bin/ does.
 */
import { run } from "@oclif/core";
import { nearest } from "../did-you-mean.ts";
import { DrydockError } from "../errors.ts";
import { whenInterruptible } from "../uninterrupted.ts";
import { DrydockCommand } from "./base-command.ts";
import { loadConfiguration, type Program } from "./configuration.ts";
import { describeFailure, failureJson, failureText } from "./failure.ts";
import { DrydockHelp } from "./help.ts";
import { hasColor } from "./terminal.ts";
import { closeReporters, sayInterrupted } from "./terminal-reporter.ts";

/** @param argv what follows the program's name. @returns the exit code */
export async function main(argv: readonly string[], program: Program): Promise<number> {
  ignoreClosedPipes();
  const outside = interruptions(program, argv);
  try {
    await Promise.race([dispatch([...argv], program), outside.promise]);
    return exitCodeOfProcess();
  } catch (error) {
    if (isExit(error)) return error.oclif.exit;
    const { bin = program.pjson.name } = program.pjson.oclif;
    const failure = describeFailure(error, bin, commandOf(argv, program));
    closeReporters();
    if (wantsJson(argv)) process.stdout.write(failureJson(failure));
    else process.stderr.write(failureText(failure, hasColor(process.stderr), process.stderr.columns));
    return failure.exitCode;
  } finally {
    outside.stop();
    await Promise.all([process.stdout, process.stderr].map(written));
  }
}

/** What a slow reader of a pipe has not taken yet would be lost with the process. */
function written(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.write("", () => resolve());
  });
}

async function dispatch(argv: string[], program: Program): Promise<void> {
  const config = await loadConfiguration(program);
  if (argv[0] === "help") argv = [...argv.slice(1), "--help"];
  if (argv.length === 0 || beforeDashes(argv).some((word) => word === "--help" || word === "-h")) {
    await new DrydockHelp(config).showHelp(argv);
    return;
  }
  const [first = ""] = argv;
  if (first !== "--version" && !config.findCommand(first) && !config.findTopic(first)) {
    const near = nearest(first, Object.keys(program.commands));
    throw new DrydockError("usage", `there is no command ${JSON.stringify(first)}`, {
      hint: `${near === undefined ? "" : `Did you mean \`${config.bin} ${near}\`? `}See \`${config.bin} --help\`.`,
    });
  }
  await run(argv, config);
}

/** A command may have set the process's exit code; then it stands. */
function exitCodeOfProcess(): number {
  return typeof process.exitCode === "number" ? process.exitCode : 0;
}

/** What `this.exit(code)` of oclif's commands throws. */
function isExit(error: unknown): error is Error & { oclif: { exit: number } } {
  return error instanceof Error && "code" in error && error.code === "EEXIT";
}

function beforeDashes(argv: readonly string[]): readonly string[] {
  const dashes = argv.indexOf("--");
  return dashes === -1 ? argv : argv.slice(0, dashes);
}

function wantsJson(argv: readonly string[]): boolean {
  return beforeDashes(argv).includes("--json");
}

function commandOf(argv: readonly string[], program: Program): string | undefined {
  return Object.keys(program.commands).find((id) => id === argv[0]);
}

/** A reader that has seen enough (`drydock inspect … | head`) is no error. */
function ignoreClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}

/**
 * Rejects when the user interrupts, and when something is thrown that nobody awaits: both end the
 * command where it is. What is on disk then is what a kill would leave, which every command can go on from.
 */
function interruptions(program: Program, argv: readonly string[]): { promise: Promise<never>; stop(): void } {
  const { promise, reject } = Promise.withResolvers<never>();
  // Until the race has begun to listen.
  promise.catch(() => {});
  const usual = keptText(program, argv);
  let signals = 0;
  const onSignal = async () => {
    await whenInterruptible();
    // Who interrupts again does not want to wait for an answer, of a disk that hangs say.
    const text = ++signals > 1 ? usual : ((await sayInterrupted()) ?? usual);
    reject(new DrydockError("interrupted", text));
  };
  const handlers = {
    SIGINT: onSignal,
    SIGTERM: onSignal,
    uncaughtException: reject,
    unhandledRejection: reject,
  };
  for (const [event, handler] of Object.entries(handlers)) process.on(event, handler);
  const stop = () => {
    for (const [event, handler] of Object.entries(handlers)) process.off(event, handler);
  };
  return { promise, stop };
}

function keptText(program: Program, argv: readonly string[]): string {
  const command = program.commands[commandOf(argv, program) ?? ""] as
    | Partial<typeof DrydockCommand>
    | undefined;
  return command?.whenInterrupted ?? DrydockCommand.whenInterrupted;
}
