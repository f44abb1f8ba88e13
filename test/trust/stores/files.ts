/** A client's files as `look` would have seen them, for the stores' functions, which need no client. */
import { createHash } from "node:crypto";
import { dirname } from "node:path";
import { changesFor } from "../../../src/trust/stores/changes.ts";
import { Seen } from "../../../src/trust/stores/seen.ts";
import type { Store, Wanted } from "../../../src/trust/stores/store.ts";

/** Path → text, or a line of `ls -ldn` up to its date. Directories above are root's. */
export type Files = Record<string, string | { ls: string; text?: string }>;

export function seen(files: Files, more: string[] = []): Seen {
  const lines = ["home /root", "uid 0", ...more];
  const folders = new Set<string>();
  for (const [path, file] of Object.entries(files)) {
    for (let above = dirname(path); above !== "/"; above = dirname(above)) folders.add(above);
    const { ls, text } = typeof file === "string" ? { ls: "-rw-r--r-- 1 0 0 9", text: file } : file;
    lines.push(`ls ${ls} Jan  1 00:00 ${path}`);
    if (text === undefined) continue;
    const sum = createHash("sha256").update(text).digest("hex");
    lines.push(`sum ${sum} ${path}`, `content ${sum} ${Buffer.from(text).toString("hex")}`);
  }
  for (const folder of folders) {
    if (!(folder in files)) lines.push(`ls drwxr-xr-x 2 0 0 4096 Jan  1 00:00 ${folder}`);
  }
  return new Seen([...lines, "end"]);
}

export const pem = (name: string) => `-----BEGIN CERTIFICATE-----\n${name}\n-----END CERTIFICATE-----`;

export const wanted: Wanted = {
  names: ["registry.lan:5000"],
  endpoints: ["registry.lan:5000"],
  authorities: [pem("NEW")],
  removeOld: false,
  mirrors: [],
  restartRuntimes: false,
  stores: ["docker", "containers", "containerd", "k3s"],
};

export interface Outcome {
  /** all files afterwards; what was somebody's stays as it is */
  files: Files;
  findings: string[];
  does: string | undefined;
}

/** What becomes of the files. */
export function after(
  store: Store,
  verb: "install" | "remove",
  before: Files,
  changes: Partial<Wanted> = {},
  more: string[] = [],
): Outcome {
  const view = seen(before, more);
  const plan = store[verb](view, { ...wanted, ...changes });
  const { changes: made, findings } = changesFor(plan, view, true);
  const files: Files = { ...before };
  for (const { path, content } of made?.write ?? []) files[path] = content;
  for (const path of made?.remove ?? []) delete files[path];
  return {
    files,
    findings: [...findings, ...plan.findings].map(({ level, reason }) => `${level}: ${reason}`),
    does: made?.afterwards && `${made.afterwards.do} ${made.afterwards.words.join(" ")}`,
  };
}
