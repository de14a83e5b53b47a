/**
 * Two connected stream sockets, both of this process: one of them can then be given to a child. Node has no
 * socketpair(2) but for a child's stdio, so a connection is made to a listener of the moment.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import type { Server } from "node:net";
import { Socket, createServer } from "node:net";

const SECRET_BYTES = 32;

export interface SocketPair {
  readonly ours: Socket;
  /** Paused, and never read from here. */
  readonly theirs: Socket;
}

/**
 * The listener has an abstract name (unix(7)), which leaves nothing behind but which every user can connect to:
 * only the connection that begins with our secret is taken.
 */
export async function makeSocketPair(): Promise<SocketPair> {
  const path = `\0flamebox-${randomBytes(16).toString("hex")}`;
  const secret = randomBytes(SECRET_BYTES);
  const server = createServer({ pauseOnConnect: true });
  const accepted = acceptWith(server, secret);
  accepted.catch(() => {});
  // Paused before it is connected, or Node would read what is meant for the child.
  const theirs = new Socket().pause();
  try {
    const listening = once(server, "listening");
    server.listen(path);
    await listening;
    theirs.connect(path);
    await once(theirs, "connect");
    theirs.write(secret);
    return { ours: await accepted, theirs };
  } catch (error) {
    theirs.destroy();
    throw error;
  } finally {
    server.close();
  }
}

async function acceptWith(server: Server, secret: Buffer): Promise<Socket> {
  return await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.on("connection", (socket) => {
      socket.on("error", () => {});
      const check = (): void => {
        const start = socket.read(SECRET_BYTES) as Buffer | null;
        if (start === null) return;
        socket.off("readable", check);
        if (start.length === SECRET_BYTES && timingSafeEqual(start, secret)) resolve(socket);
        else socket.destroy();
      };
      socket.on("readable", check);
      // A stranger that says nothing is not waited for.
      server.once("close", () => {
        if (socket.listenerCount("readable", check) > 0) socket.destroy();
      });
    });
  });
}
