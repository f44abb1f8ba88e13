/**
 * The files of an inventory: which there are, and in which of the forms each is.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { DrydockError, fileErrorText } from "../../errors.ts";
import { asFile } from "./as-file.ts";
import { Inventory } from "./hosts-and-groups.ts";
import { readIni } from "./ini.ts";
import { readYaml } from "./yaml.ts";

/** What Ansible passes over in a folder, by the end of the name; .ini and .cfg are settings there. */
const passedOver = /(?:\.(?:pyc|pyo|swp|bak|rpm|md|txt|rst|orig|ini|cfg|retry)|~)$/;

/**
 * Reads an inventory: a file, or a folder whose files together are one.
 * @throws DrydockError "input" naming file and line
 */
export async function readInventoryFiles(path: string, note: (text: string) => void): Promise<Inventory> {
  const inventory = new Inventory();
  const files = await inventoryFiles(path);
  for (const file of files) {
    const text = await readText(file);
    if (isYaml(file, text)) readYaml(inventory, text, file, note);
    else readIni(inventory, text, file);
  }
  inventory.finish();
  if (inventory.hosts.size > 0) return inventory;
  const hint =
    files[0] === path
      ? undefined
      : "In a folder Ansible passes over *.ini, *.cfg, *.txt and others: name the file itself.";
  throw new DrydockError("input", `inventory ${JSON.stringify(path)} names no host`, { hint });
}

/** @throws DrydockError "input" */
async function inventoryFiles(path: string): Promise<string[]> {
  if (!(await reading(path, () => stat(path))).isDirectory()) return [path];
  const files: string[] = [];
  const names = await reading(path, () => readdir(path, "buffer"));
  for (const name of names.sort(Buffer.compare).map(String)) {
    if (name.startsWith(".") || /^(?:host_vars|group_vars|vars_plugins)$/.test(name)) continue;
    if (!passedOver.test(name)) files.push(...(await inventoryFiles(join(path, name))));
  }
  return files;
}

async function reading<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new DrydockError("input", `read inventory ${JSON.stringify(path)}: ${fileErrorText(error)}`, {
      cause: error,
    });
  }
}

/**
 * A file of an inventory as text.
 * @throws DrydockError "input" if it can't be read, is encrypted, or is a program
 */
export async function readText(file: string): Promise<string> {
  const bytes = await reading(file, () => readFile(file));
  const start = bytes.toString("latin1", 0, 15);
  if (start.startsWith("$ANSIBLE_VAULT;")) {
    throw new DrydockError(
      "input",
      `${file}:1: it is encrypted by ansible-vault, and what it says can't be known`,
      {
        hint: "Name a copy of the inventory without this file; or name the hosts themselves: `drydock trust USER@HOST…`.",
      },
    );
  }
  if (start.startsWith("#!")) {
    throw new DrydockError("input", `${file}:1: it is a program that makes an inventory, and is not run`, {
      hint: `Write what it finds into a file: \`${asFile(file)}\`.`,
    });
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new DrydockError("input", `read inventory ${JSON.stringify(file)}: it is no text in UTF-8`, {
      cause: error,
    });
  }
}

/** By its name, and where that leaves it open, by its first line: `name:` or `---`. */
function isYaml(file: string, text: string): boolean {
  const extension = extname(file);
  if (/^\.(?:ya?ml|json)$/.test(extension)) return true;
  if (extension === ".toml") {
    throw new DrydockError("input", `inventory ${JSON.stringify(file)}: TOML is not read`, {
      hint: `Let Ansible rewrite it: \`${asFile(file)}\`.`,
    });
  }
  if (extension !== "") return false;
  const first = text.split(/\r\n|\r|\n/).find((line) => /^\s*[^\s#;]/.test(line)) ?? "";
  return /^(?:---|%YAML|\s*\{|\s*(?:"[^"]*"|'[^']*'|[^\s:#[\]="']+)\s*:(?:\s|$))/.test(first);
}
