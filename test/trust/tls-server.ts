/**
 * A TLS server with certificates that openssl made: what a client sees of a registry.
 */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createServer } from "node:tls";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface Certificates {
  /** PEM */
  ca: string;
  certificate: string;
  key: string;
}

/** A CA and a server certificate for `names` ("DNS:registry.lan,IP:127.0.0.2"). */
export async function makeCertificates(folder: string, label: string, names: string): Promise<Certificates> {
  const file = (suffix: string) => join(folder, `${label}-${suffix}`);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const made = {
    ca: file("ca.pem"),
    caKey: file("ca.key"),
    csr: file("csr"),
    key: file("key"),
    pem: file("pem"),
  };
  const authority = ["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-subj", `/CN=${label} CA`];
  await run("openssl", [
    "req",
    "-x509",
    ...key,
    "-keyout",
    made.caKey,
    "-out",
    made.ca,
    "-days",
    "9",
    ...authority,
  ]);
  await run("openssl", ["req", ...key, "-keyout", made.key, "-out", made.csr, "-subj", `/CN=${label}`]);
  await writeFile(file("ext"), `subjectAltName=${names}\nbasicConstraints=critical,CA:FALSE\n`);
  const signing = [
    "-CA",
    made.ca,
    "-CAkey",
    made.caKey,
    "-CAcreateserial",
    "-days",
    "8",
    "-extfile",
    file("ext"),
  ];
  await run("openssl", ["x509", "-req", "-in", made.csr, "-out", made.pem, ...signing]);
  return {
    ca: await readFile(made.ca, "utf8"),
    certificate: await readFile(made.pem, "utf8"),
    key: await readFile(made.key, "utf8"),
  };
}

/** Listens on 127.0.0.2, so that 127.0.0.1 is somebody else. */
export async function startTlsServer(certificates: Certificates): Promise<{ port: number; stop(): void }> {
  const server = createServer({ cert: certificates.certificate, key: certificates.key }, (socket) =>
    socket.end("HTTP/1.0 200 OK\r\n\r\n"),
  );
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.2");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { port: address.port, stop: () => server.close() };
}
