/** What was seen at a client: files, their owners and modes, and their text. Parsed from what look.ts printed. */

export interface Entry {
  kind: "file" | "directory" | "link" | "other";
  /** the permission bits */
  mode: number;
  uid: number;
  gid: number;
  /** of a file that could be read, is not over 64 KiB, and is text in UTF-8 */
  text?: string;
}

export class Seen {
  /** the user's who looked */
  readonly home: string;
  readonly uid: number;
  readonly #entries = new Map<string, Entry>();
  readonly #programs: Set<string>;
  readonly #facts: Map<string, string>;

  /** @param lines as `lookScript` prints them, without the mark @throws Error if they are not whole */
  constructor(lines: readonly string[]) {
    const after = (word: string) =>
      lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
    if (lines.at(-1) !== "end") throw new Error("what it told of its files is not whole");
    this.home = after("home")[0] ?? "";
    this.uid = Number(after("uid")[0]);
    this.#programs = new Set(after("has"));
    this.#facts = new Map(
      after("fact").map((line) => {
        const [name = ""] = line.split(" ", 1);
        return [name, line.slice(name.length + 1)];
      }),
    );
    for (const line of after("ls")) this.#add(line);
    const texts = new Map<string, string | undefined>();
    for (const line of after("content")) {
      const [digest = "", hex = ""] = line.split(" ");
      texts.set(digest, textOf(Buffer.from(hex, "hex")));
    }
    for (const line of after("sum")) {
      const [digest = ""] = line.split(" ", 1);
      const entry = this.#entries.get(line.slice(digest.length + 1));
      const text = texts.get(digest);
      if (entry?.kind === "file" && text !== undefined) entry.text = text;
    }
  }

  /** A line of `ls -ldn` in the C locale: mode, links, uid, gid, size, three words of time, name. */
  #add(line: string): void {
    const match = /^(.)([-rwxsStT]{9})\S?\s+\d+\s+(\d+)\s+(\d+)\s+.*?\d\s+\S+\s+\S+\s+\S+ (\/.*)$/.exec(line);
    if (match === null) return;
    const [, type = "", bits = "", uid, gid, name = ""] = match;
    const kind = ({ "-": "file", d: "directory", l: "link" } as const)[type] ?? "other";
    const path = kind === "link" ? (name.split(" -> ")[0] ?? "") : name;
    this.#entries.set(path, { kind, mode: modeOf(bits), uid: Number(uid), gid: Number(gid) });
  }

  at(path: string): Entry | undefined {
    return this.#entries.get(this.absolute(path));
  }

  /** The names of what was seen directly in a directory, in order. */
  in(directory: string): string[] {
    const prefix = `${this.absolute(directory)}/`;
    return [...this.#entries.keys()]
      .filter((path) => path.startsWith(prefix) && !path.includes("/", prefix.length))
      .map((path) => path.slice(prefix.length))
      .sort();
  }

  has(...programs: string[]): boolean {
    return programs.some((program) => this.#programs.has(program));
  }

  /** What a store's own question was answered with. */
  fact(name: string): string | undefined {
    return this.#facts.get(name);
  }

  /** Temporary files of a run that was killed. */
  leftovers(): string[] {
    return [...this.#entries]
      .filter(([path, { kind }]) => kind === "file" && /\/\.[^/]+\.drydock(?:-before)?$/.test(path))
      .map(([path]) => path);
  }

  /** A path with the home directory in place of "~". */
  absolute(path: string): string {
    return path.startsWith("~/") ? this.home + path.slice(1) : path;
  }

  /** Directories and files that who looked may not look into; but in /run each user's own is closed to others. */
  closed(): string[] {
    if (this.uid === 0) return [];
    const isClosed = ({ kind, mode, uid, text }: Entry) => {
      const may = uid === this.uid ? mode >> 6 : mode;
      return kind === "directory"
        ? (may & 5) !== 5
        : kind === "file" && text === undefined && (may & 4) === 0;
    };
    return [...this.#entries]
      .filter(([path, entry]) => isClosed(entry) && !path.startsWith("/run/"))
      .map(([path]) => path);
  }
}

/** "rwxr-xr-x" → 0o755 */
function modeOf(bits: string): number {
  return [...bits].reduce((mode, bit) => mode * 2 + (/[rwxst]/.test(bit) ? 1 : 0), 0);
}

function textOf(bytes: Buffer): string | undefined {
  if (bytes.includes(0)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
