/** For inventories that only Ansible reads. */
import { shellWords } from "../../shell-words.ts";

/** The command with which Ansible writes what it makes of an inventory into a file that is read here. */
export function asFile(inventory: string): string {
  return shellWords(["ansible-inventory", "-i", inventory, "--list", "--yaml", "--output", "hosts.yml"]);
}
