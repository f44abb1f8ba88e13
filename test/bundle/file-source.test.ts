/** Real files as content of a bundle. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { planFiles, planPackages } from "../../src/bundle/file-source.ts";
import { mergeContents } from "../../src/bundle/merge.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { memorySink } from "./memory-sink.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-files-"));
after(() => rm(folder, { recursive: true }));

async function file(name: string, bytes: Buffer): Promise<{ name: string; path: string }> {
  const path = join(folder, name.replaceAll("/", "-"));
  await writeFile(path, bytes);
  return { name, path };
}

const large = randomBytes(3 * 1024 * 1024 + 5);
const small = Buffer.from("chart\n");

test("each file is planned with digest, size and name, and then written", async () => {
  const files = [await file("charts/large.tgz", large), await file("empty", Buffer.alloc(0))];
  const content = await planFiles(files);
  assert.deepEqual(content.blobs, [
    { digest: digestOf(large), size: large.length, role: "file" },
    { digest: digestOf(""), size: 0, role: "file" },
  ]);
  assert.deepEqual(content.files, [
    { name: "charts/large.tgz", digest: digestOf(large) },
    { name: "empty", digest: digestOf("") },
  ]);
  assert.deepEqual(content.repositories, {});
  const sink = memorySink(content);
  await content.fill(sink);
  assert.deepEqual(sink.written.get(digestOf(large)), large);
  assert.equal(sink.written.size, 2);
});

test("packages are planned set by set, and a file that two of them have is carried as one", async () => {
  const shared = await file("shared_all.deb", large);
  const sets = [
    {
      match: { id: "debian", architecture: "amd64" as const },
      files: [await file("a_amd64.deb", small), shared],
    },
    { match: { id: "debian", architecture: "arm64" as const }, files: [shared] },
  ];
  const content = await planPackages(sets);
  assert.deepEqual(content.packages, [
    {
      match: sets[0]?.match,
      files: [
        { name: "a_amd64.deb", digest: digestOf(small) },
        { name: "shared_all.deb", digest: digestOf(large) },
      ],
    },
    { match: sets[1]?.match, files: [{ name: "shared_all.deb", digest: digestOf(large) }] },
  ]);
  assert.equal(content.files, undefined);
  assert.ok(content.blobs.every(({ role }) => role === "package"));
  const { blobs, packages } = mergeContents([content]);
  assert.equal(blobs.length, 2);
  assert.deepEqual(packages, content.packages);
  const sink = memorySink(content);
  await content.fill(sink);
  assert.deepEqual(sink.written.get(digestOf(large)), large);
  assert.equal(sink.written.size, 2);
});

test("a file that cannot be read is an input error naming it, when it is planned and when it is written", async () => {
  const missing = { name: "gone", path: join(folder, "gone") };
  const expected = { kind: "input", message: new RegExp(`read file "${folder}/gone`) };
  await assert.rejects(planFiles([missing]), expected);
  const going = await file("gone2", small);
  const content = await planFiles([going]);
  await rm(going.path);
  await assert.rejects(content.fill(memorySink(content)), expected);
});

test("a folder is no file", async () => {
  await assert.rejects(planFiles([{ name: "folder", path: folder }]), { kind: "input" });
});
