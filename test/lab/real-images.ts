/** Small real images: they run, because they are made of this machine's own files. */
import { stat } from "node:fs/promises";
import { cachedImage } from "./cached-image.ts";
import {
  entryFor,
  findProgram,
  hostPlatform,
  otherPlatform,
  packageFiles,
  withParents,
} from "./host-files.ts";
import { makeImage, makeIndex, makeLayer, type TestImage } from "./images.ts";
import { run } from "./process.ts";

/**
 * Busybox, linked statically, with Docker's media types. `docker run` prints what it is told to.
 * @param options.says what the container prints @param options.docker false for OCI's media types
 */
export async function makeBusyboxImage(
  options: { says?: string; docker?: boolean } = {},
): Promise<TestImage> {
  const says = options.says ?? "hello from busybox";
  const docker = options.docker ?? true;
  const program = await findProgram("busybox", "busybox-static");
  const { size, mtimeMs } = await stat(program);
  return cachedImage("busybox", `2 ${size} ${mtimeMs} ${says} ${docker}`, async () => {
    const links = ["sh", "ls", "cat", "wget"].map((name) => ({ path: `bin/${name}`, link: "busybox" }));
    const entries = [await entryFor(program, "bin/busybox"), ...links, { path: "tmp", mode: 0o1777 }];
    return makeImage({
      platform: hostPlatform,
      docker,
      layers: [
        makeLayer(withParents(entries)),
        makeLayer(withParents([{ path: "etc/greeting", content: says }])),
      ],
      cmd: ["/bin/busybox", "echo", says],
    });
  });
}

/**
 * The root of a small Debian, some tens of MB in two layers, in OCI's media types: what this machine has
 * of the essential packages. `docker run` prints its os-release.
 */
export async function makeDebianRoot(): Promise<TestImage> {
  const base = [
    "base-files",
    "bash",
    "libc6",
    "libc-bin",
    "libtinfo6",
    "dash",
    "libselinux1",
    "libpcre2-8-0",
  ];
  const tools = [
    "coreutils",
    "libacl1",
    "libattr1",
    "libgmp10",
    "findutils",
    "grep",
    "sed",
    "tar",
    "gzip",
    "perl-base",
  ];
  const { stdout: versions } = await run("dpkg-query", ["-W", ...base, ...tools]);
  return cachedImage("debian-root", `1 ${versions}`, async () => {
    const first = await packageFiles(base);
    const known = new Set(first.map((entry) => entry.path));
    const second = (await packageFiles(tools)).filter((entry) => !known.has(entry.path));
    return makeImage({
      platform: hostPlatform,
      layers: [makeLayer(first), makeLayer(second)],
      cmd: ["/bin/bash", "-c", "cat /etc/os-release"],
    });
  });
}

/** An index of two platforms: a real busybox for this machine's, a file alone for the other. */
export async function makeTwoPlatforms(): Promise<TestImage> {
  const here = await makeBusyboxImage({ says: "hello from two-platforms", docker: false });
  const there = makeImage({
    platform: otherPlatform,
    files: { greeting: `this is ${otherPlatform}\n` },
  });
  return makeIndex(hostPlatform === "linux/amd64" ? [here, there] : [there, here]);
}
