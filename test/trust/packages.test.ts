/** Which packages are for which host, from what the host says of itself. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { describeMatch, type PackageKind, type PackageMatch } from "../../src/archive/packages.ts";
import type { SitePackages } from "../../src/site/packages.ts";
import { choosePackages } from "../../src/trust/packages/choose.ts";
import { describeHost, readHost } from "../../src/trust/packages/host.ts";

const set = (kind: PackageKind, match: PackageMatch): SitePackages => ({ kind, match, files: [] });
const amd64 = { architecture: "amd64" } as const;

/** What a host says: os-release's ID, VERSION_ID and ID_LIKE, and of its processor. */
function host(id: string, version: string, like = "", ...more: string[]) {
  const processor = more.length > 0 ? more : ["deb amd64", "rpm x86_64", "static x86_64"];
  return readHost([`id ${id}`, `like ${like}`, `version ${version}`, ...processor]);
}

describe("choosing packages", () => {
  const sets = [
    set("static", amd64),
    set("deb", { id: "debian", ...amd64 }),
    set("deb", { id: "debian", version: "12", ...amd64 }),
    set("deb", { id: "debian", version: "12", architecture: "arm64" }),
    set("rpm", { id: "rhel", version: "9", ...amd64 }),
    set("rpm", { id: "fedora", version: "40", ...amd64 }),
    set("deb", { id: "ubuntu", version: "24.04", ...amd64 }),
  ];
  const chosen = (...of: Parameters<typeof host>) => {
    const found = choosePackages(host(...of), sets);
    return found && describeMatch(found.match);
  };

  it("takes the same distribution and version before any version of it", () => {
    assert.equal(chosen("debian", "12"), "debian 12 amd64");
    assert.equal(chosen("debian", "13"), "debian amd64");
    assert.equal(chosen("debian", ""), "debian amd64");
    assert.equal(chosen("ubuntu", "24.04", "debian"), "ubuntu 24.04 amd64");
  });

  it("takes a version's beginning up to a dot, and no other", () => {
    assert.equal(chosen("rhel", "9.4"), "rhel 9 amd64");
    assert.equal(chosen("rhel", "9"), "rhel 9 amd64");
    assert.equal(chosen("rhel", "90"), "any Linux amd64");
    assert.equal(chosen("debian", "1"), "debian amd64");
  });

  it("takes what the host is like, with the same version alone, in the host's order", () => {
    assert.equal(chosen("rocky", "9.4", "rhel centos fedora"), "rhel 9 amd64");
    assert.equal(chosen("strange", "9.4", "fedora rhel"), "rhel 9 amd64");
    assert.equal(chosen("amzn", "2023", "fedora"), "any Linux amd64");
    assert.equal(chosen("linuxmint", "22", "ubuntu debian"), "any Linux amd64");
  });

  it("asks for the processor whoever installs that kind of packages", () => {
    assert.equal(chosen("debian", "12", "", "deb arm64", "static aarch64"), "debian 12 arm64");
    // A system of 32 bits on a kernel of 64.
    assert.equal(chosen("debian", "12", "", "deb i386", "static x86_64"), "any Linux amd64");
    assert.equal(chosen("rhel", "9.4", "", "rpm aarch64", "static aarch64"), undefined);
    // dpkg may be there, too, on a host of RPM packages.
    assert.equal(chosen("rhel", "9.4", "", "deb arm64", "rpm x86_64", "static x86_64"), "rhel 9 amd64");
  });

  it("takes the first of two for the same hosts: the current release's", () => {
    const [one, two] = [set("deb", { id: "debian", ...amd64 }), set("deb", { id: "debian", ...amd64 })];
    assert.equal(choosePackages(host("debian", "12"), [one, two]), one);
    assert.equal(choosePackages(host("debian", "12"), []), undefined);
  });
});

describe("a host", () => {
  it("is told by what it says", () => {
    assert.equal(describeHost(host("debian", "12")), "debian 12 amd64");
    assert.equal(describeHost(host("arch", "", "", "static aarch64")), "arch arm64");
    assert.equal(
      describeHost(readHost(["static sparc64"])),
      "a host without os-release of an unknown processor",
    );
  });

  it("has a dockerd that runs, one that doesn't, or one whose installation was cut short", () => {
    const at = (...lines: string[]) => {
      const { dockerd, running, halfInstalled } = readHost(lines);
      return { dockerd, running, halfInstalled };
    };
    const dockerd = "/usr/sbin/dockerd";
    assert.deepEqual(at(), { dockerd: undefined, running: false, halfInstalled: false });
    assert.deepEqual(at(`dockerd ${dockerd}`, "running yes"), {
      dockerd,
      running: true,
      halfInstalled: false,
    });
    const status = (text: string) => at(`dockerd ${dockerd}`, `dpkg Status: ${text}`).halfInstalled;
    assert.equal(status("install ok installed"), false);
    assert.equal(status("hold ok installed"), false);
    assert.equal(status("install ok unpacked"), true);
    assert.equal(status("install reinstreq half-installed"), true);
  });
});
