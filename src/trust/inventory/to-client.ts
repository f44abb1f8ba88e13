/**
 * From a host and its variables to a client.
 */
import { DrydockError } from "../../errors.ts";
import type { Client, Hop } from "../client.ts";
import { findKey, isHostName, isUserName, parsePort } from "./destination.ts";
import type { Host } from "./hosts-and-groups.ts";
import { type JumpHost, readSshArguments } from "./ssh-arguments.ts";
import type { Variables } from "./value.ts";
import { earlyArguments, HostVariables, lateArguments } from "./variables.ts";

export interface ToClientOptions {
  /** where the inventory is; keys are looked for there too */
  folder: string;
  allowProxyCommand: boolean;
  /** told of what is not followed, though the connection goes where it should */
  note(text: string): void;
}

/** @throws DrydockError "input" naming file and line */
export async function toClient(host: Host, variables: Variables, options: ToClientOptions): Promise<Client> {
  const said = new HostVariables(host.name, variables);
  const connection = said.text("connection");
  const local = /^(?:ansible\.builtin\.)?local$/.test(connection?.text ?? "");
  if (
    !local &&
    !/^(?:ansible\.builtin\.)?(?:ssh|smart|paramiko|paramiko_ssh)$/.test(connection?.text ?? "ssh")
  )
    throw said.fault("ansible_connection", "is neither ssh nor local", "Leave such hosts out with --limit.");
  const become = said.become();
  said.checkOthers({ local, become: become !== false }, options.note);
  const repoHost = said.text("repoHost");
  if (repoHost !== undefined && !isHostName(repoHost.text))
    throw said.fault("repo_host", `${JSON.stringify(repoHost.text)} is no host name and no IP address`);
  if (!local && said.text("host") === undefined && !isHostName(host.name)) {
    const what = `host ${JSON.stringify(host.name)} is no host name and no IP address`;
    throw new DrydockError("input", `${host.where}: ${what}`, { hint: "Give its address as ansible_host." });
  }
  return {
    ...{ name: host.name, host: host.name },
    ...(local ? { local } : await reach(said, options)),
    ...(become === false ? { become } : {}),
    ...(repoHost === undefined ? {} : { repoHost: repoHost.text }),
    // A wrong repo_host is looked for on its own line.
    where: repoHost?.where ?? host.where,
  };
}

/** A setting, and the variable that says so. */
interface Found<T> {
  value: T;
  key: string;
  where: string;
}

interface Settings {
  port?: Found<number> | undefined;
  user?: Found<string> | undefined;
  key?: Found<string> | undefined;
  proxy?: Found<{ jumps: JumpHost[] } | { command: string }> | undefined;
}

/** All that SSH needs to know; in the order in which Ansible calls ssh, and the first has its way. */
async function reach(said: HostVariables, options: ToClientOptions): Promise<Partial<Client>> {
  const order = [
    ...earlyArguments.map((key) => argumentSettings(said, key, options)),
    ownSettings(said),
    ...lateArguments.map((key) => argumentSettings(said, key, options)),
  ];
  const first = <K extends keyof Settings>(kind: K) => order.find((settings) => settings[kind])?.[kind];
  const [host, port, user, key] = [hostOf(said), first("port"), first("user"), first("key")];
  return {
    ...(host === undefined ? {} : { host }),
    ...(port === undefined ? {} : { port: port.value }),
    ...(user === undefined ? {} : { user: user.value }),
    ...(key === undefined
      ? {}
      : { keyFile: await findKey(key.value, options.folder, said.place(key.where)) }),
    ...(await proxyOf(first("proxy"), said, options)),
  };
}

function hostOf(said: HostVariables): string | undefined {
  const host = said.text("host");
  if (host === undefined || isHostName(host.text)) return host?.text;
  const hint = host.text.includes("[")
    ? "IPv6 is without brackets here, and its port is ansible_port."
    : undefined;
  throw said.fault(host.key, `${JSON.stringify(host.text)} is no host name and no IP address`, hint);
}

function ownSettings(said: HostVariables): Settings {
  const [port, user, key] = [said.text("port"), said.text("user"), said.text("key")];
  const number = port === undefined ? undefined : parsePort(port.text.trim());
  if (port !== undefined && number === undefined)
    throw said.fault(port.key, `${JSON.stringify(port.text)} is no number from 1 to 65535`);
  if (user !== undefined && !isUserName(user.text))
    throw said.fault(user.key, `${JSON.stringify(user.text)} is no user name`);
  return {
    port: port && number !== undefined ? { ...port, value: number } : undefined,
    user: user && { ...user, value: user.text },
    key: key && { ...key, value: key.text },
  };
}

function argumentSettings(said: HostVariables, key: string, options: ToClientOptions): Settings {
  const found = said.named(key);
  if (found === undefined) return {};
  const args = readSshArguments(found.text);
  if (args === undefined) throw said.fault(key, "has a quote that is not closed");
  if (args.unread.length > 0) {
    throw said.fault(
      key,
      `has ${args.unread.join(", ")}, which is not followed`,
      "What is followed: ProxyJump, ProxyCommand, Port, User, IdentityFile; put the rest into ~/.ssh/config.",
    );
  }
  for (const option of args.ignored) {
    const why = /host/i.test(option) ? ": host keys are always checked, see --known-hosts" : "";
    options.note(`${found.where}: ${key}: ${option} is not followed${why}`);
  }
  const of = <T>(value: T | undefined) =>
    value === undefined ? undefined : { value, key, where: found.where };
  const proxy =
    args.jumps === undefined
      ? of(args.proxyCommand === undefined ? undefined : { command: args.proxyCommand })
      : of({ jumps: args.jumps });
  return { port: of(args.port), user: of(args.user), key: of(args.key), proxy };
}

async function proxyOf(
  proxy: Settings["proxy"],
  said: HostVariables,
  options: ToClientOptions,
): Promise<Partial<Client>> {
  if (proxy === undefined) return {};
  if ("command" in proxy.value) {
    if (options.allowProxyCommand) return { proxyCommand: proxy.value.command };
    throw said.fault(
      proxy.key,
      "has a ProxyCommand, which is run only with --allow-proxy-command",
      'A jump host needs none: -o ProxyJump=HOST, or -o ProxyCommand="ssh -W %h:%p HOST".',
    );
  }
  const jumps: Hop[] = [];
  for (const { key, ...hop } of proxy.value.jumps) {
    const keyFile =
      key === undefined ? {} : { keyFile: await findKey(key, options.folder, said.place(proxy.where)) };
    jumps.push({ ...hop, ...keyFile });
  }
  return { jumps };
}
