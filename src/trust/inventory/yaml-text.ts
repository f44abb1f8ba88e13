/**
 * YAML files of an inventory: mappings with the line of every key, as Ansible's reader (YAML 1.1) has them,
 * and values as far as they are of use. Nothing is made of what nobody asks for: tags and templates may stand
 * in other values.
 */
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  type ParsedNode,
  parseDocument,
} from "yaml";
import { DrydockError } from "../../errors.ts";
import { isOfUse, type Value } from "./value.ts";

/** One key of a mapping. */
export interface Entry {
  key: string;
  /** what stands there, aliases followed; undefined for nothing */
  node: Node | undefined;
  /** "file:line" of the key */
  where: string;
}

/**
 * What a mapping's keys are: names of hosts or groups, which are text; the parts of a group; or variables, of
 * which only a few are of use.
 */
export type KeyKind = "names" | "parts" | "variables";

/** Mappings in mappings: more of them than this is an alias in a circle, or one that multiplies itself. */
const mostMappings = 200_000;

export class YamlText {
  readonly #file: string;
  readonly #document: Document.Parsed<ParsedNode>;
  readonly #lines = new LineCounter();
  #mappings = 0;

  /** @param file as the user wrote it: errors begin with it @throws DrydockError "input" naming file and line */
  constructor(file: string, text: string) {
    this.#file = file;
    this.#document = parseDocument(text, {
      ...{ version: "1.1", lineCounter: this.#lines, prettyErrors: false },
      ...{ uniqueKeys: false, logLevel: "error" },
    });
    const [error] = this.#document.errors;
    if (error === undefined) return;
    const what = error.code === "MULTIPLE_DOCS" ? "a second document begins here" : error.message;
    throw new DrydockError("input", `${file}:${this.#lines.linePos(error.pos[0]).line}: not YAML: ${what}`, {
      hint: "The cause may stand further up: a bracket or quote left open, or another indent.",
    });
  }

  get root(): Node | undefined {
    return this.#follow(this.#document.contents);
  }

  /**
   * The keys of a mapping, those that it takes over from another (`<<: *name`) first.
   * @throws DrydockError "input" if it is none, or a key stands in it twice, of which Ansible drops one
   */
  entries(node: Node | undefined, what: string, kind: KeyKind): Entry[] {
    if (node === undefined) return [];
    if (!isMap(node)) throw this.fault(node, `${what}: wanted a mapping, got ${kindOf(node)}`);
    this.#mappings += 1;
    if (this.#mappings > mostMappings) throw this.fault(node, "aliases in a circle, or too many of them");
    const merged = node.items.filter(isMerge).flatMap((pair) => this.#merged(pair, what, kind));
    const own = node.items.filter((pair) => !isMerge(pair)).map((pair) => this.#entry(pair, kind));
    if (kind !== "variables") refuseTwice(own);
    else refuseTwice(own.filter(({ key }) => isOfUse(key)));
    return [...new Map([...merged, ...own].map((entry) => [entry.key, entry])).values()];
  }

  /** @throws nothing: what can't be read is named in the value */
  value({ node, where }: Entry): Value {
    if (node === undefined) return { where, scalar: null };
    if (node.tag?.includes("vault")) return { where, unread: "a secret of ansible-vault" };
    if (node.tag?.startsWith("!") && node.tag !== "!unsafe")
      return { where, unread: `a value with the tag ${node.tag}` };
    if (!isScalar(node)) return { where, unread: kindOf(node) };
    const { value } = node;
    if (
      value === null ||
      typeof value === "string" ||
      typeof value === "number" ||
      typeof value === "boolean"
    )
      return { where, scalar: value };
    return { where, unread: "a date or another special value" };
  }

  fault(node: Node | undefined, what: string): DrydockError {
    return new DrydockError("input", `${this.where(node)}: ${what}`);
  }

  where(node: Node | undefined): string {
    return `${this.#file}:${node?.range ? this.#lines.linePos(node.range[0]).line : 1}`;
  }

  #entry(pair: Pair, kind: KeyKind): Entry {
    const keyNode = isNode(pair.key) ? pair.key : undefined;
    const key = this.#follow(keyNode);
    if (!isScalar(key)) throw this.fault(keyNode, "wanted text before the colon");
    // `y` and `n` are text for Ansible's reader, if not for YAML 1.1 itself.
    const isOneLetter = /^[yYnN]$/.test(key.source ?? "") && key.type === "PLAIN";
    if (kind === "names" && typeof key.value !== "string" && !isOneLetter)
      throw this.fault(keyNode, `${key.source ?? String(key.value)}: wanted text; put it in quotes`);
    const text = isOneLetter ? (key.source ?? "") : String(key.value);
    return { key: text, node: this.#follow(pair.value), where: this.where(keyNode) };
  }

  #merged(pair: Pair, what: string, kind: KeyKind): Entry[] {
    const node = this.#follow(pair.value);
    // Of several mappings the first has the say.
    if (isSeq(node)) {
      const parts = node.items.map((item) => this.entries(this.#follow(item), what, kind));
      return parts.reverse().flat();
    }
    return this.entries(node, what, kind);
  }

  #follow(value: unknown): Node | undefined {
    if (!isNode(value)) return undefined;
    const node = isAlias(value) ? value.resolve(this.#document) : value;
    return node === undefined || (isScalar(node) && node.value === null) ? undefined : node;
  }
}

function refuseTwice(entries: Entry[]): void {
  const seen = new Map<string, string>();
  for (const { key, where } of entries) {
    const before = seen.get(key);
    seen.set(key, where);
    if (before === undefined) continue;
    throw new DrydockError("input", `${where}: ${key} stands here a second time, after ${before}`, {
      hint: "Ansible takes only the last one.",
    });
  }
}

function isMerge({ key }: Pair): boolean {
  return isScalar(key) && key.source === "<<" && key.type === "PLAIN";
}

function kindOf(node: Node): string {
  if (isMap(node)) return "a mapping";
  return isSeq(node) ? "a list" : "plain text";
}
