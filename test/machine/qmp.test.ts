import { createServer, connect } from "node:net";
import type { Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { QmpClient } from "../../src/machine/qemu/qmp.ts";

const open: { close: () => void }[] = [];
afterEach(() => {
  for (const item of open.splice(0)) item.close();
});

/** A client, and the other end of its connection for the test to speak on. */
async function pair(): Promise<{ client: QmpClient; peer: Socket; events: string[] }> {
  const events: string[] = [];
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const socket = connect(port, "127.0.0.1");
  const peer = await accepted;
  peer.setEncoding("utf8");
  open.push({
    close: () => {
      socket.destroy();
      peer.destroy();
      server.close();
    },
  });
  return { client: new QmpClient(socket, ({ event }) => events.push(event)), peer, events };
}

/** Answers each command line with the next of these. */
function answer(peer: Socket, ...answers: string[]): void {
  peer.on("data", (text: string) => {
    for (const line of text.split("\n")) if (line !== "") peer.write(`${answers.shift() ?? ""}\n`);
  });
}

describe("QMP", () => {
  it("negotiates once, then answers commands and passes events on", async () => {
    const { client, peer, events } = await pair();
    peer.write('{"QMP": {"version": {}, "capabilities": []}}\n');
    answer(
      peer,
      '{"return": {}}',
      '{"event": "STOP", "timestamp": {}}\n{"return": {"status": "running"}}',
      '{"return": 2}',
    );
    expect(await client.execute("query-status")).toEqual({ status: "running" });
    expect(await client.execute("second")).toBe(2);
    expect(events).toEqual(["STOP"]);
  });

  it("passes a refusal on with QEMU's words", async () => {
    const { client, peer } = await pair();
    answer(
      peer,
      '{"return": {}}',
      '{"error": {"class": "CommandNotFound", "desc": "The command x has not been found"}}',
    );
    await expect(client.execute("x")).rejects.toMatchObject({
      code: "qmp-error",
      message: "QEMU refused x: The command x has not been found",
    });
  });

  it.each([
    ["no JSON", "nonsense\n", "qmp-closed"],
    ["a line without end", "x".repeat(1_200_000), "qmp-closed"],
  ])("gives up on %s", async (_name, text, code) => {
    const { client, peer } = await pair();
    peer.write(text);
    await expect(client.execute("query-status")).rejects.toMatchObject({ code });
  });

  it("takes answers in whatever pieces", async () => {
    const { client, peer, events } = await pair();
    peer.setNoDelay(true);
    const text = '\r\n{"return": {}}\r\n{"event": "RESUME"}\n\n{"return": {"n": 1}}\n';
    const dribble = async (): Promise<void> => {
      for (const byte of text) {
        peer.write(byte);
        await turn();
      }
    };
    peer.once("data", () => void dribble());
    expect(await client.execute("query-status")).toEqual({ n: 1 });
    expect(events).toEqual(["RESUME"]);
  });

  it("gives up when no answer comes", async () => {
    const { client } = await pair();
    await expect(client.execute("query-status", undefined, 50)).rejects.toMatchObject({
      code: "qmp-timeout",
    });
  });

  it("gives up when the VMM is gone", async () => {
    const { client, peer } = await pair();
    peer.destroy();
    await expect(client.execute("query-status")).rejects.toMatchObject({ code: "qmp-closed" });
  });
});
