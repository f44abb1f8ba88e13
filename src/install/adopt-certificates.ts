/**
 * The certificates of a registry that is taken over: found under whatever names they have, they stay, and
 * are copied to drydock's names where those are others.
 */
import type { X509Certificate } from "node:crypto";
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describeCertificate, readCertificate } from "../certificates/inspect.ts";
import { DrydockError } from "../errors.ts";
import type { AdoptedContainer } from "../site/adopted.ts";
import { readBytesIfThere } from "../site/json-file.ts";
import { readCertificates } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import { adoptFinding } from "./adopt-container.ts";
import type { FlagChanges } from "./command-to-type.ts";
import { type Finding, findingOf } from "./finding.ts";

/** PEM texts. */
export interface AdoptedPair {
  ca: string;
  server: string;
  key: string;
}

export interface AdoptedCertificates {
  /** absent where there are none, or not all */
  pair?: AdoptedPair;
  findings: Finding[];
}

/**
 * Writes nothing.
 * @param container with the paths of what it serves with; undefined if there is none
 * @param newOnes whether new ones are made anyhow, so that nothing here stands in the way
 */
export async function findCertificates(
  layout: SiteLayout,
  container: Pick<AdoptedContainer, "certificate" | "key"> | undefined,
  newOnes: boolean,
  command: (changes: FlagChanges) => string,
): Promise<AdoptedCertificates> {
  try {
    if (container === undefined) return await ownNames(layout);
    const found = await servedWith(layout, container, command);
    return newOnes ? { ...found, findings: [] } : found;
  } catch (error) {
    if (!(error instanceof DrydockError)) throw error;
    return { findings: newOnes ? [] : [findingOf(error, "adopt")] };
  }
}

/** Without a container there are only drydock's names to go by. */
async function ownNames(layout: SiteLayout): Promise<AdoptedCertificates> {
  const { ca, server, key } = await readCertificates(layout);
  if (ca === undefined || server === undefined || key === undefined) return { findings: [] };
  const pair = { ca: ca.toString(), server: server.toString(), key: key.toString() };
  return { pair, findings: [describe(pair, layout.serverCertificate)] };
}

async function servedWith(
  layout: SiteLayout,
  container: Pick<AdoptedContainer, "certificate" | "key">,
  command: (changes: FlagChanges) => string,
): Promise<AdoptedCertificates> {
  const newOnes = `\`${command({ newCertificates: true })}\``;
  if (container.certificate === undefined || container.key === undefined) {
    throw new DrydockError(
      "preflight",
      "it serves without TLS, and drydock's registry serves with it alone",
      {
        hint: `Its clients will notice. To have certificates made here, which they must be given: ${newOnes}`,
      },
    );
  }
  const server = await read(container.certificate);
  const key = await read(container.key);
  const authority = await findAuthority(layout, container.certificate, server, newOnes);
  const pair = { ca: authority.text, server, key };
  const wanted = [
    { path: layout.caCertificate, from: authority.path, content: pair.ca },
    { path: layout.serverCertificate, from: container.certificate, content: server },
    { path: layout.serverKey, from: container.key, content: key },
  ];
  const findings = [describe(pair, container.certificate)];
  for (const { path, from, content } of wanted) {
    const there = (await readBytesIfThere(path))?.toString("utf8");
    if (there === content) continue;
    if (there === undefined) findings.push(adoptFinding("ok", `${from} is copied to ${path}`));
    else
      findings.push(
        adoptFinding("error", `${path} is another one than ${from}, which is in use`, aside(path)),
      );
  }
  return { pair, findings };
}

function aside(path: string): string {
  return `Move it out of the way, then run the same command: \`mv ${path} ${path}.old\``;
}

async function read(path: string): Promise<string> {
  const bytes = await readBytesIfThere(path);
  if (bytes !== undefined) return bytes.toString("utf8");
  throw new DrydockError("preflight", `"${path}", which it serves with, is not there`, {
    hint: "A symbolic link must lead to a file of this host. Put the file there, then run the same command.",
  });
}

/** ca.pem, or whichever certificate lies beside and signed the server's. */
async function findAuthority(
  { certs, caCertificate }: SiteLayout,
  serverPath: string,
  serverText: string,
  newOnes: string,
): Promise<{ path: string; text: string }> {
  const server = readCertificate(serverText, `"${serverPath}"`);
  const present = await readBytesIfThere(caCertificate);
  if (present !== undefined) {
    const text = present.toString("utf8");
    if (signed(text, server)) return { path: caCertificate, text };
  }
  for (const folder of new Set([certs, dirname(serverPath)])) {
    for (const path of await certificatesIn(folder)) {
      const text = (await readBytesIfThere(path))?.toString("utf8") ?? "";
      if (present === undefined && signed(text, server)) return { path, text };
    }
  }
  const what = present === undefined ? `there is no ${caCertificate}` : `${caCertificate} is not the one`;
  const name = describeCertificate(serverText).names[0] ?? "NAME";
  throw new DrydockError("preflight", `the CA's certificate that signed "${serverPath}" is needed: ${what}`, {
    hint:
      `Put it there; a client that trusts the registry has it as /etc/docker/certs.d/${name}/ca.crt. ` +
      `Or have new ones made here, which every client must be given: ${newOnes}`,
  });
}

async function certificatesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => /\.(pem|crt|cer)$/.test(name) && !/key/.test(name))
    .map((name) => join(folder, name));
}

function signed(text: string, server: X509Certificate): boolean {
  try {
    const ca = readCertificate(text);
    return ca.ca && server.checkIssued(ca) && server.verify(ca.publicKey);
  } catch {
    // What is no certificate has signed nothing.
    return false;
  }
}

function describe({ ca, server }: AdoptedPair, path: string): Finding {
  const { names, ips, notAfter } = describeCertificate(server);
  const end = (date: Date) => date.toISOString().slice(0, 10);
  const until = `until ${end(notAfter)}, its CA until ${end(describeCertificate(ca).notAfter)}`;
  return adoptFinding("ok", `${path} stays: for ${[...names, ...ips].join(", ") || "no name"}, ${until}`);
}
