/**
 * Inventories in INI form.
 * https://docs.ansible.com/ansible/latest/collections/ansible/builtin/ini_inventory.html
 */
import { DrydockError } from "../../errors.ts";
import { expandHosts } from "./host-pattern.ts";
import type { Group, Inventory } from "./hosts-and-groups.ts";
import { pythonLiteral } from "./python-literal.ts";
import { splitWords } from "./shell-words.ts";

/**
 * Adds what the text says.
 * @param file as the user wrote it: errors begin with it
 * @throws DrydockError "input" naming file and line
 */
export function readIni(inventory: Inventory, text: string, file: string): void {
  const groups = new Sections(inventory);
  let group: Group = inventory.ungrouped;
  let kind = "hosts";
  for (const [index, raw] of text.split(/\r\n|\r|\n/).entries()) {
    const line = raw.trim();
    const where = `${file}:${index + 1}`;
    if (line === "" || line.startsWith("#") || line.startsWith(";")) continue;
    const section = /^\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?$/.exec(line);
    if (section?.[1] !== undefined) {
      kind = section[2] ?? "hosts";
      group = groups.begin(section[1], kind, where);
    } else if (line.startsWith("[") && !/^\[[^\]]+(?:\][^\]]*)?\]:\d/.test(line)) {
      const hint =
        "A line of its own: [name], [name:vars] or [name:children], and after it at most # and a comment.";
      throw new DrydockError("input", `${where}: ${JSON.stringify(line)} is neither a group nor a host`, {
        hint,
      });
    } else if (kind === "hosts") addHosts(inventory, group, line, where);
    else if (kind === "vars") addVariable(inventory, group, line, where);
    else groups.addChild(group, line, where);
  }
  groups.finish();
}

/** Groups may be named as children, or get variables, before they are declared; but declared they must be. */
class Sections {
  readonly #inventory: Inventory;
  /** child → who names it */
  readonly #awaited = new Map<string, { parents: { group: Group; where: string }[]; where: string }>();
  /** groups of which so far only variables are there */
  readonly #undeclared = new Map<string, string>();

  constructor(inventory: Inventory) {
    this.#inventory = inventory;
  }

  begin(name: string, kind: string, where: string): Group {
    if (!["hosts", "vars", "children"].includes(kind)) {
      throw new DrydockError(
        "input",
        `${where}: "[${name}:${kind}]": wanted "vars" or "children" after the colon`,
      );
    }
    const isNew = !this.#inventory.groups.has(name);
    const group = this.#inventory.addGroup(name);
    if (kind === "vars") {
      if (isNew) this.#undeclared.set(name, where);
    } else {
      this.#undeclared.delete(name);
      for (const { group: parent, where: there } of this.#awaited.get(name)?.parents ?? [])
        this.#inventory.addChild(parent, group, there);
      this.#awaited.delete(name);
    }
    return group;
  }

  addChild(group: Group, line: string, where: string): void {
    const [, name] = /^([^:\]\s]+)\s*(?:#.*)?$/.exec(line) ?? [];
    if (name === undefined)
      throw new DrydockError("input", `${where}: ${JSON.stringify(line)}: wanted the name of a group`);
    const child = this.#inventory.groups.get(name);
    if (child !== undefined) {
      this.#inventory.addChild(group, child, where);
      return;
    }
    const awaited = this.#awaited.get(name) ?? { parents: [], where };
    awaited.parents.push({ group, where });
    this.#awaited.set(name, awaited);
  }

  finish(): void {
    for (const [name, { where }] of this.#awaited) throw noGroup(name, where);
    for (const [name, where] of this.#undeclared) throw noGroup(name, where);
  }
}

function noGroup(name: string, where: string): DrydockError {
  const hint = `Ansible wants a section [${name}] or [${name}:children], in this file or one before it.`;
  return new DrydockError("input", `${where}: there is no group ${JSON.stringify(name)}`, { hint });
}

function addHosts(inventory: Inventory, group: Group, line: string, where: string): void {
  const words = splitWords(line, { comments: true });
  if (words === undefined) throw new DrydockError("input", `${where}: a quote is not closed`);
  const [pattern = "", ...assignments] = words;
  const { names, port } = expandHosts(pattern, where);
  if (port === undefined && pattern.endsWith(":"))
    throw new DrydockError(
      "input",
      `${where}: host ${JSON.stringify(pattern)}: there is no port after the colon`,
    );
  for (const name of names) inventory.addHost(name, group, where, port);
  for (const assignment of assignments) {
    const equals = assignment.indexOf("=");
    if (equals < 1) {
      // Not quoted: it may be part of a password that lost its quotes.
      const what = `host ${JSON.stringify(pattern)}: wanted key=value after the name`;
      const hint = 'A value that has spaces takes quotes: key="two words".';
      throw new DrydockError("input", `${where}: ${what}`, { hint });
    }
    const value = { where, ...pythonLiteral(assignment.slice(equals + 1)) };
    for (const name of names) inventory.set(name, assignment.slice(0, equals), value);
  }
}

function addVariable(inventory: Inventory, group: Group, line: string, where: string): void {
  const equals = line.indexOf("=");
  if (equals < 1)
    throw new DrydockError("input", `${where}: group ${JSON.stringify(group.name)}: wanted key=value`);
  const value = { where, ...pythonLiteral(line.slice(equals + 1).trim()) };
  inventory.set(group.name, line.slice(0, equals).trim(), value);
}
