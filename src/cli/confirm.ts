/** Asks at the terminal, whatever stdin is, before something is done that cannot be undone. */
import { closeSync, openSync, writeSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { ReadStream } from "node:tty";
import { DrydockError } from "../errors.ts";

/**
 * @param question what is about to be done: "Delete all of /srv/docker-registry?"
 * @param terminal the device
 * @returns whether the answer was "yes", in full
 * @throws DrydockError "usage" without a terminal
 */
export async function confirm(question: string, terminal = "/dev/tty"): Promise<boolean> {
  const descriptor = openTerminal(question, terminal);
  let input: ReadStream;
  try {
    input = new ReadStream(descriptor);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
  const lines = createInterface({ input, terminal: false });
  try {
    writeSync(descriptor, `${question} Type yes to go on: `);
    for await (const answer of lines) return answer.trim().toLowerCase() === "yes";
    return false;
  } finally {
    lines.close();
    input.destroy();
  }
}

function openTerminal(question: string, terminal: string): number {
  try {
    return openSync(terminal, "r+");
  } catch (cause) {
    throw new DrydockError("usage", `${question} There is no terminal to ask at`, {
      hint: "Add --yes to go on without being asked.",
      cause,
    });
  }
}
