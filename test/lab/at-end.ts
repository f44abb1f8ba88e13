/**
 * What must be undone however the program ends: also by Ctrl-C, by SIGTERM (the test runner's way) and
 * when the terminal closes. Only kill -9 goes past it.
 */
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const actions: (() => Promise<void> | void)[] = [];
let listening = false;

/**
 * Runs `action` when a signal ends the program, the newest first. @returns takes it off the list again:
 * call it when the thing has been undone in the ordinary way
 */
export function atEnd(action: () => Promise<void> | void): () => void {
  actions.push(action);
  if (!listening) for (const signal of signals) process.on(signal, undoAll);
  listening = true;
  return () => {
    const index = actions.indexOf(action);
    if (index >= 0) actions.splice(index, 1);
    if (actions.length > 0 || !listening) return;
    for (const signal of signals) process.off(signal, undoAll);
    listening = false;
  };
}

let ending = false;

async function undoAll(signal: NodeJS.Signals): Promise<void> {
  if (ending) return;
  ending = true;
  for (const action of [...actions].reverse()) {
    try {
      await action();
    } catch (error) {
      process.stderr.write(`clean up: ${error}\n`);
    }
  }
  // End as a program does that never listened, so that who started us sees the signal.
  for (const each of signals) process.off(each, undoAll);
  process.kill(process.pid, signal);
}
