/** What a kit and a role are filled with: the registry's names, the CA, and where runtimes look for it. */
import { createHash, X509Certificate } from "node:crypto";
import { stat } from "node:fs/promises";
import { errorCode } from "../../errors.ts";
import { type Reporter, runStep } from "../../reporter.ts";
import { cannotWrite } from "../../site/durable.ts";
import { hostPort, reachableAddresses, referenceNames } from "../address.ts";
import { checkAuthority } from "../authority.ts";
import {
  certificateFiles,
  containerdFolder,
  containersFolder,
  desktopFolder,
  dockerFolder,
  rootlessDockerFolder,
  usersContainersFolder,
  windowsDirectory,
  windowsEngineFolder,
} from "../places.ts";
import { registryHosts } from "../stores/containerd-hosts.ts";
import { markLine } from "../stores/mark.ts";
import { ownStem } from "../stores/own-file.ts";
import { certificatesIn } from "../stores/pem.ts";
import { systemFile, systemPlaces } from "../stores/system.ts";
import { templates } from "./templates.ts";

/** What is to be trusted, and under which names. */
export interface Trusted {
  /** PEM: the CA's certificate, or several */
  ca: string;
  /** the registry's names and IP addresses, its name first */
  addresses: readonly string[];
  port: number;
}

export type TemplateName = keyof typeof templates;

/** A file of a kit or a role; its path has "/" between folders. */
export interface KitFile {
  path: string;
  text: string;
}

/** What is told of a kit or a role that was written. */
export interface Written {
  path: string;
  /** in the archive, or in the folder */
  files: string[];
  /** the SHA-256 of ca.pem, in hexadecimal */
  caSha256: string;
  /** the registry's, as references have them */
  names: readonly string[];
}

export class Contents {
  /** the certificates alone */
  readonly ca: string;
  /** of `ca`, in hexadecimal */
  readonly sha256: string;
  /** when the CA begins to be valid: a time that the same input always has */
  readonly date: Date;
  /** as references name it, its name first */
  readonly names: readonly string[];
  /** the first of them */
  readonly registry: string;
  readonly #values: Readonly<Record<string, string>>;

  /** @throws DrydockError "input": what is given is no CA */
  constructor({ ca, addresses, port }: Trusted) {
    this.ca = checkAuthority(ca);
    this.sha256 = createHash("sha256").update(this.ca).digest("hex");
    const reachable = reachableAddresses(addresses);
    this.names = referenceNames(reachable, port);
    this.registry = this.names[0] ?? "";
    const pems = certificatesIn(this.ca);
    const certificates = pems.map((pem) => new X509Certificate(pem));
    const stem = ownStem(this);
    const systemFiles = pems.map((pem) => systemFile(stem, pem));
    this.date = certificates[0]?.validFromDate ?? new Date(0);
    const [markBegin = "", markEnd = ""] = markLine("@").split("@");
    this.#values = {
      REGISTRY: this.registry,
      UNDERLINE: "=".repeat("THE CA OF THE REGISTRY ".length + this.registry.length),
      NAMES: this.names.join(" "),
      NAMES_LIST: this.names.map((name) => `  ${name}`).join("\n"),
      WINDOWS_NAMES: this.names.map((name) => `'${windowsDirectory(name)}'`).join(", "),
      ADDRESSES: reachable.map((address) => hostPort(address, port)).join(" "),
      SHA256: this.sha256,
      CERTIFICATES: certificates.map(describe).join("\n"),
      CERTUTIL_DELETE: certificates
        .map(({ serialNumber }) => `  certutil -delstore Root ${serialNumber}`)
        .join("\n"),
      FILES: certificateFiles.join(" "),
      WINDOWS_FILES: certificateFiles.map((name) => `'${name}'`).join(", "),
      MARK_BEGIN: markBegin,
      MARK_END: markEnd,
      HOSTS_TOML: registryHosts({ name: "$name", ca: "$target" }).trimEnd(),
      HOSTS_TOML_JINJA: registryHosts({ name: "{{ name }}", ca: "{{ ca }}" }).trimEnd(),
      ROLE_NAMES: this.names.map((name) => `  - "${name}"`).join("\n"),
      ROLE_FILES: certificateFiles.join(", "),
      SYSTEM_STEM: stem,
      SYSTEM_FILES: systemFiles.join(" "),
      SYSTEM_PLACES: systemPlaces.map(({ folder, program }) => `${folder}:${program}`).join(" "),
      ROLE_SYSTEM_FILES: systemFiles.join(", "),
      ROLE_SYSTEM_PLACES: systemPlaces
        .map(({ folder, program }) => `  - {path: ${folder}, command: ${program}}`)
        .join("\n"),
      DOCKER: dockerFolder,
      CONTAINERS: containersFolder,
      CONTAINERD: containerdFolder,
      ROOTLESS_DOCKER: rootlessDockerFolder.replace("~/.config", "$config"),
      USERS_CONTAINERS: usersContainersFolder.replace("~", "$HOME"),
      DESKTOP: desktopFolder,
      WINDOWS_DESKTOP: desktopFolder.replaceAll("/", "\\"),
      WINDOWS_ENGINE: windowsEngineFolder.replaceAll("/", "\\"),
    };
  }

  /** A template's text, with each `@NAME@` in it replaced. */
  fill(template: TemplateName): string {
    return templates[template].replaceAll(/@([A-Z][A-Z0-9_]*)@/g, (_, name: string) => {
      if (name === "UNIX") return this.fill("zip/unix.sh").trimEnd();
      const value = this.#values[name];
      if (value === undefined) throw new Error(`template ${template}: no value for @${name}@`);
      return value;
    });
  }
}

/** How a kit or a role comes to its path. */
interface Writing {
  /** @throws DrydockError if nothing may be written there */
  check(): Promise<void>;
  files(contents: Contents): KitFile[];
  write(files: readonly KitFile[], contents: Contents): Promise<void>;
}

/** @throws DrydockError "input": the CA is none; and what `writing` throws */
export async function fillAndWrite(
  what: string,
  path: string,
  trusted: Trusted,
  reporter: Reporter,
  writing: Writing,
): Promise<Written> {
  const contents = new Contents(trusted);
  return await runStep(reporter, `write the ${what}`, async () => {
    await writing.check();
    const files = writing.files(contents);
    await writing.write(files, contents);
    return {
      path,
      files: files.map((file) => file.path),
      caSha256: contents.sha256,
      names: contents.names,
    };
  });
}

/** What is at a path where something is to be written. @throws DrydockError "host" if that can't be told */
export async function kindOf(path: string): Promise<"none" | "file" | "folder" | "other"> {
  const found = await stat(path).catch((error: unknown) => {
    if (errorCode(error) === "ENOENT") return undefined;
    throw cannotWrite(path, error);
  });
  if (found === undefined) return "none";
  return found.isFile() ? "file" : found.isDirectory() ? "folder" : "other";
}

function describe({ subject, validToDate }: X509Certificate): string {
  const name = subject.replaceAll("\n", ", ").replaceAll(/\p{Cc}/gu, " ");
  return `The CA: ${name}\n        valid until ${validToDate.toISOString().slice(0, 10)}`;
}
