import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { changesFor } from "../../../src/trust/stores/changes.ts";
import { containers } from "../../../src/trust/stores/containers.ts";
import { docker } from "../../../src/trust/stores/docker.ts";
import { after, type Files, pem, seen, wanted } from "./files.ts";

const folder = "/etc/docker/certs.d/registry.lan:5000";
const marked = (made: number, ...certificates: string[]) =>
  `# Written by drydock trust (directories made: ${made}), for drydock trust --remove\n${certificates.map((name) => `${pem(name)}\n`).join("")}`;

describe("a certs.d directory", () => {
  it("gets the CA in a marked file, and then nothing more", () => {
    const first = after(docker, "install", { "/etc/docker": { ls: "drwxr-xr-x 2 0 0 4096" } });
    assert.equal(first.files[`${folder}/ca.crt`], marked(2, "NEW"));
    assert.deepEqual(after(docker, "install", first.files).files, first.files);
    assert.equal(after(docker, "install", {}).files[`${folder}/ca.crt`], marked(4, "NEW"));
  });

  it("keeps an earlier CA of ours behind the new one until it is to go", () => {
    const before = { [`${folder}/ca.crt`]: marked(1, "OLD", "OLDER") };
    const both = after(docker, "install", before).files;
    assert.deepEqual(both, { [`${folder}/ca.crt`]: marked(1, "NEW", "OLD", "OLDER") });
    assert.deepEqual(after(docker, "install", both).files, both);
    assert.deepEqual(after(docker, "install", both, { authorities: [pem("OLD")] }).files, {
      [`${folder}/ca.crt`]: marked(1, "OLD", "NEW", "OLDER"),
    });
    assert.deepEqual(after(docker, "install", both, { removeOld: true }).files, {
      [`${folder}/ca.crt`]: marked(1, "NEW"),
    });
  });

  it("leaves somebody else's files, and puts ours beside them where they lack the CA", () => {
    const theirs = { [`${folder}/ca.crt`]: pem("THEIRS"), [`${folder}/client.cert`]: pem("X") };
    const beside = after(docker, "install", theirs);
    assert.deepEqual(beside.files, { ...theirs, [`${folder}/drydock-ca.crt`]: marked(0, "NEW") });
    assert.deepEqual(after(docker, "install", beside.files).files, beside.files);
    assert.deepEqual(after(docker, "remove", beside.files).files, theirs);
    const holds = { [`${folder}/plant.crt`]: `${pem("THEIRS")}\n${pem("NEW").replace("NEW", "N\nEW")}` };
    assert.deepEqual(after(docker, "install", holds).files, holds);
    const link = { [`${folder}/ca.crt`]: { ls: "lrwxrwxrwx 1 0 0 9" } };
    assert.deepEqual(Object.keys(after(docker, "install", link).files), [
      `${folder}/ca.crt`,
      `${folder}/drydock-ca.crt`,
    ]);
    const full = { [`${folder}/ca.crt`]: pem("A"), [`${folder}/drydock-ca.crt`]: pem("B") };
    assert.deepEqual(after(docker, "install", full), {
      files: full,
      findings: [`error: ${folder}/ca.crt and ${folder}/drydock-ca.crt are not drydock's`],
      does: undefined,
    });
  });

  it("gives up what is ours under the registry's names, or with its CA, and the directories made for it", () => {
    const other = "/etc/docker/certs.d/elsewhere.lan";
    const before: Files = {
      [`${folder}/ca.crt`]: marked(2, "NEW"),
      "/etc/docker/certs.d/10.9.9.9/ca.crt": marked(1, "NEW", "OLD"),
      [`${other}/ca.crt`]: marked(1, "ANOTHER"),
      "/etc/docker/certs.d/theirs.lan/ca.crt": pem("NEW"),
    };
    const { changes } = changesFor(docker.remove(seen(before), wanted), seen(before), true);
    assert.deepEqual(changes?.remove, ["/etc/docker/certs.d/10.9.9.9/ca.crt", `${folder}/ca.crt`]);
    assert.deepEqual(changes?.removeDirectories, [
      "/etc/docker/certs.d/10.9.9.9",
      folder,
      "/etc/docker/certs.d",
    ]);
    assert.equal(changesFor(docker.remove(seen({}), wanted), seen({}), true).changes, undefined);
  });

  it("is written anew where the mode or the owner is wrong, and refused where others may change what is above", () => {
    const file = (ls: string) => ({ [`${folder}/ca.crt`]: { ls, text: marked(1, "NEW") } });
    for (const ls of ["-rw------- 1 0 0 9", "-rw-r--r-- 1 1000 0 9"]) {
      assert.equal(typeof after(docker, "install", file(ls)).files[`${folder}/ca.crt`], "string", ls);
    }
    for (const [ls, reason] of [
      ["lrwxrwxrwx 1 0 0 9", "/etc/docker/certs.d is a symbolic link"],
      ["-rw-r--r-- 1 0 0 9", "/etc/docker/certs.d is not a directory"],
      ["drwxr-xr-x 2 1000 0 9", "/etc/docker/certs.d does not belong to root"],
      ["drwxrwxrwx. 2 0 0 9", "everybody may change /etc/docker/certs.d"],
    ] as const) {
      const before = { "/etc/docker/certs.d": { ls } };
      assert.deepEqual(after(docker, "install", before), {
        ...{ files: before, findings: [`error: ${reason}`], does: undefined },
      });
    }
    const folders = { [`${folder}/ca.crt`]: { ls: "drwxr-xr-x 2 0 0 9" } };
    assert.ok(`${folder}/drydock-ca.crt` in after(docker, "install", folders).files);
  });

  it("tells of what hides it", () => {
    const hidden = {
      "/etc/containers/certs.d/registry.lan:5000": { ls: "drwxr-xr-x 2 0 0 9" },
      "/root/.config/containers/certs.d/registry.lan:5000": { ls: "drwxr-xr-x 2 0 0 9" },
      [`${folder}/hosts.toml`]: 'server = "x"',
    };
    const podman = "note: Podman and skopeo look into";
    const alone = after(docker, "install", hidden, { stores: ["docker"] }).findings;
    assert.deepEqual(alone, [
      `note: ${folder}/hosts.toml is there, and Docker with containerd's image store then reads no *.crt beside it`,
      `${podman} /etc/containers/certs.d/registry.lan:5000 alone, which is there and lacks the CA`,
    ]);
    assert.deepEqual(after(containers, "install", hidden).findings, [
      `${podman} /root/.config/containers/certs.d/registry.lan:5000 alone, which is there and lacks the CA`,
    ]);
  });
});
