/**
 * Eyes on a site's registry while something goes wrong with the site. What it answers must be of the first
 * release, or of the second as soon as that is there as a whole, and every blob of what it answers must be
 * there, with its own bytes.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { statSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pLimit from "p-limit";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { blobPath, layerLinkPath, revisionLinkPath } from "../../src/oci/storage.ts";
import { startService, waitFor } from "../lab/process.ts";
import type { Site } from "../lab/site.ts";
import type { TwoReleases } from "./two-releases.ts";

export interface Eyes {
  /**
   * Asks for every tag of the first release. @param options.pull every blob of what is answered, too
   * @returns how many name what the second release has instead
   * @throws AssertionError if something is not as it must be; Error if the registry does not answer
   */
  look(options?: { pull?: boolean }): Promise<number>;
  /** Looks again and again. @returns ends that, and throws what was wrong */
  watch(): () => Promise<void>;
  /** The second release will be looked for anew: its blobs were taken away. */
  forget(): void;
  stop(): Promise<void>;
}

// The socket's path is the same outside, and the network inside is the site's own.
const forwarder = `
const { connect, createServer } = require("node:net");
createServer((here) => {
  const there = connect(443, "127.0.0.1");
  here.on("error", () => there.destroy()).on("close", () => there.destroy());
  there.on("error", () => here.destroy()).on("close", () => here.destroy());
  here.pipe(there).pipe(here);
}).listen(process.argv[1], () => console.log("listening"));
`;

/** The site's CA is that of now. */
export async function openEyes(
  site: Site,
  { first, second }: Pick<TwoReleases, "first" | "second">,
): Promise<Eyes> {
  const socketPath = join(site.folder, "registry.sock");
  await rm(socketPath, { force: true });
  const [program, args] = site.enter(process.execPath, ["-e", forwarder, socketPath], "/");
  const log = join(site.folder, "eyes.log");
  const service = await startService(program, args, { log, signal: "SIGKILL" });
  const listening = async () => ((await service.readLog()).includes("listening") ? true : undefined);
  await waitFor("the way to the registry", service, 20, listening);
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const ca = await readFile(join(site.siteDir, "certs/ca.pem"));
  let isComplete = false;

  async function get(path: string): Promise<Buffer> {
    const accept = "application/vnd.oci.image.manifest.v1+json";
    const options = { socketPath, agent, ca, servername: site.registryName, path, headers: { accept } };
    const asked = request({ ...options, host: site.registryName, timeout: 10_000 });
    asked.on("timeout", () => asked.destroy(new Error(`GET ${path}: no answer`))).end();
    const [answer] = await once(asked, "response");
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    assert.equal(answer.statusCode, 200, `GET ${path}: ${answer.statusCode} ${body}`);
    return body;
  }

  const look: Eyes["look"] = async ({ pull = false } = {}) => {
    let moved = 0;
    const all = Object.entries(first.images).map(([name, old]) => ({
      name,
      old,
      fresh: second.images[name],
    }));
    await pLimit(4).map(all, async ({ name, old, fresh }) => {
      const [repository = "", tag = ""] = name.split(":");
      const body = await get(`/v2/${repository}/manifests/${tag}`);
      const found = digestOf(body);
      const image = [old, fresh].find((one) => one?.digest === found);
      assert.ok(image, `${name} is ${found}, wanted ${old.digest} or ${fresh?.digest}`);
      if (image !== old) {
        moved += 1;
        if (!isComplete) await assertComplete();
      }
      for (const { digest, bytes } of image.blobs) {
        if (!pull) assert.equal(sizeOnDisk(digest), bytes.length, `${name} has ${digest}`);
        else assert.equal(digestOf(await get(`/v2/${repository}/blobs/${digest}`)), digest, name);
      }
    });
    return moved;
  };

  function sizeOnDisk(digest: Digest): number | undefined {
    return statSync(join(site.siteDir, "storage", blobPath(digest)), { throwIfNoEntry: false })?.size;
  }

  /** Of the second release every blob and every link is there. */
  async function assertComplete(): Promise<void> {
    for (const [name, image] of Object.entries(second.images)) {
      const [repository = ""] = name.split(":");
      assert.equal(sizeOnDisk(image.digest), image.manifest.length, `image manifest of ${name}`);
      assert.equal(await linkOnDisk(revisionLinkPath(repository, image.digest)), image.digest);
      for (const { digest, bytes } of image.blobs) {
        assert.equal(sizeOnDisk(digest), bytes.length, `${name} has ${digest}`);
        assert.equal(await linkOnDisk(layerLinkPath(repository, digest)), digest, name);
      }
    }
    isComplete = true;
  }

  const linkOnDisk = (path: string) =>
    readFile(join(site.siteDir, "storage", path), "utf8").catch(() => undefined);

  return {
    look,
    watch: () => {
      let goesOn = true;
      const looking = (async () => {
        for (; goesOn; await sleep(150)) await look();
      })();
      // It is thrown by who ends the watch.
      looking.catch(() => {});
      return async () => {
        goesOn = false;
        await looking;
      };
    },
    forget: () => {
      isComplete = false;
    },
    stop: async () => {
      agent.destroy();
      await service.stop();
    },
  };
}
