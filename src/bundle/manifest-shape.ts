/**
 * Checks a manifest's keys and types against its schema, and says in words what does not fit.
 */
import { Ajv, type ErrorObject } from "ajv";
import { nearest } from "../did-you-mean.ts";
import { manifestSchema } from "./manifest-schema.ts";
import type { KeyPath, ManifestText } from "./manifest-text.ts";
import type { ManifestFile } from "./manifest-types.ts";

const validate = new Ajv({ allErrors: true, verbose: true, allowUnionTypes: true }).compile<ManifestFile>(
  manifestSchema,
);

export interface ShapeCheck {
  /** The manifest, as far as it is one: where `fits` says no, its type may not be right. */
  manifest: Partial<ManifestFile>;
  /** Whether the value at this place is as the schema wants it. */
  fits(path: KeyPath): boolean;
}

/** Adds a problem to `text` for each thing that does not fit. */
export function checkShape(text: ManifestText): ShapeCheck {
  const { value } = text;
  validate(value);
  const wrong: string[] = [];
  for (const error of validate.errors ?? []) {
    // "if" only repeats that its "then" or "else" failed.
    if (error.keyword === "if") continue;
    const path = pathOf(error, value);
    wrong.push(pointerOf(path));
    text.problem(path, describe(error));
  }
  const isMapping = typeof value === "object" && value !== null && !Array.isArray(value);
  return {
    manifest: isMapping ? value : {},
    fits(path) {
      const pointer = pointerOf(path);
      return !wrong.some((place) => place === pointer || place.startsWith(`${pointer}/`));
    },
  };
}

function pointerOf(path: KeyPath): string {
  return path.map((part) => `/${part}`).join("");
}

/** The error's place: its own key for a key that is unknown or missing. List positions as numbers. */
function pathOf(error: ErrorObject, top: unknown): KeyPath {
  const { instancePath, params } = error;
  const path: (string | number)[] = [];
  let value = top;
  for (const escaped of instancePath.split("/").slice(1)) {
    const key = escaped.replaceAll("~1", "/").replaceAll("~0", "~");
    path.push(Array.isArray(value) ? Number(key) : key);
    value = (value as Record<string, unknown>)[key];
  }
  if (error.keyword === "additionalProperties") path.push(params.additionalProperty);
  if (error.keyword === "required" && choiceOf(error) === undefined) path.push(params.missingProperty);
  return path;
}

/** Without `url` the schema wants `file`, and without `from` `reference`; but either would do. */
function choiceOf({ schemaPath, params }: ErrorObject): string | undefined {
  if (!schemaPath.endsWith("/else/required")) return undefined;
  return params.missingProperty === "reference"
    ? "wanted `reference`, or `from`"
    : "wanted `url` with `sha256`, or `file`";
}

const typeNames: Record<string, string> = {
  string: "text",
  integer: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "keys with values",
};

function describe(error: ErrorObject): string {
  const { keyword, params, data, parentSchema: schema = {} } = error;
  switch (keyword) {
    case "additionalProperties": {
      const near = nearest(params.additionalProperty, Object.keys(schema.properties ?? {}));
      return near === undefined ? "unknown key" : `unknown key; did you mean \`${near}\`?`;
    }
    case "required":
      return choiceOf(error) ?? "is missing";
    case "false schema":
      return error.instancePath.startsWith("/images/")
        ? "does not go with `from`"
        : "wanted either `url` or `file`, got both";
    case "type":
      return `wanted ${wantedTypes(params.type)}, got ${show(data)}${quotesHint(params.type, data)}`;
    case "enum":
      return `wanted ${schema.enum.join(" or ")}, got ${show(data)}`;
    case "const":
      return `wanted a list or \`${schema.const}\`, got ${show(data)}`;
    case "minimum":
    case "maximum":
      return schema.maximum > 65535
        ? `wanted a number of at least ${schema.minimum}, got ${show(data)}`
        : `wanted a number from ${schema.minimum} to ${schema.maximum}, got ${show(data)}`;
    case "minItems":
    case "minLength":
      return "is empty";
    case "uniqueItems":
      return `holds ${show((data as unknown[])[params.i])} twice`;
    case "pattern":
      return `${show(data)} does not fit. ${schema.description}`;
    default:
      return error.message ?? keyword;
  }
}

function wantedTypes(types: string | string[]): string {
  return [types]
    .flat()
    .map((type) => typeNames[type] ?? type)
    .join(" or ");
}

/** YAML reads `1.0` and `yes`-like words as other things than text. */
function quotesHint(types: string | string[], data: unknown): string {
  const isPlain = typeof data === "number" || typeof data === "boolean";
  return isPlain && [types].flat().includes("string") ? "; put it in quotes" : "";
}

function show(data: unknown): string {
  if (data === null || data === undefined) return "nothing";
  if (Array.isArray(data)) return "a list";
  if (typeof data === "object") return "keys with values";
  const text = JSON.stringify(data);
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}
