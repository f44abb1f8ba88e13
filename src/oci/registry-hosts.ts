/**
 * Which hosts are asked for what a registry holds: its mirrors in order, then itself. One that fails as a
 * host (cannot be reached, keeps breaking off) is not asked again by this client.
 */
import { DrydockError } from "../errors.ts";
import { HostFailure } from "./registry-transport.ts";

/** registry → the hosts to ask in its place, in order: "docker.io" → ["mirror.lan:5000", "other.lan"] */
export type Mirrors = ReadonlyMap<string, string | readonly string[]>;

/** Both, with those of `first` in front, each host once. */
export function joinMirrors(first: Mirrors, then: Mirrors): Map<string, string[]> {
  const registries = new Set([...first.keys(), ...then.keys()]);
  const of = (mirrors: Mirrors, registry: string) => [mirrors.get(registry) ?? []].flat();
  return new Map(
    [...registries].map((registry) => [
      registry,
      [...new Set([...of(first, registry), ...of(then, registry)])],
    ]),
  );
}

export class RegistryHosts {
  readonly #mirrors: Mirrors;
  readonly #note: (text: string) => void;
  readonly #gone = new Set<string>();

  constructor(mirrors: Mirrors, note: (text: string) => void = () => {}) {
    this.#mirrors = mirrors;
    this.#note = note;
  }

  /** At least one. */
  of(registry: string): string[] {
    const all = [...new Set([this.#mirrors.get(registry) ?? [], registry].flat())];
    const left = all.filter((host) => !this.#gone.has(host));
    return left.length === 0 ? [registry] : left;
  }

  /** Remembers a host that failed, if there is another one to ask. */
  failed(host: string, error: HostFailure, next: string | undefined): void {
    if (next === undefined || this.#gone.has(host)) return;
    this.#gone.add(host);
    this.#note(`${error.message}; asking ${next} from now on`);
  }

  /**
   * What the first of the hosts gives that has it.
   * @param read gives undefined where a host does not have it
   * @param pinned whether a digest says which bytes are meant: then other bytes are an error, also from a mirror
   * @throws the last host's error; a DrydockError "integrity" of any one, if `pinned`.
   */
  async first<T>(
    hosts: readonly string[],
    pinned: boolean,
    read: (host: string) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    let absent = false;
    const before: string[] = [];
    for (const [at, host] of hosts.entries()) {
      const next = hosts[at + 1];
      try {
        const found = await read(host);
        if (found !== undefined) return found;
        absent = true;
      } catch (error) {
        if (error instanceof HostFailure) {
          this.failed(host, error, next);
          // A mirror has said that it isn't there, and nobody else says otherwise.
          if (next === undefined && absent) return undefined;
        }
        if (next === undefined || !fallsThrough(error, pinned)) throw withOthers(error, before);
        if (error instanceof DrydockError) before.push(error.message);
      }
    }
    return undefined;
  }
}

/** The error, with what other hosts said before. */
function withOthers(error: unknown, before: string[]): unknown {
  if (!(error instanceof DrydockError) || before.length === 0) return error;
  const message = `${error.message}; before that: ${before.join("; ")}`;
  const { hint, cause } = error;
  if (error instanceof HostFailure) return new HostFailure(message, { hint, cause });
  return new DrydockError(error.kind, message, { hint, cause });
}

function fallsThrough(error: unknown, pinned: boolean): boolean {
  if (!(error instanceof DrydockError)) return false;
  return error.kind === "upstream" || (error.kind === "integrity" && !pinned);
}
