/** The files in which a manifest's images are named, before they are read: its `from` and --images-from. */
import { DrydockError } from "../../errors.ts";
import type { Reporter } from "../../reporter.ts";
import { findImages, matchingFiles, readSmallFile, readStandardInput, standardInput } from "./find-images.ts";

export interface ListedReference {
  reference: string;
  /** file and line, "k8s/web.yaml:12" */
  where: string;
}

/** One `from` with its files. @template Fields what the manifest says of all images in it */
export class ImageList<Fields = unknown> {
  readonly fields: Fields;
  readonly #from: string;
  readonly #files: readonly string[];

  constructor(from: string, files: readonly string[], fields: Fields) {
    this.#from = from;
    this.#files = files;
    this.fields = fields;
  }

  /** @throws DrydockError "input" with file and line where one is not as it must be; if none names an image */
  async read(reporter: Reporter): Promise<ListedReference[]> {
    const listed: ListedReference[] = [];
    for (const file of this.#files) {
      const isInput = file === standardInput;
      const name = isInput ? "standard input" : file;
      const text = isInput ? await readStandardInput() : await readSmallFile(file);
      const { images, notes } = findImages(text, name);
      for (const note of notes) reporter.note(note);
      listed.push(...images.map(({ reference, line }) => ({ reference, where: `${name}:${line}` })));
    }
    if (listed.length > 0) return listed;
    const name = this.#from === standardInput ? "standard input" : JSON.stringify(this.#from);
    throw new DrydockError("input", `read images from ${name}: it names none`, {
      hint: "Did the command fail that should write it? Else leave it out.",
    });
  }
}

export class ImageLists<Fields> {
  readonly lists: ImageList<Fields>[] = [];
  #usesInput = false;

  /** @param folder what a pattern is relative to @throws DrydockError "input" if it matches no file */
  async add(from: string, folder: string, fields: Fields): Promise<void> {
    const files = from === standardInput ? [from] : await matchingFiles(folder, from);
    this.#add(from, files, fields);
  }

  /** A file by its name, relative to the working directory. */
  addFile(from: string, fields: Fields): void {
    this.#add(from, [from], fields);
  }

  #add(from: string, files: readonly string[], fields: Fields): void {
    if (from === standardInput && this.#usesInput)
      throw new DrydockError("input", "read images from -: standard input can be read only once");
    this.#usesInput ||= from === standardInput;
    this.lists.push(new ImageList(from, files, fields));
  }
}
