/** A real terminal for the tests: tmux, whose screen can be read, and which types, and is resized. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stripVTControlCharacters } from "node:util";

/** The command line that is made for the tests. */
export const program = join(import.meta.dirname, "frame.ts");
export const utf8 = { LC_ALL: "C.UTF-8", TERM: "xterm" };

/** What the test does to the terminal when it sees this on the screen: types, or changes its width. */
export interface Act {
  when: RegExp;
  keys?: string[];
  columns?: number;
}

/**
 * Runs a command line of the test's program in tmux, a real terminal, and does each act, in their order.
 * @returns what stood on the screen, some times while it ran and at last at its end.
 */
export async function inTerminal(
  [columns, rows]: [columns: number, rows: number],
  command: string,
  ...acts: Act[]
): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "drydock-terminal-"));
  const status = join(folder, "status");
  const script = join(folder, "run.sh");
  writeFileSync(
    script,
    // Ctrl-C is for the program alone.
    `trap : INT\n${process.execPath} ${command}\necho "130 or less: $?"\ntouch ${status}\nsleep 600\n`,
  );
  const env = { ...process.env, ...utf8, TERM: "screen" };
  const tmux = (...words: string[]) =>
    execFileSync("tmux", ["-S", join(folder, "socket"), "-f", "/dev/null", ...words], {
      env,
      encoding: "utf8",
    });
  const screens: string[] = [];
  try {
    tmux("new-session", "-d", "-x", String(columns), "-y", String(rows), `sh ${script}`);
    for (let tries = 0; tries < 300; tries++) {
      await sleep(50);
      const screen = stripVTControlCharacters(tmux("capture-pane", "-p"))
        .replaceAll(/[ \t]+$/gm, "")
        .trim();
      screens.push(screen);
      const act = acts[0]?.when.test(screen) ? acts.shift() : undefined;
      if (act?.keys) tmux("send-keys", ...act.keys);
      if (act?.columns !== undefined) tmux("resize-window", "-x", String(act.columns));
      if (screen.includes("130 or less") && readIfThere(status) !== undefined) break;
    }
    return screens;
  } finally {
    tmux("kill-server");
    rmSync(folder, { recursive: true, force: true });
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
