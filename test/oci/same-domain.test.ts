import assert from "node:assert/strict";
import { test } from "node:test";
import { isSameDomain } from "../../src/oci/same-domain.ts";

test("token servers as registries really name them", () => {
  for (const [registry, realm] of [
    ["registry-1.docker.io", "auth.docker.io"],
    ["ghcr.io", "ghcr.io"],
    ["quay.io", "quay.io"],
    ["registry.gitlab.com", "gitlab.com"],
    ["registry.example.com", "gitlab.example.com"],
    ["docker.elastic.co", "docker-auth.elastic.co"],
    ["registry.team.example.co.uk", "auth.example.co.uk"],
    ["registry.plant7.lan", "gitlab.plant7.lan"],
    ["registry", "registry"],
    ["10.0.0.1", "10.0.0.1"],
    ["[fd00::1]", "[fd00::1]"],
  ] as const)
    assert.ok(isSameDomain(registry, realm), `${registry} and ${realm}`);
});

test("hosts of different owners, though their names end alike", () => {
  for (const [registry, realm] of [
    ["a.co.uk", "b.co.uk"],
    ["registry.a.co.uk", "registry.b.co.uk"],
    ["a.co.uk", "co.uk"],
    ["one.github.io", "two.github.io"],
    ["one.github.io", "github.io"],
    ["registry.example.com", "registry.example.com.evil.org"],
    ["registry.example.com", "evil-example.com"],
    ["nvcr.io", "authn.nvidia.com"],
    ["registry.lan", "gitlab.lan"],
    ["registry", "other"],
    ["registry", "auth.registry"],
    ["10.0.0.1", "10.0.0.2"],
    ["127.0.0.1", "localhost"],
    ["[fd00::1]", "[fd00::2]"],
  ] as const)
    assert.ok(!isSameDomain(registry, realm), `${registry} and ${realm}`);
});
