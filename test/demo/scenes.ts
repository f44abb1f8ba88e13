/** The demo's story: how a registry crosses the gap, scene by scene. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ask, check, heading, print, say, type } from "./stage.ts";
import { registryAddress, registryName, type World } from "./world.ts";

/** What a scene leaves to those after it. */
interface Story {
  world: World;
  /** the first bundle's, found with stock tools */
  digest: string;
}

export async function tellStory(world: World): Promise<void> {
  const story: Story = { world, digest: "" };
  const scenes: [string, (story: Story) => Promise<void>][] = [
    ["The connected side: one command makes one file", buildBundle],
    ["The stick: what is on it, and is it still the same?", carryBundle],
    ["The isolated side: the file becomes a registry", installBundle],
    ["The clients: they pull, and were told nothing", useRegistry],
    ["Again, and a stick that went bad", tryToBreakIt],
  ];
  for (const [index, [title, scene]] of scenes.entries()) {
    heading(index + 1, scenes.length, title);
    await scene(story);
  }
}

async function buildBundle({ world: { connected, seed, upstream } }: Story): Promise<void> {
  say(`A registry here stands for Docker Hub; the seed is another registry's storage,
as somebody packed it in 2017. The manifest names all that is to cross.`);
  await writeFile(
    join(connected.folder, "plant-7.yaml"),
    `name: plant-7
release: 1
addresses: [${registryName}, ${registryAddress}]
seeds:
  - file: registry-2017.tar.gz
    sha256: ${seed.sha256}
images:
  - busybox:1.36
  - team/debian-root:12
`,
  );
  await type(connected, "cat plant-7.yaml");
  say(`
The server's key crosses encrypted, so it needs a passphrase, which must not
travel with it. (Without one, drydock makes a code for you to write down.)`);
  await type(connected, "umask 077; openssl rand -base64 15 > plant-7.pass");
  await type(connected, bundleCommand("plant-7.tar", upstream.host), { terminal: true });
}

/** `--mirror` and `--plain-http` are there because Docker Hub is played by a registry on this machine. */
function bundleCommand(output: string, host: string): string {
  return `drydock bundle plant-7.yaml -o stick/${output} \\
    --passphrase-file plant-7.pass \\
    --mirror docker.io=${host} --plain-http ${host}`;
}

async function carryBundle(story: Story): Promise<void> {
  const { site } = await story.world.isolated;
  const { connected } = story.world;
  say(`Nobody needs to trust the stick: the bundle's digest, brought another way,
vouches for every byte. tar and sha256sum alone can tell it too.`);
  await type(site, "drydock inspect stick/plant-7.tar", { terminal: true });
  const summed = await type(site, "tar xOf stick/plant-7.tar SHA256SUMS | sha256sum");
  story.digest = summed.slice(0, 64);
  const inspected = JSON.parse(await ask(connected, "drydock inspect stick/plant-7.tar --json"));
  check(story.digest === inspected.digest, "drydock and sha256sum differ about the bundle's digest");
  await type(site, "cp stick/plant-7.tar .");
}

async function installBundle({ world, digest }: Story): Promise<void> {
  const { site, client } = await world.isolated;
  say(`The site has a Docker engine and no route out; the passphrase came by phone.
One command checks the file, places it, starts the registry and proves it.`);
  await type(site, "ip route get 192.88.99.1", { exit: 2, shows: /unreachable/ });
  const passphrase = await readFile(join(world.connected.folder, "plant-7.pass"));
  await writeFile(join(site.env.HOME ?? "", "plant-7.pass"), passphrase, { mode: 0o600 });
  await type(site, installCommand(digest), { terminal: true });
  say(`
It serves, but a client has no reason to believe it yet:`);
  await type(client, `docker pull ${registryName}/library/busybox:1.36`, {
    exit: "failure",
    shows: /x509: certificate signed by unknown authority/,
  });
  say(`
So the same command once more, with a list of clients: it finds the registry
done, and brings the CA to each of them over SSH. One refuses our key, on
purpose: that is exit code 5, "done for some clients, not for others".`);
  await type(site, "cat hosts.ini");
  await type(site, `${installCommand(digest)} \\\n    --clients hosts.ini`, { terminal: true, exit: 5 });
}

function installCommand(digest: string): string {
  return `drydock install plant-7.tar --passphrase-file plant-7.pass \\
    --digest ${digest}`;
}

async function useRegistry({ world }: Story): Promise<void> {
  const { client } = await world.isolated;
  say(`Nobody else has touched this client. It pulls over TLS, by tag and by digest,
what came from Docker Hub today and what came in the seed of 2017.`);
  const run = "docker run --rm --network=none";
  await type(client, `docker pull ${registryName}/library/busybox:1.36`);
  await type(client, `${run} ${registryName}/library/busybox:1.36`, { shows: /^hello from busybox$/m });
  await type(client, `${run} ${registryName}/legacy/app:2017`, { shows: /^hello from the seed$/m });
  const { digest } = world.upstream.images["team/debian-root:12"];
  await type(client, `docker pull --quiet ${registryName}/team/debian-root@\\\n${digest}`);
  say(`
The registry is read-only, unless the manifest says \`access: push\`:`);
  await type(client, `docker tag ${registryName}/library/busybox:1.36 \\\n    ${registryName}/mine:1`);
  await type(client, `docker push ${registryName}/mine:1`, {
    exit: "failure",
    shows: /405|unsupported|not allowed/i,
  });
}

async function tryToBreakIt({ world, digest }: Story): Promise<void> {
  const { site, client } = await world.isolated;
  const { connected, upstream } = world;
  const state = "docker inspect --format '{{.Id}} {{.State.StartedAt}}' registry";
  const before = await ask(site, state);
  say(`The client that refused us is taken off the list; the same command now ends
with 0, and changes nothing. Whatever happened, it can always be run again.`);
  await type(site, "sed -i /^refuses/d hosts.ini");
  await type(site, `${installCommand(digest)} \\\n    --clients hosts.ini`, { terminal: true });
  check((await ask(site, state)) === before, "the second install touched the running registry");

  say(`
Now a second release, with one image more. On the way one byte goes bad.`);
  await type(connected, "sed -i 's/^release: 1/release: 2/' plant-7.yaml");
  await type(connected, "echo '  - team/two-platforms:1' >> plant-7.yaml");
  await type(connected, bundleCommand("plant-7-2.tar", upstream.host), { terminal: true });
  const at = await offsetOfNewBlob(world, join(connected.folder, "stick/plant-7-2.tar"));
  await type(site, "cp stick/plant-7-2.tar damaged.tar");
  await type(site, `printf '\\377' |\n    dd of=damaged.tar bs=1 seek=${at} conv=notrunc status=none`);
  await type(site, "drydock install damaged.tar --passphrase-file plant-7.pass", { terminal: true, exit: 4 });
  say(`
Exit code 4: the damaged part is named, nothing of the release shows, and the
old registry goes on serving.`);
  check((await ask(site, state)) === before, "the damaged bundle touched the running registry");
  await type(client, `docker pull ${registryName}/legacy/data:1`);
  print("\n");
}

/** Where in the bundle a byte lies that the site has yet to read, and that is not 0xff already. */
async function offsetOfNewBlob({ upstream }: World, bundle: string): Promise<number> {
  const [image] = upstream.images["team/two-platforms:1"].children ?? [];
  const known = new Set(
    [upstream.images["library/busybox:1.36"], upstream.images["team/debian-root:12"]].flatMap(({ blobs }) =>
      blobs.map(({ digest }) => digest),
    ),
  );
  const fresh = image?.blobs.find(({ digest, bytes }) => !known.has(digest) && bytes[20] !== 0xff);
  const start = fresh === undefined ? -1 : (await readFile(bundle)).indexOf(fresh.bytes);
  check(start > 0, "the second bundle holds nothing new to damage");
  return start + 20;
}
