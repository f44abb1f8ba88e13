/**
 * registry-mirrors in daemon.json: Docker looks for the images of docker.io, and of it alone, in the registry first.
 * It reads the file at its start and at SIGHUP, at which no container stops.
 * https://docs.docker.com/docker-hub/image-library/mirror/
 */
import { docker } from "./docker.ts";
import type { Seen } from "./seen.ts";
import { noPlan, type Store, type StorePlan, type Wanted } from "./store.ts";

const configFile = "/etc/docker/daemon.json";
const pidFile = "/run/docker.pid";

/** A part of the store "docker" that needs something afterwards. */
export const dockerMirrors: Store = {
  ...docker,
  looksAt: () => [...docker.looksAt(), configFile],
  install: addMirrors,
  remove: removeMirrors,
};

function addMirrors(seen: Seen, wanted: Wanted): StorePlan {
  const plan = noPlan();
  if (!wanted.mirrors.includes("docker.io")) return plan;
  const urls = wanted.endpoints.map((name) => `https://${name}`);
  const config = read(seen);
  if (config === undefined) {
    plan.findings.push({
      level: "error",
      reason: `${configFile} can't be read as JSON, and is left as it is, without the mirror`,
      hint: `Put into it: "registry-mirrors": ${JSON.stringify(urls)}`,
    });
    return plan;
  }
  const there = mirrorsOf(config);
  const mirrors = [...urls, ...there.filter((url) => !urls.includes(bare(url)))];
  if (
    there.length === mirrors.length &&
    there.every((url, index) => bare(url) === bare(mirrors[index] ?? ""))
  )
    return plan;
  if (!wanted.restartRuntimes) {
    plan.findings.push({
      level: "note",
      reason: `Docker does not look for docker.io's images in the registry: ${configFile} lacks the mirror`,
      hint: "Run again with --restart-runtimes: it is put there, and Docker reads it anew. Containers go on.",
    });
    return plan;
  }
  plan.files.push({
    path: configFile,
    content: write(seen, { ...config, "registry-mirrors": mirrors }),
    ours: false,
  });
  plan.afterwards = { do: "reload", words: [pidFile] };
  return plan;
}

function removeMirrors(seen: Seen, wanted: Wanted): StorePlan {
  const plan = noPlan();
  const config = read(seen) ?? {};
  const urls = wanted.names.map((name) => `https://${name}`);
  const there = mirrorsOf(config);
  const left = there.filter((url) => !urls.includes(bare(url)));
  if (left.length === there.length) return plan;
  const { "registry-mirrors": _, ...others } = config;
  const rest = left.length === 0 ? others : { ...config, "registry-mirrors": left };
  // A comment that says whose the file is would be no JSON: without anything in it, it is worth nothing.
  if (Object.keys(rest).length === 0) plan.gone.push(configFile);
  else plan.files.push({ path: configFile, content: write(seen, rest), ours: false });
  if (wanted.restartRuntimes) plan.afterwards = { do: "reload", words: [pidFile] };
  else {
    plan.findings.push({
      level: "note",
      reason: "Docker knows the mirror until its next start",
      hint: "There: kill -HUP $(cat /run/docker.pid)",
    });
  }
  return plan;
}

/** @returns undefined if there is something else */
function read(seen: Seen): Record<string, unknown> | undefined {
  const entry = seen.at(configFile);
  if (entry === undefined) return {};
  if (entry.text?.trim() === "") return {};
  try {
    const value: unknown = JSON.parse(entry.text ?? "");
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/** In the file's own indentation. */
function write(seen: Seen, config: object): string {
  const indent = /^[ \t]+/m.exec(seen.at(configFile)?.text ?? "")?.[0] ?? "  ";
  return `${JSON.stringify(config, undefined, indent)}\n`;
}

function mirrorsOf(config: Record<string, unknown>): string[] {
  const { "registry-mirrors": mirrors } = config;
  return Array.isArray(mirrors) ? mirrors.map(String) : [];
}

/** Docker adds the slash itself. */
function bare(url: string): string {
  return url.replace(/\/$/, "");
}
