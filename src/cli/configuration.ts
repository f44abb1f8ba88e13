/**
 * What oclif needs to know, made from the command table itself: no file is looked up at run time, so
 * that sources, build and single executable all start the same way.
 */
import { type Command, Config, type Interfaces, Plugin } from "@oclif/core";

export interface Program {
  /** drydock's own folder */
  root: string;
  /** its package.json */
  pjson: Interfaces.PJSON;
  commands: Record<string, Command.Class>;
}

export async function loadConfiguration({ root, pjson, commands }: Program): Promise<Config> {
  const plugin = new Plugin({
    root,
    pjson,
    isRoot: true,
    type: "core",
    name: pjson.name,
    ignoreManifest: true,
  });
  // The explicit strategy fills this from a file, unless it is there already.
  Object.assign(plugin, { commandCache: commands });
  await plugin.load();
  const config = new Config({ root, pjson, plugins: new Map([[plugin.name, plugin]]) });
  await config.load();
  return config;
}
