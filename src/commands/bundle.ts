/** `drydock bundle`: builds the archive that crosses. */
import { basename } from "node:path";
import { Args, Flags } from "@oclif/core";
import { parseSplit } from "../archive/parts.ts";
import type { BundleResult } from "../bundle/bundle.ts";
import type { KeyProtection } from "../bundle/bundle-certificates.ts";
import type { DryRun } from "../bundle/dry-run.ts";
import type { Locking } from "../bundle/pins.ts";
import { DrydockCommand } from "../cli/base-command.ts";
import { describeContents } from "../cli/describe-bundle.ts";
import { describePlan } from "../cli/describe-plan.ts";
import { readPassphraseFile } from "../cli/passphrase.ts";
import { askSecret } from "../cli/prompt.ts";
import { commandLines } from "../cli/wrapped.ts";
import { DrydockError } from "../errors.ts";
import { isRegistryHost } from "../oci/reference.ts";
import { shellWords } from "../shell-words.ts";

export default class Bundle extends DrydockCommand {
  static override summary = "Build the bundle that crosses the gap (connected side).";
  static override description =
    "Reads the manifest, fetches images and seeds, makes or uses again the certificates, and writes one " +
    "checksummed archive. The CA's private key stays here; the server's crosses encrypted.";
  static override args = {
    manifest: Args.string({ required: true, description: "the manifest, a YAML file" }),
  };
  static override flags = {
    output: Flags.string({
      char: "o",
      helpValue: "FILE",
      description: "where the bundle goes [default: NAME.tar]",
    }),
    restart: Flags.boolean({ description: "begin anew, though an earlier try left something to go on with" }),
    reuse: Flags.string({
      helpValue: "BUNDLE",
      multiple: true,
      multipleNonGreedy: true,
      description: "take what an earlier bundle holds from there instead of fetching it (repeatable)",
    }),
    "allow-incomplete": Flags.boolean({
      description: "carry what is whole of a damaged seed; the bundle names what is left out",
    }),
    split: Flags.string({
      helpValue: "SIZE",
      description: "cut the bundle into parts of at most this size: 4G, or fat32",
    }),
    force: Flags.boolean({ description: "replace an output that exists" }),
    "dry-run": Flags.boolean({
      description:
        "show what would be bundled, with sizes and what the site needs; write nothing, but the lock file with --lock",
    }),
    "images-from": Flags.string({
      helpValue: "FILE",
      multiple: true,
      multipleNonGreedy: true,
      description:
        "carry also the images that FILE names: a Compose file, Kubernetes objects, a list; - reads a pipe (repeatable)",
    }),
    lock: Flags.boolean({
      exclusive: ["locked"],
      description: "write what each reference means now to NAME.lock.yaml beside the manifest",
    }),
    locked: Flags.boolean({ description: "build what NAME.lock.yaml says, or stop where that can't be" }),
    parallel: Flags.integer({
      helpValue: "N",
      min: 1,
      max: 64,
      description: "downloads at the same time [default: 12]",
    }),
    "plain-http": Flags.string({
      helpValue: "HOST[:PORT]",
      multiple: true,
      multipleNonGreedy: true,
      description: "ask this registry over plain HTTP (repeatable)",
    }),
    mirror: Flags.string({
      helpValue: "REGISTRY=HOST[:PORT]",
      multiple: true,
      multipleNonGreedy: true,
      description:
        "ask this host before a registry: docker.io=mirror.lan:5000 (repeatable; several in that order)",
    }),
    "token-server": Flags.string({
      helpValue: "REGISTRY=HOST[:PORT]",
      multiple: true,
      multipleNonGreedy: true,
      description:
        "give a registry's credentials to this host when it asks for a token, though it is of another domain: nvcr.io=authn.nvidia.com (repeatable)",
    }),
    "key-store": Flags.string({
      helpValue: "DIR",
      description: "where CA and server pair are kept [default: ~/.local/share/drydock/keys]",
    }),
    "passphrase-file": Flags.string({
      helpValue: "FILE",
      exclusive: ["ask-passphrase", "unencrypted-key"],
      description:
        "encrypt the server's key with the passphrase in FILE [default: a code that is made and shown once]",
    }),
    "ask-passphrase": Flags.boolean({
      exclusive: ["unencrypted-key"],
      description: "encrypt the server's key with a passphrase that is asked for",
    }),
    "unencrypted-key": Flags.boolean({ description: "carry the server's key unencrypted" }),
  };
  static override examples = [
    "<%= config.bin %> bundle manifests/smallest.yaml",
    "<%= config.bin %> bundle site.yaml -o /media/stick/site.tar --passphrase-file ~/site.pass",
    "<%= config.bin %> bundle site.yaml --dry-run --lock",
    "helm template shop ./chart | <%= config.bin %> bundle site.yaml --locked --images-from -",
    "<%= config.bin %> bundle site.yaml --mirror docker.io=mirror.lan:5000 --plain-http mirror.lan:5000",
  ];
  static override exitCodes = ["input", "integrity", "preflight", "upstream", "certificate", "host"] as const;
  static override whenInterrupted = "Nothing was changed.";

  async run(): Promise<DryRun | (Omit<BundleResult, "index"> & { bundle: BundleResult["index"] })> {
    const { args, flags } = await this.parse(Bundle);
    const what = {
      ...(flags.output === undefined ? {} : { output: flags.output }),
      plainHttp: new Set(flags["plain-http"]?.map(parsePlainHttp)),
      mirrors: mirrorsOf(flags.mirror ?? []),
      tokenServers: new Map(flags["token-server"]?.map((text) => parsePair("token-server", text))),
      imagesFrom: flags["images-from"] ?? [],
      locking: lockingOf(flags),
      allowIncomplete: flags["allow-incomplete"],
      ...(flags.parallel === undefined ? {} : { parallel: flags.parallel }),
      ...(flags.split === undefined ? {} : { split: parseSplit(flags.split) }),
      reuse: flags.reuse ?? [],
    };
    if (flags["dry-run"]) {
      const { dryRun } = await import("../bundle/dry-run.ts");
      const plan = await dryRun(args.manifest, what, this.reporter);
      this.log(describePlan(plan, process.stdout.columns));
      return plan;
    }
    const { bundle } = await import("../bundle/bundle.ts");
    const result = await bundle(
      args.manifest,
      {
        ...what,
        ...(flags["key-store"] === undefined ? {} : { keyStore: flags["key-store"] }),
        force: flags.force,
        restart: flags.restart,
        protection: await protection(flags),
      },
      this.reporter,
    );
    const { index, ...rest } = result;
    this.log(resultText(result));
    return { ...rest, bundle: index };
  }
}

function lockingOf(flags: { lock: boolean; locked: boolean }): Locking {
  if (flags.lock) return "lock";
  return flags.locked ? "locked" : "none";
}

function mirrorsOf(texts: readonly string[]): Map<string, string[]> {
  const mirrors = new Map<string, string[]>();
  for (const [registry, host] of texts.map((text) => parsePair("mirror", text))) {
    mirrors.set(registry, [...(mirrors.get(registry) ?? []), host]);
  }
  return mirrors;
}

const pairExamples = { mirror: "docker.io=mirror.lan:5000", "token-server": "nvcr.io=authn.nvidia.com" };

function parsePair(flag: keyof typeof pairExamples, text: string): [string, string] {
  const [registry = "", host = "", ...more] = text.split("=");
  if (isRegistryHost(registry) && isRegistryHost(host) && more.length === 0) return [registry, host];
  throw new DrydockError("usage", `--${flag} ${JSON.stringify(text)}: wanted REGISTRY=HOST[:PORT]`, {
    hint: `For example --${flag} ${pairExamples[flag]}`,
  });
}

function parsePlainHttp(text: string): string {
  if (isRegistryHost(text)) return text;
  throw new DrydockError("usage", `--plain-http ${JSON.stringify(text)}: wanted HOST[:PORT]`, {
    hint: "For example --plain-http mirror.lan:5000",
  });
}

async function protection(flags: {
  "passphrase-file"?: string | undefined;
  "ask-passphrase": boolean;
  "unencrypted-key": boolean;
}): Promise<KeyProtection> {
  if (flags["unencrypted-key"]) return { kind: "none" };
  const file = flags["passphrase-file"];
  if (file !== undefined) return { kind: "passphrase", passphrase: await readPassphraseFile(file) };
  if (!flags["ask-passphrase"]) return { kind: "code" };
  const passphrase = await askSecret("Passphrase for the server's key: ");
  if (passphrase !== (await askSecret("Again: ")))
    throw new DrydockError("input", "the two passphrases differ");
  if (passphrase === "") throw new DrydockError("input", "the passphrase is empty");
  return { kind: "passphrase", passphrase };
}

function resultText({ path, digest, size, index, code, newCertificates, lock }: BundleResult): string {
  const parts = [`${path}\ndigest        ${digest}`, describeContents(index, size, process.stdout.columns)];
  if (lock !== undefined) parts.push(`Lock file: ${lock}`);
  if (newCertificates !== undefined) parts.push(`Certificates: ${newCertificates}.`);
  if (code !== undefined)
    parts.push(`Write this down; install asks for it, and it is shown only now:\n\n    code   ${code}`);
  const atSite = shellWords(["drydock", "install", basename(path), "--digest", digest]);
  parts.push(
    "Carry the file over, and the digest another way (on paper, say). At the site, as root:\n\n" +
      commandLines(atSite, process.stdout.columns).join("\n"),
  );
  return parts.join("\n\n");
}
