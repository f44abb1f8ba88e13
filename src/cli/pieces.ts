/**
 * The pieces of a step that are in flight, and a few of them as lines below the step's own.
 */
import type { Piece } from "../reporter.ts";
import { formatBytes, printable } from "./format.ts";
import { cut, cutFront, type Marks } from "./marks.ts";

/** What has been in flight for less, in milliseconds, is not shown: small blobs would only flash. */
const shownAfter = 300;
/** For so long the last row stays as it is, in milliseconds: another piece may take it. */
const heldFor = 1000;

class PieceInFlight implements Piece {
  readonly name: string;
  readonly size: number | undefined;
  readonly began: number;
  endedAt: number | undefined;
  doneBytes = 0;
  detailText = "";
  #pieces: Pieces;

  constructor(name: string, size: number | undefined, began: number, pieces: Pieces) {
    this.name = printable(name);
    this.size = size;
    this.began = began;
    this.#pieces = pieces;
  }

  advance(bytes: number): void {
    this.doneBytes += bytes;
  }

  detail(text: string): void {
    this.detailText = printable(text);
  }

  end(): void {
    this.#pieces.end(this);
  }
}

export class Pieces {
  readonly #now: () => number;
  /** the oldest first */
  readonly #inFlight = new Set<PieceInFlight>();
  /** what the terminal shows, from above; ends of pieces leave holes, which the next ones fill */
  #rows: PieceInFlight[] = [];

  /** @param now milliseconds */
  constructor(now: () => number) {
    this.#now = now;
  }

  begin(name: string, size?: number): Piece {
    const piece = new PieceInFlight(name, size, this.#now(), this);
    this.#inFlight.add(piece);
    return piece;
  }

  end(piece: PieceInFlight): void {
    if (this.#inFlight.delete(piece)) piece.endedAt = this.#now();
  }

  /** Changes whenever something has come of any of them. */
  get doneBytes(): number {
    return this.#inFlight.values().reduce((sum, { doneBytes }) => sum + doneBytes, 0);
  }

  /** For a log: "in flight: alpine:3.20 3b1f0a2c4d5e and 4 more"; nothing if none is. */
  summary(): string {
    const [first] = this.#inFlight;
    if (first === undefined) return "";
    const more = this.#inFlight.size - 1;
    return `in flight: ${first.name}${more === 0 ? "" : ` and ${more} more`}`;
  }

  /**
   * For a terminal. @param most how many lines it may take, of which one says how many more there are
   * @param mostRows how many pieces it may show
   */
  lines(most: number, mostRows: number, width: number, marks: Marks): string[] {
    const more = this.#fillRows(Math.min(most, mostRows));
    const now = this.#now();
    const lines = this.#rows.map((piece) => pieceLine(piece, now, width, marks));
    const indent = " ".repeat(nameAt(width, this.#rows[0]?.size));
    if (more > 0 && lines.length > 0 && lines.length < most) lines.push(`${indent}and ${more} more`);
    return lines;
  }

  /** A piece keeps its row until it ends, and then until another takes it. @returns how many have none */
  #fillRows(most: number): number {
    const now = this.#now();
    this.#rows.length = Math.min(this.#rows.length, most);
    let more = 0;
    for (const piece of this.#inFlight) {
      if (now - piece.began < shownAfter || this.#rows.includes(piece)) continue;
      const hole = this.#rows.findIndex(({ endedAt }) => endedAt !== undefined);
      if (hole !== -1) this.#rows[hole] = piece;
      else if (this.#rows.length < most) this.#rows.push(piece);
      else more++;
    }
    const isOver = (row: PieceInFlight | undefined) => now - (row?.endedAt ?? now) > heldFor;
    while (isOver(this.#rows.at(-1))) this.#rows.pop();
    return more;
  }
}

/**
 * "   45%   120 MiB of 266 MiB   alpine:3.20 3b1f0a2c4d5e"; a name that is too long keeps its end.
 * "   12 s  web-17  connecting" without a size.
 */
function pieceLine(piece: PieceInFlight, now: number, width: number, marks: Marks): string {
  const { name, size, doneBytes, endedAt } = piece;
  const isDone = endedAt !== undefined && size !== undefined && doneBytes >= size;
  // It has failed: it is begun anew, as another piece, or the step ends.
  if (endedAt !== undefined && !isDone) return "";
  if (size === undefined) {
    const seconds = `${Math.floor((now - piece.began) / 1000)} s`;
    return cut(`${seconds.padStart(6)}  ${name}  ${piece.detailText}`.trimEnd(), width, marks);
  }
  const percent = size === 0 ? 100 : Math.min(100, Math.floor((doneBytes / size) * 100));
  const figures = [(isDone ? marks.done : `${percent}%`).padStart(6)];
  if (hasSizes(width))
    figures.push(`${formatBytes(doneBytes).padStart(8)} of ${formatBytes(size).padEnd(8)}`);
  return `${figures.join("  ")}  ${cutFront(name, width - nameAt(width, size), marks)}`;
}

/** Where there is room for the sizes and for most of a name. */
function hasSizes(width: number): boolean {
  return width >= 56;
}

/** The column where names begin. */
function nameAt(width: number, size: number | undefined): number {
  return hasSizes(width) && size !== undefined ? 30 : 8;
}
