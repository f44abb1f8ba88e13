/**
 * Certificate requests: the JSON that cfssl calls a CSR (`ca.json`, `registry.json`), read as it is.
 *
 * Keys are matched as cfssl does (Go's encoding/json), whatever their case. Beyond that this reader is
 * stricter: cfssl ignores a key that it does not know, so a mistyped one is lost in silence; here it is
 * an error. Keys that cfssl knows and that have no place in our certificate profile (serialnumber,
 * ca.backdate, …) are errors too, unless they are empty.
 */
import { DrydockError } from "../errors.ts";
import { checkAddress } from "./addresses.ts";
import { parseDuration } from "./duration.ts";

/** One entry of cfssl's `names`. */
export interface SubjectName {
  C?: string;
  ST?: string;
  L?: string;
  O?: string;
  OU?: string;
}

/** cfssl's fields under cfssl's names: written as JSON and parsed again it is the same request. */
export interface CertificateRequest {
  CN?: string;
  /** Names and addresses for a server's certificate, checked; an authority's certificate has none. */
  hosts: string[];
  /** Absent: RSA with `defaultKeySize` bits. */
  key?: { algo: "rsa"; size: number };
  names: SubjectName[];
  ca?: {
    /** as Go writes durations: "43800h"; checked */
    expiry?: string;
    pathlen?: number;
  };
}

/** in bits */
export const defaultKeySize = 2048;

/** ub-common-name and its siblings, RFC 5280 appendix A.1, in characters. */
const longest = { CN: 64, ST: 128, L: 128, O: 64, OU: 64 } as const;

/** What an authority is made from when the manifest says nothing. */
export function defaultAuthorityRequest(name: string): CertificateRequest {
  return { CN: shortened(`${name} registry CA`, longest.CN), hosts: [], names: [{ O: "drydock" }] };
}

/** What a server certificate is made from when the manifest says nothing; `name`: the registry's name. */
export function defaultServerRequest(name: string): CertificateRequest {
  // A name too long for a CN stands among the subject's alternative names, which is all that clients look at.
  const CN = name.length <= longest.CN ? name : "registry";
  return { CN, hosts: [], names: [{ O: "drydock" }] };
}

function shortened(text: string, length: number): string {
  return [...text].slice(0, length).join("");
}

/**
 * @param where begins each error's text: the file, or the place in the manifest.
 * @throws DrydockError "input" that names the key.
 */
export function parseCertificateRequest(value: unknown, where: string): CertificateRequest {
  const top = new Fields(value, where, "", ["CN", "hosts", "key", "names", "ca"], notHere.top);
  const request: CertificateRequest = {
    hosts: top.list("hosts").flatMap((host, at) => parseHost(host, `${where}: hosts[${at}]`)),
    names: top
      .list("names")
      .map((name, at) => parseName(name, where, `names[${at}]`))
      .filter((name) => Object.keys(name).length > 0),
  };
  const CN = top.text("CN", longest.CN);
  if (CN !== undefined) request.CN = CN;
  const key = top.value("key");
  if (key !== undefined) request.key = parseKey(key, where);
  const ca = top.value("ca");
  if (ca !== undefined) request.ca = parseAuthority(ca, where);
  if (CN === undefined && request.names.length === 0) {
    throw new DrydockError("input", `${where}: CN: wanted a CN or names, got neither`);
  }
  return request;
}

function parseHost(host: unknown, where: string): string[] {
  if (typeof host !== "string") throw wrong(where, "a host name or an IP address", host);
  if (host === "") return []; // cfssl's examples have such an entry; it stands for nothing
  try {
    return [checkAddress(host).value];
  } catch (error) {
    if (!(error instanceof DrydockError)) throw error;
    throw new DrydockError("input", `${where}: ${error.message}`, { hint: error.hint, cause: error });
  }
}

function parseName(value: unknown, where: string, path: string): SubjectName {
  const fields = new Fields(value, where, path, ["C", "ST", "L", "O", "OU"], notHere.names);
  const name: SubjectName = {};
  const country = fields.text("C", 2);
  if (country !== undefined) {
    if (!/^[A-Za-z]{2}$/.test(country)) {
      throw wrong(`${where}: ${path}.C`, "the two letters of a country (ISO 3166)", country);
    }
    name.C = country;
  }
  for (const key of ["ST", "L", "O", "OU"] as const) {
    const text = fields.text(key, longest[key]);
    if (text !== undefined) name[key] = text;
  }
  return name;
}

function parseKey(value: unknown, where: string): { algo: "rsa"; size: number } {
  const fields = new Fields(value, where, "key", ["algo", "size"]);
  const algo = fields.value("algo");
  if (algo !== "rsa") {
    throw new DrydockError("input", `${where}: key.algo: wanted "rsa", got ${JSON.stringify(algo ?? null)}`, {
      hint: `Only RSA keys are made: write {"algo": "rsa", "size": ${defaultKeySize}}.`,
    });
  }
  const size = fields.value("size") ?? defaultKeySize;
  if (typeof size !== "number" || !Number.isInteger(size) || size < 2048 || size > 4096 || size % 8 !== 0) {
    const weak = typeof size === "number" && size < 2048;
    throw new DrydockError(
      "input",
      `${where}: key.size: wanted 2048 to 4096 bits, got ${JSON.stringify(size)}`,
      {
        hint: weak ? "Verifiers refuse RSA keys under 2048 bits; write 2048, 3072 or 4096." : undefined,
      },
    );
  }
  return { algo, size };
}

function parseAuthority(value: unknown, where: string): NonNullable<CertificateRequest["ca"]> {
  const fields = new Fields(value, where, "ca", ["expiry", "pathlen", "pathlenzero"], notHere.ca);
  const ca: NonNullable<CertificateRequest["ca"]> = {};
  const expiry = fields.value("expiry");
  if (expiry !== undefined && expiry !== "") {
    if (typeof expiry !== "string") throw wrong(`${where}: ca.expiry`, 'a duration such as "43800h"', expiry);
    parseDuration(expiry, `${where}: ca.expiry`);
    ca.expiry = expiry;
  }
  const pathlen = fields.value("pathlen");
  if (pathlen !== undefined) {
    if (typeof pathlen !== "number" || !Number.isInteger(pathlen) || pathlen < 0 || pathlen > 255) {
      throw wrong(`${where}: ca.pathlen`, "a whole number from 0 to 255", pathlen);
    }
    ca.pathlen = pathlen;
  }
  // With cfssl a pathlen of 0 sets no limit unless pathlenzero is true as well. Here 0 always means 0.
  const zero = fields.value("pathlenzero");
  if (zero !== undefined && typeof zero !== "boolean") {
    throw wrong(`${where}: ca.pathlenzero`, "true or false", zero);
  }
  return ca;
}

/** What cfssl knows and our profile has no place for, in lower case. */
const notHere = {
  top: ["serialnumber", "delegation_enabled", "extensions", "crl_url"],
  names: ["e", "serialnumber", "oid"],
  ca: ["backdate"],
};

/** The fields of one JSON object, each known and there once. */
class Fields {
  readonly #values = new Map<string, unknown>();
  readonly #where: string;
  readonly #path: string;

  constructor(value: unknown, where: string, path: string, known: string[], unsupported: string[] = []) {
    this.#where = where;
    this.#path = path;
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw wrong(path === "" ? where : `${where}: ${path}`, "an object", value);
    }
    for (const [key, field] of Object.entries(value)) {
      const name = known.find((one) => one.toLowerCase() === key.toLowerCase());
      if (name === undefined) {
        const unused = unsupported.includes(key.toLowerCase());
        if (unused && isEmpty(field)) continue;
        const hint = `Known are ${known.join(", ")}.`;
        const reason = unused ? "cfssl knows this key, but it is not supported here" : "unknown key";
        throw new DrydockError("input", `${this.#at(key)}: ${reason}`, { hint });
      }
      if (this.#values.has(name)) throw new DrydockError("input", `${this.#at(name)}: given twice`);
      this.#values.set(name, field);
    }
  }

  #at(key: string): string {
    return `${this.#where}: ${this.#path === "" ? key : `${this.#path}.${key}`}`;
  }

  /** undefined where it is absent or null. */
  value(key: string): unknown {
    return this.#values.get(key) ?? undefined;
  }

  list(key: string): unknown[] {
    const value = this.value(key) ?? [];
    if (!Array.isArray(value)) throw wrong(this.#at(key), "a list", value);
    return value;
  }

  /** undefined where it is absent or empty, which is how cfssl treats it. */
  text(key: string, most: number): string | undefined {
    const value = this.value(key);
    if (value === undefined || value === "") return undefined;
    if (typeof value !== "string") throw wrong(this.#at(key), "text", value);
    if (/\p{Cc}|\p{Cs}/u.test(value)) throw wrong(this.#at(key), "text without control characters", value);
    const length = [...value].length;
    if (length > most) throw wrong(this.#at(key), `at most ${most} characters (RFC 5280)`, value);
    return value;
  }
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  return value === undefined || value === null || value === "" || value === false;
}

function wrong(where: string, wanted: string, got: unknown): DrydockError {
  return new DrydockError("input", `${where}: wanted ${wanted}, got ${JSON.stringify(got) ?? "nothing"}`);
}
