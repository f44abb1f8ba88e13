/** What a dry run says of the container is what the install then does, on a real engine. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { removeContainer, stopContainer } from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { imageId } from "../../src/engine/load.ts";
import { dryRun } from "../../src/install/dry-run.ts";
import type { InstallOptions } from "../../src/install/install.ts";
import { registryImageName } from "../../src/install/serve.ts";
import { silentReporter } from "../../src/reporter.ts";
import { siteLayout } from "../../src/site/layout.ts";
import { makeImage } from "../lab/images.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import type { WrittenBundle } from "./bundles.ts";
import { goInside } from "./inside.ts";
import { installAt, releaseBundle } from "./releases.ts";
import { load } from "./site-parts.ts";

const folder = await goInside(import.meta.url);
process.env.DRYDOCK_CONFIG_DIR = join(folder, "etc-drydock");
const engine = connectEngine();
after(() => removeContainer(engine, "registry"));
const layout = siteLayout(join(folder, "site"));
const registryImage = await makeRegistryImage();
const name = registryImageName(registryImage.digest);
const of = { folder, registryImage, tags: { "team/app:1": makeImage() } };
const first = await releaseBundle({ ...of, release: 1 });
const second = await releaseBundle({ ...of, release: 2, access: "push" });
const config = registryImage.blobs[0]?.digest ?? "";

/** What both say; they must say the same. */
async function containerOf(bundle: WrittenBundle, more: Partial<InstallOptions> = {}): Promise<string> {
  const options = { site: layout.root, bundle: bundle.path, askPassphrase: undefined, ...more };
  const { plan } = await dryRun(options, silentReporter);
  const { container = "unchanged" } = await installAt(layout, bundle, more);
  assert.equal(plan.container, container);
  return container;
}

test("an image that the engine has under another name, or under none, is the same image", async () => {
  await load(registryImage, "somebodys/registry:2");
  assert.equal(await containerOf(first), "made");
  assert.equal(await imageId(engine, name), undefined, "drydock gave it no name of its own");
  assert.equal(await containerOf(first), "unchanged");
  // A container that is stopped does not hold its image.
  await stopContainer(engine, "registry");
  await engine.docker.getImage(config).remove({ force: true });
  assert.equal(await imageId(engine, config), undefined);
  assert.equal(await containerOf(first), "started");
  assert.equal(await containerOf(first), "unchanged");
});

test("another image, other settings and another certificate are told as what they are", async () => {
  assert.equal(await containerOf(second), "replaced: other settings");
  assert.equal(await containerOf(second), "unchanged");
  const other = await releaseBundle({
    ...{ ...of, release: 3, access: "push" as const },
    registryImage: makeImage({
      layers: registryImage.blobs.slice(1).map(({ bytes }) => gunzipSync(bytes)),
      files: { "etc/another": "x" },
      ...{ entrypoint: ["/bin/registry"], cmd: ["serve", "/etc/docker/registry/config.yml"] },
    }),
  });
  assert.equal(await containerOf(other), "replaced: another registry image");
  assert.equal(await containerOf(other, { newCertificates: true }), "replaced: another certificate");
  assert.equal(await containerOf(other), "unchanged");
});
