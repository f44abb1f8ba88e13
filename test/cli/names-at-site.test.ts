import assert from "node:assert/strict";
import { test } from "node:test";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import { namesAtSite } from "../../src/cli/names-at-site.ts";
import { digestOf } from "../../src/oci/digest.ts";

test("each image has its name upstream and at the site, with the port where it is not https's own", () => {
  const digest = digestOf("image");
  const images = [
    { source: "quay.io/x/y:1", repository: "team/y", tag: "1", digest, platforms: [] },
    { source: `docker.io/library/a@${digest}`, repository: "library/a", digest, platforms: [] },
  ];
  const of = (address: string, port: number) => {
    const index = { addresses: [address, "10.0.0.10"], registry: { port }, images };
    return namesAtSite(index as unknown as BundleIndex).map(({ from, to }) => `${from} ${to}`);
  };
  assert.deepEqual(of("registry.plant7.lan", 443), [
    "quay.io/x/y:1 registry.plant7.lan/team/y:1",
    `docker.io/library/a@${digest} registry.plant7.lan/library/a@${digest}`,
  ]);
  assert.equal(of("fd00::10", 5000)[0], "quay.io/x/y:1 [fd00::10]:5000/team/y:1");
});
