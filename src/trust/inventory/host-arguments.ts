/**
 * Clients named on the command line: `root@10.0.0.5`, `admin@host2:2222`, `[::1]:22`, `ssh://user@host`.
 */
import { DrydockError } from "../../errors.ts";
import type { Client } from "../client.ts";
import { parseDestination } from "./destination.ts";

/**
 * @returns a client for each; the same argument twice is one
 * @throws DrydockError "usage" naming the argument
 */
export function readHostArguments(texts: readonly string[]): Client[] {
  const places = [...new Set(texts)].map((text) => {
    const destination = parseDestination(text);
    if (destination !== undefined) return { text, destination };
    throw new DrydockError("usage", `host ${JSON.stringify(text)}: wanted [USER@]HOST[:PORT]`, {
      hint: "IPv6 with a port has brackets: [fd00::1]:22. A file is named with --clients.",
    });
  });
  return places.map(({ text, destination }) => {
    // Two ways to one host are told apart by how they were written.
    const isOnly = places.filter(({ destination: { host } }) => host === destination.host).length === 1;
    return { name: isOnly ? destination.host : text, ...destination, where: `host ${JSON.stringify(text)}` };
  });
}
