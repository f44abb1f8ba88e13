import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { before, describe, test } from "node:test";
import { makeCode, normalizeCode } from "../../src/certificates/code.ts";
import { decryptKey, encryptKey, isEncrypted } from "../../src/certificates/secret.ts";
import { makeKey } from "../../src/certificates/x509.ts";
import { drydockError, output, run, temporaryFolder, writeFiles } from "./tools.ts";

const folder = await temporaryFolder();
const passphrase = "pass phräse ☃ 'quoted'";
let key: string;
let encrypted: string;

before(async () => {
  ({ key } = await makeKey(2048));
  encrypted = await encryptKey(key, passphrase);
  await writeFiles(folder, {
    "key.pem": key,
    "encrypted.pem": encrypted,
    passphrase,
    "wrong-passphrase": "other",
  });
});

describe("a key under a passphrase", () => {
  test("comes back the same", async () => {
    assert.equal(await decryptKey(encrypted, passphrase), key);
  });

  test("is told from a plain one", () => {
    assert.ok(isEncrypted(encrypted));
    assert.ok(!isEncrypted(key));
    assert.ok(isEncrypted("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"));
  });

  test("is read by OpenSSL, and not with another passphrase", async () => {
    const parameters = (file: string) => ["pkcs8", "-in", "encrypted.pem", "-passin", `file:${file}`];
    assert.equal(await output("openssl", parameters("passphrase"), folder), key);
    assert.notEqual((await run("openssl", parameters("wrong-passphrase"), { cwd: folder })).code, 0);
  });

  test("has 600,000 rounds of PBKDF2 with SHA-256, and AES-256", async () => {
    const text = await output("openssl", ["asn1parse", "-in", "encrypted.pem"], folder);
    assert.match(text, /:PBES2/);
    assert.match(text, /:PBKDF2/);
    assert.match(text, new RegExp(`INTEGER +:0?${(600_000).toString(16).toUpperCase()}\\b`));
    assert.match(text, /:hmacWithSHA256/);
    assert.match(text, /:aes-256-cbc/);
  });

  test("is another text each time", async () => {
    const again = await encryptKey(key, passphrase);
    assert.notEqual(again, encrypted);
  });

  test("that OpenSSL made is read", async () => {
    const parameters = [
      "pkcs8",
      "-topk8",
      "-in",
      "key.pem",
      "-v2",
      "aes-256-cbc",
      "-passout",
      "file:passphrase",
    ];
    assert.equal(await decryptKey(await output("openssl", parameters, folder), passphrase), key);
  });

  test("may be given in another form than PKCS#8", async () => {
    const pkcs1 = createPrivateKey(key).export({ type: "pkcs1", format: "pem" }).toString();
    assert.equal(await decryptKey(await encryptKey(pkcs1, "x"), "x"), key);
  });

  for (const wrong of ["", "pass phräse", "PASS PHRÄSE ☃ 'QUOTED'"]) {
    test(`stays shut for ${JSON.stringify(wrong)}, and the error tells no secret`, async () => {
      await assert.rejects(
        decryptKey(encrypted, wrong),
        drydockError("input", /^decrypt the server's key: wrong passphrase$/),
      );
    });
  }

  test("stays shut where a wrong passphrase gives sound padding by chance", async () => {
    const quick = await output(
      "openssl",
      ["pkcs8", "-topk8", "-in", "key.pem", "-v2", "aes-256-cbc", "-iter", "1", "-passout", "pass:right"],
      folder,
    );
    for (let at = 0; at < 2000; at++) {
      await assert.rejects(decryptKey(quick, `wrong ${at}`), drydockError("input", /wrong passphrase/));
    }
  });

  test("that is no key, or not encrypted, or cut short, is not called a wrong passphrase", async () => {
    await assert.rejects(decryptKey(key, "x"), drydockError("input", /not an encrypted/));
    await assert.rejects(decryptKey("nothing", "x"), drydockError("input", /not an encrypted/));
    const lines = encrypted.split("\n");
    const short = [...lines.slice(0, 5), ...lines.slice(-2)].join("\n");
    await assert.rejects(decryptKey(short, passphrase), drydockError("input", /damaged/));
    await assert.rejects(decryptKey(encrypted.slice(0, 200), passphrase), drydockError("input", /damaged/));
  });

  test("is not made with an empty passphrase", async () => {
    await assert.rejects(encryptKey(key, ""), drydockError("input", /empty/));
  });
});

describe("a code", () => {
  test("has twenty letters in five groups, without I, L, O and U, never twice the same", () => {
    const codes = new Set(Array.from({ length: 1000 }, makeCode));
    assert.equal(codes.size, 1000);
    const letters = new Set([...codes].join("").replaceAll("-", ""));
    assert.equal([...letters].toSorted().join(""), "0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    for (const code of codes) assert.match(code, /^([0-9A-Z]{4}-){4}[0-9A-Z]{4}$/);
  });

  const code = "7GQ2-M4X0-9T0C-KD3E-W151";
  for (const typed of [
    code,
    "7gq2-m4x0-9t0c-kd3e-w151",
    "7GQ2M4X09T0CKD3EW151",
    " 7gq2 m4x0 9t0c kd3e w151 \n",
    "7GQ2–M4XO–9TOC–KD3E–WI5L",
    "7gq2_m4xo.9t0c—kd3e−wl5i",
  ]) {
    test(`typed as ${JSON.stringify(typed)} is understood`, () => assert.equal(normalizeCode(typed), code));
  }

  for (const text of [
    "",
    "correct horse battery",
    "7GQ2-M4X0-9T0C-KD3E-W15",
    "7GQ2-M4X0-9T0C-KD3E-W15U",
    "geheim!",
  ]) {
    test(`the text ${JSON.stringify(text)} is left as it is`, () => assert.equal(normalizeCode(text), text));
  }

  test("opens the key as it was typed", async () => {
    const withCode = await encryptKey(key, code);
    assert.equal(await decryptKey(withCode, "7gq2 m4xo 9toc kd3e wl5i"), key);
  });

  test("does not get in the way of a passphrase that looks like one", async () => {
    const looksLike = "correct horse battery st";
    assert.notEqual(normalizeCode("correcthorsebatteryz"), "correcthorsebatteryz");
    for (const own of [looksLike, "correcthorsebatteryz"]) {
      assert.equal(await decryptKey(await encryptKey(key, own), own), key);
    }
  });
});
