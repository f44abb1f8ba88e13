/**
 * A registry as people set it up by hand: a CA and a server pair of cfssl, /certs and /var/lib/registry
 * mounted, `docker run --restart=always`. Nothing of drydock's is in it.
 */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { RunOptions, RunResult } from "./process.ts";

/** Runs a command to its end, here or inside a host. */
export type Runner = (command: string, args: readonly string[], options?: RunOptions) => Promise<RunResult>;

export interface DocumentedOptions {
  /** /srv/docker-registry, or another one */
  root: string;
  /** what the certificate names: 127.0.0.1 is not among them unless it is said */
  hosts: string[];
  /** how the certificate's file is called; registry.pem, as cfssl writes it, if left out */
  certificateName?: string;
  /** on the host; 443 if left out */
  port?: number;
  /** more of docker run's arguments, before the image */
  args?: string[];
  /** instead of `-v ROOT/storage:/var/lib/registry` */
  storage?: string[];
  /** "always" if left out */
  restart?: string;
}

/** Makes ca.json, registry.json and what cfssl makes of them. */
export async function makeDocumentedCertificates(run: Runner, options: DocumentedOptions): Promise<void> {
  const { root, hosts, certificateName = "registry.pem" } = options;
  const certs = join(root, "certs");
  await mkdir(certs, { recursive: true });
  await mkdir(join(root, "storage"), { recursive: true });
  const key = { algo: "rsa", size: 2048 };
  const names = [{ C: "DE", ST: "Bavaria", L: "Munich", O: "Example", OU: "Operations" }];
  await writeFile(join(certs, "ca.json"), JSON.stringify({ CN: "Registry CA", key, names }));
  await writeFile(join(certs, "registry.json"), JSON.stringify({ CN: hosts[0], hosts, key, names }));
  const script = [
    "cfssl gencert -loglevel=5 -initca ca.json | cfssljson -bare ca",
    "cfssl gencert -loglevel=5 -ca=ca.pem -ca-key=ca-key.pem registry.json | cfssljson -bare registry",
    // The CA's key is somebody's who is not here.
    "rm ca-key.pem",
  ].join(" && ");
  await run("/bin/sh", ["-c", script], { cwd: certs });
  if (certificateName !== "registry.pem")
    await rename(join(certs, "registry.pem"), join(certs, certificateName));
}

/** @returns the container's id. The engine has `registry:2`. */
export async function runDocumented(run: Runner, options: DocumentedOptions): Promise<string> {
  const { root, certificateName = "registry.pem", port = 443, args = [] } = options;
  const storage = options.storage ?? ["-v", `${join(root, "storage")}:/var/lib/registry`];
  const words = [
    ...["run", "-d", `--restart=${options.restart ?? "always"}`, "--name", "registry"],
    ...["-v", `${join(root, "certs")}:/certs`],
    ...["-e", "REGISTRY_HTTP_ADDR=0.0.0.0:443"],
    ...["-e", `REGISTRY_HTTP_TLS_CERTIFICATE=/certs/${certificateName}`],
    ...["-e", "REGISTRY_HTTP_TLS_KEY=/certs/registry-key.pem"],
    ...["-p", `${port}:443`, ...storage, ...args, "registry:2"],
  ];
  return (await run("docker", words)).stdout.trim();
}
