/** Preflight's checks one by one, where the real thing cannot be had here: on tables and figures as the kernel writes them. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { connectEngine, type EngineDescription } from "../../src/engine/engine.ts";
import { checkDowngrade } from "../../src/install/downgrade.ts";
import type { Finding } from "../../src/install/finding.ts";
import { checkAddresses } from "../../src/install/preflight-addresses.ts";
import { checkEngine } from "../../src/install/preflight-engine.ts";
import { checkFileSystem, mountOf } from "../../src/install/preflight-filesystem.ts";
import { checkIncoming, checkJournal } from "../../src/install/preflight-leftovers.ts";
import { checkClock, checkMemory, checkSelinux } from "../../src/install/preflight-system.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { writeJournal } from "../../src/site/journal.ts";
import { siteLayout } from "../../src/site/layout.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-checks-"));
after(() => rm(folder, { recursive: true }));

/** "level check: text | hint" of each, on a line. */
function told(findings: Finding[]): string {
  return findings
    .map(
      ({ level, check, text, hint }) => `${level} ${check}: ${text}${hint === undefined ? "" : ` | ${hint}`}`,
    )
    .join("\n");
}

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

test("memory: this host's, too little, and a system that doesn't say", async () => {
  assert.match(told(await checkMemory()), /^(ok|warning) memory: [\d,]+ MB are available/);
  const little = await file("little", "MemTotal:  1000000 kB\nMemAvailable:     195312 kB\n");
  assert.match(told(await checkMemory(little)), /^warning memory: 199 MB are available, .* \| .*swap/);
  const enough = await file("enough", "MemTotal:  1000000 kB\nMemAvailable:     250001 kB\n");
  assert.equal(told(await checkMemory(enough)), "ok memory: 256 MB are available");
  assert.deepEqual(await checkMemory(join(folder, "none")), []);
});

test("the clock against the time when the bundle was made", () => {
  const made = "2026-03-04T05:06:07Z";
  const at = (time: string, makes = false) => told(checkClock(new Date(time), made, makes));
  assert.equal(at("2026-03-04T05:02:00Z", true), "ok clock: it says 2026-03-04 05:02 UTC");
  assert.match(at("2031-03-04T05:02:00Z"), /^ok/);
  const says = "this host's clock says 2025-03-04 05:06 UTC, and the bundle was made on 2026-03-04 05:06 UTC";
  assert.match(at("2025-03-04T05:06:00Z"), new RegExp(`^warning clock: ${says} \\| Set the clock`));
  assert.match(at("2025-03-04T05:06:00Z", true), new RegExp(`^error clock: ${says}: certificates .* dated`));
  assert.match(at("2026-03-04T01:00:00Z", true), /^warning/);
});

test("SELinux is told of only while it enforces", async () => {
  assert.deepEqual(await checkSelinux(await file("permissive", "0")), []);
  assert.deepEqual(await checkSelinux(join(folder, "none")), []);
  assert.match(told(await checkSelinux(await file("enforcing", "1"))), /^ok selinux: it enforces/);
});

const mounts = [
  "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
  "30 22 0:40 / /srv/nas rw - nfs4 nas.lan:/export/a\\040b rw,vers=4.2",
  "31 22 8:17 / /srv/my\\040stick rw - vfat /dev/sdb1 rw",
  "32 22 8:18 / /srv/win rw - fuseblk /dev/sdc1 rw",
  "33 22 0:41 / /srv/ssh rw - fuse.sshfs root@nas: rw",
  "34 22 8:19 / /srv/over rw - vfat /dev/sdd1 rw",
  "35 22 8:20 / /srv/over rw - xfs /dev/sde1 rw",
].join("\n");

test("the mount that a path is on: the longest, and of two at one place the later", () => {
  assert.deepEqual(mountOf("/srv/nas/site", mounts), {
    path: "/srv/nas",
    type: "nfs4",
    source: "nas.lan:/export/a b",
    failed: false,
  });
  for (const [path, type] of [
    ["/srv/nas", "nfs4"],
    ["/srv/nas2", "ext4"],
    ["/srv/my stick/x", "vfat"],
    ["/srv/over/x", "xfs"],
    ["/", "ext4"],
  ] as const)
    assert.equal(mountOf(path, mounts)?.type, type, path);
  assert.equal(mountOf("/srv", ""), undefined);
});

test("a file system that is not fit: by its type", async () => {
  const of = async (type: string, tags: string[] = []) => {
    const table = await file("mounts", `22 1 8:1 / / rw - ${type} /dev/sda1 rw\n`);
    const named = Object.fromEntries(tags.map((tag) => [tag, digestOf(tag)]));
    const repositories = { "team/app": { tags: named, revisions: [], layers: [] } };
    return told(await checkFileSystem(join(folder, "site/storage"), { repositories }, table));
  };
  assert.match(await of("ext4"), /^ok file system: .*site\/storage is on ext4$/);
  for (const type of ["nfs", "nfs4", "cifs", "9p", "fuse.sshfs"])
    assert.match(
      await of(type),
      new RegExp(`^warning .*network file system \\(${type}, /dev/sda1\\) \\| .*--site`),
    );
  assert.match(await of("vfat"), /^error .*keeps no permissions.*4 GiB \| .*ext4/);
  assert.match(await of("exfat"), /^error .*everybody could read the server's key \|/);
  assert.match(await of("fuseblk", ["v1", "v2"]), /^warning .*may take "V1" and "v1" for the same name \|/);
  assert.match(
    await of("ntfs3", ["v1", "x", "V1"]),
    /^error .*the bundle has team\/app:v1 and team\/app:V1 \|/,
  );
  const table = await file("mounts", "22 1 8:1 / / rw - ext4 /dev/sda1 rw,errors=remount-ro,emergency_ro\n");
  assert.match(
    told(await checkFileSystem(join(folder, "site/storage"), { repositories: {} }, table)),
    /^error .*that has failed.* \| .*unmount \/dev\/sda1.*mount it again/,
  );
  // This machine's own table.
  assert.match(told(await checkFileSystem(folder, { repositories: {} })), /^\w+ file system: /);
});

test("what an earlier try left: files on their way in, a journal of this bundle, one of another", async () => {
  const layout = siteLayout(join(folder, "left"));
  assert.deepEqual([...(await checkIncoming(layout)), ...(await checkJournal(layout, digestOf("x")))], []);
  await mkdir(layout.incoming, { recursive: true });
  assert.deepEqual(await checkIncoming(layout), []);
  await writeFile(join(layout.incoming, "a"), Buffer.alloc(1_500_000));
  assert.match(
    told(await checkIncoming(layout)),
    /^ok leftovers: 1 unfinished file \(2 MB\) .*removed first$/,
  );
  await writeJournal(layout, {
    ...{ action: "install", bundleDigest: digestOf("x"), name: "plant-7", release: 3 },
    ...{ begunAt: "2026-01-02T03:04:05Z", tagsBefore: {}, tagsAfter: {} },
  });
  assert.equal(
    told(await checkJournal(layout, digestOf("x"))),
    "ok leftovers: the install of this bundle of 2026-01-02 03:04 UTC was cut short: it goes on",
  );
  assert.match(
    told(await checkJournal(layout, digestOf("y"))),
    /^warning leftovers: the install of plant-7, release 3, of .* was cut short \| Tags, files and certificates are put back first/,
  );
  assert.deepEqual((await readdir(layout.root)).sort(), ["journal.json", "storage"]);
});

const described: EngineDescription = {
  version: "20.10",
  apiVersion: "1.41",
  platform: "linux/amd64",
  storageRoot: undefined,
  rootless: false,
};
const registry = {
  reference: "registry:2",
  images: { "linux/amd64": digestOf("x") },
  port: 443,
  access: "read-only",
} as const;

test("an engine that is old, without root's rights, elsewhere, or a snap", async () => {
  const typed = (port: number) => `install --port ${port}`;
  const site = "/srv/docker-registry";
  const of = async (
    changes: Partial<EngineDescription>,
    { host = "unix:///run/x.sock", ...at }: { port?: number; site?: string; host?: string } = {},
  ) => {
    const engine = connectEngine({ DOCKER_HOST: host });
    const where = { site, port: 443, ...at };
    return told(await checkEngine({ registry }, engine, { ...described, ...changes }, where, typed));
  };
  assert.equal(await of({}), "ok engine: version 20.10, linux/amd64");
  for (const apiVersion of ["1.40", "1.52", "2.0"]) assert.doesNotMatch(await of({ apiVersion }), /warning/);
  assert.match(
    await of({ apiVersion: "1.26" }),
    /^warning engine: .* API 1\.26, which is older .*\| Docker 19/m,
  );
  const rootless = await of({ rootless: true }, { port: 1 });
  assert.match(rootless, /^warning engine: it runs without root's rights, .* may not get port 1 \|/m);
  assert.match(rootless, /`sysctl net\.ipv4\.ip_unprivileged_port_start=1`\. .*`install --port 8443`$/);
  assert.doesNotMatch(await of({ rootless: true }, { port: 8443 }), /warning/);
  assert.match(
    await of({}, { host: "tcp://10.0.0.1:2375" }),
    /^warning engine: it is reached by network \(tcp:/m,
  );
  const storageRoot = "/var/snap/docker/common/var-lib-docker";
  assert.match(
    await of({ storageRoot }),
    /^warning engine: it is a snap, .* \/srv\/docker-registry: .*--site \/var\/snap\/docker\/common\/docker-registry\./m,
  );
  for (const seen of ["/home/registry", "/var/snap/docker/common/docker-registry"])
    assert.doesNotMatch(await of({ storageRoot }, { site: seen }), /warning/);
});

test("addresses that this host doesn't have: what to type instead", () => {
  const of = (addresses: string[], bridges: string[] = [], areChosen = false) =>
    told(
      checkAddresses(addresses, {
        ...{ bundled: ["registry.lan", "10.0.0.10"], areChosen, bridges },
        command: (instead) => `install ${instead.join(" ")}`,
        interfaces: {
          lo: [{ address: "127.0.0.1" }, { address: "::1" }],
          eth0: [{ address: "10.0.0.11" }, { address: "fe80::1" }, { address: "fd00::11" }],
          "br-lan": [{ address: "10.0.1.1" }],
          docker0: [{ address: "172.17.0.1" }],
          "br-0123456789ab": [{ address: "172.18.0.1" }],
          site0: [{ address: "172.19.0.1" }],
          virbr0: [{ address: "192.168.122.1" }],
          "cni-podman0": [{ address: "10.88.0.1" }],
        },
      }),
    );
  assert.match(of(["registry.lan", "10.0.0.11", "127.0.0.1"]), /^ok addresses: registry\.lan, 10/);
  const strange = of(["other.lan", "198.51.100.7", "10.0.1.1", "127.0.0.1"], ["docker0", "site0"]);
  assert.match(strange, /^warning addresses: 198\.51\.100\.7 is on no interface of this host \(/);
  // Those that fit stay, and stay first; what only containers or nobody reaches is not proposed.
  assert.match(strange, /else: `install other\.lan 10\.0\.1\.1 10\.0\.0\.11 fd00::11`/);
  assert.doesNotMatch(strange, /172\.|192\.168\.|10\.88/);
  // A name is what clients remember: the bundle's stays where only addresses were given.
  assert.match(of(["10.0.0.10"], ["site0"]), /else: `install registry\.lan 10\.0\.0\.11 /);
  const chosen = of(["10.0.0.11", "127.0.0.1"], [], true);
  assert.match(
    chosen,
    /^warning addresses: clients that know the registry as registry\.lan could not use it/m,
  );
  assert.match(chosen, /To keep the name: `install registry\.lan 10\.0\.0\.11`$/m);
  assert.doesNotMatch(of(["new.lan", "10.0.0.11"], [], true), /warning/);
});

test("an older release: which one is served, which one it is, and what to type for either", () => {
  const bundle = { name: "plant-7", release: 11 };
  const record = (release: number, name = "plant-7") => ({
    ...{ name, release, bundleDigest: digestOf(`${name} ${release}`) },
  });
  const of = (records: ReturnType<typeof record>[], allowed = false) =>
    told(
      checkDowngrade(bundle, {
        ...{ served: record(12), records, allowed },
        typed: ["drydock", "install", "/media/My Stick/x.tar", "--site", "/data/registry"],
      }),
    );
  const typed = "`drydock install '/media/My Stick/x.tar' --site /data/registry --allow-downgrade`";
  assert.equal(
    of([record(12)]),
    `error release: plant-7, release 12, is served here, and the bundle is the older release 11 | To install it all the same: ${typed}`,
  );
  assert.match(
    of([record(12), record(11)]),
    /Release 11 was here before\. .*: `drydock rollback 11 --site \/data\/registry`\. To install it from/,
  );
  const other = record(11, "plant-8");
  const digits = record(11).bundleDigest.slice("sha256:".length, 19);
  assert.match(of([record(12), other, record(11)]), new RegExp(`\`drydock rollback ${digits} --site`));
  assert.match(of([], true), /^warning release: .* older release 11$/);
  for (const served of [undefined, record(11), record(12, "plant-8")])
    assert.deepEqual(checkDowngrade(bundle, { served, records: [], allowed: false, typed: [] }), []);
});
