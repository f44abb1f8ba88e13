/** Bundles of several releases for one site, and what its registry then answers, asked with curl. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import { type InstallOptions, install } from "../../src/install/install.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { silentReporter } from "../../src/reporter.ts";
import type { SiteLayout } from "../../src/site/layout.ts";
import { hostPlatform } from "../lab/host-files.ts";
import type { TestImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { filesContent, imageContent, registryContent, type WrittenBundle, writeBundleOf } from "./bundles.ts";

export interface ReleaseOf {
  folder: string;
  name?: string;
  release: number;
  registryImage: TestImage;
  /** "team/app:1" → image */
  tags: Record<string, TestImage>;
  /** by name, what the manifest's `files:` carried */
  files?: Record<string, string>;
  addresses?: string[];
  port?: number;
  access?: BundleIndex["registry"]["access"];
}

let count = 0;

/** A bundle in a file of its own in the folder; its certificates are made at the site. */
export function releaseBundle(of: ReleaseOf): Promise<WrittenBundle> {
  const { folder, name = "plant-7", release, registryImage, tags } = of;
  const images = Object.entries(tags).map(([full, image]) => {
    const at = full.lastIndexOf(":");
    return imageContent(image, full.slice(0, at), full.slice(at + 1));
  });
  const texts = Object.entries(of.files ?? {}).map(([path, text]) => [path, Buffer.from(text)]);
  const files = texts.length === 0 ? [] : [filesContent(Object.fromEntries(texts))];
  count += 1;
  const contents = [registryContent(registryImage), ...images, ...files];
  return writeBundleOf(join(folder, `bundle-${count}.tar`), contents, {
    ...{ name, release, addresses: of.addresses ?? ["registry.plant7.lan", "127.0.0.1"] },
    registry: {
      reference: "docker.io/library/registry:2",
      images: { [hostPlatform]: registryImage.digest },
      port: of.port ?? 443,
      access: of.access ?? "read-only",
    },
  });
}

export function installAt(layout: SiteLayout, bundle: WrittenBundle, more: Partial<InstallOptions> = {}) {
  return install(
    { site: layout.root, bundle: bundle.path, askPassphrase: undefined, ...more },
    silentReporter,
  );
}

/** Installs in another process, and kills it (SIGKILL) at a moment. @param what as install-child.ts has all of them */
export async function killAt(layout: SiteLayout, moment: string, ...what: string[]): Promise<void> {
  const file = join(import.meta.dirname, "install-child.ts");
  const child = spawn(process.execPath, [file, layout.root, moment, ...what], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const told = once(child.stdout, "data");
  await Promise.race([told, ended]);
  child.kill("SIGKILL");
  const [code, signal] = await ended;
  if (signal !== "SIGKILL") throw new Error(`it ended with ${code} before "${moment}"`);
}

/** What the registry serves under each name, over TLS with the site's CA: a digest of the bytes, or the status. */
export async function served(
  layout: SiteLayout,
  names: readonly string[],
  port = 443,
  host = "127.0.0.1",
): Promise<Record<string, string>> {
  const accept = "Accept: application/vnd.oci.image.manifest.v1+json";
  const ask = async (name: string) => {
    const at = name.lastIndexOf(":");
    const url = `https://${host}:${port}/v2/${name.slice(0, at)}/manifests/${name.slice(at + 1)}`;
    const args = ["--silent", "--cacert", layout.caCertificate, "-H", accept, "-w", "\n%{http_code}", url];
    const { stdout } = await run("curl", args);
    const end = stdout.lastIndexOf("\n");
    const status = stdout.slice(end + 1);
    return [name, status === "200" ? digestOf(stdout.slice(0, end)) : status];
  };
  return Object.fromEntries(await Promise.all(names.map(ask)));
}

/** The tags that the registry lists. */
export async function listedTags(
  layout: SiteLayout,
  repository: string,
  port = 443,
  host = "127.0.0.1",
): Promise<string[]> {
  const url = `https://${host}:${port}/v2/${repository}/tags/list`;
  const { stdout } = await run("curl", ["--silent", "--cacert", layout.caCertificate, url]);
  return (JSON.parse(stdout).tags ?? []).sort();
}
