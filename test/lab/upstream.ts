/** The connected side's world: one registry that anyone may read, and one that wants an account. */
import { hostPlatform, otherPlatform } from "./host-files.ts";
import { makeArtifact, makeImage, makeIndex, pushImage, type TestImage } from "./images.ts";
import { makeBusyboxImage, makeDebianRoot, makeTwoPlatforms } from "./real-images.ts";
import { startRegistry, type TestRegistry } from "./registry.ts";
import { makeRegistryImage } from "./registry-image.ts";

export interface Upstream {
  /** `127.0.0.1:PORT`, plain http, open to all: holds `images` */
  host: string;
  /** what it holds, by repository and tag: "library/busybox:1.36" */
  images: Record<UpstreamName, TestImage>;
  /** a second registry, which wants `account`: holds "secret/app:1" alone */
  closed: {
    host: string;
    account: { user: string; password: string };
    images: { "secret/app:1": TestImage };
  };
  stop(): Promise<void>;
}

/**
 * library/registry:2 is an index, as at Docker Hub, with another platform's image beside the real one;
 * library/busybox:1.36 has Docker's media types; team/debian-root:12 is some tens of MB unpacked;
 * team/two-platforms:1 is an index of linux/amd64 and linux/arm64; team/artifact:1 is no image at all.
 */
export type UpstreamName =
  | "library/registry:2"
  | "library/busybox:1.36"
  | "team/debian-root:12"
  | "team/two-platforms:1"
  | "team/artifact:1";

/** Starts both and pushes everything. The folder is the caller's to remove, after stop(). */
export async function startUpstream(folder: string): Promise<Upstream> {
  const account = { user: "carrier", password: "only for the lab" };
  const open = await startRegistry({ folder });
  let closed: TestRegistry | undefined;
  try {
    closed = await startRegistry({ folder, htpasswd: account });
    const images = await makeUpstreamImages();
    for (const [name, image] of Object.entries(images)) await pushNamed(open.host, name, image);
    const secret = await makeBusyboxImage({ says: "hello from behind an account" });
    await pushNamed(closed.host, "secret/app:1", secret, account);
    const registries = [open, closed];
    return {
      host: open.host,
      images,
      closed: { host: closed.host, account, images: { "secret/app:1": secret } },
      stop: async () => {
        await Promise.all(registries.map((registry) => registry.stop()));
      },
    };
  } catch (error) {
    await open.stop();
    await closed?.stop();
    throw error;
  }
}

/** The images alone, for a registry of one's own. The first call on a machine takes some 6 s. */
export async function makeUpstreamImages(): Promise<Record<UpstreamName, TestImage>> {
  const registry = await makeRegistryImage();
  const elsewhere = makeImage({
    platform: otherPlatform,
    files: { "bin/registry": "for another machine\n" },
  });
  return {
    "library/registry:2": makeIndex(
      hostPlatform === "linux/amd64" ? [registry, elsewhere] : [elsewhere, registry],
    ),
    "library/busybox:1.36": await makeBusyboxImage(),
    "team/debian-root:12": await makeDebianRoot(),
    "team/two-platforms:1": await makeTwoPlatforms(),
    "team/artifact:1": makeArtifact({ contents: ["a chart\n"] }),
  };
}

/** @param name repository and tag: "library/busybox:1.36" */
export async function pushNamed(
  host: string,
  name: string,
  image: TestImage,
  account?: { user: string; password: string },
): Promise<void> {
  const [repository = "", tag = ""] = name.split(":");
  await pushImage(host, repository, tag, image, account);
}
