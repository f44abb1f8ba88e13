/** Which registry the clients shall trust, and where it is: the site's, or what flags say. */
import { readFile } from "node:fs/promises";
import { Flags } from "@oclif/core";
import { checkAddress } from "../certificates/addresses.ts";
import { DrydockError, fileErrorText } from "../errors.ts";
import { readServing, type Serving } from "../site/serving.ts";

export const registryFlags = {
  site: Flags.string({
    helpValue: "DIR",
    description: "the site's directory [default: where install put it]",
  }),
  ca: Flags.string({
    helpValue: "FILE",
    description: "the CA's certificate, PEM, where no site is at hand; with --address",
  }),
  address: Flags.string({
    helpValue: "NAME_OR_IP",
    multiple: true,
    multipleNonGreedy: true,
    description: "with --ca: a name or address of the registry, its name first (repeatable)",
  }),
  port: Flags.integer({
    helpValue: "N",
    min: 1,
    max: 65535,
    description: "with --address: the registry's port [default: 443]",
  }),
};

export interface RegistryFlags {
  site?: string | undefined;
  ca?: string | undefined;
  address?: readonly string[] | undefined;
  port?: number | undefined;
}

/**
 * @param needsCa false to take it away from clients: then the addresses alone will do
 * @throws DrydockError "usage", or "input" as readServing, and if the CA can't be read
 */
export async function registryAt(flags: RegistryFlags, needsCa: boolean): Promise<Serving> {
  const { ca, address, port = 443 } = flags;
  if (address === undefined && ca === undefined && flags.port === undefined)
    return await readServing(flags.site);
  if (flags.site !== undefined) {
    throw new DrydockError("usage", "--site, and flags that say where a registry is: wanted one of the two", {
      hint: "A site knows its CA, its addresses and its port.",
    });
  }
  if (address === undefined) {
    const given = ca === undefined ? "--port" : "--ca";
    throw new DrydockError(
      "usage",
      `${given} does not say which registry is meant: wanted --address as well`,
      {
        hint: "For example: --ca ca.pem --address registry.plant7.lan --address 10.0.0.10",
      },
    );
  }
  if (ca === undefined && needsCa) {
    throw new DrydockError(
      "usage",
      "--address says where a registry is that no site here serves: wanted --ca as well",
    );
  }
  const addresses = address.map((text) => checkAddress(text).value);
  return { ca: ca === undefined ? "" : await readCa(ca), addresses, port };
}

async function readCa(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new DrydockError("input", `read the CA ${JSON.stringify(file)}: ${fileErrorText(error)}`, {
      cause: error,
    });
  }
}

/** For a dry run, which needs no site, unless one is named. */
export async function registryIfKnown(flags: RegistryFlags): Promise<Serving | undefined> {
  try {
    return await registryAt(flags, false);
  } catch (error) {
    if (
      flags.site === undefined &&
      error instanceof DrydockError &&
      error.kind === "input" &&
      flags.address === undefined
    )
      return undefined;
    throw error;
  }
}
