/** What is found in one file that names images. Every kind of such a file is a file in this folder. */

export interface FoundImages {
  images: FoundImage[];
  /** what was not looked at or not found, for people; empty for most files */
  notes: string[];
}

export interface FoundImage {
  /** a reference as it stands there, not yet checked */
  reference: string;
  /** from 1 */
  line: number;
}
