/**
 * Maps to `PUT /vsock`, and has the host's side of the connections that are made through its unix socket.
 *
 *     host → "CONNECT 1024\n"      guest listens: "OK <host port>\n", then bytes      else the connection closes
 */
import { connect } from "node:net";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { MachineError } from "../../machine.ts";
import type { ApiClient } from "./client.ts";

export interface Vsock {
  /** 3 or more. Every machine may have the same one: it is not seen outside. */
  readonly guest_cid: number;
  /** Made by Firecracker. */
  readonly uds_path: string;
}

/** @throws MachineError `vsock-refused` */
export async function putVsock(api: ApiClient, body: Vsock): Promise<void> {
  await api.send({ method: "PUT", path: "/vsock", body, refusal: "vsock-refused" });
}

/** A guest that still boots refuses, or does not answer. */
const RETRY_MS = 10;
const MAX_ANSWER_BYTES = 32;
const ANSWER = /^OK \d{1,10}$/;

/** Connects to a port of the guest's, and goes on trying until somebody listens there. @throws the signal's reason */
export async function connectToGuest(udsPath: string, port: number, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    signal.throwIfAborted();
    const socket = await attempt(udsPath, port, signal);
    if (socket !== undefined) return socket;
    await sleep(RETRY_MS, undefined, { signal });
  }
}

async function attempt(udsPath: string, port: number, signal: AbortSignal): Promise<Socket | undefined> {
  const socket = connect(udsPath);
  const stop = () => socket.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await new Promise<Socket | undefined>((resolve, reject) => {
      let answer = Buffer.alloc(0);
      // Without a listener an error would end the process; `close`, which follows, tells as much.
      socket.on("error", () => {});
      socket.once("close", () => resolve(undefined));
      socket.once("connect", () => socket.write(`CONNECT ${port}\n`));
      const take = (chunk: Buffer): void => {
        answer = Buffer.concat([answer, chunk]);
        const end = answer.indexOf("\n");
        if (end < 0 && answer.length <= MAX_ANSWER_BYTES) return;
        socket.off("data", take);
        socket.pause();
        if (end < 0 || !ANSWER.test(answer.toString("latin1", 0, end))) {
          socket.destroy();
          reject(new MachineError("vsock-refused", "Firecracker's vsock socket speaks something else"));
          return;
        }
        socket.removeAllListeners("close");
        if (answer.length > end + 1) socket.unshift(answer.subarray(end + 1));
        resolve(socket);
      };
      socket.on("data", take);
    });
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
