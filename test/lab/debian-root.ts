/**
 * A minimal Debian in a folder, of the release that this machine has, with an sshd and systemd; and packages
 * collected for it as docs/packages.md says. Both take a while to fetch, so they are kept from run to run, and
 * every test shares them.
 */
import { access, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { takeLock } from "../../src/lock.ts";
import { digestOf, hexOf } from "../../src/oci/digest.ts";
import { run } from "./process.ts";

/** Not in the temporary folder: the tests have one for each run, which must be empty in the end. */
const parent = `/var/tmp/drydock-lab-debian-${process.getuid?.() ?? 0}`;

const included = "openssh-server,sudo,systemd,rpm";

/** The folder, to be the lower one of an overlay: it is never written to. */
export async function debianRoot(): Promise<string> {
  const sources = await debianSources();
  return await kept("root", `${sources} ${included}`, async (folder) => {
    const args = ["--mode=root", "--variant=minbase", `--include=${included}`, "--quiet"];
    await run("mmdebstrap", [...args, "", folder, "-"], { input: sources });
  });
}

/** A folder with what apt-get fetches for these packages in a clean minimal Debian. */
export async function debianPackages(...names: string[]): Promise<string> {
  const root = await debianRoot();
  return await kept("packages", `${root} ${names.join(" ")}`, async (folder) => {
    const script = [
      "set -e; cd $FOLDER; mkdir written work root",
      'mount -t overlay -o "lowerdir=$LOWER,upperdir=written,workdir=work" overlay root',
      "mount -t proc proc root/proc; mount --bind /dev root/dev",
      "cp -L /etc/resolv.conf root/etc/resolv.conf",
      `chroot root /bin/sh -c '${collect(names)}'`,
      "mv written/debs/*.deb .; umount -R root; rm -r written work root",
    ].join("\n");
    const env = { ...process.env, FOLDER: folder, LOWER: root, DEBIAN_FRONTEND: "noninteractive" };
    await run("unshare", ["--mount", "/bin/sh", "-c", script], { env });
  });
}

/** What docs/packages.md tells to type; a test compares them. */
export function collect(names: readonly string[]): string {
  return (
    "mkdir -p /debs/partial && apt-get update && apt-get install -y --no-install-recommends --download-only " +
    `-o Dir::Cache::archives=/debs ${names.join(" ")}`
  );
}

/** This machine's own sources of Debian, as apt knows them: mirror, security and updates. */
async function debianSources(): Promise<string> {
  const known = await knownSources();
  if (known !== "") return known;
  // It has no lists, as in a container's image.
  await run("apt-get", ["update"]);
  return await knownSources();
}

async function knownSources(): Promise<string> {
  const filter = ["Created-By: Packages", "Origin: Debian", "Component: main"];
  const format = "deb $(REPO_URI) $(CODENAME) main";
  const { stdout } = await run("apt-get", ["indextargets", "--format", format, ...filter]);
  return [...new Set(stdout.split("\n"))].join("\n");
}

/** The folder of this name, filled by `make` if it is not kept yet. @param key all that its content depends on */
export async function kept(
  name: string,
  key: string,
  make: (folder: string) => Promise<void>,
): Promise<string> {
  const folder = join(parent, `${name}-${hexOf(digestOf(key)).slice(0, 16)}`);
  await mkdir(parent, { recursive: true, mode: 0o755 });
  // Those that want it at the same time wait: it takes two minutes at most.
  const lock = await takeLock("output", folder, 600_000);
  try {
    if (await isThere(folder)) return folder;
    const unfinished = `${folder}.unfinished`;
    await rm(unfinished, { recursive: true, force: true });
    await mkdir(unfinished, { mode: 0o755 });
    await make(unfinished);
    if ((await readdir(unfinished)).length === 0) throw new Error(`${name}: nothing came`);
    await rename(unfinished, folder);
    return folder;
  } finally {
    await lock.release();
  }
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
