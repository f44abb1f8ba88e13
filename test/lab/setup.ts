/**
 * Installs the Debian packages that the lab is made of, where they are missing: as root on Debian 12.
 *
 *   node test/lab/setup.ts
 *
 * No service that comes with them is started.
 */
import { readFileSync } from "node:fs";
import { rename, rm, stat, writeFile } from "node:fs/promises";
import { atEnd } from "./at-end.ts";
import { type RunResult, run } from "./process.ts";

/** Each with what it is for. */
const packages: Record<string, string> = {
  "docker.io": "the site's engine, and the Docker client's",
  "docker-registry": "the upstream registry, and registry:2 made of it",
  iptables: "the engine's port mapping",
  podman: "the client that has no Docker",
  crun: "what Podman runs containers with",
  skopeo: "a second opinion on registries and bundles, and a peer in the bench",
  "golang-cfssl": "a second opinion on certificates",
  openssl: "a second opinion on certificates",
  "ca-certificates": "the system's own authorities",
  "openssh-server": "the clients",
  "openssh-client": "keys for them",
  "busybox-static": "the busybox image",
  zstd: "seeds and layers",
  iproute2: "the network namespace of a site",
  procps: "looking at processes",
  mount: "small file systems that fill up",
};

/**
 * Returns at once when everything is there. @param say is given a line before something takes long
 * @throws Error that says what to do, when a package cannot be installed
 */
export async function setup(say: (line: string) => void = () => {}): Promise<void> {
  const missing = await missingPackages();
  if (missing.length === 0) return;
  const list = missing.map((name) => `${name} (${packages[name]})`).join(", ");
  if (process.getuid?.() !== 0) {
    throw new Error(
      `the lab needs packages that only root can install: apt-get install ${missing.join(" ")}`,
    );
  }
  say(`installing with apt-get: ${list}`);
  await withoutStartingServices(async () => {
    await aptGet(["update"]);
    await aptGet(["install", "--yes", "--no-install-recommends", ...missing]);
  });
  const left = await missingPackages();
  if (left.length > 0) throw new Error(`apt-get ended well, but these are not installed: ${left.join(" ")}`);
}

async function missingPackages(): Promise<string[]> {
  const names = Object.keys(packages);
  let result: RunResult;
  try {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholders
    const format = "${Package} ${db:Status-Status}\\n";
    result = await run("dpkg-query", ["-W", "-f", format, ...names], { mayFail: true });
  } catch (error) {
    throw new Error("the lab needs Debian: there is no dpkg-query on this machine", { cause: error });
  }
  const installed = new Set(
    result.stdout.split("\n").flatMap((line) => (line.endsWith(" installed") ? line.split(" ")[0] : [])),
  );
  return names.filter((name) => !installed.has(name));
}

async function aptGet(args: string[]): Promise<void> {
  const options = ["-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120", "-q"];
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" };
  const result = await run("apt-get", [...options, ...args], { env, mayFail: true, seconds: 1800 });
  if (result.code === 0) return;
  const lines = `${result.stdout}${result.stderr}`.trim().split("\n");
  throw new Error(`apt-get ${args.join(" ")}: exit code ${result.code}\n${lines.slice(-15).join("\n")}`);
}

const policy = "/usr/sbin/policy-rc.d";
const setAside = `${policy}.set-aside-by-drydock-lab`;
const forbid = "#!/bin/sh\n# drydock's lab, while it installs packages: no service starts.\nexit 101\n";

/**
 * Debian asks policy-rc.d before a package starts its service, and 101 means no ("invoke-rc.d", exit
 * codes). One that is there already is set aside, also if an earlier run was killed in between.
 */
async function withoutStartingServices(work: () => Promise<void>): Promise<void> {
  const there = await stat(policy).catch(() => undefined);
  if (there !== undefined && readFileSync(policy, "utf8") !== forbid) await rename(policy, setAside);
  const restore = async () => {
    await rm(policy, { force: true });
    if (await stat(setAside).catch(() => undefined)) await rename(setAside, policy);
  };
  const done = atEnd(restore);
  try {
    await writeFile(policy, forbid, { mode: 0o755 });
    await work();
  } finally {
    await restore();
    done();
  }
}

if (import.meta.main) {
  try {
    await setup((line) => process.stderr.write(`${line}\n`));
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    process.exitCode = 1;
  }
}
