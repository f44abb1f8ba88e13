/** Images that a manifest takes from other files: patterns, duplicates, collisions. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { type Manifest, readManifest } from "../../src/bundle/manifest.ts";
import { silentReporter } from "../../src/reporter.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-from-"));
after(() => rm(folder, { recursive: true }));

const head = "name: a\naddresses: [a.lan]\n";
const pod = (image: string) => `apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: ${image}\n`;

interface Given {
  files?: Record<string, string>;
  imagesFrom?: string[];
  notes?: string[];
}

/** Reads a manifest with these lines, beside these files; messages are without the folder. */
async function read(lines: string, given: Given = {}): Promise<Manifest> {
  const own = await mkdtemp(join(folder, "m-"));
  for (const [name, text] of Object.entries({ ...given.files, "m.yaml": head + lines })) {
    await mkdir(dirname(join(own, name)), { recursive: true });
    await writeFile(join(own, name), text);
  }
  const reporter = { ...silentReporter, note: (text: string) => void given.notes?.push(text) };
  const imagesFrom = (given.imagesFrom ?? []).map((name) => join(own, name));
  try {
    return await readManifest(join(own, "m.yaml"), { imagesFrom, reporter });
  } catch (error) {
    if (error instanceof Error) error.message = error.message.replaceAll(`${own}/`, "");
    throw error;
  }
}

test("files of all kinds, by name and by pattern, with platforms of their own", async () => {
  const notes: string[] = [];
  const { images } = await read(
    "images:\n- alpine:3.20\n- from: compose.yaml\n- {from: k8s/*.yaml, platforms: all}\n",
    {
      files: {
        "compose.yaml": "services: {a: {image: quay.io/a/b:1}}\n",
        "k8s/2.yaml": pod("registry.k8s.io/two:2"),
        "k8s/1.yaml": `${pod("one:1")}---\napiVersion: x.org/v1\nkind: Thing\n`,
        "more.txt": "docker-daemon:my/app:dev\n",
      },
      imagesFrom: ["more.txt"],
      notes,
    },
  );
  assert.deepEqual(
    images.map(({ source, from, platforms, site }) => [source, from, platforms, site]),
    [
      ["alpine:3.20", "registry", ["linux/amd64"], { repository: "library/alpine", tag: "3.20" }],
      ["quay.io/a/b:1", "registry", ["linux/amd64"], { repository: "a/b", tag: "1" }],
      ["one:1", "registry", "all", { repository: "library/one", tag: "1" }],
      ["registry.k8s.io/two:2", "registry", "all", { repository: "two", tag: "2" }],
      ["docker-daemon:my/app:dev", "engine", ["linux/amd64"], { repository: "my/app", tag: "dev" }],
    ],
  );
  assert.equal(notes.length, 1);
  assert.match(notes[0] ?? "", /k8s\/1\.yaml: not searched for images: Thing \(x\.org\/v1\) on line 7/);
});

test("the same reference in several places is one image, for all platforms that any asks for", async () => {
  const { images } = await read(
    "images:\n- {reference: alpine, platforms: [linux/arm64]}\n- from: '*.txt'\n- {from: c.txt, platforms: all}\n",
    { files: { "a.txt": "docker.io/library/alpine:latest\nb:1\nb:1\n", "c.txt": "b:1\n" } },
  );
  assert.deepEqual(
    images.map(({ source, platforms }) => [source, platforms]),
    [
      ["alpine", ["linux/arm64", "linux/amd64"]],
      ["b:1", "all"],
    ],
  );
});

test("two references for one name at the site: an error with both places", async () => {
  const files = { "a.txt": "# x\nquay.io/b/c:1\n", "k.yaml": pod("docker.io/b/c:1") };
  await assert.rejects(read("images:\n- from: a.txt\n- from: k.yaml\n", { files }), {
    kind: "input",
    message: "k.yaml:5: docker.io/b/c:1 and quay.io/b/c:1 (a.txt:2) would both be b/c:1 at the site",
    hint: /`as`/,
  });
  await assert.rejects(read("images:\n- b/c:1\n- from: a.txt\n", { files }), {
    message: "a.txt:2: quay.io/b/c:1 and b/c:1 (m.yaml:4) would both be b/c:1 at the site",
  });
  const direct = "images:\n- {reference: b/c:1, as: d/c:1}\n- from: a.txt\n";
  assert.equal((await read(direct, { files })).images.length, 2);
});

test("a wrong reference in a file is named with file and line, and all of them at once", async () => {
  const files = { "a.txt": "alpine\nUPPER\n\nx y\n" };
  await assert.rejects(read("images:\n- from: a.txt\n", { files }), {
    kind: "input",
    message: /^a\.txt:2: read reference "UPPER".*\na\.txt:4: read reference "x y"/,
  });
});

test("what is wrong with `from` itself", async () => {
  const message = (text: RegExp) => ({ kind: "input", message: text });
  await assert.rejects(
    read("images:\n- from: no/*.yaml\n"),
    message(/^m\.yaml:4: images\[0\]: "no\/\*\.yaml" matches no/),
  );
  await assert.rejects(
    read("images:\n- {from: a, as: b}\n"),
    message(/^m\.yaml:4: images\[0\]\.as: does not go with/),
  );
  await assert.rejects(
    read("images:\n- {platforms: all}\n"),
    message(/^m\.yaml:4: images\[0\]: wanted `reference`, or `from`$/),
  );
  await assert.rejects(read("images:\n- from: '-'\n- from: '-'\n"), message(/^m\.yaml:5: .*only once/));
  await assert.rejects(
    read("images:\n- from: a.txt\n", { files: { "a.txt": "# all\n" } }),
    message(/"a\.txt": it names none/),
  );
  await assert.rejects(read("", { imagesFrom: ["b.txt"] }), message(/read "b\.txt": there is no such file/));
});
