/**
 * The way to a client: each host that is logged in to, in order, as inventory and SSH's configuration have it.
 * What the inventory says wins.
 */
import { type Client, ClientFailure, type Hop } from "./client.ts";
import type { Asked, SshConfig, SshConfigs } from "./ssh-config.ts";

/** One host that is logged in to: a jump host, or the client at the end. */
export type Target = Omit<SshConfig, "jumps" | "proxyCommand">;

export interface Route {
  /** at least one; the last one is the client */
  targets: [Target, ...Target[]];
  /** its stdin and stdout are the connection to the first target; ready for /bin/sh */
  proxyCommand?: string;
}

/** More jumps than anybody has: the configuration leads in a circle. */
const mostTargets = 12;

/** @throws ClientFailure, and DrydockError "input" if SSH's configuration can't be read */
export async function routeTo(
  client: Client,
  configs: SshConfigs,
  allowProxyCommand: boolean,
): Promise<Route> {
  const way = await resolve(client, configs, allowProxyCommand, []);
  const [first, ...others] = way.configs;
  if (first === undefined) throw new Error("a route without a target");
  const target = ({ jumps: _, proxyCommand: __, ...rest }: SshConfig): Target => rest;
  return {
    targets: [target(first), ...others.map(target)],
    ...(way.command === undefined ? {} : { proxyCommand: way.command }),
  };
}

type Step = Hop & Pick<Client, "jumps" | "proxyCommand">;

async function resolve(
  step: Step,
  configs: SshConfigs,
  allowProxyCommand: boolean,
  after: readonly SshConfig[],
): Promise<{ configs: SshConfig[]; command?: string }> {
  const found = await configs.of({ host: step.host, port: step.port, user: step.user } satisfies Asked);
  const config = withKey(found, step.keyFile);
  if (after.length >= mostTargets) throw new ClientFailure("failed", "its jump hosts lead in a circle");
  const jumps = step.jumps ?? (step.proxyCommand === undefined ? config.jumps : []);
  const [first, ...others] = jumps;
  if (first !== undefined && !isSelf(first, step, config)) {
    // The first jump host has a way of its own; the others are reached through the one before.
    const way = await resolve(first, configs, allowProxyCommand, [...after, config]);
    const rest = await Promise.all(
      others.map(async (hop) =>
        withKey(await configs.of({ host: hop.host, port: hop.port, user: hop.user }), hop.keyFile),
      ),
    );
    return { ...way, configs: [...way.configs, ...rest, config] };
  }
  if (step.jumps !== undefined) return { configs: [config] };
  const command = step.proxyCommand ?? config.proxyCommand;
  if (command === undefined) return { configs: [config] };
  if (step.proxyCommand === undefined && !allowProxyCommand) {
    throw new ClientFailure(
      "refused",
      `SSH's configuration has a ProxyCommand for ${JSON.stringify(step.host)}, which runs a command on this host`,
      "Allow it with --allow-proxy-command, or name the jump host with ProxyJump.",
    );
  }
  return { configs: [config], command: expandCommand(command, step.host, config) };
}

/** The inventory's key comes first, and then none is tried only because ssh does so by itself. */
function withKey(config: SshConfig, keyFile: string | undefined): SshConfig {
  if (keyFile === undefined) return config;
  const others = config.keyFiles.filter((key) => !key.byDefault && key.file !== keyFile);
  return { ...config, keyFiles: [{ file: keyFile, byDefault: false }, ...others] };
}

/** `Host *` with a ProxyJump holds for the jump host too, which is then reached without one. */
function isSelf(hop: Hop, step: Hop, config: SshConfig): boolean {
  const names = [step.host, config.host].map((name) => name.toLowerCase());
  return names.includes(hop.host.toLowerCase()) && (hop.port ?? config.port) === config.port;
}

/** ssh_config(5), TOKENS. What goes into the shell's line must not be more than a word. */
function expandCommand(command: string, name: string, { host, port, user }: SshConfig): string {
  const values: Record<string, string> = { "%": "%", h: host, n: name, p: String(port), r: user };
  return command.replace(/%(.)/g, (token, letter: string) => {
    const value = values[letter];
    if (value !== undefined && /^[A-Za-z0-9_.@:%+-]+$/.test(value)) return value;
    throw new ClientFailure(
      "failed",
      value === undefined
        ? `its ProxyCommand has the token ${token}, which is not known`
        : `its ProxyCommand can't be given ${JSON.stringify(value)} for ${token}`,
    );
  });
}
