/** Preflight's look at what an earlier try left behind, and what will be done with it. */
import type { Dirent } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { inspectContainer } from "../engine/container.ts";
import type { Engine } from "../engine/engine.ts";
import { errorCode } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { readInterrupted, readInterruptedPrune } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { Finding } from "./finding.ts";
import { minute } from "./preflight-system.ts";
import { isOurs, nextName, previousName } from "./registry-container.ts";

/** Blobs that were on their way in: what nobody knows to be whole is removed, and written again. */
export async function checkIncoming(layout: SiteLayout): Promise<Finding[]> {
  const { files, bytes } = await incoming(layout);
  if (files === 0) return [];
  const what = `${files} unfinished ${files === 1 ? "file" : "files"} (${Math.ceil(bytes / 1e6)} MB)`;
  return [
    {
      check: "leftovers",
      level: "ok",
      text: `${what} of an earlier try in ${layout.incoming}: removed first`,
    },
  ];
}

/** How much an earlier try left in the folder of what is on its way in; as it takes room on the disk. */
export async function incoming(layout: SiteLayout): Promise<{ files: number; bytes: number }> {
  const entries: Dirent[] = await readdir(layout.incoming, { recursive: true, withFileTypes: true }).catch(
    (error: unknown) => {
      if (["ENOENT", "ENOTDIR", "EACCES"].includes(errorCode(error) ?? "")) return [];
      throw error;
    },
  );
  const sizes = await Promise.all(
    entries.filter((entry) => entry.isFile()).map((entry) => lstat(join(entry.parentPath, entry.name))),
  );
  return { files: sizes.length, bytes: sizes.reduce((sum, { blocks }) => sum + blocks * 512, 0) };
}

/** Containers of a run that was killed while it replaced one by another. */
export async function checkContainersLeft(engine: Engine, layout: SiteLayout): Promise<Finding[]> {
  const left = [
    { name: previousName, what: "the one that served before; it is kept until the new one answers" },
    { name: nextName, what: "one that was being made; it is removed" },
  ];
  const found = await Promise.all(
    left.map(async ({ name, what }): Promise<Finding[]> => {
      const info = await inspectContainer(engine, name);
      if (info === undefined || !isOurs(info, layout)) return [];
      return [
        { check: "leftovers", level: "ok", text: `container "${name}" of a run that was cut short: ${what}` },
      ];
    }),
  );
  return found.flat();
}

/** An action that did not come to its end. @param digest of the bundle that is to be installed */
export async function checkJournal(layout: SiteLayout, digest: Digest): Promise<Finding[]> {
  const journal = await readInterrupted(layout);
  if (journal === undefined) {
    const prune = await readInterruptedPrune(layout);
    if (prune === undefined) return [];
    const text = `a prune of ${minute(new Date(prune.begunAt))} was cut short: the next one completes it`;
    return [{ check: "leftovers", level: "ok", text }];
  }
  const { action, bundleDigest, name, release, begunAt, command } = journal;
  const when = `of ${minute(new Date(begunAt))} was cut short`;
  if (action === "install" && bundleDigest === digest) {
    return [{ check: "leftovers", level: "ok", text: `the install of this bundle ${when}: it goes on` }];
  }
  return [
    {
      check: "leftovers",
      level: "warning",
      text: `the ${action} of ${name}, release ${release}, ${when}`,
      hint: `Tags, files and certificates are put back first to what they were before it. To complete it instead: ${command === undefined ? "run its command again." : `\`${command}\``}`,
    },
  ];
}
