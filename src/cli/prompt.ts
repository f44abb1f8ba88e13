/**
 * Asks for a secret at the terminal, whatever stdin is: the answer is never shown.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { StringDecoder } from "node:string_decoder";
import { ReadStream } from "node:tty";
import { DrydockError } from "../errors.ts";

const interrupt = "\u0003";
const endOfInput = "\u0004";
const backspaces = ["\u007f", "\b"];
const enters = ["\r", "\n"];
const clearLine = "\u0015";

/**
 * @param question what stands before the cursor: "Passphrase: "
 * @param terminal the device
 * @throws DrydockError "usage" without a terminal, "interrupted" on Ctrl-C.
 */
export async function askSecret(question: string, terminal = "/dev/tty"): Promise<string> {
  const descriptor = openTerminal(question, terminal);
  let input: ReadStream | undefined;
  try {
    input = new ReadStream(descriptor);
    input.setRawMode(true);
    writeSync(descriptor, question);
    return await readLine(input, question);
  } finally {
    writeSync(descriptor, "\r\n");
    input?.setRawMode(false);
    // Closes the descriptor as well.
    if (input) input.destroy();
    else closeSync(descriptor);
  }
}

/** Whether there is one to ask at. */
export function hasTerminal(terminal = "/dev/tty"): boolean {
  try {
    closeSync(openSync(terminal, "r+"));
    return true;
  } catch {
    return false;
  }
}

function openTerminal(question: string, terminal: string): number {
  try {
    return openSync(terminal, "r+");
  } catch (cause) {
    throw new DrydockError(
      "usage",
      `ask ${JSON.stringify(question.trim())}: there is no terminal to ask at`,
      {
        hint: "Put it on the first line of a file that only you can read, and give --passphrase-file FILE.",
        cause,
      },
    );
  }
}

function readLine(input: ReadStream, question: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const decoder = new StringDecoder("utf8");
  let answer: string[] = [];
  input.on("error", reject);
  input.on("end", () => reject(closed(question)));
  input.on("data", (chunk: Buffer) => {
    for (const character of decoder.write(chunk)) {
      if (enters.includes(character)) return resolve(answer.join(""));
      if (character === interrupt) return reject(new DrydockError("interrupted", "no answer was given"));
      if (character === endOfInput) return reject(closed(question));
      if (backspaces.includes(character)) answer.pop();
      else if (character === clearLine) answer = [];
      else if (character >= " ") answer.push(character);
    }
  });
  return promise;
}

function closed(question: string): DrydockError {
  return new DrydockError("usage", `ask ${JSON.stringify(question.trim())}: no answer was given`);
}
