/** `drydock install`: brings a bundle to life at the site, and where clients are listed, makes them trust it. */
import { readFile } from "node:fs/promises";
import { Args, Flags } from "@oclif/core";
import { DrydockCommand } from "../cli/base-command.ts";
import { clientFlags, clientOptions, clientReport, exitCodeOf } from "../cli/clients.ts";
import { checkDigestFlag, digestFlag } from "../cli/digest-flag.ts";
import { count, formatBytes } from "../cli/format.ts";
import { readPassphraseFile } from "../cli/passphrase.ts";
import { askSecret } from "../cli/prompt.ts";
import type { InstallResult } from "../install/install.ts";
import { siteLayout } from "../site/layout.ts";
import type { ClientResult } from "../trust/client.ts";

type Result = Omit<InstallResult, "index"> & {
  name: string;
  release: number;
  addresses: string[];
  hosts?: ClientResult[];
};

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
    clients: Flags.string({
      helpValue: "FILE",
      description: "an Ansible INI inventory: make these hosts trust the CA",
    }),
    ...clientFlags,
  };
  static override examples = [
    "<%= config.bin %> install /media/stick/site.tar --digest DIGEST",
    "<%= config.bin %> install site.tar --site /data/registry --clients hosts.ini",
    "zstd -dc site.tar.zst | <%= config.bin %> install - --passphrase-file /root/site.pass",
  ];
  static override exitCodes = ["input", "integrity", "partial", "preflight", "host"] as const;
  static override whenInterrupted =
    "What was placed is kept, nothing of it shows yet; run the same command to continue.";

  async run(): Promise<Result> {
    const { args, flags } = await this.parse(Install);
    const digest = checkDigestFlag(flags.digest);
    const { checkRepoHosts, readInventory } = await import("../trust/inventory.ts");
    const clients = flags.clients === undefined ? undefined : await readInventory(flags.clients);
    const file = flags["passphrase-file"];
    const { install } = await import("../install/install.ts");
    const result = await install(
      {
        bundle: args.bundle,
        ...(digest === undefined ? {} : { digest }),
        ...(flags.site === undefined ? {} : { site: flags.site }),
        askPassphrase: () =>
          file === undefined
            ? askSecret("Code or passphrase of the server's key: ")
            : readPassphraseFile(file),
        checkAddresses: (addresses) => checkRepoHosts(clients ?? [], addresses),
      },
      this.reporter,
    );
    this.log(resultText(result));
    const { index, ...rest } = result;
    const { name, release } = index;
    const { addresses, port } = result.settings;
    const told: Result = { name, release, addresses, ...rest };
    if (clients === undefined) {
      this.log(`\nTo make clients trust it:\n\n    drydock trust --clients INVENTORY`);
      return told;
    }
    const ca = await readFile(siteLayout(result.site).caCertificate, "utf8");
    const options = { ...clientOptions(flags), ca, addresses, port };
    const { trust } = await import("../trust/trust.ts");
    const hosts = await trust(clients, options, this.reporter);
    this.log(`\n${clientReport(hosts)}`);
    process.exitCode = exitCodeOf(hosts);
    return { ...told, hosts };
  }
}

function resultText({
  index,
  changed,
  placed,
  tagsMoved,
  container,
  certificates,
  proof,
  site,
  settings,
}: InstallResult): string {
  const { name, release } = index;
  const { addresses, port } = settings;
  const url = `https://${addresses[0]}${port === 443 ? "" : `:${port}`}`;
  const head = changed
    ? `${name}, release ${release}, is installed`
    : `Nothing to do: ${name}, release ${release}, was installed`;
  const done = [
    `placed ${count(placed.blobs, "blob")} (${formatBytes(placed.bytes)}), moved ${count(tagsMoved, "tag")}`,
    `certificates: ${certificateWords[certificates]}`,
    `container "registry": ${container ?? "unchanged"}`,
  ];
  const names = [...new Set(proof.addresses.map(({ as }) => as))];
  return [
    `${head} at ${site}, and answers at ${url}.`,
    ...(changed ? done.map((line) => `  ${line}`) : []),
    `  proven over TLS as ${names.join(", ")}; ${count(proof.tags, "tag")} as in the bundle`,
  ].join("\n");
}

const certificateWords: Record<InstallResult["certificates"], string> = {
  keep: "as they were",
  take: "the bundle's",
  make: "made here; the CA's key stays here",
  renew: "a new server certificate of the CA here",
};
