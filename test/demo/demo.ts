/**
 * `make demo`: a registry crosses the gap, on this machine, in real parts: engines, registries, SSH, TLS.
 * It is a check as well: where something does not go as the story says, it ends with exit code 1.
 */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { errorText } from "../../src/errors.ts";
import { atEnd } from "../lab/at-end.ts";
import { tellStory } from "./scenes.ts";
import { DemoFailure, paint, print } from "./stage.ts";
import { startWorld } from "./world.ts";

const root = join(import.meta.dirname, "../..");

/** What would only fail later, and less clearly. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return "it makes network namespaces, so it must be root: sudo make demo";
  if (!existsSync(join(root, "dist/cli/main.js"))) return "drydock is not built here: make build";
  // The lab's hosts have these folders of their own, and would not see what is in ours.
  const hidden = [root, tmpdir()].find((folder) => /^\/(srv|run|etc)(\/|$)/.test(folder));
  if (hidden === undefined) return undefined;
  return `its hosts have their own /srv, /run and /etc, and do not see ${hidden}: use a folder elsewhere`;
}

async function demo(): Promise<void> {
  const began = performance.now();
  const parts = new AsyncDisposableStack();
  let undoing: Promise<void> | undefined;
  const undo = () => {
    undoing ??= parts.disposeAsync();
    return undoing;
  };
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
    print("\nInterrupted: taking everything away again.\n");
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, interrupt);
  const forget = atEnd(undo);
  const folder = await mkdtemp(join(tmpdir(), "drydock-demo-"));
  parts.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  try {
    print(introduction);
    await tellStory(await startWorld(folder, parts));
  } finally {
    await undo();
    // The command that was running has failed, which is no news: the signal is about to end this process.
    if (interrupted) await sleep(60_000);
    forget();
  }
  const seconds = Math.round((performance.now() - began) / 1000);
  print(`${paint(["bold", "green"], `That was all of it, in ${seconds} s.`)} ${conclusion}`);
}

const introduction = `
drydock carries a populated Docker registry across an air gap: one file, two
commands. This shows both sides on this machine, in about half a minute, with
real engines, a real registry, real SSH and TLS. All of it is taken away again;
only a cache of images stays in the temporary folder.

  connected$   has the internet (a registry here plays Docker Hub)
  site#        has a Docker engine, and no route out
  client#      must pull from the site's registry
`;

const conclusion = `It is taken away again.

Your turn. On the connected side, with a manifest such as the one in
manifests/smallest.yaml:

  drydock bundle MANIFEST.yaml -o /media/STICK/site.tar

and at the site, as root, with the digest and the code that this prints:

  drydock install /media/STICK/site.tar --digest DIGEST --clients HOSTS.ini

"drydock" is bin/drydock.js of this folder, for Node.js 24 or newer; if yours is
older: node_modules/.bin/node bin/drydock.js. Read on in README.md. Every flag
is in docs/commands.md, every key of a manifest in manifests/documented.yaml.
`;

const problem = obstacle();
if (problem !== undefined) {
  process.stderr.write(`the demo can't run: ${problem}\n`);
  process.exitCode = 1;
} else {
  await demo().catch((error: unknown) => {
    const what = error instanceof DemoFailure || !(error instanceof Error) ? errorText(error) : error.stack;
    process.stderr.write(`\n${paint(["red"], "The demo failed:")} ${what}\n`);
    process.exitCode = 1;
  });
}
