/**
 * A manifest's text: read as YAML, with the line of every key, and the list of what is wrong with it.
 */
import {
  isCollection,
  isMap,
  isNode,
  isPair,
  isScalar,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
} from "yaml";
import { DrydockError, errorText } from "../errors.ts";

/** A place in a manifest: ["images", 2, "reference"]. */
export type KeyPath = readonly (string | number)[];

const notYaml = "not YAML";

/** images[2].reference */
export function formatPath(path: KeyPath): string {
  return path.reduce<string>(
    (text, part) => (typeof part === "number" ? `${text}[${part}]` : text === "" ? part : `${text}.${part}`),
    "",
  );
}

export class ManifestText {
  /** as the user wrote it: errors begin with it */
  readonly file: string;
  /** the YAML as plain values; undefined where it cannot be read as such */
  readonly value: unknown;
  readonly #document;
  readonly #counter = new LineCounter();
  readonly #problems: { line: number; text: string }[] = [];

  constructor(file: string, text: string) {
    this.file = file;
    this.#document = parseDocument(text, {
      lineCounter: this.#counter,
      prettyErrors: false,
      stringKeys: true,
      // "silent" would say nothing of a second document.
      logLevel: "error",
    });
    const { errors, warnings } = this.#document;
    for (const { code, message, pos } of [...errors, ...warnings]) {
      const line = this.#counter.linePos(pos[0]).line;
      const key = /^[\w.-]+/.exec(text.slice(pos[0]))?.[0];
      const twice = code === "DUPLICATE_KEY" && key !== undefined;
      const second = code === "MULTIPLE_DOCS" ? "a second document begins here, wanted one" : undefined;
      this.#problems.push({
        line,
        text: twice
          ? `${key}: stands here a second time`
          : (second ?? `${notYaml}: ${message}${this.#begun(pos[0], line)}`),
      });
    }
    // What comes of broken YAML would only bring up errors that aren't there.
    if (errors.some(({ code }) => code !== "DUPLICATE_KEY")) this.throwProblems();
    this.value = this.#plain();
  }

  /** A quote or bracket that is left open is noticed lines later: says where the one before `offset` begins. */
  #begun(offset: number, line: number): string {
    let begun = line;
    visit(this.#document, {
      Node: (_key, node) => {
        const canBeOpen =
          (isCollection(node) && node.flow === true) || (isScalar(node) && node.type?.startsWith("QUOTE"));
        const [start = offset, end = offset] = node.range ?? [];
        if (canBeOpen && start < offset && end >= offset - 1) begun = this.#counter.linePos(start).line;
      },
    });
    return begun === line ? "" : ` (it begins on line ${begun})`;
  }

  #plain(): unknown {
    try {
      return this.#document.toJS();
    } catch (error) {
      // An alias that multiplies itself ("a billion laughs").
      this.#problems.push({ line: 1, text: `not usable: ${errorText(error)}` });
      this.throwProblems();
    }
  }

  /** The line of a key, from 1; of the nearest one above it, where it isn't there. */
  lineOf(path: KeyPath): number {
    for (let length = path.length; length > 0; length--) {
      const offset = this.#offsetOf(path.slice(0, length));
      if (offset !== undefined) return this.#counter.linePos(offset).line;
    }
    const top = this.#document.contents;
    return top?.range ? this.#counter.linePos(top.range[0]).line : 1;
  }

  #offsetOf(path: KeyPath): number | undefined {
    const parent: unknown =
      path.length === 1 ? this.#document.contents : this.#document.getIn(path.slice(0, -1), true);
    const last = path.at(-1);
    if (isMap(parent)) {
      const pair = parent.items.find((item) => isPair(item) && isKey(item, last));
      return isNode(pair?.key) ? pair.key.range?.[0] : undefined;
    }
    const node: unknown = this.#document.getIn(path, true);
    return isNode(node) ? (node as Node).range?.[0] : undefined;
  }

  /** Remembers that something is wrong at `path`. */
  problem(path: KeyPath, text: string): void {
    const key = formatPath(path);
    this.#problems.push({ line: this.lineOf(path), text: key === "" ? text : `${key}: ${text}` });
  }

  /**
   * @throws DrydockError "input" with a line for each problem, "FILE:LINE: KEY: what is wrong"; does
   * nothing if there is none.
   */
  throwIfWrong(): void {
    if (this.#problems.length > 0) this.throwProblems();
  }

  private throwProblems(): never {
    const sorted = this.#problems.toSorted((a, b) => a.line - b.line);
    const lines = sorted.map(({ line, text }) => `${this.file}:${line}: ${text}`);
    const isYaml = !sorted.some(({ text }) => text.startsWith(notYaml));
    throw new DrydockError("input", [...new Set(lines)].join("\n"), {
      hint: isYaml
        ? undefined
        : "The cause may stand further up: a bracket or quote left open, or another indent.",
    });
  }
}

function isKey(pair: Pair, key: unknown): boolean {
  return isNode(pair.key) && "value" in pair.key && pair.key.value === key;
}
