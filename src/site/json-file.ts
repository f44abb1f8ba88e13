/** Small files that a site remembers things in: read where they are there, as text or as JSON. */
import { readFile } from "node:fs/promises";
import { DrydockError, errorCode, errorText } from "../errors.ts";

/** undefined if there is no such file. @throws DrydockError "host" if it cannot be read. */
export async function readBytesIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}

/** What to do where one of a site's records is damaged: nothing can be known of the site without it. */
export const withoutRecords =
  "A disk may have failed, or somebody has written there. `drydock uninstall` takes drydock's records away and keeps " +
  "content and certificates; `drydock install BUNDLE --adopt` begins anew with them, and clients need nothing new.";

/** undefined if there is no such file. @throws DrydockError "host" if it cannot be read or, with the hint, is no JSON. */
export async function readJson(path: string, hint?: string): Promise<unknown> {
  const bytes = await readBytesIfThere(path);
  if (bytes === undefined) return undefined;
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { hint, cause: error });
  }
}

/** As people may want to read it. */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
