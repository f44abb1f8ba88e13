/** YAML or JSON that others wrote, perhaps of many documents, with the line of every value. */
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseAllDocuments } from "yaml";
import { DrydockError, errorText } from "../../errors.ts";

type Path = readonly (string | number)[];

export class YamlText {
  readonly file: string;
  /** as plain values, anchors and merge keys followed; none for a document without content */
  readonly documents: { value: unknown; lineOf(path: Path): number }[];

  /** @throws DrydockError "input" with file and line if it is not YAML */
  constructor(text: string, file: string) {
    const counter = new LineCounter();
    // Charts repeat labels, and Kubernetes takes the last: not for us to judge.
    const options = { lineCounter: counter, prettyErrors: false, merge: true, uniqueKeys: false };
    const parsed = parseAllDocuments(text, { ...options, logLevel: "silent" });
    this.file = file;
    this.documents = [...parsed].flatMap((document: Document) => {
      const [error] = document.errors;
      if (error !== undefined) throw this.#notYaml(counter.linePos(error.pos[0]).line, error.message, text);
      const value = this.#plain(document);
      if (value === null || value === undefined) return [];
      return [{ value, lineOf: (path: Path) => counter.linePos(offsetOf(document, path)).line }];
    });
  }

  #plain(document: Document): unknown {
    try {
      return document.toJS();
    } catch (error) {
      // An alias that multiplies itself ("a billion laughs"), or one that names nothing.
      throw this.problem(1, `not usable: ${errorText(error)}`);
    }
  }

  #notYaml(line: number, message: string, text: string): DrydockError {
    return this.problem(
      line,
      `not YAML: ${message}`,
      text.includes("{{")
        ? "It is a template: render it first. helm template CHART | drydock bundle MANIFEST --images-from -"
        : undefined,
    );
  }

  /** @returns DrydockError "input" that begins with file and line */
  problem(line: number, text: string, hint?: string): DrydockError {
    return new DrydockError("input", `${this.file}:${line}: ${text}`, { hint });
  }
}

/** Where the value at a path stands; that of the nearest one above it, where it isn't there. */
function offsetOf(document: Document, path: Path): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const part of path) {
    node = childOf(document, node, part);
    const start = startOf(node);
    if (start === undefined) break;
    offset = start;
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function childOf(document: Document, parent: unknown, part: string | number): unknown {
  const node = isAlias(parent) ? parent.resolve(document) : parent;
  if (isSeq(node)) return typeof part === "number" ? node.items[part] : undefined;
  if (!isMap(node)) return undefined;
  const named = (name: string) => node.items.findLast(({ key }) => keyText(key) === name)?.value;
  return named(String(part)) ?? inMerged(document, named("<<"), part);
}

/** The library reads `<<` as a symbol of that description. */
function keyText(key: unknown): string | undefined {
  if (!isScalar(key)) return undefined;
  return typeof key.value === "symbol" ? key.value.description : String(key.value);
}

/** A merge key's value: a mapping or a list of them, of which the first counts (yaml.org/type/merge.html). */
function inMerged(document: Document, merged: unknown, part: string | number): unknown {
  const node = isAlias(merged) ? merged.resolve(document) : merged;
  if (!isSeq(node)) return isMap(node) ? childOf(document, node, part) : undefined;
  return node.items.map((item) => childOf(document, item, part)).find((found) => found !== undefined);
}

/** A mapping, or one without keys where the value is none. */
export function mapping(value: unknown): Record<string, unknown> {
  return isMapping(value) ? value : {};
}

export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A list, or an empty one where the value is none. */
export function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
