/**
 * Asking the running registry over TLS, without DNS: the connection goes to an IP address, and the
 * certificate is compared with a name or another address.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Agent, type RequestOptions, request } from "node:https";
import { isIP } from "node:net";
import { checkServerIdentity, connect, type PeerCertificate } from "node:tls";
import type { Digest } from "../oci/digest.ts";

export interface RegistryAddress {
  /** PEM: the only CA that is trusted */
  ca: Buffer;
  /** the IP address to connect to */
  connect: string;
  port: number;
  /** what the certificate must be for: a DNS name or an IP address; the IP connected to if left out */
  as?: string;
  /** false: any name in the certificate will do */
  checkName?: false;
  /** after so long without an answer it is given up; 10 if left out */
  timeoutSeconds?: number;
  /** connections to use again, as registryAgent makes them */
  agent?: Agent;
}

export interface RegistryAnswer {
  contentType: string;
  /** Docker-Content-Digest (distribution's HTTP API, "Digest Header") */
  digest: string | undefined;
  body: Buffer;
}

/** The registry answered, with another status than 200. */
export class UnexpectedStatus extends Error {
  readonly status: number;

  constructor(what: string, status: number) {
    super(`${what}: wanted status 200, got ${status}`);
    this.status = status;
  }
}

/** The registry refuses manifests over 4 MiB (maxManifestBodySize, distribution 2.8). */
const maxBody = 8 * 1024 * 1024;

/**
 * GET of one path: `/v2/` if left out.
 * @throws Error with the reason if the answer isn't 200: refused, certificate; UnexpectedStatus.
 */
export async function askRegistry(
  at: RegistryAddress,
  path = "/v2/",
  headers: Record<string, string> = {},
): Promise<RegistryAnswer> {
  const chunks: Buffer[] = [];
  let size = 0;
  const answer = await exchange(at, { method: "GET", path, headers }, (chunk) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > maxBody) throw new Error(`GET ${path}: more than ${maxBody} bytes`);
  });
  const digest = answer.headers["docker-content-digest"];
  return {
    contentType: answer.headers["content-type"] ?? "",
    digest: typeof digest === "string" ? digest : undefined,
    body: Buffer.concat(chunks),
  };
}

/**
 * GET of a blob, hashed while it comes; nothing of it is kept.
 * @param onBytes called with the length of each chunk @throws Error as askRegistry does
 */
export async function pullBlob(
  at: RegistryAddress,
  path: string,
  onBytes: (bytes: number) => void,
): Promise<{ digest: Digest; size: number }> {
  const hash = createHash("sha256");
  let size = 0;
  await exchange(at, { method: "GET", path }, (chunk) => {
    hash.update(chunk);
    size += chunk.length;
    onBytes(chunk.length);
  });
  return { digest: `sha256:${hash.digest("hex")}`, size };
}

/** HEAD of a path. @returns Content-Length, if the registry says it @throws Error as askRegistry does */
export async function sizeOf(at: RegistryAddress, path: string): Promise<number | undefined> {
  const { headers } = await exchange(at, { method: "HEAD", path }, () => {});
  const length = headers["content-length"];
  return length === undefined ? undefined : Number(length);
}

/** @param onChunk what it throws ends the request */
function exchange(
  at: RegistryAddress,
  { method, path, headers = {} }: { method: "GET" | "HEAD"; path: string; headers?: Record<string, string> },
  onChunk: (chunk: Buffer) => void,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request({ ...connection(at), method, path, headers: { ...hostHeader(at), ...headers } });
    asked.on("response", (response) => {
      const { statusCode = 0 } = response;
      if (statusCode !== 200) {
        response.resume();
        reject(new UnexpectedStatus(`${method} ${path}`, statusCode));
        return;
      }
      response.on("data", (chunk: Buffer) => {
        try {
          onChunk(chunk);
        } catch (error) {
          asked.destroy(error instanceof Error ? error : new Error(String(error)));
        }
      });
      response.on("error", reject);
      response.on("end", () => resolve(response));
    });
    asked.on("timeout", () => asked.destroy(new Error(`no answer within ${timeoutOf(at)} seconds`)));
    asked.on("error", reject);
    asked.end();
  });
}

function connection(at: RegistryAddress): RequestOptions {
  const as = nameOf(at);
  return {
    host: at.connect,
    port: at.port,
    ca: at.ca,
    // Server names are for names alone (RFC 6066, section 3).
    servername: isIP(as) === 0 ? as : "",
    checkServerIdentity: (_, certificate: PeerCertificate) =>
      at.checkName === false ? undefined : checkServerIdentity(as, certificate),
    agent: at.agent ?? false,
    timeout: timeoutOf(at) * 1000,
  };
}

function timeoutOf({ timeoutSeconds = 10 }: RegistryAddress): number {
  return timeoutSeconds;
}

function hostHeader(at: RegistryAddress): { host: string } {
  const as = nameOf(at);
  return { host: isIP(as) === 6 ? `[${as}]:${at.port}` : `${as}:${at.port}` };
}

function nameOf(at: RegistryAddress): string {
  return at.as ?? at.connect;
}

/** Keeps at most `connections` connections open; destroy it in the end. */
export function registryAgent(connections: number): Agent {
  return new Agent({ keepAlive: true, maxSockets: connections });
}

/**
 * The certificate (DER) that whatever listens there shows. Nothing is trusted because of it.
 * @returns undefined if nothing answers over TLS within ten seconds
 */
export function servedCertificate(port: number): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => {
      const { raw } = socket.getPeerCertificate();
      socket.destroy();
      resolve(raw);
    });
    const nothing = () => {
      socket.destroy();
      resolve(undefined);
    };
    socket.setTimeout(10_000, nothing).once("error", nothing);
  });
}
