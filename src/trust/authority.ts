/** The CA's certificate, before it is put anywhere. */
import { X509Certificate } from "node:crypto";
import { DrydockError } from "../errors.ts";
import { certificatesIn, joined } from "./stores/pem.ts";

/**
 * A server's own certificate would work too, until it is renewed: only authorities are pushed.
 * @param pem one or several certificates
 * @returns the certificates alone, without the text that may stand between them
 * @throws DrydockError "input"
 */
export function checkAuthority(pem: string): string {
  const blocks = certificatesIn(pem);
  if (blocks.length === 0) throw new DrydockError("input", "read the CA: wanted a PEM certificate, got none");
  for (const block of blocks) {
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(block);
    } catch (error) {
      throw new DrydockError("input", `read the CA: a certificate in it can't be read`, { cause: error });
    }
    if (certificate.ca) continue;
    const subject = certificate.subject.replaceAll("\n", ", ");
    throw new DrydockError("input", `read the CA: ${JSON.stringify(subject)} is not an authority (CA:TRUE)`, {
      hint: "Give the certificate of the CA that signed it.",
    });
  }
  return joined(blocks);
}
