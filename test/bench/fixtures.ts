/** What the ways read and write: made once, and only what is needed. All of it stands in one folder, the caller's to remove. */
import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create } from "tar";
import { makeImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { pushNamed } from "../lab/upstream.ts";
import {
  changedImage,
  drydockManifest,
  type ImageName,
  makeContent,
  skopeoList,
  tinyImage,
} from "./content.ts";
import type { Command } from "./measure.ts";
import type { BenchOptions } from "./options.ts";

/** Of the site's host; the lab's own default. */
export const addresses = ["registry.site.lan", "198.18.18.10"];

export class Fixtures {
  readonly folder: string;
  readonly upstream: TestRegistry;
  readonly images: ImageName[];
  readonly #drydock: string;
  #bundle: Promise<number> | undefined;
  #later: Promise<void> | undefined;
  #tarball: Promise<void> | undefined;
  #skopeoFolder: Promise<void> | undefined;

  private constructor(folder: string, upstream: TestRegistry, images: ImageName[], drydock: string) {
    this.folder = folder;
    this.upstream = upstream;
    this.images = images;
    this.#drydock = drydock;
  }

  /** Makes the content and starts the registry that holds it. */
  static async make(folder: string, options: BenchOptions): Promise<Fixtures> {
    const storage = join(folder, "storage");
    const images = await makeContent(storage, options);
    const upstream = await startRegistry({ folder, storage });
    const registry: ImageName = { repository: "library/registry", tag: "2" };
    await pushNamed(upstream.host, "library/registry:2", await makeRegistryImage());
    await pushNamed(upstream.host, `${tinyImage.repository}:${tinyImage.tag}`, makeImage());
    const fixtures = new Fixtures(folder, upstream, [...images, registry], options.drydock);
    await writeFile(fixtures.path("passphrase"), "only for the bench\n", { mode: 0o600 });
    await writeFile(fixtures.path("manifest.yaml"), drydockManifest(upstream.host, images, addresses));
    const changed = [changedImage, ...images.slice(1)];
    await writeFile(fixtures.path("changed.yaml"), drydockManifest(upstream.host, changed, addresses));
    const moved = drydockManifest(upstream.host, [...changed, tinyImage], addresses, () => tinyImage);
    await writeFile(fixtures.path("moved.yaml"), moved);
    await writeFile(fixtures.path("skopeo.yaml"), skopeoList(upstream.host, fixtures.images));
    return fixtures;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** A drydock command. Its key store is the bench's own. */
  drydock(...args: string[]): Command {
    const env = { ...process.env, XDG_DATA_HOME: this.path("data") };
    return { program: process.execPath, args: [this.#drydock, ...args], env };
  }

  /** The bundle of which one image has changed, with all else out of the earlier bundle. */
  reuseTo(output: string): Command {
    return this.bundleTo(output, "changed.yaml", ["--reuse", this.path("bundle.tar")]);
  }

  bundleTo(output: string, manifest = "manifest.yaml", more: string[] = []): Command {
    return this.drydock(
      ...["bundle", this.path(manifest), "-o", output, "--force", ...more],
      ...["--plain-http", this.upstream.host, "--passphrase-file", this.path("passphrase")],
    );
  }

  /** bundle.tar; making it also makes the certificates, which later bundles use again. @returns its size */
  bundle(): Promise<number> {
    this.#bundle ??= (async () => {
      const { program, args, env } = this.bundleTo(this.path("bundle.tar"));
      await run(program, args, { ...(env === undefined ? {} : { env }), seconds: 3600 });
      return (await stat(this.path("bundle.tar"))).size;
    })();
    return this.#bundle;
  }

  /** changed.tar, of which one image has changed, and moved.tar, in which all its tags name one tiny image. */
  laterBundles(): Promise<void> {
    this.#later ??= (async () => {
      await this.bundle();
      const moved = this.bundleTo(this.path("moved.tar"), "moved.yaml");
      for (const { program, args, env } of [this.reuseTo(this.path("changed.tar")), moved])
        await run(program, args, { ...(env === undefined ? {} : { env }), seconds: 3600 });
    })();
    return this.#later;
  }

  /**
   * storage.tar.gz, the documented way's archive. gzip keeps what it cannot make smaller as it is, at every
   * level; so level 0 gives in a tenth of the time what is as slow to unpack.
   */
  tarball(): Promise<void> {
    this.#tarball ??= create(
      { file: this.path("storage.tar.gz"), cwd: this.folder, portable: true, gzip: { level: 0 } },
      ["storage"],
    );
    return this.#tarball;
  }

  /** skopeo-folder/, what `skopeo sync` to a directory makes. */
  skopeoFolder(): Promise<void> {
    this.#skopeoFolder ??= (async () => {
      const { program, args } = this.skopeoTo(this.path("skopeo-folder"));
      await mkdir(this.path("skopeo-folder"));
      await run(program, args, { seconds: 3600 });
    })();
    return this.#skopeoFolder;
  }

  skopeoTo(folder: string): Command {
    const how = ["sync", "--scoped", "--src", "yaml", "--dest", "dir"];
    return { program: "skopeo", args: [...how, this.path("skopeo.yaml"), folder] };
  }

  async stop(): Promise<void> {
    await this.upstream.stop();
  }
}
