/**
 * Connections through a SOCKS5 proxy: https://www.rfc-editor.org/rfc/rfc1928, passwords: https://www.rfc-editor.org/rfc/rfc1929
 *
 *     5 n methods ─►  ◄─ 5 method     [1 user password ─►  ◄─ 1 0]     5 CONNECT name port ─►  ◄─ 5 0 address     TLS, HTTP …
 *
 * The proxy looks names up, whether its URL says socks5 or socks5h, as with Go's programs and Node's agents. undici's own
 * agent for this is an experiment, warns of itself on standard error, and knows no deadline but its own.
 */
import { connect, isIP } from "node:net";
import type { Socket } from "node:net";
import type { buildConnector } from "undici";
import { SourceError } from "../error.ts";

const VERSION = 5;
const NO_PASSWORD = 0;
const PASSWORD = 2;
const CONNECT = 1;
const DEFAULT_PORT = 1080;
/** Of a user, a password and a name: their lengths are bytes. */
const MAX_TEXT_BYTES = 255;

const REPLIES = new Map([
  [1, "it failed"],
  [2, "its rules forbid it"],
  [3, "the network cannot be reached"],
  [4, "the host cannot be reached"],
  [5, "the connection was refused"],
  [6, "it took too long"],
  [7, "it knows no CONNECT"],
  [8, "it knows no such address"],
]);
/** What may be otherwise a moment later. */
const TEMPORARY = new Set([1, 3, 4, 6]);

/** How many bytes follow the first of a bound address, by its kind. */
const ADDRESS_BYTES: Readonly<Record<number, number>> = { 1: 3, 3: 0, 4: 15 };

const WAKING = ["readable", "end", "close"] as const;

/** Exactly so many bytes; what comes behind them stays in the socket. */
async function read(socket: Socket, length: number): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  while (bytes.length < length) {
    // All that is there: a socket that is asked for more than it has is readable again at once.
    const chunk = socket.read() as Buffer | null;
    if (chunk !== null) bytes = Buffer.concat([bytes, chunk]);
    else if (socket.readableEnded || socket.destroyed)
      throw Object.assign(new Error("the proxy closed the connection"), { code: "ECONNRESET" });
    else {
      await new Promise<void>((resolve) => {
        const done = () => {
          for (const event of WAKING) socket.off(event, done);
          resolve();
        };
        for (const event of WAKING) socket.on(event, done);
      });
    }
  }
  if (bytes.length > length) socket.unshift(bytes.subarray(length));
  return bytes.subarray(0, length);
}

function text(value: string, what: string): Buffer {
  const bytes = Buffer.from(value);
  if (bytes.length > 0 && bytes.length <= MAX_TEXT_BYTES) return Buffer.from([bytes.length, ...bytes]);
  throw new SourceError("invalid-proxy", `${what} has ${bytes.length} bytes, and SOCKS allows 1 to 255`);
}

function refused({ host }: URL, target: string, why: string, temporary = false): SourceError {
  const message = `the proxy ${host} does not connect to registry ${target}: ${why}`;
  const hint =
    "look at ALL_PROXY, with USER:PASSWORD@ where the proxy wants it, or name the host in NO_PROXY";
  return new SourceError("registry-unreachable", message, { hint, temporary });
}

async function greet(socket: Socket, proxy: URL, target: string): Promise<void> {
  const user = decodeURIComponent(proxy.username);
  const methods = user === "" ? [NO_PASSWORD] : [NO_PASSWORD, PASSWORD];
  socket.write(Buffer.from([VERSION, methods.length, ...methods]));
  const [version, method] = await read(socket, 2);
  if (version !== VERSION) throw refused(proxy, target, "it does not speak SOCKS5");
  if (method === NO_PASSWORD) return;
  if (method !== PASSWORD || user === "") throw refused(proxy, target, "it wants another kind of login");
  const password = decodeURIComponent(proxy.password);
  const words = [text(user, "the proxy's user"), text(password, "the proxy's password")];
  socket.write(Buffer.concat([Buffer.of(1), ...words]));
  const [, status] = await read(socket, 2);
  if (status !== 0) throw refused(proxy, target, "it does not know this user and password");
}

function addressOf(hostname: string): Buffer {
  const literal = hostname.replace(/^\[|\]$/g, "");
  if (isIP(literal) !== 4) return Buffer.concat([Buffer.of(3), text(literal, "the registry's name")]);
  return Buffer.from([1, ...literal.split(".").map(Number)]);
}

async function ask(socket: Socket, proxy: URL, hostname: string, port: number): Promise<void> {
  const address = Buffer.concat([addressOf(hostname), Buffer.from([port >> 8, port & 255])]);
  socket.write(Buffer.concat([Buffer.from([VERSION, CONNECT, 0]), address]));
  const [version, reply = 1, , kind = 0, first = 0] = await read(socket, 5);
  const target = `${hostname}:${port}`;
  if (version !== VERSION) throw refused(proxy, target, "its answer is no SOCKS5");
  if (reply !== 0)
    throw refused(proxy, target, REPLIES.get(reply) ?? `it answers ${reply}`, TEMPORARY.has(reply));
  const rest = ADDRESS_BYTES[kind];
  if (rest === undefined) throw refused(proxy, target, "its answer is no SOCKS5");
  // Of a name the first byte is its length.
  await read(socket, rest + (kind === 3 ? first : 0) + 2);
}

async function open(proxy: URL, hostname: string, port: number, timeoutMs: number): Promise<Socket> {
  const host = proxy.hostname.replace(/^\[|\]$/g, "");
  const socket = connect({ host, port: Number(proxy.port) || DEFAULT_PORT });
  let failure: Error | undefined;
  const onError = (error: Error) => void (failure ??= error);
  socket.on("error", onError);
  const late = Object.assign(new Error("the proxy is too slow"), { code: "ETIMEDOUT" });
  const timer = setTimeout(() => socket.destroy(late), timeoutMs);
  try {
    await greet(socket, proxy, `${hostname}:${port}`);
    await ask(socket, proxy, hostname, port);
    return socket;
  } catch (error) {
    socket.destroy();
    throw failure ?? error;
  } finally {
    clearTimeout(timer);
  }
}

/** undici's `connect`, through the proxy. `options` are for the registry behind it. */
export function socksConnector(
  proxy: URL,
  build: typeof buildConnector,
  options: buildConnector.BuildOptions & { readonly timeout: number },
): buildConnector.connector {
  const secure = build(options);
  return (target, callback) => {
    const isSecure = target.protocol === "https:";
    const port = Number(target.port) || (isSecure ? 443 : 80);
    const go = async (): Promise<void> => {
      let socket: Socket;
      try {
        socket = await open(proxy, target.hostname, port, options.timeout);
      } catch (error) {
        callback(error as Error, null);
        return;
      }
      if (isSecure) secure({ ...target, httpSocket: socket }, callback);
      else callback(null, socket);
    };
    void go();
  };
}
