/**
 * A containerd of a host's own, started and restarted as a System V service, and its CRI, through which Kubernetes
 * pulls: gRPC over its socket, since Debian 12 has no crictl.
 */
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";

/** Shell lines for startSshd's `run`: a service, and a state of its own. It is not started by them. */
export const withContainerd: string[] = [
  "cat > /etc/init.d/containerd <<'END'",
  "#!/bin/sh",
  "stop() { kill $(cat /run/containerd.pid) && while [ -d /proc/$(cat /run/containerd.pid) ]; do sleep 0.05; done; }",
  "start() {",
  "  setsid containerd --root /run/containerd-root >>/run/containerd.log 2>&1 </dev/null & echo $! >/run/containerd.pid",
  "  until ctr version >/dev/null 2>&1; do [ -d /proc/$(cat /run/containerd.pid) ] || exit 1; sleep 0.05; done",
  "}",
  "case $1 in start) start;; stop) stop;; restart) stop; start;; esac",
  "END",
  "chmod 755 /etc/init.d/containerd",
];

/**
 * Pulls an image as the kubelet has it pulled (runtime.v1.ImageService of the CRI).
 * @param socket containerd's, as seen from here @returns "pulled", or containerd's words
 */
export async function criPull(socket: string, image: string): Promise<string> {
  const session = connectHttp2("http://localhost", { createConnection: () => connect(socket) });
  try {
    const request = session.request({
      ":method": "POST",
      ":path": "/runtime.v1.ImageService/PullImage",
      "content-type": "application/grpc",
      te: "trailers",
    });
    const message = field(1, field(1, Buffer.from(image)));
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    request.end(Buffer.concat([prefix, message]));
    let said: Record<string, unknown> = {};
    request.on("response", (headers) => {
      said = { ...said, ...headers };
    });
    request.on("trailers", (headers) => {
      said = { ...said, ...headers };
    });
    request.resume();
    await once(request, "close");
    return said["grpc-status"] === "0" ? "pulled" : decodeURIComponent(String(said["grpc-message"]));
  } finally {
    session.close();
  }
}

/** A length-delimited field of Protocol Buffers, of less than 128 bytes. */
function field(number: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(number << 3) | 2, content.length]), content]);
}
