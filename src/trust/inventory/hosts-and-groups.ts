/**
 * Hosts, groups, and which is in which, with Ansible's rules for what goes over what.
 * https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html#how-variables-are-merged
 */
import { DrydockError } from "../../errors.ts";
import { isOfUse, type Value, type Variables } from "./value.ts";

export interface Host {
  name: string;
  /** "file:line" where it is named first */
  where: string;
  /** from the inventory itself, not from host_vars */
  variables: Variables;
  /** those that name it */
  groups: Set<Group>;
}

export interface Group {
  name: string;
  variables: Variables;
  hosts: Set<Host>;
  children: Set<Group>;
  parents: Set<Group>;
  /** among groups of the same depth; the higher one's variables win */
  priority: number;
}

export class Inventory {
  /** in the order in which they first appear, as the groups */
  readonly hosts = new Map<string, Host>();
  readonly groups = new Map<string, Group>();
  readonly all: Group = this.addGroup("all");
  readonly ungrouped: Group = this.addGroup("ungrouped");
  readonly #depths = new Map<Group, number>();

  constructor() {
    link(this.all, this.ungrouped);
  }

  addGroup(name: string): Group {
    const known = this.groups.get(name);
    if (known !== undefined) return known;
    const empty = { hosts: new Set<Host>(), children: new Set<Group>(), parents: new Set<Group>() };
    const group: Group = { name, variables: new Map(), priority: 1, ...empty };
    this.groups.set(name, group);
    return group;
  }

  /**
   * @param port that stands behind the name
   * @throws DrydockError "input" where Ansible would drop the port
   */
  addHost(name: string, group: Group, where: string, port?: number): void {
    let host = this.hosts.get(name);
    if (host === undefined) {
      host = { name, where, variables: new Map(), groups: new Set() };
      this.hosts.set(name, host);
      if (port !== undefined) host.variables.set("ansible_port", { where, scalar: port });
    } else if (port !== undefined && !hasPort(host, port)) {
      throw new DrydockError(
        "input",
        `${where}: host ${JSON.stringify(name)} has another port here than on ${host.where}, which Ansible ignores`,
        { hint: "Give the port once, as ansible_port." },
      );
    }
    host.groups.add(group);
    group.hosts.add(host);
  }

  /** @throws DrydockError "input" if that makes a loop */
  addChild(parent: Group, child: Group, where: string): void {
    const what = `${where}: group ${JSON.stringify(child.name)} can't be a child of ${JSON.stringify(parent.name)}`;
    if (child === this.all || (child === this.ungrouped && parent !== this.all))
      throw new DrydockError("input", `${what}: Ansible makes this group itself`);
    if (descendants(child).has(parent))
      throw new DrydockError("input", `${what}, which is in it: groups in a circle`);
    link(parent, child);
  }

  /** Sets a group's variable, or a host's; where both have the name, the group's: so does Ansible. */
  set(name: string, key: string, value: Value): void {
    const group = this.groups.get(name);
    if (group !== undefined && key === "ansible_group_priority") group.priority = priorityOf(value);
    else if (isOfUse(key)) (group ?? this.hosts.get(name))?.variables.set(key, value);
  }

  /** When all is read: each group is in "all" then, each host without a group in "ungrouped" and in no other. */
  finish(): void {
    for (const group of this.groups.values())
      if (group !== this.all && group.parents.size === 0) link(this.all, group);
    for (const host of this.hosts.values()) {
      const isGrouped = [...host.groups].some((group) => group !== this.all && group !== this.ungrouped);
      if (isGrouped) {
        this.ungrouped.hosts.delete(host);
        host.groups.delete(this.ungrouped);
      } else {
        this.ungrouped.hosts.add(host);
        host.groups.add(this.ungrouped);
      }
    }
  }

  /** The groups that a host is in, but for "all": a later one's variables go over an earlier one's. */
  groupsOf(host: Host): Group[] {
    const groups = new Set(host.groups);
    for (const group of groups) for (const parent of group.parents) groups.add(parent);
    groups.delete(this.all);
    return [...groups].sort(
      (a, b) => this.#depth(a) - this.#depth(b) || a.priority - b.priority || (a.name < b.name ? -1 : 1),
    );
  }

  /** The hosts of a group and of all groups in it, its own first. */
  hostsIn(group: Group): Host[] {
    return [...new Set([...descendants(group)].flatMap(({ hosts }) => [...hosts]))];
  }

  /** The longest way down from "all". */
  #depth(group: Group): number {
    const known = this.#depths.get(group);
    if (known !== undefined) return known;
    const depth = Math.max(-1, ...[...group.parents].map((parent) => this.#depth(parent))) + 1;
    this.#depths.set(group, depth);
    return depth;
  }
}

function link(parent: Group, child: Group): void {
  parent.children.add(child);
  child.parents.add(parent);
}

/** With the group itself, level by level. */
function descendants(group: Group): Set<Group> {
  const found = new Set([group]);
  for (const one of found) for (const child of one.children) found.add(child);
  return found;
}

function hasPort(host: Host, port: number): boolean {
  const value = host.variables.get("ansible_port");
  return value !== undefined && "scalar" in value && value.scalar === port;
}

function priorityOf(value: Value): number {
  const priority = "scalar" in value && value.scalar !== null ? Number(value.scalar) : Number.NaN;
  if (Number.isSafeInteger(priority)) return priority;
  throw new DrydockError("input", `${value.where}: ansible_group_priority is no whole number`);
}
