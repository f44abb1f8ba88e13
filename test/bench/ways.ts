/** The ways that are compared: what each needs, runs and leaves behind. */
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { startRegistry } from "../lab/registry.ts";
import { startSite } from "../lab/site.ts";
import type { Fixtures } from "./fixtures.ts";
import { type Command, type Measurement, measure } from "./measure.ts";

export interface Way {
  /** for --only */
  name: string;
  title: string;
  /** runs three times at most */
  slow?: boolean;
  /** Makes what it reads, before anything is measured. */
  needs?: (fixtures: Fixtures) => Promise<unknown>;
  /** One run, cold. What it wrote is gone when this returns. */
  run: (fixtures: Fixtures) => Promise<Measurement>;
}

export const ways: Way[] = [
  {
    name: "cp",
    title: "cp + sync of the bundle",
    needs: (fixtures) => fixtures.bundle(),
    run: (fixtures) =>
      inOutput(fixtures, (output) =>
        shell('cp --reflink=never "$1" "$2" && sync -f "$2"', [
          fixtures.path("bundle.tar"),
          join(output, "copy"),
        ]),
      ),
  },
  {
    name: "sha256sum",
    title: "sha256sum of the bundle",
    needs: (fixtures) => fixtures.bundle(),
    run: (fixtures) => plain({ program: "sha256sum", args: [fixtures.path("bundle.tar")] }),
  },
  {
    name: "verify",
    title: "drydock verify",
    needs: (fixtures) => fixtures.bundle(),
    run: (fixtures) => plain(fixtures.drydock("verify", fixtures.path("bundle.tar"))),
  },
  {
    name: "install",
    title: "drydock install",
    needs: (fixtures) => fixtures.bundle(),
    run: install,
  },
  {
    name: "documented",
    title: "sha256sum + tar zx + sync",
    slow: true,
    needs: (fixtures) => fixtures.tarball(),
    run: (fixtures) =>
      inOutput(fixtures, (output) =>
        shell('sha256sum "$1" && tar -zxf "$1" -C "$2" && sync -f "$2"', [
          fixtures.path("storage.tar.gz"),
          output,
        ]),
      ),
  },
  {
    name: "skopeo-push",
    title: "skopeo sync to a registry",
    slow: true,
    needs: (fixtures) => fixtures.skopeoFolder(),
    run: (fixtures) => inOutput(fixtures, (output) => skopeoPush(fixtures, output)),
  },
  {
    name: "bundle",
    title: "drydock bundle",
    needs: (fixtures) => fixtures.bundle(),
    run: (fixtures) => inOutput(fixtures, (output) => plain(fixtures.bundleTo(join(output, "bundle.tar")))),
  },
  {
    name: "reuse",
    title: "bundle --reuse, 1 image new",
    needs: (fixtures) => fixtures.bundle(),
    run: (fixtures) => inOutput(fixtures, (output) => plain(fixtures.reuseTo(join(output, "bundle.tar")))),
  },
  {
    name: "skopeo-pull",
    title: "skopeo sync to a directory",
    slow: true,
    run: (fixtures) => inOutput(fixtures, (output) => plain(fixtures.skopeoTo(output))),
  },
];

/** Gives a new folder to what writes, and takes it away again. */
async function inOutput<T>(fixtures: Fixtures, work: (output: string) => Promise<T>): Promise<T> {
  const output = await mkdtemp(fixtures.path("output-"));
  try {
    return await work(output);
  } finally {
    await rm(output, { recursive: true, force: true });
  }
}

async function plain(command: Command): Promise<Measurement> {
  const { seconds, peak } = await measure(command);
  return { seconds, peak, parts: {} };
}

async function shell(script: string, args: string[]): Promise<Measurement> {
  return await plain({ program: "/bin/sh", args: ["-ec", script, "sh", ...args] });
}

/** Each time on a new site's host, whose engine has never seen the registry's image. */
async function install(fixtures: Fixtures): Promise<Measurement> {
  return await inOutput(fixtures, async (output) => {
    const site = await startSite({ folder: output, name: "bench", clients: false });
    try {
      const passphrase = ["--passphrase-file", fixtures.path("passphrase")];
      const command = fixtures.drydock("install", fixtures.path("bundle.tar"), ...passphrase);
      const [program, args] = site.enter(command.program, command.args);
      const { seconds, peak, said } = await measure({ program, args, env: site.env });
      return {
        seconds,
        peak,
        parts: { "place + link": stepSeconds(said, "place") + stepSeconds(said, "link") },
      };
    } finally {
      await site.stop();
    }
  });
}

/** Into an empty registry of its own. */
async function skopeoPush(fixtures: Fixtures, output: string): Promise<Measurement> {
  const registry = await startRegistry({ folder: output });
  try {
    const how = ["sync", "--src", "dir", "--dest", "docker", "--dest-tls-verify=false"];
    return await plain({
      program: "skopeo",
      args: [...how, fixtures.path("skopeo-folder"), `${registry.host}/bench`],
    });
  } finally {
    await registry.stop();
  }
}

/** How long a step took, from its line "✓ place  600 blobs  (1 min 2 s)". @throws Error if there is none. */
export function stepSeconds(said: string, step: string): number {
  const line = said.split("\n").find((each) => new RegExp(`^[✓+] ${step}  `).test(each));
  const units: Record<string, number> = { h: 3600, min: 60, s: 1 };
  const [, time] = /\(([^()]*)\)$/.exec(line ?? "") ?? [];
  if (time === undefined) throw new Error(`find the step "${step}" in what install said:\n${said}`);
  const parts = time.matchAll(/([\d.]+) (h|min|s)/g);
  return parts.reduce((sum, [, number, unit = ""]) => sum + Number(number) * (units[unit] ?? 0), 0);
}
