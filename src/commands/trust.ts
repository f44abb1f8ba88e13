/** `drydock trust`: makes clients trust the site's CA, and proves it from each. */
import { Args, Flags } from "@oclif/core";
import { DrydockCommand } from "../cli/base-command.ts";
import {
  clientFlags,
  clientOptions,
  clientReport,
  exitCodeOf,
  imagesFor,
  proveClientsFlag,
  readClients,
} from "../cli/clients.ts";
import { describeTrustPlan } from "../cli/describe-trust.ts";
import { DrydockError } from "../errors.ts";
import { readServing, type Serving } from "../site/serving.ts";
import type { Client, ClientResult } from "../trust/client.ts";
import type { TrustPlan } from "../trust/dry-run.ts";

export default class Trust extends DrydockCommand {
  static override summary = "Make clients trust the registry's CA, over SSH (isolated side).";
  static override description =
    "Writes the CA certificate into Docker's certificate directories of each host, for the registry's name and " +
    "each address, then proves from where the host stands that the registry can be used there. Hosts are named, " +
    "or are those of an Ansible inventory: INI or YAML, a file or a folder, with group_vars and host_vars " +
    "beside it; repo_host is the name or address by which a host reaches the registry. Host keys are checked; " +
    "one host's trouble stops no other; a host that has it is left as it is.";
  static override args = {
    host: Args.string({ multiple: true, description: "[USER@]HOST[:PORT], where there is no inventory" }),
  };
  static override flags = {
    clients: Flags.string({
      helpValue: "FILE",
      description: "an Ansible inventory, INI or YAML, a file or a folder",
    }),
    "dry-run": Flags.boolean({
      description: "list the hosts as they were understood, and what would be written; connect to nobody",
    }),
    site: Flags.string({
      helpValue: "DIR",
      description: "the site's directory [default: where install put it]",
    }),
    prove: proveClientsFlag(),
    ...clientFlags,
  };
  static override examples = [
    "<%= config.bin %> trust --clients hosts.ini",
    "<%= config.bin %> trust root@10.0.0.5 admin@host2:2222",
    "<%= config.bin %> trust --clients inventory/ --limit 'web:&lab:!old' --dry-run",
    "<%= config.bin %> trust --clients hosts.ini --prove pull --parallel 64",
    "<%= config.bin %> trust --clients hosts.ini --known-hosts ./known_hosts --json",
  ];
  static override exitCodes = ["input", "partial", "host"] as const;
  static override whenInterrupted = "Hosts that were done stay done; run the same command to continue.";

  async run(): Promise<{ hosts: ClientResult[] } | TrustPlan> {
    const { args, flags } = await this.parse(Trust);
    const clients = await this.#clients(args.host ?? [], flags);
    if (flags["dry-run"]) {
      const { planTrust } = await import("../trust/dry-run.ts");
      const plan = planTrust(clients, await servingIfThere(flags.site));
      this.log(describeTrustPlan(plan));
      return plan;
    }
    const serving = await readServing(flags.site);
    const { prove } = flags;
    const images = await imagesFor(prove, flags.site);
    const { trust } = await import("../trust/trust.ts");
    const options = { ...clientOptions(flags), ...serving, prove, images };
    const hosts = await trust(clients, options, this.reporter);
    this.log(clientReport(hosts));
    process.exitCode = exitCodeOf(hosts);
    return { hosts };
  }

  async #clients(
    named: readonly string[],
    flags: { clients?: string | undefined; limit?: string | undefined; "allow-proxy-command": boolean },
  ): Promise<Client[]> {
    if (flags.clients !== undefined && named.length > 0) {
      throw new DrydockError(
        "usage",
        `--clients, and hosts besides (${named.join(", ")}): wanted one of the two`,
        {
          hint: "To take only some hosts of the inventory: --limit.",
        },
      );
    }
    const listed = await readClients(flags, this.reporter);
    if (listed !== undefined) return listed;
    if (named.length === 0) {
      throw new DrydockError("usage", "no client is named: wanted --clients FILE, or hosts", {
        hint: "For example: drydock trust root@10.0.0.5",
      });
    }
    const { readHostArguments } = await import("../trust/inventory/host-arguments.ts");
    return readHostArguments(named);
  }
}

/** A dry run needs no site, unless one is named. */
async function servingIfThere(site: string | undefined): Promise<Serving | undefined> {
  try {
    return await readServing(site);
  } catch (error) {
    if (site === undefined && error instanceof DrydockError && error.kind === "input") return undefined;
    throw error;
  }
}
