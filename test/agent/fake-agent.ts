/** The guest's end of a session, played by the test: a real socket, real frames, any misbehaviour. */
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import type { FrameType } from "../../src/agent/protocol/frame.ts";
import {
  decodeJson,
  encodeFrame,
  encodeJson,
  FrameDecoder,
  FrameType as Type,
} from "../../src/agent/protocol/frame.ts";

export interface Received {
  readonly type: FrameType;
  readonly id: number;
  readonly payload: Buffer;
}

export class FakeAgent implements AsyncDisposable {
  readonly host: Socket;
  readonly socket: Socket;
  readonly received: Received[] = [];
  #waiting: (() => void)[] = [];

  private constructor(host: Socket, socket: Socket) {
    this.host = host;
    this.socket = socket;
    const decoder = new FrameDecoder();
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      for (const { type, id, payload } of decoder.decode(chunk))
        this.received.push({ type, id, payload: Buffer.from(payload) });
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
  }

  static async connect(): Promise<FakeAgent> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
    const host = connect(port, "127.0.0.1");
    const socket = await accepted;
    server.close();
    return new FakeAgent(host, socket);
  }

  /** Waits for the next frame of this type that has not been taken yet. */
  async next(type: FrameType): Promise<Received> {
    for (;;) {
      const index = this.received.findIndex((frame) => frame.type === type);
      const [frame] = index < 0 ? [] : this.received.splice(index, 1);
      if (frame !== undefined) return frame;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async request(): Promise<{ id: number; method: string; params: Record<string, unknown> }> {
    const frame = await this.next(Type.request);
    return { id: frame.id, ...(decodeJson(frame) as { method: string; params: Record<string, unknown> }) };
  }

  send(type: FrameType, id: number, payload: object | Uint8Array = Buffer.alloc(0)): void {
    this.socket.write(
      payload instanceof Uint8Array ? encodeFrame(type, id, payload) : encodeJson(type, id, payload),
    );
  }

  sendRaw(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  async hello(generation = 5): Promise<void> {
    await this.next(Type.hello);
    this.send(Type.hello, 0, { generation, agent: "test", kernel: "6.12" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    this.host.destroy();
  }
}
