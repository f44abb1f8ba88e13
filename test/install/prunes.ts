/** What a prune is tried on: bundles with an index and files, what clients push, and all that a registry serves. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import type { Content } from "../../src/bundle/content.ts";
import { digestOf } from "../../src/oci/digest.ts";
import type { SiteLayout } from "../../src/site/layout.ts";
import type { TestImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { contentOf } from "./bundles.ts";

/** An image or an index with its children, under a tag. */
export function treeContent(image: TestImage, repository: string, tag: string): Content {
  const images = [...(image.children ?? []), image];
  const blobs = images.flatMap((one) => [one.manifest, ...one.blobs.map(({ bytes }) => bytes)]);
  const revisions = images.map(({ digest }) => digest).sort();
  const layers = images.flatMap((one) => one.blobs.map(({ digest }) => digest));
  return contentOf("image", [...new Map(blobs.map((bytes) => [digestOf(bytes), bytes])).values()], {
    repositories: {
      [repository]: { tags: { [tag]: image.digest }, revisions, layers: [...new Set(layers)].sort() },
    },
    names: [
      {
        mediaType: image.mediaType,
        digest: image.digest,
        size: image.manifest.length,
        name: `${repository}:${tag}`,
      },
    ],
  });
}

/** As any client does it, over TLS: blobs, then the image manifest. Children must be there. */
export async function push(
  layout: SiteLayout,
  repository: string,
  tag: string,
  image: TestImage,
): Promise<void> {
  const base = `https://127.0.0.1/v2/${repository}`;
  const folder = await mkdtemp(join(tmpdir(), "push-"));
  try {
    for (const { digest, bytes } of image.blobs) {
      const started = await ask(layout, ["-i", "-X", "POST", `${base}/blobs/uploads/`]);
      const location = new URL(/^location: (\S+)/im.exec(started)?.[1] ?? "", base);
      location.searchParams.set("digest", digest);
      await writeFile(join(folder, "blob"), bytes);
      const type = "Content-Type: application/octet-stream";
      await ask(layout, [
        "-X",
        "PUT",
        "-H",
        type,
        "--data-binary",
        `@${join(folder, "blob")}`,
        location.href,
      ]);
    }
    await writeFile(join(folder, "blob"), image.manifest);
    const body = ["-H", `Content-Type: ${image.mediaType}`, "--data-binary", `@${join(folder, "blob")}`];
    await ask(layout, ["-X", "PUT", ...body, `${base}/manifests/${tag}`]);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function ask(layout: SiteLayout, args: string[]): Promise<string> {
  return (
    await run("curl", ["--silent", "--show-error", "--fail", "--cacert", layout.caCertificate, ...args])
  ).stdout;
}

/**
 * Gets every image manifest, config and layer that an index lists, by digest, over TLS, and hashes it.
 * @returns what is not served as it should be: "repository@digest" → what came instead
 */
export async function pullAll(
  layout: SiteLayout,
  { repositories }: Pick<BundleIndex, "repositories">,
): Promise<Record<string, string>> {
  const bad: Record<string, string> = {};
  const agent = new Agent({ keepAlive: true });
  for (const [name, { revisions, layers }] of Object.entries(repositories)) {
    for (const digest of revisions) {
      const got = await pulled(layout, `${name}/manifests/${digest}`, agent);
      if (got !== digest) bad[`${name}@${digest}`] = got;
    }
    for (const digest of layers) {
      const got = await pulled(layout, `${name}/blobs/${digest}`, agent);
      if (got !== digest) bad[`${name}@${digest}`] = got;
    }
  }
  agent.destroy();
  return bad;
}

const kinds = ["image.manifest", "image.index"].map((kind) => `application/vnd.oci.${kind}.v1+json`);

/** The digest of what came, or the status. */
export async function pulled(
  layout: SiteLayout,
  path: string,
  agent: Agent | false = false,
): Promise<string> {
  const ca = await readFile(layout.caCertificate);
  const url = `https://127.0.0.1/v2/${path}`;
  const asked = request(url, { ca, headers: { accept: kinds.join(", ") }, agent }).end();
  const [answer]: IncomingMessage[] = await once(asked, "response");
  if (answer === undefined) throw new Error(`${url}: no answer`);
  const hash = createHash("sha256");
  for await (const chunk of answer) hash.update(chunk);
  return answer.statusCode === 200 ? `sha256:${hash.digest("hex")}` : String(answer.statusCode);
}

/** Prunes in another process, and kills it (SIGKILL) where the step begins, or after so many of its blobs. */
export async function killPrune(
  layout: SiteLayout,
  keep: number,
  step: string,
  blobs?: number,
): Promise<void> {
  const file = join(import.meta.dirname, "prune-child.ts");
  const args = [file, layout.root, String(keep), step, ...(blobs === undefined ? [] : [String(blobs)])];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit");
  await Promise.race([once(child.stdout, "data"), ended]);
  child.kill("SIGKILL");
  const [code, signal] = await ended;
  if (signal !== "SIGKILL") throw new Error(`it ended with ${code} before the step "${step}"`);
}
