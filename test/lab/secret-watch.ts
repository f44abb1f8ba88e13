/**
 * Looks for a secret in the arguments and the environment of every process on this machine, those in the lab's
 * hosts included, again and again until it is stopped.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";

/** Run as `node -e`; the secret comes on stdin, so that the watch doesn't find itself. */
const program = `
const { readdirSync, readFileSync } = require("node:fs");
const secret = readFileSync(0, "utf8");
process.stdout.write("ready\\n");
const look = () => {
  for (const pid of readdirSync("/proc")) {
    if (!/^\\d+$/.test(pid)) continue;
    for (const name of ["cmdline", "environ"]) {
      try {
        const text = readFileSync("/proc/" + pid + "/" + name, "latin1");
        if (text.includes(secret)) process.stdout.write(name + ": " + text.replaceAll("\\0", " ").slice(0, 200) + "\\n");
      } catch {}
    }
  }
  setImmediate(look);
};
look();
process.on("SIGTERM", () => process.exit());
`;

export interface SecretWatch {
  /** @returns where it was seen */
  stop(): Promise<string[]>;
}

export async function watchFor(secret: string): Promise<SecretWatch> {
  const child = spawn(process.execPath, ["-e", program], { stdio: ["pipe", "pipe", "inherit"] });
  let seen = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    seen += text;
  });
  child.stdin.end(secret);
  while (!seen.startsWith("ready\n")) await once(child.stdout, "data");
  return {
    stop: async () => {
      const closed = once(child, "close");
      child.kill();
      await closed;
      return [...new Set(seen.split("\n").slice(1, -1))];
    },
  };
}
