/** Whether files/ shows what the records of the releases say. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { errorCode, errorText } from "../errors.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { Files } from "../site/record.ts";
import { digestOfFile, isSameFile } from "./files.ts";
import type { Finding } from "./finding.ts";
import type { RecordedFile } from "./recorded.ts";

/** The check's name: what is wrong with it has the exit code of damage. */
export const filesCheck = "files";

/** So many are described. */
const shown = 8;

/**
 * @param also values that names may show besides: of an action that is under way, or was interrupted
 * @param deep whether those that are no second name of a kept file are read; the kept ones are blobs like others
 */
export async function fileFindings(
  layout: SiteLayout,
  files: readonly RecordedFile[],
  also: readonly Files[],
  deep: boolean,
): Promise<Finding[]> {
  const wrong: { file: RecordedFile; problem: string }[] = [];
  for (const file of files) {
    const others = also.flatMap((values) => values[file.name] ?? []);
    if (others.length > 0 && (await showsOneOf(layout, file.name, others))) continue;
    const problem = await problemWith(layout, file, deep);
    if (problem !== undefined) wrong.push({ file, problem });
  }
  return [...Map.groupBy(wrong, ({ file }) => file.release.record).entries()].map(
    ([record, some]): Finding => {
      const head =
        some.length === 1 ? "a file is not as recorded" : `${some.length} files are not as recorded`;
      const lines = some
        .slice(0, shown)
        .map(({ file, problem }) => `  ${join(layout.files, file.name)}: ${problem}`);
      const more = some.length > shown ? [`  and ${some.length - shown} more`] : [];
      return {
        ...{ check: filesCheck, level: "error", text: [head, ...lines, ...more].join("\n") },
        hint: `\`drydock install BUNDLE\`, with the bundle of ${record.name}, release ${record.release}, puts it right.`,
      };
    },
  );
}

async function showsOneOf(
  layout: SiteLayout,
  name: string,
  digests: readonly Files[string][],
): Promise<boolean> {
  const now = await digestOfFile(join(layout.files, name)).catch(() => undefined);
  return now !== undefined && digests.includes(now);
}

async function problemWith(
  layout: SiteLayout,
  { name, digest, size }: RecordedFile,
  deep: boolean,
): Promise<string | undefined> {
  const path = join(layout.files, name);
  if (await isSameFile(path, layout.keptFile(digest))) return undefined;
  try {
    const found = await stat(path);
    if (found.size !== size) return `it has ${found.size} bytes, not ${size}`;
    return !deep || (await digestOfFile(path)) === digest ? undefined : "it has other bytes";
  } catch (error) {
    return errorCode(error) === "ENOENT" ? "it is missing" : `it cannot be looked at: ${errorText(error)}`;
  }
}
