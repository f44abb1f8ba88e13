/** What `trust` takes to write a kit or a role instead of connecting to hosts, and what it tells of them. */
import { join } from "node:path";
import { Flags } from "@oclif/core";
import { DrydockError } from "../errors.ts";
import { shellWord } from "../shell-words.ts";
import type { Written } from "../trust/kit/contents.ts";
import { printable } from "./format.ts";

/** Flags about hosts that are connected to. */
const aboutHosts = [
  ...["clients", "limit", "dry-run", "remove", "retry"],
  ...["stores", "mirror", "restart-runtimes", "remove-old", "install-packages"],
];

/** @param hosts that are named @throws DrydockError "usage" if there is something about hosts besides */
export function checkNoHosts(hosts: readonly string[], flags: Readonly<Record<string, unknown>>): void {
  const isGiven = (name: string) => flags[name] !== undefined && flags[name] !== false;
  const besides = [...aboutHosts.filter(isGiven).map((name) => `--${name}`), ...hosts];
  if (besides.length === 0) return;
  throw new DrydockError(
    "usage",
    `--kit or --ansible, and besides ${besides.join(", ")}: wanted one of the two`,
    {
      hint: "With --kit and --ansible nobody is connected to.",
    },
  );
}

export const kitFlags = {
  kit: Flags.string({
    helpValue: "ZIP",
    description:
      "instead of connecting to hosts, write a zip archive for those that can't be reached over SSH: the CA, " +
      "scripts for Linux, macOS and Windows that check, install and remove it, and a page that says how",
  }),
  ansible: Flags.string({
    helpValue: "DIR",
    description: "instead of connecting to hosts, write an Ansible role that does the same, into a folder",
  }),
  force: Flags.boolean({
    description: "with --kit: replace a file that exists; with --ansible: write into a folder that is in use",
  }),
};

export interface KitFlags {
  kit?: string | undefined;
  ansible?: string | undefined;
  force: boolean;
}

export interface WrittenForOthers {
  kit?: Written;
  role?: Written;
}

export function describeWritten({ kit, role }: WrittenForOthers): string {
  const texts = [
    ...(kit === undefined ? [] : [kitText(kit)]),
    ...(role === undefined ? [] : [roleText(role)]),
  ];
  return printable(texts.join("\n\n"), true);
}

function kitText(kit: Written): string {
  const readme = kit.files.find((file) => file.endsWith("README.txt")) ?? "";
  return [
    filesOf(kit),
    `Carry it to the hosts and unpack it there; ${readme} says how on each system. On Linux, as root:`,
    `    sh ${shellWord(readme.replace("README.txt", "linux.sh"))} install`,
  ].join("\n\n");
}

function roleText(role: Written): string {
  const playbook = shellWord(join(role.path, "playbook.yml"));
  return [
    filesOf(role),
    "See what it would do, and then let it:",
    `    ansible-playbook -i hosts.ini --check --diff ${playbook}\n    ansible-playbook -i hosts.ini ${playbook}`,
  ].join("\n\n");
}

function filesOf({ path, files, caSha256, names }: Written): string {
  const lines = [
    `${path} is written, for the registry ${names.join(", ")}:`,
    ...files.map((file) => `  ${file}`),
    `SHA-256 of ca.pem: ${caSha256}`,
  ];
  return lines.join("\n");
}
