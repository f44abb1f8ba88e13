/**
 * Asks a host for its certificate. ssh2 knows no certificates of hosts, neither their algorithms nor their
 * blobs; but up to the server's half of the key exchange, which carries it, nothing is encrypted (RFC 4253
 * section 7 and 8, RFC 5656 section 4). So the first packets are spoken here, and the connection is closed.
 * Nothing is trusted for this: the certificate has its authority's signature, and that the host holds the key
 * is shown in the connection that follows.
 */
import { createECDH, generateKeyPairSync, randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";
import { WireReader, wireString } from "./ssh-wire.ts";

const certificates = [
  "ssh-ed25519-cert-v01@openssh.com",
  "ecdsa-sha2-nistp256-cert-v01@openssh.com",
  "ecdsa-sha2-nistp384-cert-v01@openssh.com",
  "ecdsa-sha2-nistp521-cert-v01@openssh.com",
  "rsa-sha2-512-cert-v01@openssh.com",
  "rsa-sha2-256-cert-v01@openssh.com",
].join();

const keyExchanges = {
  "curve25519-sha256": () => {
    const { publicKey } = generateKeyPairSync("x25519");
    return publicKey.export({ type: "spki", format: "der" }).subarray(-32);
  },
  "ecdh-sha2-nistp256": () => createECDH("prime256v1").generateKeys(),
};

const ciphers =
  "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes256-ctr,chacha20-poly1305@openssh.com";
const macs = "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512";

/** Message numbers of RFC 4250 section 4.1.2 and RFC 5656. */
const message = { kexInit: 20, ecdhInit: 30, ecdhReply: 31 };

/** A server that sends more before its half of the exchange is none. */
const limit = 128 * 1024;

/**
 * @param stream to the host's sshd; destroyed in the end
 * @returns the host's certificate, or undefined if it shows none, or none in time
 */
export async function shownCertificate(stream: Duplex, timeoutMs: number): Promise<Buffer | undefined> {
  const timer = setTimeout(() => stream.destroy(), timeoutMs);
  try {
    stream.on("error", () => undefined); // the loop below ends with it
    stream.write(`SSH-2.0-drydock\r\n`);
    stream.write(packet(ourKexInit()));
    return await readReply(stream);
  } catch {
    return undefined; // it hung up, or is no sshd: the connection that follows says so
  } finally {
    clearTimeout(timer);
    stream.destroy();
  }
}

async function readReply(stream: Duplex): Promise<Buffer | undefined> {
  let received = Buffer.alloc(0);
  let greeted = false;
  for await (const chunk of stream) {
    received = Buffer.concat([received, chunk]);
    if (received.length > limit) return undefined;
    if (!greeted) {
      // Other lines may come before (RFC 4253 section 4.2).
      const line = /(?:^|\n)SSH-[^\n]*\n/.exec(received.toString("latin1"));
      if (line === null) continue;
      received = received.subarray(line.index + line[0].length);
      greeted = true;
    }
    for (let payload = firstPayload(received); payload !== undefined; payload = firstPayload(received)) {
      received = received.subarray(4 + received.readUInt32BE(0));
      if (payload[0] === message.ecdhReply) return new WireReader(payload.subarray(1)).string();
      if (payload[0] === message.kexInit) {
        const share = ourShare(payload);
        if (share === undefined) return undefined;
        stream.write(packet(Buffer.concat([Buffer.of(message.ecdhInit), wireString(share)])));
      }
    }
  }
  return undefined;
}

/** The public half for the first of our key exchanges that the server has too. */
function ourShare(kexInit: Buffer): Buffer | undefined {
  const offered = new WireReader(kexInit.subarray(17)).names();
  for (const [name, make] of Object.entries(keyExchanges)) if (offered.includes(name)) return make();
  return undefined;
}

/** RFC 4253 section 7.1 */
function ourKexInit(): Buffer {
  const lists = [Object.keys(keyExchanges).join(), certificates, ciphers, ciphers, macs, macs];
  return Buffer.concat([
    Buffer.of(message.kexInit),
    randomBytes(16),
    ...[...lists, "none", "none", "", ""].map(wireString),
    Buffer.alloc(5), // no guessed packet follows; reserved
  ]);
}

/** RFC 4253 section 6, without encryption: a multiple of eight, at least four bytes of padding. */
function packet(payload: Buffer): Buffer {
  const padding = 4 + ((8 - ((payload.length + 9) % 8)) % 8);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(1 + payload.length + padding);
  head[4] = padding;
  return Buffer.concat([head, payload, randomBytes(padding)]);
}

/** @returns undefined if the packet is not all there; never longer than what has been received */
function firstPayload(bytes: Buffer): Buffer | undefined {
  if (bytes.length < 5) return undefined;
  const length = bytes.readUInt32BE(0);
  if (bytes.length < 4 + length || length < 2) return undefined;
  return bytes.subarray(5, 4 + length - (bytes[4] ?? 0));
}
