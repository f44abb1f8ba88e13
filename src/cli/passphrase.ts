/** Where the passphrase of the server's key comes from: a file, or the terminal. */
import { readFile } from "node:fs/promises";
import { DrydockError, fileErrorText } from "../errors.ts";

/** The first line of a file. @throws DrydockError "input" if it cannot be read or is empty. */
export async function readPassphraseFile(file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw new DrydockError("input", `read passphrase file ${JSON.stringify(file)}: ${fileErrorText(error)}`, {
      cause: error,
    });
  });
  const [line = ""] = text.split(/\r?\n/);
  if (line !== "") return line;
  throw new DrydockError("input", `read passphrase file ${JSON.stringify(file)}: its first line is empty`);
}
