import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import {
  chmod,
  chown,
  cp,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { defaultKeyStore, type KeptPair, keepPair, type Wanted } from "../../src/certificates/custody.ts";
import { checkCertificates, describeCertificate } from "../../src/certificates/inspect.ts";
import { parseCertificateRequest } from "../../src/certificates/request.ts";
import { drydockError, temporaryFolder } from "./tools.ts";

const root = await temporaryFolder();
const day = 86_400_000;
const now = new Date("2030-06-01T12:00:00Z");
const later = (days: number) => new Date(now.getTime() + days * day);
const wanted: Wanted = {
  ca: parseCertificateRequest({ CN: "Prüf CA" }, "ca.json"),
  server: parseCertificateRequest({ CN: "registry.plant7.lan", hosts: ["extra.lan"] }, "registry.json"),
  addresses: ["registry.plant7.lan", "10.0.0.10"],
};
const files = ["ca-key.pem", "ca.pem", "registry-key.pem", "registry.pem"];

const template = join(root, "template");
let first: KeptPair;

before(async () => {
  first = await keepPair(template, "plant-7", wanted, now);
});

/** A store of its own in which plant-7's keys are kept already. */
let stores = 0;
async function filledStore(): Promise<{ store: string; folder: string }> {
  const store = join(root, `store-${++stores}`);
  await cp(template, store, { recursive: true });
  return { store, folder: join(store, "plant-7") };
}

async function contents(folder: string): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const name of (await readdir(folder)).toSorted())
    texts[name] = await readFile(join(folder, name), "utf8");
  return texts;
}

/** That the store and what was returned are one whole pair, and nothing unfinished lies about. */
async function checkWhole(store: string, pair: KeptPair, expected: Wanted, at: Date): Promise<void> {
  const texts = await contents(join(store, "plant-7"));
  assert.deepEqual(Object.keys(texts), files);
  assert.equal(texts["ca.pem"], pair.ca);
  assert.equal(texts["registry.pem"], pair.server.certificate);
  assert.equal(texts["registry-key.pem"], pair.server.key);
  const pems = { ca: pair.ca, server: pair.server.certificate, key: pair.server.key };
  const addresses = [...expected.addresses, ...expected.server.hosts, "127.0.0.1"];
  assert.deepEqual(checkCertificates(pems, { addresses, now: at }), []);
  for (const name of await readdir(store)) assert.doesNotMatch(name, /~(new|next|old)/);
}

const modeOf = async (path: string) => (await stat(path)).mode & 0o7777;

describe("the first time", () => {
  test("both pairs are made and kept, for us alone", async () => {
    assert.deepEqual(first.made, { ca: true, server: true });
    assert.equal(first.why, undefined);
    await checkWhole(template, first, wanted, now);
    assert.equal(await modeOf(template), 0o700);
    assert.equal(await modeOf(join(template, "plant-7")), 0o700);
    for (const name of files) assert.equal(await modeOf(join(template, "plant-7", name)), 0o600);
  });

  test("the CA's key is not among what is returned", async () => {
    const key = await readFile(join(template, "plant-7", "ca-key.pem"), "utf8");
    assert.ok(!JSON.stringify(first).includes(JSON.stringify(key).slice(40, 200)));
  });

  test("an impossible address stops it before anything is made", async () => {
    const store = join(root, "nothing");
    await assert.rejects(
      keepPair(store, "plant-7", { ...wanted, addresses: ["10.0.0.999"] }, now),
      drydockError("input", /no possible IPv4/),
    );
    await assert.rejects(readdir(store), { code: "ENOENT" });
  });

  for (const name of ["", "..", "a/b", ".hidden", "a~b", "a".repeat(101)]) {
    test(`the bundle name ${JSON.stringify(name.slice(0, 10))} makes no folder`, async () => {
      await assert.rejects(keepPair(template, name, wanted, now), drydockError("input", /no folder name/));
    });
  }
});

describe("used again", () => {
  test("as they are, while all fits; the order of addresses and their case do not matter", async () => {
    const { store } = await filledStore();
    const again = { ...wanted, addresses: ["10.0.0.10", "Registry.Plant7.LAN"] };
    const pair = await keepPair(store, "plant-7", again, later(825 - 61));
    assert.deepEqual(pair, { ...first, made: { ca: false, server: false } });
    await checkWhole(store, pair, wanted, now);
  });

  const serverChanges: [string, Partial<Wanted>, number, RegExp][] = [
    ["an address is added", { addresses: [...wanted.addresses, "10.0.0.11"] }, 1, /also name 10\.0\.0\.11/],
    ["an address is removed", { addresses: ["registry.plant7.lan"] }, 1, /no longer name 10\.0\.0\.10/],
    ["its subject changes", { server: { ...wanted.server, CN: "ü" } }, 1, /subject has changed/],
    [
      "its key is to be larger",
      { server: { ...wanted.server, key: { algo: "rsa", size: 3072 } } },
      1,
      /size/,
    ],
    ["its end is near", {}, 825 - 59, /the old one ends on 2032-09-03/],
    ["it has ended", {}, 900, /the old one ended on 2032-09-03/],
  ];
  for (const [what, change, days, why] of serverChanges) {
    test(`the CA alone where ${what}`, async () => {
      const { store } = await filledStore();
      const changed = { ...wanted, ...change };
      const pair = await keepPair(store, "plant-7", changed, later(days));
      assert.deepEqual(pair.made, { ca: false, server: true });
      assert.equal(pair.ca, first.ca);
      assert.notEqual(pair.server.key, first.server.key);
      assert.match(pair.why ?? "", /^new server certificate: /);
      assert.match(pair.why ?? "", why);
      await checkWhole(store, pair, changed, later(days));
      const next = await keepPair(store, "plant-7", changed, later(days));
      assert.deepEqual(next.made, { ca: false, server: false });
    });
  }

  const caChanges: [string, Partial<Wanted>, number, RegExp][] = [
    [
      "the CA's subject changes",
      { ca: { ...wanted.ca, names: [{ O: "Neu" }] } },
      1,
      /CA's subject has changed/,
    ],
    [
      "the CA's key is to be larger",
      { ca: { ...wanted.ca, key: { algo: "rsa", size: 3072 } } },
      1,
      /CA's key/,
    ],
    ["the CA ends within a year", {}, 1825 - 364, /the CA ends on 2035-05-31/],
  ];
  for (const [what, change, days, why] of caChanges) {
    test(`nothing where ${what}; the old pair is kept aside`, async () => {
      const { store } = await filledStore();
      const changed = { ...wanted, ...change };
      const old = await contents(join(store, "plant-7"));
      const pair = await keepPair(store, "plant-7", changed, later(days));
      assert.deepEqual(pair.made, { ca: true, server: true });
      assert.match(pair.why ?? "", why);
      await checkWhole(store, pair, changed, later(days));
      const aside = (await readdir(store)).find((name) => name.startsWith(".plant-7~retired-"));
      assert.ok(aside);
      assert.ok(pair.why?.includes(join(store, aside)));
      assert.deepEqual(await contents(join(store, aside)), old);
    });
  }

  test("the CA with a little more than a year left", async () => {
    const { store } = await filledStore();
    const pair = await keepPair(store, "plant-7", wanted, later(1825 - 366));
    assert.deepEqual(pair.made, { ca: false, server: true });
    assert.deepEqual(
      describeCertificate(pair.server.certificate).notAfter,
      describeCertificate(pair.ca).notAfter,
    );
  });

  test("a CA made for one month, for half of it", async () => {
    const store = join(root, "short");
    const short = { ...wanted, ca: { ...wanted.ca, ca: { expiry: "720h" } } };
    await keepPair(store, "plant-7", short, now);
    const again = await keepPair(store, "plant-7", short, later(14));
    assert.deepEqual(again.made, { ca: false, server: false });
    const late = await keepPair(store, "plant-7", short, later(16));
    assert.deepEqual(late.made, { ca: true, server: true });
  });

  test("not with a clock that stands before them", async () => {
    const { store } = await filledStore();
    await assert.rejects(
      keepPair(store, "plant-7", wanted, later(-1)),
      drydockError("certificate", /not valid yet/, /clock/),
    );
  });

  test("each bundle has its own", async () => {
    const { store } = await filledStore();
    const other = await keepPair(store, "plant-8", wanted, now);
    assert.notEqual(other.ca, first.ca);
    assert.equal((await keepPair(store, "plant-7", wanted, now)).ca, first.ca);
  });
});

describe("a broken store", () => {
  const authorityFaults: [string, (folder: string) => Promise<void>, RegExp][] = [
    ["without ca.pem", (folder) => rm(join(folder, "ca.pem")), /ca\.pem is missing/],
    ["without ca-key.pem", (folder) => rm(join(folder, "ca-key.pem")), /ca-key\.pem is missing/],
    ["with an empty ca.pem", (folder) => writeFile(join(folder, "ca.pem"), ""), /ca\.pem cannot be read/],
    [
      "with a cut ca-key.pem",
      (folder) => writeFile(join(folder, "ca-key.pem"), "-----BEGIN"),
      /ca-key\.pem cannot/,
    ],
    [
      "with another key as ca-key.pem",
      (folder) => cp(join(folder, "registry-key.pem"), join(folder, "ca-key.pem")),
      /ca-key\.pem is not the key/,
    ],
    [
      "with the server pair in place of the CA's",
      async (folder) => {
        await cp(join(folder, "registry-key.pem"), join(folder, "ca-key.pem"));
        await cp(join(folder, "registry.pem"), join(folder, "ca.pem"));
      },
      /not a CA's certificate/,
    ],
  ];
  for (const [what, damage, message] of authorityFaults) {
    test(`${what} is an error, and nothing is changed`, async () => {
      const { store, folder } = await filledStore();
      await damage(folder);
      const left = await contents(folder);
      await assert.rejects(keepPair(store, "plant-7", wanted, now), drydockError("input", message, /backup/));
      assert.deepEqual(await contents(folder), left);
    });
  }

  const serverFaults: [string, (folder: string) => Promise<void>, RegExp][] = [
    ["without registry.pem", (folder) => rm(join(folder, "registry.pem")), /missing/],
    ["without registry-key.pem", (folder) => rm(join(folder, "registry-key.pem")), /missing/],
    [
      "with junk as registry.pem",
      (folder) => writeFile(join(folder, "registry.pem"), "junk"),
      /cannot be read/,
    ],
    [
      "with another key as registry-key.pem",
      (folder) => cp(join(folder, "ca-key.pem"), join(folder, "registry-key.pem")),
      /do not belong together/,
    ],
    [
      "with the CA as server",
      async (folder) => {
        await cp(join(folder, "ca-key.pem"), join(folder, "registry-key.pem"));
        await cp(join(folder, "ca.pem"), join(folder, "registry.pem"));
      },
      /subject has changed/,
    ],
  ];
  for (const [what, damage, why] of serverFaults) {
    test(`${what} gets a new server pair from the same CA`, async () => {
      const { store, folder } = await filledStore();
      await damage(folder);
      const pair = await keepPair(store, "plant-7", wanted, now);
      assert.deepEqual(pair.made, { ca: false, server: true });
      assert.equal(pair.ca, first.ca);
      assert.match(pair.why ?? "", why);
      await checkWhole(store, pair, wanted, now);
    });
  }

  test("in which a build was killed between two renames is put right", async () => {
    const { store, folder } = await filledStore();
    await rename(folder, join(store, ".plant-7~next"));
    await mkdir(join(store, ".plant-7~new-abcdef"));
    await mkdir(join(store, ".plant-7~old"));
    const pair = await keepPair(store, "plant-7", wanted, now);
    assert.deepEqual(pair, { ...first, made: { ca: false, server: false } });
    await checkWhole(store, pair, wanted, now);
  });

  test("in which a build was killed before the renames keeps what it had", async () => {
    const { store } = await filledStore();
    await mkdir(join(store, ".plant-7~next"));
    assert.deepEqual((await keepPair(store, "plant-7", wanted, now)).made, { ca: false, server: false });
    assert.deepEqual(await readdir(store), ["plant-7"]);
  });

  test("keeps a file of somebody else's when the server pair is replaced", async () => {
    const { store, folder } = await filledStore();
    await writeFile(join(folder, "notes.txt"), "mine");
    await keepPair(store, "plant-7", { ...wanted, addresses: ["10.0.0.12"] }, now);
    assert.equal(await readFile(join(folder, "notes.txt"), "utf8"), "mine");
  });
});

describe("who may look", () => {
  test("modes that let others in are put right", async () => {
    const { store, folder } = await filledStore();
    await chmod(folder, 0o755);
    await chmod(join(folder, "ca-key.pem"), 0o644);
    await keepPair(store, "plant-7", wanted, now);
    assert.equal(await modeOf(folder), 0o700);
    assert.equal(await modeOf(join(folder, "ca-key.pem")), 0o600);
  });

  test("a store that others may write to is refused", async () => {
    const { store } = await filledStore();
    await chmod(store, 0o770);
    await assert.rejects(
      keepPair(store, "plant-7", wanted, now),
      drydockError("input", /only we can change/, /chmod 700/),
    );
  });

  const foreign: [string, (folder: string) => Promise<void>, RegExp][] = [
    ["a folder of another user", (folder) => chown(folder, 65534, 65534), /belongs to user 65534/],
    [
      "a key of another user",
      (folder) => chown(join(folder, "ca-key.pem"), 65534, 65534),
      /belongs to user 65534/,
    ],
    [
      "a symbolic link in place of a key",
      async (folder) => {
        await rename(join(folder, "ca-key.pem"), join(folder, "..", "elsewhere.pem"));
        await symlink(join(folder, "..", "elsewhere.pem"), join(folder, "ca-key.pem"));
      },
      /symbolic link/,
    ],
    [
      "a symbolic link in place of the folder",
      async (folder) => {
        await rename(folder, `${folder}-elsewhere`);
        await symlink(`${folder}-elsewhere`, folder);
      },
      /it is no folder/,
    ],
  ];
  for (const [what, damage, message] of foreign) {
    test(`${what} is refused`, async () => {
      const { store, folder } = await filledStore();
      await damage(folder);
      await assert.rejects(
        keepPair(store, "plant-7", wanted, now),
        drydockError("input", message, /your own/),
      );
    });
  }

  test("a store that cannot be made is told as such", async () => {
    await writeFile(join(root, "a-file"), "");
    await assert.rejects(
      keepPair(join(root, "a-file", "keys"), "plant-7", wanted, now),
      drydockError("host", /write key store .*a-file/),
    );
  });
});

describe("two builds at once", () => {
  test("of one process get the same pair", async () => {
    const store = join(root, "at-once");
    const pairs = await Promise.all([1, 2, 3].map(() => keepPair(store, "plant-7", wanted, now)));
    assert.equal(pairs.filter(({ made }) => made.ca).length, 1);
    for (const pair of pairs) await checkWhole(store, pair, wanted, now);
  });

  test("of two processes get the same pair", async () => {
    const store = join(root, "two-processes");
    const module = new URL("../../src/certificates/custody.ts", import.meta.url).href;
    const program = `import { keepPair } from ${JSON.stringify(module)};
      const pair = await keepPair(${JSON.stringify(store)}, "plant-7", ${JSON.stringify(wanted)});
      console.log(JSON.stringify(pair));`;
    const build = async () => {
      const child = spawn(process.execPath, ["--input-type=module", "-e", program]);
      let text = "";
      child.stdout.on("data", (chunk) => {
        text += chunk;
      });
      const [code] = await once(child, "close");
      assert.equal(code, 0);
      return JSON.parse(text) as KeptPair;
    };
    const pairs = await Promise.all([build(), build()]);
    assert.equal(pairs.filter(({ made }) => made.ca).length, 1);
    for (const pair of pairs) await checkWhole(store, pair, wanted, new Date());
  });

  test("with other addresses follow one another, and the CA stays", async () => {
    const { store } = await filledStore();
    const others = ["10.0.1.1", "10.0.1.2"].map((address) => ({ ...wanted, addresses: [address] }));
    const pairs = await Promise.all(others.map((one) => keepPair(store, "plant-7", one, now)));
    for (const pair of pairs) {
      assert.equal(pair.ca, first.ca);
      const leaf = new X509Certificate(pair.server.certificate);
      assert.ok(leaf.verify(new X509Certificate(first.ca).publicKey));
    }
    const texts = await contents(join(store, "plant-7"));
    assert.ok(pairs.some((pair) => pair.server.key === texts["registry-key.pem"]));
    assert.ok(pairs.some((pair) => pair.server.certificate === texts["registry.pem"]));
  });
});

test("the key store is where the XDG specification puts data", () => {
  assert.equal(defaultKeyStore({ HOME: "/home/a" }), "/home/a/.local/share/drydock/keys");
  assert.equal(defaultKeyStore({ HOME: "/home/a", XDG_DATA_HOME: "/data" }), "/data/drydock/keys");
  assert.equal(
    defaultKeyStore({ HOME: "/home/a", XDG_DATA_HOME: "data" }),
    "/home/a/.local/share/drydock/keys",
  );
});
