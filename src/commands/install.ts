/** `drydock install`: brings a bundle to life at the site, and where clients are listed, makes them trust it. */
import { Args, Flags } from "@oclif/core";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { DrydockCommand } from "../cli/base-command.ts";
import {
  clientFlags,
  clientOptions,
  exitCodeOf,
  imagesFor,
  packagesFor,
  proveClientsFlag,
  readClients,
  remember,
  retryCommand,
} from "../cli/clients.ts";
import { clientFindings, clientReport } from "../cli/describe-clients.ts";
import { findingsTable } from "../cli/describe-findings.ts";
import { describeInstall, describePlan } from "../cli/describe-install.ts";
import { describePrune } from "../cli/describe-prune.ts";
import { checkDigestFlag, digestFlag } from "../cli/digest-flag.ts";
import { readPassphraseFile } from "../cli/passphrase.ts";
import { askSecret } from "../cli/prompt.ts";
import { storeFlags, storeOptions } from "../cli/stores.ts";
import { hasColor } from "../cli/terminal.ts";
import { exitCodes } from "../errors.ts";
import type { AskPassphrase } from "../install/certificates.ts";
import type { InstallDryRun } from "../install/dry-run.ts";
import type { Finding } from "../install/finding.ts";
import type { InstallOptions, InstallResult } from "../install/install.ts";
import type { Reporter } from "../reporter.ts";
import { readServing } from "../site/serving.ts";
import type { Client, ClientResult } from "../trust/client.ts";
import type { Reach } from "../trust/reach.ts";

type Result = Omit<InstallResult, "index"> & {
  name: string;
  release: number;
  addresses: string[];
  hosts?: ClientResult[];
};

type DryRunResult = InstallDryRun & { hosts?: ClientResult[] };

export default class Install extends DrydockCommand {
  static override summary = "Install a bundle at the site (isolated side).";
  static override description =
    "Verifies the bundle while it reads it, places its content straight into the registry's storage, runs " +
    "the registry with TLS, restarting always, and proves it: by name, by each address, tag by tag. With " +
    "--clients it then does what trust does. What is there already is left as it is, so the same command " +
    "can be run again at any time.";
  static override args = {
    bundle: Args.string({ required: true, description: "the bundle, or - for standard input" }),
  };
  static override flags = {
    digest: digestFlag,
    site: Flags.string({
      helpValue: "DIR",
      description: "the site's directory [default: /srv/docker-registry]",
    }),
    "passphrase-file": Flags.string({
      helpValue: "FILE",
      description:
        "the code or passphrase of the server's key is the first line of FILE [default: asked for]",
    }),
    address: Flags.string({
      helpValue: "NAME_OR_IP",
      multiple: true,
      multipleNonGreedy: true,
      description:
        "serve under this name or address instead of the bundle's; the first is the registry's name (repeatable)",
    }),
    port: Flags.integer({
      helpValue: "N",
      min: 1,
      max: 65535,
      description: "serve on this port instead of the bundle's",
    }),
    access: Flags.option({
      options: ["read-only", "push"] as const,
      description: "whether clients may push, instead of what the bundle says",
    })(),
    "new-certs": Flags.boolean({
      description:
        "make the server's certificate here, by the site's own CA if it has one, else with a new CA that every client must be given",
    }),
    adopt: Flags.boolean({
      description:
        "take over the registry that is there, set up by hand or left by uninstall: its content, certificates, port and access stay; rollback gives it back",
    }),
    "allow-downgrade": Flags.boolean({
      description: "take a bundle of an older release than the one that is served",
    }),
    "dry-run": Flags.boolean({
      description: "check everything and show what would be done; write nothing",
    }),
    prove: Flags.option({
      options: ["tags", "full"] as const,
      default: "tags",
      description:
        "in the end, ask the registry for every tag; full: pull every blob of the bundle and hash it",
    })(),
    prune: Flags.boolean({
      description: "in the end, remove old releases and what only they use, as drydock prune does",
    }),
    keep: Flags.integer({
      helpValue: "N",
      min: 1,
      dependsOn: ["prune"],
      description: "with --prune: how many releases stay, this one included [default: 2]",
    }),
    clients: Flags.string({
      helpValue: "FILE",
      description: "an Ansible inventory: make these hosts trust the CA",
    }),
    "prove-clients": proveClientsFlag(),
    ...storeFlags,
    ...clientFlags,
  };
  static override examples = [
    "<%= config.bin %> install /media/stick/site.tar --digest DIGEST",
    "<%= config.bin %> install site.tar --site /data/registry --clients hosts.ini",
    "<%= config.bin %> install site.tar --clients hosts.ini --install-packages",
    "<%= config.bin %> install site.tar --dry-run --clients hosts.ini",
    "<%= config.bin %> install site.tar --address 10.0.0.10 --new-certs",
    "<%= config.bin %> install site.tar --adopt",
    "<%= config.bin %> install site.tar --prune --keep 3",
    "zstd -dc site.tar.zst | <%= config.bin %> install - --passphrase-file /root/site.pass",
  ];
  static override exitCodes = ["input", "integrity", "partial", "preflight", "host"] as const;
  static override whenInterrupted =
    "What was placed is kept: run the same command to continue. If some of it shows already, `drydock rollback` puts back what was before.";

  async run(): Promise<Result | DryRunResult> {
    const { args, flags } = await this.parse(Install);
    const digest = checkDigestFlag(flags.digest);
    const clients = await readClients(flags, this.reporter);
    const { checkRepoHosts } = await import("../trust/inventory/repo-host.ts");
    const stores = clients && storeOptions(flags, this.reporter);
    let checked: ClientResult[] | undefined;
    const reach = clients && (await prepareReach(clients, flags, this.reporter));
    const checkClients = async (addresses: string[], index: BundleIndex) => {
      await packagesFor(flags, flags.site, index.packages.length > 0);
      const { checkClients } = await import("../trust/trust.ts");
      const options = { ...clientOptions(flags), addresses, reach };
      checked = await checkClients(clients ?? [], options, this.reporter);
      return clientFindings(checked);
    };
    const options: InstallOptions = {
      bundle: args.bundle,
      ...(digest === undefined ? {} : { digest }),
      ...(flags.site === undefined ? {} : { site: flags.site }),
      choices: {
        ...(flags.address === undefined ? {} : { addresses: flags.address }),
        ...(flags.port === undefined ? {} : { port: flags.port }),
        ...(flags.access === undefined ? {} : { access: flags.access }),
      },
      newCertificates: flags["new-certs"],
      adopt: flags.adopt,
      allowDowngrade: flags["allow-downgrade"],
      ...(flags.prune ? { prune: flags.keep === undefined ? {} : { keep: flags.keep } } : {}),
      prove: flags.prove,
      askPassphrase: askPassphrase(flags),
      checkAddresses: (addresses) => checkRepoHosts(clients ?? [], addresses),
      ...(clients === undefined ? {} : { checkClients }),
      typed: [this.config.bin, "install", ...this.argv],
    };
    if (flags["dry-run"]) {
      if (flags.prune)
        this.reporter.note("What --prune removes is not part of it: see `drydock prune --dry-run`.");
      const { dryRun } = await import("../install/dry-run.ts");
      const result = await dryRun(options, this.reporter);
      const table = tableFor(process.stdout, result.findings, hasColor(process.stdout));
      this.log(`${table}\n\n${describePlan(result.plan, checked)}`);
      if (result.findings.some(({ level }) => level === "error")) process.exitCode = exitCodes.preflight;
      return { ...result, ...(checked === undefined ? {} : { hosts: checked }) };
    }
    const onFindings = (findings: Finding[]) => {
      if (flags.adopt || findings.some(({ level }) => level !== "ok"))
        this.reporter.note(tableFor(process.stderr, findings, false));
    };
    const { install } = await import("../install/install.ts");
    const result = await install({ ...options, onFindings }, this.reporter);
    this.log(describeInstall(result));
    if (result.pruned !== undefined) this.log(`\n${describePrune(result.pruned)}`);
    const { index, ...rest } = result;
    const { name, release } = index;
    const { addresses } = result.settings;
    const told: Result = { name, release, addresses, ...rest };
    if (clients === undefined) {
      this.log(`\nTo make clients trust it:\n\n    drydock trust --clients INVENTORY`);
      return told;
    }
    const prove = flags["prove-clients"];
    const images = await imagesFor(prove, result.site);
    const packages = await packagesFor(flags, result.site);
    const serving = await readServing(result.site);
    const [{ trust }, { lastRunFile }] = await Promise.all([
      import("../trust/trust.ts"),
      import("../trust/last-run.ts"),
    ]);
    const hosts = await trust(
      clients,
      { ...clientOptions(flags), ...stores, ...serving, packages, prove, images, reach },
      this.reporter,
    );
    const lastRun = await lastRunFile(result.site);
    await remember(lastRun, hosts, flags.limit === undefined, this.reporter);
    const again = retryCommand({ bin: this.config.bin, site: result.site }, flags);
    this.log(`\n${clientReport(hosts, { width: process.stdout.columns, again })}`);
    process.exitCode = exitCodeOf(hosts);
    return { ...told, hosts };
  }
}

/** What is to be asked for about the clients is asked before anything starts, and once. */
async function prepareReach(
  clients: readonly Client[],
  flags: Parameters<typeof clientOptions>[0] & { "dry-run": boolean },
  reporter: Reporter,
): Promise<Reach> {
  const { Reach } = await import("../trust/reach.ts");
  const options = { ...clientOptions(flags), rememberHostKeys: !flags["dry-run"] };
  return await Reach.prepare(clients, options, reporter);
}

/** @param color false for what goes through the reporter, which takes colours out */
function tableFor(stream: NodeJS.WriteStream, findings: Finding[], color: boolean): string {
  return findingsTable(findings, color, stream.isTTY ? stream.columns - 1 : undefined);
}

/** A dry run doesn't ask; but a file that is named is read and tried. */
function askPassphrase(flags: {
  "passphrase-file"?: string | undefined;
  "dry-run": boolean;
}): AskPassphrase | undefined {
  const file = flags["passphrase-file"];
  if (file !== undefined) return (wrong) => (wrong ? Promise.reject(wrong) : readPassphraseFile(file));
  if (flags["dry-run"]) return undefined;
  return (wrong) => askSecret(`${wrong ? "Not right. " : ""}Code or passphrase of the server's key: `);
}
