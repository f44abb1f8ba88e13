/**
 * config_path, which makes containerd's CRI plugin read a certs.d directory. It stands in config.toml, is read at
 * the start, and can't stand beside the older way, mirrors and TLS in config.toml itself.
 * https://github.com/containerd/containerd/blob/main/docs/cri/registry.md
 */
import { editToml, headerIndex, isTable, marked, parseToml, type TomlTable, tableAt } from "./toml.ts";

export const configFile = "/etc/containerd/config.toml";

/** What containerd itself says that its configuration is (`containerd config dump`). */
export interface ContainerdConfig {
  version: number;
  /** the CRI plugin is there and not disabled; without it nobody needs a config_path */
  hasCri: boolean;
  /** directories, the first one that has a name counts */
  configPath: string[];
  /** the older way is in use */
  hasOldWay: boolean;
}

/** The plugin whose table has `registry`, by the configuration's version. */
function pluginOf(version: number): string {
  return version >= 3 ? "io.containerd.cri.v1.images" : "io.containerd.grpc.v1.cri";
}

/** @returns undefined if it can't be read */
export function readDump(text: string): ContainerdConfig | undefined {
  const table = parseToml(text);
  if (table === undefined || Object.keys(table).length === 0) return undefined;
  const version = Number.parseInt(String(table.version), 10);
  const registry = tableAt(table, "plugins", pluginOf(version), "registry");
  const disabled = Array.isArray(table.disabled_plugins) ? table.disabled_plugins : [];
  return {
    version,
    hasCri: registry !== undefined && !disabled.some((name) => name === "cri" || name === pluginOf(version)),
    configPath: String(registry?.config_path ?? "")
      .split(":")
      .filter((path) => path !== ""),
    hasOldWay: registry !== undefined && usesOldWay(registry),
  };
}

function usesOldWay(registry: TomlTable): boolean {
  const configs = Object.values(tableAt(registry, "configs") ?? {});
  const mirrors = Object.keys(tableAt(registry, "mirrors") ?? {});
  return mirrors.length > 0 || configs.some((config) => isTable(config) && isTable(config.tls));
}

/**
 * config.toml with the config_path in it, all else as it was.
 * @param text undefined if there is none @returns undefined where that can't be done
 */
export function withConfigPath(text: string | undefined, version: number, path: string): string | undefined {
  const plugin = pluginOf(version);
  const old = text ?? `version = ${version}\n`;
  if (Number.parseInt(String(parseToml(old)?.version), 10) !== version) return undefined;
  return editToml(
    old,
    (lines) => {
      const line = `config_path = "${path}"`;
      const header = headerIndex(lines, "plugins", plugin, "registry");
      if (header < 0) {
        lines.push(marked(`[plugins."${plugin}".registry]`, owner), marked(`  ${line}`, owner));
        return;
      }
      const next = lines.findIndex((each, index) => index > header && /^\s*\[/.test(each));
      const end = next < 0 ? lines.length : next;
      const there = lines.findIndex(
        (each, index) => index > header && index < end && /^\s*config_path\s*=/.test(each),
      );
      if (there < 0) lines.splice(header + 1, 0, marked(`  ${line}`, owner));
      else lines[there] = marked(`  ${line}`, owner, lines[there]);
    },
    (expected) => {
      expected.plugins ??= {};
      const plugins = tableAt(expected, "plugins") ?? {};
      plugins[plugin] ??= {};
      const table = tableAt(plugins, plugin) ?? {};
      table.registry ??= {};
      const registry = tableAt(table, "registry");
      if (registry !== undefined) registry.config_path = path;
    },
  );
}

/** No registry's own: it serves every certs.d. */
export const owner = "config_path";
