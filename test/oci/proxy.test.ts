import assert from "node:assert/strict";
import { test } from "node:test";
import { proxyFor } from "../../src/oci/proxy.ts";

const proxied = (url: string, environment: Record<string, string>): boolean =>
  proxyFor(new URL(url), environment) !== undefined;

test("each scheme has its variable; lower case comes first; a host alone is a URL", () => {
  const environment = { HTTP_PROXY: "http://plain:1", HTTPS_PROXY: "http://upper:2", https_proxy: "lower:3" };
  assert.equal(proxyFor(new URL("https://quay.io/v2/"), environment)?.host, "lower:3");
  assert.equal(proxyFor(new URL("http://quay.io/v2/"), environment)?.host, "plain:1");
  assert.equal(proxyFor(new URL("https://quay.io/v2/"), { HTTP_PROXY: "http://plain:1" }), undefined);
  assert.equal(proxyFor(new URL("https://quay.io/v2/"), { HTTPS_PROXY: "" }), undefined);
});

test("NO_PROXY as Go's programs read it", () => {
  const cases: [noProxy: string, url: string, isProxied: boolean][] = [
    ["", "https://quay.io", true],
    ["*", "https://quay.io", false],
    ["quay.io", "https://quay.io", false],
    ["quay.io", "https://cdn.quay.io", false],
    ["quay.io", "https://notquay.io", true],
    [".quay.io", "https://quay.io", true],
    [".quay.io,other", "https://cdn.quay.io", false],
    ["*.quay.io", "https://cdn.quay.io", false],
    ["Quay.IO:443", "https://quay.io", false],
    ["quay.io:5000", "https://quay.io", true],
    ["10.0.0.0/8", "https://10.1.2.3:5000", false],
    ["10.0.0.0/8", "https://11.1.2.3:5000", true],
    ["10.0.0.0/99", "https://10.1.2.3", true],
    ["10.1.2.3", "https://10.1.2.3:5000", false],
    ["fd00::/8", "https://[fd00::1]:5000", false],
    ["[fd00::1]", "https://[fd00::1]", false],
    ["", "https://localhost:5000", false],
    ["", "https://127.0.0.9", false],
    ["", "https://[::1]:5000", false],
  ];
  for (const [noProxy, url, isProxied] of cases) {
    assert.equal(
      proxied(url, { HTTPS_PROXY: "http://p", NO_PROXY: noProxy }),
      isProxied,
      `${noProxy} ${url}`,
    );
  }
});
