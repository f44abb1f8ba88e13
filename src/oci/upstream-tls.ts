/**
 * Whom we trust when we speak TLS to an upstream host, and who we are there: Node's and the system's roots,
 * those of NODE_EXTRA_CA_CERTS and SSL_CERT_FILE, and for a host the files of its own folder, as Docker
 * reads them (docs.docker.com/engine/security/certificates): `*.crt` are CAs, `X.cert` with `X.key` a
 * client's certificate.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import { DrydockError, errorCode, errorText, fileErrorText } from "../errors.ts";
import type { Environment } from "./proxy.ts";

const usualFolders = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

export class UpstreamTls {
  readonly #environment: Environment;
  readonly #folders: readonly string[];
  #shared: Promise<{ roots: string[]; context: SecureContext }> | undefined;

  /** @param folders each with folders named HOST or HOST:PORT */
  constructor(environment: Environment, folders: readonly string[] = usualFolders) {
    this.#environment = environment;
    this.#folders = folders;
  }

  /**
   * For connections to the URL's host.
   * @throws DrydockError "input" naming the file, if one can't be read or is not what it should be.
   */
  async contextFor(url: URL): Promise<SecureContext> {
    this.#shared ??= this.#readShared();
    const { roots, context } = await this.#shared;
    const own = await this.#readOwn(url);
    if (own.ca.length + own.cert.length === 0) return context;
    return build({ ...own, ca: [...roots, ...own.ca] }, `the certificates for ${url.host}`);
  }

  async #readShared(): Promise<{ roots: string[]; context: SecureContext }> {
    const extra: string[] = [];
    for (const name of ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"]) {
      const file = this.#environment[name];
      if (file) extra.push(...certificatesIn(await read(file, name), `${name} ${JSON.stringify(file)}`));
    }
    const known = [...getCACertificates("default"), ...getCACertificates("system"), ...extra];
    const roots = [...new Set(known.map((pem) => pem.trim()))];
    return { roots, context: build({ ca: roots }, "the system's certificates") };
  }

  async #readOwn(url: URL): Promise<{ ca: string[]; cert: string[]; key: string[] }> {
    const own: { ca: string[]; cert: string[]; key: string[] } = { ca: [], cert: [], key: [] };
    const names = url.port === "" ? [url.hostname, `${url.hostname}:443`] : [url.host];
    // Docker Hub's API is on a host of its own.
    if (url.host === "registry-1.docker.io") names.push("docker.io");
    for (const folder of this.#folders.flatMap((each) => names.map((name) => join(each, name)))) {
      for (const file of await listing(folder)) {
        const path = join(folder, file);
        if (file.endsWith(".crt")) own.ca.push(...certificatesIn(await read(path), JSON.stringify(path)));
        if (!file.endsWith(".cert")) continue;
        own.cert.push(await read(path));
        own.key.push(await read(path.replace(/cert$/, "key"), `the key of ${JSON.stringify(path)}:`));
      }
    }
    return own;
  }
}

async function listing(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (cause) {
    if (errorCode(cause) === "ENOENT" || errorCode(cause) === "ENOTDIR") return [];
    throw new DrydockError(
      "input",
      `read certificates in ${JSON.stringify(folder)}: ${fileErrorText(cause)}`,
      {
        cause,
      },
    );
  }
}

async function read(path: string, of = ""): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const name = of === "" ? JSON.stringify(path) : `${of} ${JSON.stringify(path)}`;
    throw new DrydockError("input", `read ${name}: ${fileErrorText(cause)}`, { cause });
  }
}

function certificatesIn(pem: string, where: string): string[] {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (found !== null) return found;
  throw new DrydockError("input", `read ${where}: it holds no certificate in PEM form`);
}

/** OpenSSL's words name no secret. */
function build(options: { ca: string[]; cert?: string[]; key?: string[] }, what: string): SecureContext {
  try {
    return createSecureContext(options);
  } catch (cause) {
    throw new DrydockError("input", `use ${what}: ${errorText(cause)}`, { cause });
  }
}
