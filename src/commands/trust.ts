/** `drydock trust`: makes clients trust the site's CA, and proves it from each. */
import { Flags } from "@oclif/core";
import { DrydockCommand } from "../cli/base-command.ts";
import { clientFlags, clientOptions, clientReport, exitCodeOf } from "../cli/clients.ts";
import { readServing } from "../site/serving.ts";
import type { ClientResult } from "../trust/client.ts";

export default class Trust extends DrydockCommand {
  static override summary = "Make clients trust the registry's CA, over SSH (isolated side).";
  static override description =
    "Writes the CA certificate into Docker's certificate directories of each host in the inventory, for the " +
    "registry's name and each address, then makes a TLS handshake with the registry from where the host " +
    "stands. Host keys are checked; one host's trouble stops no other; a host that has it is left as it is.";
  static override flags = {
    clients: Flags.string({ required: true, helpValue: "FILE", description: "an Ansible INI inventory" }),
    site: Flags.string({
      helpValue: "DIR",
      description: "the site's directory [default: where install put it]",
    }),
    ...clientFlags,
  };
  static override examples = [
    "<%= config.bin %> trust --clients hosts.ini",
    "<%= config.bin %> trust --clients hosts.ini --known-hosts ./known_hosts --json",
  ];
  static override exitCodes = ["input", "partial", "host"] as const;
  static override whenInterrupted = "Hosts that were done stay done; run the same command to continue.";

  async run(): Promise<{ hosts: ClientResult[] }> {
    const { flags } = await this.parse(Trust);
    const { readInventory } = await import("../trust/inventory.ts");
    const clients = await readInventory(flags.clients);
    const serving = await readServing(flags.site);
    const { trust } = await import("../trust/trust.ts");
    const hosts = await trust(clients, { ...clientOptions(flags), ...serving }, this.reporter);
    this.log(clientReport(hosts));
    process.exitCode = exitCodeOf(hosts);
    return { hosts };
  }
}
