/** The whole archive before its first blob is there: its top, its slots, its size and digest. */
import { createHash } from "node:crypto";
import type { BundleIndex } from "./bundle-index.ts";
import type { Journal } from "./journal.ts";
import { endSize, headerOf, layOut, paddingOf, type Slot, topNames } from "./layout.ts";
import { type ImageName, ociImageIndex, ociLayoutFile } from "./oci-layout.ts";
import { formatSums } from "./sums.ts";

export interface ArchiveParts {
  index: BundleIndex;
  /** README.txt */
  readme: string;
  /** what the OCI index.json lists */
  images: ImageName[];
}

export interface ArchivePlan {
  /** the bundle's digest, 64 digits */
  digest: string;
  /** of the archive, in bytes */
  size: number;
  /** everything before the first blob */
  top: Buffer;
  slots: Slot[];
  mtime: number;
}

export function planArchive({ index, readme, images }: ArchiveParts): ArchivePlan {
  const files = [
    { name: topNames.index, bytes: Buffer.from(`${JSON.stringify(index, null, 1)}\n`) },
    { name: topNames.readme, bytes: Buffer.from(readme) },
    { name: topNames.ociLayout, bytes: ociLayoutFile },
    { name: topNames.ociIndex, bytes: ociImageIndex(images) },
  ];
  const sums = Buffer.from(formatSums(files));
  const mtime = Math.floor(Date.parse(index.created) / 1000);
  const entries = [{ name: topNames.sums, bytes: sums }, ...files];
  const top = Buffer.concat(
    entries.flatMap(({ name, bytes }) => [
      headerOf(name, bytes.length, mtime),
      bytes,
      Buffer.alloc(paddingOf(bytes.length)),
    ]),
  );
  const { slots, end } = layOut(index.blobs, top.length);
  return { digest: createHash("sha256").update(sums).digest("hex"), size: end + endSize, top, slots, mtime };
}

/** Whether what an earlier try left stands where this plan wants it. */
export function fits(journal: Journal, plan: ArchivePlan, split: number | undefined): boolean {
  if (journal.split !== split) return false;
  return plan.slots.every(({ digest, bodyAt }) => (journal.entries.get(digest)?.at ?? bodyAt) === bodyAt);
}
