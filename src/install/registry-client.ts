/**
 * Asking the running registry over TLS, without DNS: the connection goes to an IP address, and the
 * certificate is compared with a name or another address.
 */
import { Agent, type RequestOptions, request } from "node:https";
import { isIP } from "node:net";
import { checkServerIdentity, type PeerCertificate } from "node:tls";

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
  /** connections to use again, as registryAgent makes them */
  agent?: Agent;
}

export interface RegistryAnswer {
  contentType: string;
  /** Docker-Content-Digest (distribution's HTTP API, "Digest Header") */
  digest: string | undefined;
  body: Buffer;
}

/** The registry refuses manifests over 4 MiB (maxManifestBodySize, distribution 2.8). */
const maxBody = 8 * 1024 * 1024;

/**
 * GET of one path: `/v2/` if left out.
 * @throws Error with the reason if the answer isn't 200: refused, certificate, status.
 */
export function askRegistry(
  at: RegistryAddress,
  path = "/v2/",
  headers: Record<string, string> = {},
): Promise<RegistryAnswer> {
  const as = at.as ?? at.connect;
  const options: RequestOptions = {
    host: at.connect,
    port: at.port,
    path,
    headers: { host: isIP(as) === 6 ? `[${as}]:${at.port}` : `${as}:${at.port}`, ...headers },
    ca: at.ca,
    // Server names are for names alone (RFC 6066, section 3).
    servername: isIP(as) === 0 ? as : "",
    checkServerIdentity: (_, certificate: PeerCertificate) =>
      at.checkName === false ? undefined : checkServerIdentity(as, certificate),
    agent: at.agent ?? false,
    timeout: 10_000,
  };
  return new Promise((resolve, reject) => {
    const asked = request(options, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        size += chunk.length;
        if (size > maxBody) asked.destroy(new Error(`GET ${path}: more than ${maxBody} bytes`));
      });
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode !== 200) {
          reject(new Error(`GET ${path}: wanted status 200, got ${response.statusCode}`));
          return;
        }
        const digest = response.headers["docker-content-digest"];
        resolve({
          contentType: response.headers["content-type"] ?? "",
          digest: typeof digest === "string" ? digest : undefined,
          body: Buffer.concat(chunks),
        });
      });
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer within ten seconds")));
    asked.on("error", reject);
    asked.end();
  });
}

/** Keeps at most `connections` connections open; destroy it in the end. */
export function registryAgent(connections: number): Agent {
  return new Agent({ keepAlive: true, maxSockets: connections });
}
