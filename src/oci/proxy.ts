/**
 * Which proxy a URL is reached through, by HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or the same in lower case.
 * They are read as Go's programs (Docker, skopeo) read them: golang.org/x/net/http/httpproxy.
 */
import { BlockList, isIP } from "node:net";
import { DrydockError } from "../errors.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * @returns the proxy, user and password included; undefined for the direct way
 * @throws DrydockError "input" if the variable holds no URL of an HTTP proxy; its text is not quoted.
 */
export function proxyFor(url: URL, environment: Environment): URL | undefined {
  const names = url.protocol === "https:" ? ["https_proxy", "HTTPS_PROXY"] : ["http_proxy", "HTTP_PROXY"];
  const name = names.find((each) => environment[each]);
  const text = name === undefined ? undefined : environment[name];
  if (name === undefined || text === undefined) return undefined;
  if (isExcepted(url, environment.no_proxy || environment.NO_PROXY || "")) return undefined;
  const proxy = URL.parse(text.includes("://") ? text : `http://${text}`);
  if (proxy?.protocol === "http:" || proxy?.protocol === "https:") return proxy;
  throw new DrydockError("input", `read ${name}: it is not the URL of an HTTP proxy`, {
    hint: "Write it as http://HOST:PORT, or with a user and a password as http://USER:PASSWORD@HOST:PORT.",
  });
}

/** This machine itself is always reached directly. */
function isExcepted(url: URL, list: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  if (host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."))) return true;
  return list
    .split(/[\s,]+/)
    .filter((entry) => entry !== "")
    .some((entry) => matches(entry.toLowerCase(), host, port));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === "*") return true;
  const [, network = "", prefix] = /^(.+)\/(\d+)$/.exec(entry) ?? [];
  if (prefix !== undefined) return isInNetwork(host, network, Number(prefix));
  const [, name = entry, wantedPort] = /^([^:]+|\[.+\]):(\d+)$/.exec(entry) ?? [];
  if (wantedPort !== undefined && wantedPort !== port) return false;
  const bare = name.replace(/^\[|\]$/g, "").replace(/^\*(?=\.)/, "");
  return bare.startsWith(".") ? host.endsWith(bare) : host === bare || host.endsWith(`.${bare}`);
}

function isInNetwork(host: string, network: string, prefix: number): boolean {
  const family = isIP(network);
  if (family === 0 || isIP(host) !== family || prefix > (family === 4 ? 32 : 128)) return false;
  const type = family === 4 ? "ipv4" : "ipv6";
  const list = new BlockList();
  list.addSubnet(network, prefix, type);
  return list.check(host, type);
}
