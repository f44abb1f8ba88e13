/** A table for a terminal: what is too long for its line is broken, not the table. */
import { columns, widthOf } from "./format.ts";
import { wrapped } from "./wrapped.ts";

/** A first column that is at most so wide is one of labels: it stays where it is. */
const widestLabel = 16;
/** What a column is worth keeping for. */
const leastRoom = 20;
/** Where the other cells stand if there is no such column. */
const below = 4;

/**
 * As columns(), where that fits. Where it doesn't, a first cell that leaves the others no room has a line of its
 * own, and they stand below, in their columns if there is room for them beside the shorter ones.
 * @param width of the terminal; without it lines are as long as they are
 */
export function fittedTable(
  rows: readonly (readonly string[])[],
  { indent = 0, width = Number.POSITIVE_INFINITY }: { indent?: number; width?: number | undefined } = {},
): string {
  const whole = columns(rows, { indent });
  if (Math.max(0, ...whole.split("\n").map(widthOf)) <= width) return whole;
  const table = columns(rows.map((row) => row.slice(1))).split("\n");
  const firsts = rows.map(([first = ""]) => widthOf(first));
  const hang = hangOf(firsts, width - indent - Math.max(...table.map(widthOf)) - 2);
  const others =
    hang === below
      ? rows.map((row) =>
          row
            .slice(1)
            .filter((cell) => cell !== "")
            .join("  "),
        )
      : table;
  const margin = " ".repeat(indent);
  const lines = rows.flatMap(([first = ""], at) => {
    const rest = wrapped(others[at] ?? "", Math.max(leastRoom, width - indent - hang)).split("\n");
    const isBeside = widthOf(first) + 2 <= hang;
    const top = isBeside ? first + " ".repeat(hang - widthOf(first)) + rest.shift() : first;
    return [top, ...rest.filter((line) => line !== "").map((line) => " ".repeat(hang) + line)];
  });
  return lines.map((line) => (margin + line).trimEnd()).join("\n");
}

/** The column where the second cells stand. @param room for the first ones, beside the widest of the others */
function hangOf(firsts: readonly number[], room: number): number {
  const widest = Math.max(...firsts);
  if (widest <= widestLabel) return widest + 2;
  const fitting = firsts.filter((first) => first <= room);
  return room < leastRoom || fitting.length === 0 ? below : Math.max(...fitting, leastRoom) + 2;
}
