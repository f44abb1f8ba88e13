/** Servers with a fault that a real registry does not show, and a record of what they were asked. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

export interface FaultyServer {
  /** 127.0.0.1:PORT */
  host: string;
  /** each request's method, path and Authorization header */
  asked: { method: string; path: string; authorization: string | undefined }[];
  stop(): Promise<void>;
}

export async function startServer(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<FaultyServer> {
  const asked: FaultyServer["asked"] = [];
  const server = createServer((request, response) => {
    const { method = "", url = "" } = request;
    asked.push({ method, path: url, authorization: request.headers.authorization });
    answer(request, response);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    host: `127.0.0.1:${address.port}`,
    asked,
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
