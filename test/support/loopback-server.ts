/** An HTTP server on a free loopback port that does what the test says, well or badly, and keeps what it was asked. */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { ServerOptions } from "node:https";

export interface LoopbackServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly origin: string;
  /** Every request, in order: method and path, and the headers. */
  readonly requests: readonly { readonly line: string; readonly headers: IncomingMessage["headers"] }[];
  /** How many connections were made, asked for anything or not. */
  readonly connections: () => number;
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

export async function startServer(
  handler: Handler,
  tls?: ServerOptions,
  /** Another address of this machine, for what must not be loopback. */
  listenAddress = "127.0.0.1",
): Promise<LoopbackServer> {
  const requests: { line: string; headers: IncomingMessage["headers"] }[] = [];
  const listener: Handler = (request, response) => {
    requests.push({ line: `${request.method} ${request.url}`, headers: request.headers });
    handler(request, response);
  };
  const server = tls ? createTlsServer(tls, listener) : createServer(listener);
  let connections = 0;
  server.on("connection", () => void connections++);
  await new Promise<void>((resolve) => server.listen(0, listenAddress, resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port was given");
  const host = `${listenAddress}:${address.port}`;
  return {
    host,
    port: address.port,
    origin: `${tls ? "https" : "http"}://${host}`,
    requests,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
