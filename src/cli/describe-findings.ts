/** What preflight found, as a table for people. */
import { styleText } from "node:util";
import type { Finding } from "../install/finding.ts";
import { printable } from "./format.ts";
import { wrapped } from "./wrapped.ts";

const colors = { ok: "green", warning: "yellow", error: "red" } as const;

/**
 * One line or more for each: level, check, what is so; and below that, further in, what to do about it.
 * @param width of the terminal, to break lines between words; without it they are as long as they are
 */
export function findingsTable(findings: readonly Finding[], color: boolean, width?: number): string {
  const widest = (texts: readonly string[]) => Math.max(0, ...texts.map(({ length }) => length));
  const first = widest(findings.map(({ level }) => level));
  const second = widest(findings.map(({ check }) => check));
  const margin = first + second + 6;
  const broken = (text: string, indent: number) => wrapped(printable(text, true), width, indent);
  const lines = findings.map(({ level, check, text, hint }) => {
    const label = level.padEnd(first);
    const shown = color ? styleText(colors[level], label, { validateStream: false }) : label;
    const line = `  ${shown}  ${check.padEnd(second)}  ${broken(text, margin)}`;
    return hint === undefined ? line : `${line}\n${" ".repeat(margin + 2)}${broken(hint, margin + 2)}`;
  });
  return lines.join("\n");
}
