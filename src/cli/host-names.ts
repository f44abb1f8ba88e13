/** Many hosts' names in few words: "db-2, web-01 to web-40". */

/** More of them say nothing to anybody; --json has them all. */
const mostShown = 40;
/** Fewer in a row are shorter when they are named. */
const leastInARow = 3;

const inNaturalOrder = new Intl.Collator("en", { numeric: true });

export function hostNames(names: readonly string[]): string {
  const sorted = [...names].sort(inNaturalOrder.compare);
  const runs: string[][] = [];
  for (const name of sorted) {
    const last = runs.at(-1);
    if (last !== undefined && follows(last.at(-1) ?? "", name)) last.push(name);
    else runs.push([name]);
  }
  const words = runs.flatMap((run) =>
    run.length < leastInARow ? run.map((name) => ({ text: name, hosts: 1 })) : [rangeOf(run)],
  );
  const shown = words.slice(0, mostShown);
  const rest = names.length - shown.reduce((sum, { hosts }) => sum + hosts, 0);
  const text = shown.map((word) => word.text).join(", ");
  return rest === 0 ? text : `${text} and ${rest} more`;
}

function rangeOf(run: readonly string[]): { text: string; hosts: number } {
  return { text: `${run[0]} to ${run.at(-1)}`, hosts: run.length };
}

/** Whether one number in them differs, by one: web-09.lan and web-10.lan. */
function follows(one: string, next: string): boolean {
  const [before, after] = [one, next].map((name) => name.split(/(\d+)/));
  if (before === undefined || after === undefined || before.length !== after.length) return false;
  const [at, ...more] = before.flatMap((part, index) => (part === after[index] ? [] : [index]));
  if (at === undefined || more.length > 0 || at % 2 === 0) return false;
  return Number(after[at]) === Number(before[at]) + 1;
}
