/**
 * What the demo shows: headings, a few words, and commands as one would type them, each with its true
 * output. The text that is shown is the text that a shell is given. A command that does not end as the
 * story says ends the demo.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { styleText } from "node:util";
import { hasColor } from "../../src/cli/terminal.ts";

/** Where commands are typed. */
export interface Place {
  /** what stands before the command: "site#" */
  prompt: string;
  folder: string;
  env: NodeJS.ProcessEnv;
  /** Wraps a command so that it runs there, as in the lab's hosts; left out for this machine. */
  enter?: (command: string, args: readonly string[], cwd: string) => [string, string[]];
}

export interface Expected {
  /** the exit code, 0 if left out; or that it must fail in whatever way */
  exit?: number | "failure";
  /** what the output must hold; only for commands whose output is piped */
  shows?: RegExp;
  /** The command gets the terminal itself, to draw progress on it; its output is then not ours to check. */
  terminal?: boolean;
}

/** Something that did not go as the story says. */
export class DemoFailure extends Error {}

const width = 78;

export function heading(number: number, of: number, title: string): void {
  const line = `${number}/${of}  ${title}`;
  print(`\n\n${paint(["bold", "cyan"], line)}\n${paint(["cyan"], "=".repeat(width))}\n`);
}

/** Text between commands; its author breaks the lines, at 78 characters. */
export function say(text: string): void {
  print(`${text}\n`);
}

/**
 * Types a command at a place and shows what it says as it says it. Lines that end in a backslash go on.
 * @returns what it said, if its output is piped @throws DemoFailure
 */
export async function type(place: Place, command: string, expected: Expected = {}): Promise<string> {
  const prompt = paint(["green"], place.prompt);
  print(`\n${prompt} ${paint(["bold"], command)}\n`);
  const { code, said } = await runThere(place, command, expected.terminal === true);
  if (code !== 0) {
    const how = typeof code === "number" ? `exit code ${code}` : `ended by ${code}`;
    print(`${paint(["dim"], `(${how})`)}\n`);
  }
  const wanted = expected.exit ?? 0;
  if (wanted === "failure" ? code === 0 : code !== wanted)
    throw new DemoFailure(`\`${command}\` ended with ${code}: wanted ${wanted}`);
  check(
    expected.shows === undefined || expected.shows.test(said),
    `the output of \`${command}\` lacks ${expected.shows}`,
  );
  return said;
}

/** Runs a command unseen and gives what it says, to check the story by. */
export async function ask(place: Place, command: string): Promise<string> {
  const { code, said } = await runThere(place, command, "unseen");
  check(code === 0, `\`${command}\` ended with ${code}: ${said}`);
  return said.trim();
}

/** @throws DemoFailure unless it is so */
export function check(isSo: boolean, otherwise: string): void {
  if (!isSo) throw new DemoFailure(otherwise);
}

export function print(text: string): void {
  process.stdout.write(text);
}

export function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return hasColor(process.stdout) ? styleText(style, text, { validateStream: false }) : text;
}

async function runThere(
  place: Place,
  command: string,
  output: boolean | "unseen",
): Promise<{ code: number | NodeJS.Signals; said: string }> {
  const piped = output !== true;
  // One pipe for both, so that the lines come in the order in which they were written.
  const script = piped ? `exec 2>&1\n${command}` : command;
  const words: [string, string[]] = ["/bin/sh", ["-c", script]];
  const [program, args] = place.enter?.(...words, place.folder) ?? words;
  const child = spawn(program, args, {
    cwd: place.enter === undefined ? place.folder : "/",
    env: place.env,
    stdio: ["ignore", piped ? "pipe" : "inherit", "inherit"],
  });
  const chunks: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    if (output === false) process.stdout.write(chunk);
  });
  const [code, signal] = await once(child, "close");
  return { code: code ?? signal, said: Buffer.concat(chunks).toString("utf8") };
}
