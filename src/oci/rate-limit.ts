/**
 * How many pulls a registry still allows, as Docker Hub tells it with each image manifest
 * (docs.docker.com/docker-hub/usage/pulls: `ratelimit-limit: 100;w=21600`, `ratelimit-remaining: 12;w=21600`).
 */

type Headers = Record<string, string | string[] | undefined>;

export class RateLimits {
  readonly #tell: (text: string) => void;
  /** host → how many were left when it was told */
  readonly #told = new Map<string, number>();

  constructor(tell: (text: string) => void) {
    this.#tell = tell;
  }

  /** Tells when a quarter is left, and then each time when half of that is gone. */
  look(host: string, headers: Headers): void {
    const limit = parse(headers["ratelimit-limit"]);
    const left = parse(headers["ratelimit-remaining"]);
    if (limit === undefined || left === undefined || left.count > limit.count / 4) return;
    const told = this.#told.get(host);
    if (told !== undefined && (left.count === told || left.count > told / 2)) return;
    this.#told.set(host, left.count);
    const seconds = left.seconds ?? limit.seconds;
    const within = seconds === undefined ? "" : ` in ${duration(seconds)}`;
    // Docker Hub's API is on a host of its own.
    this.#tell(
      `${host === "registry-1.docker.io" ? "docker.io" : host}: ${left.count} of ${limit.count} pulls left${within}`,
    );
  }
}

function parse(header: string | string[] | undefined): { count: number; seconds?: number } | undefined {
  const text = Array.isArray(header) ? header[0] : header;
  const [, count, seconds] = /^\s*(\d{1,12})\s*(?:;\s*w=(\d{1,9}))?/.exec(text ?? "") ?? [];
  if (count === undefined) return undefined;
  return { count: Number(count), ...(seconds === undefined ? {} : { seconds: Number(seconds) }) };
}

function duration(seconds: number): string {
  if (seconds >= 3600) return `${Math.round(seconds / 3600)} h`;
  return seconds >= 60 ? `${Math.round(seconds / 60)} min` : `${seconds} s`;
}
