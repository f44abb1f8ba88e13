/**
 * How many blobs are downloaded at once: so many from each host, so that one registry does not keep another
 * waiting, and small ones on a lane of their own, so that they don't wait behind large ones.
 */
import pLimit, { type LimitFunction } from "p-limit";

const largePerHost = 4;
const smallPerHost = 4;
const small = 1024 * 1024;

interface Lane {
  perHost: number;
  /** over all hosts */
  all: LimitFunction;
  hosts: Map<string, LimitFunction>;
}

export class DownloadLimits {
  readonly #large: Lane;
  readonly #small: Lane;

  /** @param parallel how many at the same time, over all hosts and both lanes */
  constructor(parallel: number) {
    const forSmall = Math.min(smallPerHost, parallel >> 1);
    this.#large = laneOf(largePerHost, parallel - forSmall);
    this.#small = forSmall === 0 ? this.#large : laneOf(smallPerHost, forSmall);
  }

  /** Does `work`, a download of `size` bytes, when it is its turn. */
  async run<T>(host: string, size: number, work: () => Promise<T>): Promise<T> {
    const { perHost, all, hosts } = size < small ? this.#small : this.#large;
    const own = hosts.get(host) ?? pLimit(perHost);
    hosts.set(host, own);
    // The host's place is taken first: who waits for it keeps nobody from another host.
    return await own(() => all(work));
  }
}

function laneOf(perHost: number, parallel: number): Lane {
  return { perHost, all: pLimit(parallel), hosts: new Map() };
}
