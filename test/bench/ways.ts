/** The ways that are compared: what each needs, runs and leaves behind. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { startRegistry } from "../lab/registry.ts";
import { type Site, startSite } from "../lab/site.ts";
import type { Fixtures } from "./fixtures.ts";
import { type Command, type Measurement, measure } from "./measure.ts";

export interface Way {
  /** for --only */
  name: string;
  title: string;
  /** runs three times at most */
  slow?: boolean;
  /** What is measured after it, on what it left: more rows of the table, in this order. */
  followedBy?: { name: string; title: string }[];
  /** Makes what it reads, before anything is measured. */
  needs?: (fixtures: Fixtures) => Promise<unknown>;
  /** One run, cold, and one of each of `followedBy`. What they wrote is gone when this returns. */
  run: (fixtures: Fixtures) => Promise<Measurement | Measurement[]>;
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
    followedBy: [
      { name: "update", title: "install, 1 image is new" },
      { name: "rollback", title: "rollback of all tags" },
    ],
    needs: (fixtures) => fixtures.laterBundles(),
    run: installs,
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
  const { said: _, ...measured } = await measure(command);
  return { ...measured, parts: {} };
}

async function shell(script: string, args: string[]): Promise<Measurement> {
  return await plain({ program: "/bin/sh", args: ["-ec", script, "sh", ...args] });
}

/**
 * Each time on a new site's host, whose engine has never seen the registry's image: a first release; a second one
 * with one changed image; and back from a third one, which moves every tag and leaves the container as it is.
 */
async function installs(fixtures: Fixtures): Promise<Measurement[]> {
  return await inOutput(fixtures, async (output) => {
    const site = await startSite({ folder: output, name: "bench", clients: false });
    try {
      const first = await installed(fixtures, site, "bundle.tar");
      const second = await installed(fixtures, site, "changed.tar");
      await installed(fixtures, site, "moved.tar");
      const { said, ...back } = await measure(atSite(site, fixtures.drydock("rollback")));
      if (!said.includes('container "registry": unchanged'))
        throw new Error(`the rollback was to leave the container as it is:\n${said}`);
      return [first, second, { ...back, parts: {} }];
    } finally {
      await site.stop();
    }
  });
}

async function installed(fixtures: Fixtures, site: Site, bundle: string): Promise<Measurement> {
  const passphrase = ["--passphrase-file", fixtures.path("passphrase")];
  const command = fixtures.drydock("install", fixtures.path(bundle), ...passphrase);
  const { said, ...measured } = await measure(atSite(site, command));
  const steps = await stepsOf(site, said);
  const [place, link] = [stepSeconds(steps, "place"), stepSeconds(steps, "link")];
  return { ...measured, parts: { place, "place + link": place + link } };
}

/** The command inside of the site's host. */
function atSite(site: Site, { program, args }: Command): Command {
  const [enter, words] = site.enter(program, args);
  return { program: enter, args: words, env: site.env };
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

interface StepTime {
  step: string;
  seconds: number;
}

/** What the receipt says of each step, to a thousandth of a second. @param said what install said: where the receipt is */
async function stepsOf(site: Site, said: string): Promise<StepTime[]> {
  const release = /\/releases\/([0-9a-f]{64})\/receipt\.txt$/m.exec(said)?.[1];
  if (release === undefined) throw new Error(`find the receipt in what install said:\n${said}`);
  return JSON.parse(await readFile(join(site.siteDir, "releases", release, "receipt.json"), "utf8")).steps;
}

function stepSeconds(steps: StepTime[], name: string): number {
  const found = steps.find(({ step }) => step === name);
  if (found === undefined) throw new Error(`the receipt has no step "${name}": ${JSON.stringify(steps)}`);
  return found.seconds;
}
