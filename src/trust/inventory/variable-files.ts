/**
 * `group_vars/` and `host_vars/` beside an inventory: for each name a file, or a folder of files.
 * https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html#organizing-host-and-group-variables
 */
import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { DrydockError, errorCode, fileErrorText } from "../../errors.ts";
import { readText } from "./files.ts";
import type { Group, Host, Inventory } from "./hosts-and-groups.ts";
import { isOfUse, type Variables } from "./value.ts";
import { YamlText } from "./yaml-text.ts";

/** The first of these that is there is taken; without an extension it may be a folder. */
const extensions = ["", ".yml", ".yaml", ".json"];

export class VariableFiles {
  readonly #folder: string;
  readonly #listings = new Map<string, Promise<Set<string>>>();
  readonly #read = new Map<string, Promise<Variables>>();

  /** @param folder where the inventory is, as the user wrote it */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * All variables of a host, from the least to the most particular: "all", its groups, itself; in each of
   * these, files go over what the inventory itself says.
   * https://docs.ansible.com/ansible/latest/playbook_guide/playbooks_variables.html#understanding-variable-precedence
   * @throws DrydockError "input" naming file and line
   */
  async variablesOf(inventory: Inventory, host: Host): Promise<Variables> {
    const groups = [inventory.all, ...inventory.groupsOf(host)];
    const files = await Promise.all(groups.map((group) => this.#of("group_vars", group)));
    const layers = [
      ...groups.map(({ variables }) => variables),
      ...files,
      ...[host.variables, await this.#of("host_vars", host)],
    ];
    return new Map(layers.flatMap((layer) => [...layer]));
  }

  #of(kind: "group_vars" | "host_vars", { name }: Group | Host): Promise<Variables> {
    const path = join(this.#folder, kind, name);
    const reading = this.#read.get(path) ?? this.#readAll(kind, name);
    this.#read.set(path, reading);
    return reading;
  }

  async #readAll(kind: string, name: string): Promise<Variables> {
    const folder = join(this.#folder, kind);
    const listing = this.#listings.get(kind) ?? namesIn(folder);
    this.#listings.set(kind, listing);
    const names = await listing;
    const found = extensions.map((extension) => `${name}${extension}`).find((file) => names.has(file));
    const variables: Variables = new Map();
    if (found === undefined) return variables;
    for (const file of await filesAt(join(folder, found))) {
      const yaml = new YamlText(file, await readText(file));
      const entries = yaml.entries(yaml.root, "variables", "variables").filter(({ key }) => isOfUse(key));
      for (const entry of entries) variables.set(entry.key, yaml.value(entry));
    }
    return variables;
  }
}

/** What a folder holds; nothing if it is not there. */
async function namesIn(folder: string): Promise<Set<string>> {
  try {
    return new Set(await readdir(folder));
  } catch (error) {
    if (errorCode(error) === "ENOENT") return new Set();
    throw unreadable(folder, error);
  }
}

/** The file itself; of a folder all files in it and below, but for hidden ones, backups and other kinds. */
async function filesAt(path: string): Promise<string[]> {
  if (!(await isFolder(path))) return [path];
  const files: string[] = [];
  for (const { name } of await list(path)) {
    if (name.startsWith(".") || name.endsWith("~")) continue;
    const extension = extname(name);
    const inner = join(path, name);
    if (await isFolder(inner)) {
      if (extension === "") files.push(...(await filesAt(inner)));
    } else if (extensions.includes(extension)) files.push(inner);
  }
  return files;
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch((error: unknown) => Promise.reject(unreadable(path, error)))).isDirectory();
}

async function list(path: string): Promise<Dirent[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((error: unknown) =>
    Promise.reject(unreadable(path, error)),
  );
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function unreadable(path: string, error: unknown): DrydockError {
  return new DrydockError("input", `read inventory ${JSON.stringify(path)}: ${fileErrorText(error)}`, {
    cause: error,
  });
}
