import assert from "node:assert/strict";
import { test } from "node:test";
import { DrydockError } from "../../src/errors.ts";
import { formatReference, isRepositoryName, isTag, parseReference } from "../../src/oci/reference.ts";

const digest = `sha256:${"a".repeat(64)}`;

test("what is left out is filled in as Docker does", () => {
  const expected: Record<string, string> = {
    alpine: "docker.io/library/alpine:latest",
    "alpine:3.20": "docker.io/library/alpine:3.20",
    "user/app": "docker.io/user/app:latest",
    "docker.io/alpine": "docker.io/library/alpine:latest",
    "index.docker.io/alpine:1": "docker.io/library/alpine:1",
    "quay.io/prometheus/node-exporter:v1.8.2": "quay.io/prometheus/node-exporter:v1.8.2",
    "quay.io/app": "quay.io/app:latest",
    "localhost/app": "localhost/app:latest",
    "host:5000/app": "host:5000/app:latest",
    "[::1]:5000/app:1": "[::1]:5000/app:1",
    "127.0.0.1:5000/a/b/c:d": "127.0.0.1:5000/a/b/c:d",
    [`alpine@${digest}`]: `docker.io/library/alpine@${digest}`,
    [`alpine:3@${digest}`]: `docker.io/library/alpine:3@${digest}`,
    "a__b/c-d.e--f": "docker.io/a__b/c-d.e--f:latest",
  };
  for (const [text, whole] of Object.entries(expected)) {
    assert.equal(formatReference(parseReference(text)), whole, text);
    assert.equal(formatReference(parseReference(whole)), whole, whole);
  }
});

test("what is no reference is refused, quoted, with a hint", () => {
  const wrong = [
    "",
    ":tag",
    "alpine:",
    "Alpine",
    "quay.io/Prometheus/x",
    "https://quay.io/app",
    "alpine:-1",
    `alpine:${"a".repeat(129)}`,
    "alpine@sha256:12",
    `alpine@${digest}@${digest}`,
    "a//b",
    "a/../b",
    "quay.io/",
    "/app",
    "a..b/c",
    "-host.example/app",
    "alpine 3",
    "alpine\n",
    "a".repeat(64),
    `quay.io/${"a/".repeat(128)}b`,
    "host:port/app",
  ];
  for (const text of wrong) {
    assert.throws(
      () => parseReference(text),
      (error) =>
        error instanceof DrydockError &&
        error.kind === "input" &&
        error.message.includes(JSON.stringify(text)) &&
        error.hint !== undefined,
      text,
    );
  }
  assert.throws(() => parseReference("quay.io/Prometheus/x"), { hint: /prometheus\/x/ });
  assert.throws(() => parseReference("https://quay.io/app"), { hint: /scheme/ });
});

test("names and tags", () => {
  assert.ok(isRepositoryName("library/alpine"));
  assert.ok(!isRepositoryName("library/"));
  assert.ok(!isRepositoryName("a".repeat(256)));
  assert.ok(isTag("_v1.0-x"));
  assert.ok(!isTag(".x"));
});
