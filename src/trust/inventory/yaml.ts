/**
 * Inventories in YAML form, and JSON, which is YAML too.
 * https://docs.ansible.com/ansible/latest/collections/ansible/builtin/yaml_inventory.html
 */
import { isMap, isScalar, type Node } from "yaml";
import { DrydockError } from "../../errors.ts";
import { asFile } from "./as-file.ts";
import { expandHosts } from "./host-pattern.ts";
import type { Group, Inventory } from "./hosts-and-groups.ts";
import { type Entry, YamlText } from "./yaml-text.ts";

/** So deep are groups in groups at most; deeper is an alias that holds itself. */
const deepest = 100;

/**
 * Adds what the text says.
 * @param file as the user wrote it: errors begin with it
 * @param note is told of keys that Ansible skips
 * @throws DrydockError "input" naming file and line
 */
export function readYaml(
  inventory: Inventory,
  text: string,
  file: string,
  note: (text: string) => void,
): void {
  const yaml = new YamlText(file, text);
  const { root } = yaml;
  if (root !== undefined && !isMap(root))
    throw yaml.fault(root, 'wanted groups, the first of them mostly "all:"');
  const groups = yaml.entries(root, "an inventory", "names");
  const plugin = groups.find(({ key }) => key === "plugin");
  if (plugin !== undefined) {
    throw new DrydockError(
      "input",
      `${plugin.where}: the hosts come from an inventory plugin, which is not run`,
      { hint: `Write what it finds into a file: \`${asFile(file)}\`.` },
    );
  }
  const reader = new GroupReader(inventory, yaml, note);
  for (const entry of groups) reader.read(entry, 0);
}

class GroupReader {
  readonly #inventory: Inventory;
  readonly #yaml: YamlText;
  readonly #note: (text: string) => void;

  constructor(inventory: Inventory, yaml: YamlText, note: (text: string) => void) {
    this.#inventory = inventory;
    this.#yaml = yaml;
    this.#note = note;
  }

  read({ key: name, node, where }: Entry, depth: number): Group {
    if (name === "" || /[:\]\s]/.test(name))
      throw new DrydockError("input", `${where}: ${JSON.stringify(name)} is no name of a group`);
    if (depth > deepest) throw new DrydockError("input", `${where}: groups in a circle`);
    const group = this.#inventory.addGroup(name);
    const what = `group ${JSON.stringify(name)}`;
    for (const part of this.#yaml.entries(node, what, "parts")) {
      if (part.key === "vars") this.#readVariables(name, part, what);
      else if (part.key === "hosts") this.#readHosts(group, part);
      else if (part.key === "children") this.#readChildren(group, part, depth);
      else
        this.#note(
          `${part.where}: ${what}: ${JSON.stringify(part.key)} is none of "hosts", "children" and "vars"; ` +
            "it is left out, as Ansible does",
        );
    }
    return group;
  }

  #readVariables(name: string, { node }: Entry, what: string): void {
    for (const entry of this.#yaml.entries(asMapping(node), `${what}: vars`, "variables"))
      this.#inventory.set(name, entry.key, this.#yaml.value(entry));
  }

  #readChildren(group: Group, { node, where }: Entry, depth: number): void {
    for (const entry of this.#names(node, where, `group ${JSON.stringify(group.name)}: children`))
      this.#inventory.addChild(group, this.read(entry, depth + 1), entry.where);
  }

  #readHosts(group: Group, { node, where }: Entry): void {
    for (const entry of this.#names(node, where, `group ${JSON.stringify(group.name)}: hosts`)) {
      const { names, port } = expandHosts(entry.key, entry.where);
      for (const name of names) this.#inventory.addHost(name, group, entry.where, port);
      for (const variable of this.#yaml.entries(
        entry.node,
        `host ${JSON.stringify(entry.key)}`,
        "variables",
      )) {
        const value = this.#yaml.value(variable);
        for (const name of names) this.#inventory.set(name, variable.key, value);
      }
    }
  }

  /** The keys of a mapping; text alone is one key. */
  #names(node: Node | undefined, where: string, what: string): Entry[] {
    if (isScalar(node) && typeof node.value === "string")
      return [{ key: node.value, node: undefined, where }];
    return this.#yaml.entries(node, what, "names");
  }
}

/** `vars: name` is a mapping to Ansible, of a name to nothing. */
function asMapping(node: Node | undefined): Node | undefined {
  return isScalar(node) && typeof node.value === "string" ? undefined : node;
}
