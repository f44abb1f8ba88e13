/** Which releases a prune keeps, and what their records say then: tables of tags, no site. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { historyWithout, keptReleases, tagsLeft } from "../../src/install/prune-history.ts";
import type { Digest } from "../../src/oci/digest.ts";
import type { ReleaseRecord, Tags } from "../../src/site/record.ts";

const digest = (letter: string): Digest => `sha256:${letter.repeat(64)}`;
/** "t=a u=b" → tags of one repository */
function tags(text: string): Tags {
  if (text === "") return {};
  const pairs = text.split(" ").map((one) => one.split("="));
  return { app: Object.fromEntries(pairs.map(([tag, letter]) => [tag, digest(letter ?? "")])) };
}

function record(
  sequence: number,
  after: string,
  before = "",
  more: Partial<ReleaseRecord> = {},
): ReleaseRecord {
  return {
    ...{ bundleDigest: digest(String(sequence)), name: "plant-7", release: sequence, sequence },
    ...{ installedAt: "2026-01-01T00:00:00.000Z", tagsBefore: tags(before), tagsAfter: tags(after) },
    ...(sequence > 1 ? { over: digest(String(sequence - 1)) } : {}),
    ...{ placed: { blobs: 0, bytes: 0 }, settings: { addresses: [], port: 443, access: "push" }, chosen: {} },
    registryImage: digest("f"),
    ...more,
  };
}

const places = (records: ReleaseRecord[]) => records.map(({ sequence }) => sequence);

test("kept: the current one, those before it, and the last of every other name; not what was rolled back", () => {
  const other = { name: "base" };
  const all = [
    record(1, "", "", other),
    record(2, "", "", other),
    record(3, ""),
    record(4, ""),
    record(5, ""),
  ];
  const [, , , fourth, fifth] = all;
  assert.ok(fourth && fifth);
  assert.deepEqual(places(keptReleases(all, fifth, 1)), [5, 2]);
  assert.deepEqual(places(keptReleases(all, fifth, 2)), [5, 4, 2]);
  assert.deepEqual(places(keptReleases(all, fifth, 9)), [5, 4, 3, 2, 1]);
  assert.deepEqual(places(keptReleases(all, fourth, 1)), [4, 2]);
  // Installed once more since: its record tells of another time, and the way ends there.
  const again = [record(1, "", "", { sequence: 3, over: digest("2") }), record(2, "")];
  assert.deepEqual(places(keptReleases(again, again[0] ?? fourth, 9)), [3, 2]);
});

test("a record over one that goes: over the next one that stays, with the values from before both", () => {
  const low = record(1, "t=a v=x");
  const between = record(2, "t=b u=c", "t=a u=p");
  const rolledBack = record(3, "t=d", "t=b", { rolledBackAt: "2026-01-02T00:00:00.000Z", over: digest("2") });
  const high = record(4, "t=e u=f w=g", "t=b u=c w=q", { over: digest("2") });
  const [now, below] = historyWithout([high, low], [rolledBack, between]);
  assert.deepEqual(now, { ...high, over: low.bundleDigest, tagsBefore: tags("t=a u=p w=q") });
  assert.deepEqual(below, low);
  // What stays below is not looked through: a rollback goes there.
  assert.deepEqual(historyWithout([high, between], [low, rolledBack])[0], high);
  const { over, ...lowest } = between;
  assert.deepEqual(historyWithout([high, between], [low])[1], { ...lowest, tagsBefore: tags("u=p") });
  assert.equal(over, low.bundleDigest);
});

test("left: the tags of releases in effect that no kept one sets, with what was before the earliest", () => {
  const gone = [
    record(1, "t=a u=b v=c", "u=p"),
    record(2, "u=d", "u=b"),
    record(3, "x=e", "", { rolledBackAt: "2026-01-02T00:00:00.000Z" }),
  ];
  const left = tagsLeft([record(4, "v=h")], gone);
  assert.deepEqual(
    left.map(({ tag, digest, given }) => [tag, digest, [...given]]),
    [
      ["u", digest("p"), [digest("d"), digest("b")]],
      ["t", undefined, [digest("a")]],
    ],
  );
});
