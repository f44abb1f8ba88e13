/** Finding the engine: DOCKER_HOST's forms, and an engine that isn't there. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { inspectContainer } from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { DrydockError } from "../../src/errors.ts";

function refused(text: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof DrydockError, String(error));
    assert.equal(error.kind, "preflight");
    assert.match(`${error.message} ${error.hint}`, text);
    return true;
  };
}

test("ssh:// is refused, whatever stands in the process's own environment", () => {
  assert.throws(() => connectEngine({ DOCKER_HOST: "ssh://root@host" }), refused(/accepts any host key/));
});

for (const address of ["npipe:////./pipe/docker", "tcp://", "http://host:2375", "nonsense"]) {
  test(`"${address}" is refused`, () => {
    assert.throws(() => connectEngine({ DOCKER_HOST: address }), refused(/wanted unix:\/\/PATH or tcp/));
  });
}

test("TLS without its files says which is missing", () => {
  const env = { DOCKER_HOST: "tcp://host:2376", DOCKER_CERT_PATH: "/no/such/folder" };
  assert.throws(() => connectEngine(env), refused(/\/no\/such\/folder\/ca\.pem.*DOCKER_CERT_PATH/));
});

test("an engine that isn't there", async () => {
  const engine = connectEngine({ DOCKER_HOST: "unix:///no/such/docker.sock" });
  await assert.rejects(engine.describe(), refused(/unix:\/\/\/no\/such\/docker\.sock.*Is Docker installed/));
});

test("something else than an engine listens there", async () => {
  const server = createServer((_, response) => response.writeHead(404).end("no engine"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  try {
    const engine = connectEngine({ DOCKER_HOST: `tcp://127.0.0.1:${port}` });
    assert.equal(engine.local, false);
    await assert.rejects(engine.describe(), refused(/does not answer.*404/));
  } finally {
    server.close();
  }
});

test("an engine that hangs is not waited for without end", async () => {
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  try {
    const engine = connectEngine({ DOCKER_HOST: `tcp://127.0.0.1:${port}` }, { silence: 0.2 });
    await assert.rejects(inspectContainer(engine, "registry"), (error) => {
      assert.ok(error instanceof DrydockError);
      assert.equal(error.kind, "host");
      assert.match(error.message, /look at container "registry"/);
      assert.match(error.hint ?? "", /stopped answering/);
      return true;
    });
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
