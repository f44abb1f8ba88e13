/** `drydock trust`: makes clients trust the site's CA, and proves it from each. */
import { Args, Flags } from "@oclif/core";
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
} from "../cli/clients.ts";
import { clientReport } from "../cli/describe-clients.ts";
import { describeTrustPlan } from "../cli/describe-trust.ts";
import { hostNames } from "../cli/host-names.ts";
import { checkNoHosts, describeWritten, type KitFlags, kitFlags, type WrittenForOthers } from "../cli/kit.ts";
import { type RegistryFlags, registryAt, registryFlags, registryIfKnown } from "../cli/registry-at.ts";
import { storeFlags, storeOptions } from "../cli/stores.ts";
import { DrydockError } from "../errors.ts";
import { shellWords } from "../shell-words.ts";
import type { Client, ClientResult } from "../trust/client.ts";
import type { TrustPlan } from "../trust/dry-run.ts";

export default class Trust extends DrydockCommand {
  static override summary = "Make clients trust the registry's CA, over SSH (isolated side).";
  static override description =
    "Writes the CA certificate to where the container runtimes of each host look for it (Docker, Podman, CRI-O, " +
    "containerd, k3s, RKE2), for the registry's name and each address, then proves from where the host stands that " +
    "the registry can be used there. Hosts are named, " +
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
    ...registryFlags,
    ...storeFlags,
    remove: Flags.boolean({
      exclusive: ["mirror", "remove-old", "install-packages"],
      description: "take away again what trust put there for this registry, and nothing else",
    }),
    retry: Flags.boolean({
      description: "only those of these hosts that failed when they were last worked on",
    }),
    prove: proveClientsFlag(),
    ...kitFlags,
    ...clientFlags,
  };
  static override examples = [
    "<%= config.bin %> trust --clients hosts.ini",
    "<%= config.bin %> trust root@10.0.0.5 admin@host2:2222",
    "<%= config.bin %> trust --clients inventory/ --limit 'web:&lab:!old' --dry-run",
    "<%= config.bin %> trust --clients hosts.ini --install-packages",
    "<%= config.bin %> trust --clients hosts.ini --prove pull --parallel 64",
    "<%= config.bin %> trust --clients hosts.ini --mirror quay.io,docker.io --restart-runtimes",
    "<%= config.bin %> trust --clients hosts.ini --ca ca.pem --address registry.plant7.lan --port 5000",
    "<%= config.bin %> trust --clients hosts.ini --remove",
    "<%= config.bin %> trust --clients hosts.ini --retry",
    "<%= config.bin %> trust --clients hosts.ini --known-hosts ./known_hosts --json",
    "<%= config.bin %> trust --kit ca-kit.zip",
    "<%= config.bin %> trust --ansible roles/drydock_trust",
  ];
  static override exitCodes = ["input", "partial", "host"] as const;
  static override whenInterrupted = "Hosts that were done stay done; run the same command to continue.";

  async run(): Promise<{ hosts: ClientResult[] } | TrustPlan | WrittenForOthers> {
    const { args, flags } = await this.parse(Trust);
    if (flags.kit !== undefined || flags.ansible !== undefined)
      return await this.#write(args.host ?? [], flags);
    const { failedOf, lastRunFile } = await import("../trust/last-run.ts");
    const lastRun = await lastRunFile(flags.site);
    const all = await this.#clients(args.host ?? [], flags);
    const { clients, others } = flags.retry ? await failedOf(lastRun, all) : { clients: all, others: [] };
    if (others.length > 0)
      this.reporter.note(`Not among these hosts, though they failed as well: ${hostNames(others)}`);
    const stores = storeOptions(flags, this.reporter);
    if (flags["dry-run"]) {
      const { planTrust } = await import("../trust/dry-run.ts");
      const packages = await packagesFor(flags, flags.site);
      const plan = planTrust(clients, await registryIfKnown(flags), { ...stores, packages });
      this.log(describeTrustPlan(plan, flags.remove));
      return plan;
    }
    if (clients.length === 0) {
      this.log("None of these hosts failed when it was last worked on: nothing to do.");
      return { hosts: [] };
    }
    const registry = await registryAt(flags, !flags.remove);
    const options = { ...clientOptions(flags), ...stores, ...registry };
    const { removeTrust, trust } = await import("../trust/trust.ts");
    const { prove, remove } = flags;
    const packages = await packagesFor(flags, flags.site);
    const images = remove || flags.ca !== undefined ? [] : await imagesFor(prove, flags.site);
    const hosts = remove
      ? await removeTrust(clients, options, this.reporter)
      : await trust(clients, { ...options, packages, prove, images }, this.reporter);
    const isAll = flags.clients !== undefined && flags.limit === undefined && !flags.retry;
    await remember(lastRun, hosts, isAll, this.reporter);
    const again = shellWords([this.config.bin, "trust", ...(flags.retry ? [] : ["--retry"]), ...this.argv]);
    this.log(clientReport(hosts, { width: process.stdout.columns, again, remove }));
    process.exitCode = exitCodeOf(hosts);
    return { hosts };
  }

  async #write(named: readonly string[], flags: RegistryFlags & KitFlags): Promise<WrittenForOthers> {
    checkNoHosts(named, { ...flags });
    const registry = await registryAt(flags, true);
    const written: WrittenForOthers = {};
    if (flags.kit !== undefined) {
      const { writeKit } = await import("../trust/kit/kit.ts");
      written.kit = await writeKit(flags.kit, registry, flags, this.reporter);
    }
    if (flags.ansible !== undefined) {
      const { writeRole } = await import("../trust/kit/role.ts");
      written.role = await writeRole(flags.ansible, registry, flags, this.reporter);
    }
    this.log(describeWritten(written));
    return written;
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
