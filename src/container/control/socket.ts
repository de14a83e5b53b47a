/**
 * Where a container's control socket is: `RUNTIME/containers/ID.sock`, in a private folder. Its path may be longer than
 * a socket's can be (107 bytes), so both sides go by way of a descriptor of the folder.
 */
import { open, rm } from "node:fs/promises";
import type { Server, Socket } from "node:net";
import { createConnection, createServer } from "node:net";
import { join } from "node:path";
import { makePrivateDir } from "../../util/atomic-file.ts";
import { FlameBoxError, messageOf } from "../../util/error.ts";
import type { Paths } from "../../util/paths.ts";

const CONNECT_DEADLINE_MS = 10_000;

function socketDir(paths: Paths): string {
  return join(paths.runtimeDir, "containers");
}

function socketName(id: string): string {
  return `${id}.sock`;
}

export async function removeSocket(paths: Paths, id: string): Promise<void> {
  await rm(join(socketDir(paths), socketName(id)), { force: true });
}

/** @throws FlameBoxError `control-unavailable` */
export async function listen(
  paths: Paths,
  id: string,
  onConnection: (socket: Socket) => void,
): Promise<AsyncDisposable> {
  await makePrivateDir(socketDir(paths));
  // A socket of a process that was killed.
  await removeSocket(paths, id);
  const server = createServer({ allowHalfOpen: true }, onConnection);
  const dir = await open(socketDir(paths), "r");
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(`/proc/self/fd/${dir.fd}/${socketName(id)}`, resolve);
    });
  } catch (error) {
    throw new FlameBoxError(
      "control-unavailable",
      `the container's control socket cannot be made: ${messageOf(error)}`,
      { cause: error },
    );
  } finally {
    await dir.close();
  }
  // It must not keep a process that has nothing else to do.
  server.unref();
  return { [Symbol.asyncDispose]: async () => await close(server, paths, id) };
}

async function close(server: Server, paths: Paths, id: string): Promise<void> {
  await removeSocket(paths, id);
  server.close();
}

/** Undefined when nobody listens. */
export async function connect(paths: Paths, id: string): Promise<Socket | undefined> {
  let dir;
  try {
    dir = await open(socketDir(paths), "r");
  } catch {
    return undefined;
  }
  try {
    const path = `/proc/self/fd/${dir.fd}/${socketName(id)}`;
    const socket = createConnection({ path, allowHalfOpen: true });
    return await new Promise<Socket | undefined>((resolve) => {
      const timer = setTimeout(() => socket.destroy(), CONNECT_DEADLINE_MS);
      const settle = (result: Socket | undefined) => {
        clearTimeout(timer);
        resolve(result);
      };
      socket.once("connect", () => settle(socket));
      socket.once("error", () => settle(undefined));
      socket.once("close", () => settle(undefined));
    });
  } finally {
    await dir.close();
  }
}
