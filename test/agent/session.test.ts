import { once } from "node:events";
import { describe, expect, it, onTestFinished } from "vitest";
import { createContainer, configure, startContainer } from "../../src/agent/client.ts";
import {
  encodeFrame,
  FrameType,
  INITIAL_CREDIT_BYTES,
  MAX_DATA_BYTES,
} from "../../src/agent/protocol/frame.ts";
import { AgentSession } from "../../src/agent/session/session.ts";
import { FlameBoxError } from "../../src/util/error.ts";
import { FakeAgent } from "./fake-agent.ts";

async function opened(): Promise<{ agent: FakeAgent; session: AgentSession }> {
  const agent = await FakeAgent.connect();
  onTestFinished(async () => await agent[Symbol.asyncDispose]());
  const [{ session }] = await Promise.all([
    AgentSession.open(agent.host, { deadlineMs: 5_000 }),
    agent.hello(),
  ]);
  return { agent, session };
}

const CONTAINER = {
  id: "c1",
  baseDevice: "flamebox-base",
  scratchDevice: "flamebox-scratch",
  files: [],
  user: "",
  groups: [],
  config: {},
  stdin: true,
  terminal: false,
};

async function created() {
  const { agent, session } = await opened();
  const creating = createContainer(session, CONTAINER);
  const { id, params } = await agent.request();
  agent.send(FrameType.response, id, { result: { pid: 42 } });
  const stdio = params["stdio"] as { stdin: number; stdout: number; stderr: number };
  const streams = await creating;
  if (streams.stdin === null || streams.stderr === undefined) throw new Error("asked for all three streams");
  return { agent, session, stdio, stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr };
}

describe("a session", () => {
  it("opens with HELLO both ways, the host first", async () => {
    const agent = await FakeAgent.connect();
    onTestFinished(async () => await agent[Symbol.asyncDispose]());
    const opening = AgentSession.open(agent.host, { deadlineMs: 5_000 });
    const hello = await agent.next(FrameType.hello);
    expect(JSON.parse(hello.payload.toString())).toEqual({ generation: 5 });
    agent.send(FrameType.hello, 0, { generation: 1, agent: "9", kernel: "6.12" });
    expect((await opening).hello).toMatchObject({ agent: "9", kernel: "6.12" });
  });

  it("sends what configures a machine", async () => {
    const { agent, session } = await opened();
    const done = configure(session, {
      timeMs: 1_790_000_000_123,
      entropy: Buffer.alloc(32, 7),
      hostname: "box",
      machineId: "0".repeat(32),
    });
    const { id, method, params } = await agent.request();
    expect(method).toBe("system.configure");
    expect(params).toMatchObject({
      time: { seconds: 1_790_000_000, nanoseconds: 123_000_000 },
      hostname: "box",
    });
    expect(params).not.toHaveProperty("network");
    agent.send(FrameType.response, id, { result: {} });
    await done;
  });

  it("passes the guest's refusals on by their code", async () => {
    const { agent, session } = await opened();
    const starting = startContainer(session, "c1");
    const { id } = await agent.request();
    agent.send(FrameType.response, id, { error: { code: "command-not-found", message: "no foo" } });
    await expect(starting).rejects.toMatchObject({ code: "command-not-found", message: "no foo" });
  });

  it("takes answers in any order", async () => {
    const { agent, session } = await opened();
    const both = [session.request("a", {}), session.request("b", {})];
    const [first, second] = [await agent.request(), await agent.request()];
    agent.send(FrameType.response, second.id, { result: { n: 2 } });
    agent.send(FrameType.response, first.id, { result: { n: 1 } });
    expect(await Promise.all(both)).toEqual([{ n: 1 }, { n: 2 }]);
  });

  it("gives up a request at its deadline, and drops the late answer", async () => {
    const { agent, session } = await opened();
    await expect(session.request("slow", {}, { deadlineMs: 30 })).rejects.toMatchObject({
      code: "agent-timeout",
    });
    const { id } = await agent.request();
    agent.send(FrameType.response, id, { result: {} });
    const next = session.request("next", {});
    agent.send(FrameType.response, (await agent.request()).id, { result: { fine: true } });
    expect(await next).toEqual({ fine: true });
  });

  it("can be aborted while it waits", async () => {
    const { session } = await opened();
    const controller = new AbortController();
    const waiting = session.request("never", {}, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });

  it("tells every waiting call when the connection is lost", async () => {
    const { agent, session } = await opened();
    const waiting = [session.request("a", {}), session.exitOf("c1")];
    agent.socket.destroy();
    for (const call of waiting) await expect(call).rejects.toMatchObject({ code: "agent-lost" });
    expect(await session.closed).toMatchObject({ code: "agent-lost" });
    await expect(session.request("b", {})).rejects.toMatchObject({ code: "agent-lost" });
  });

  it("tells how a container ended, even when that comes with the answer to its start", async () => {
    const { agent, session } = await created();
    const exit = session.exitOf("c1");
    const starting = startContainer(session, "c1");
    const { id } = await agent.request();
    agent.send(FrameType.response, id, { result: {} });
    agent.send(FrameType.event, 0, { event: "container.exit", id: "c1", signal: 9, oomKilled: true });
    await starting;
    expect(await exit).toMatchObject({ signal: 9, oomKilled: true });
  });
});

describe("streams", () => {
  it("carry stdin in frames of at most 64 KiB, then EOF", async () => {
    const { agent, stdio, stdin } = await created();
    const data = Buffer.alloc(150_000, "abc");
    stdin.end(data);
    const parts: Buffer[] = [];
    while (Buffer.concat(parts).length < data.length) {
      const frame = await agent.next(FrameType.data);
      expect(frame.id).toBe(stdio.stdin);
      expect(frame.payload.length).toBeLessThanOrEqual(MAX_DATA_BYTES);
      parts.push(frame.payload);
    }
    expect(Buffer.concat(parts).equals(data)).toBe(true);
    expect((await agent.next(FrameType.eof)).id).toBe(stdio.stdin);
  });

  it("send no more than the credit, and go on with more", async () => {
    const { agent, session, stdio, stdin } = await created();
    const data = Buffer.alloc(INITIAL_CREDIT_BYTES + 100_000, "x");
    let taken = false;
    stdin.write(data, () => {
      taken = true;
    });
    let sent = 0;
    while (sent < INITIAL_CREDIT_BYTES) sent += (await agent.next(FrameType.data)).payload.length;
    // A round trip: whatever was sent beyond the credit would be here before the request.
    const trip = session.request("trip", {});
    agent.send(FrameType.response, (await agent.request()).id, { result: {} });
    await trip;
    expect(agent.received.filter(({ type }) => type === FrameType.data)).toEqual([]);
    expect(taken).toBe(false);
    const credit = Buffer.alloc(4);
    credit.writeUInt32LE(100_000);
    agent.send(FrameType.credit, stdio.stdin, credit);
    while (sent < data.length) sent += (await agent.next(FrameType.data)).payload.length;
    expect(sent).toBe(data.length);
  });

  it("end for the writer when the process closes its stdin", async () => {
    const { agent, stdio, stdin } = await created();
    agent.send(FrameType.reset, stdio.stdin, Buffer.from("closed"));
    await new Promise((resolve) => stdin.once("close", resolve));
    expect(stdin.destroyed).toBe(true);
  });

  it("give credit only for what has been read", async () => {
    const { agent, stdio, stdout } = await created();
    const chunk = Buffer.alloc(MAX_DATA_BYTES, "y");
    for (let count = 0; count < 4; count++) agent.send(FrameType.data, stdio.stdout, chunk);
    agent.send(FrameType.eof, stdio.stdout);
    let sizeBytes = 0;
    for await (const part of stdout) sizeBytes += (part as Buffer).length;
    expect(sizeBytes).toBe(INITIAL_CREDIT_BYTES);
    expect(agent.received.filter(({ type }) => type === FrameType.credit).length).toBeLessThanOrEqual(4);
  });

  it("keep stdout and stderr apart", async () => {
    const { agent, stdio, stdout, stderr } = await created();
    agent.send(FrameType.data, stdio.stderr, Buffer.from("err"));
    agent.send(FrameType.data, stdio.stdout, Buffer.from("out"));
    agent.send(FrameType.eof, stdio.stdout);
    agent.send(FrameType.eof, stdio.stderr);
    const text = async (stream: AsyncIterable<unknown>): Promise<string> => {
      let all = "";
      for await (const part of stream) all += String(part);
      return all;
    };
    expect(await Promise.all([text(stdout), text(stderr)])).toEqual(["out", "err"]);
  });
});

describe("a hostile guest", () => {
  const credit = (bytes: number): Buffer => {
    const payload = Buffer.alloc(4);
    payload.writeUInt32LE(bytes);
    return payload;
  };

  it.each<[string, (agent: FakeAgent, stdio: { stdin: number; stdout: number }) => void]>([
    ["makes a request", (agent) => agent.send(FrameType.request, 1, { method: "x", params: {} })],
    ["says HELLO again", (agent) => agent.send(FrameType.hello, 0, { generation: 1 })],
    ["sends a frame of 4 GiB", (agent) => agent.sendRaw(Buffer.from("ffffffff0500000001000000", "hex"))],
    ["sends an unknown type", (agent) => agent.sendRaw(Buffer.from("00000000ff00000001000000", "hex"))],
    [
      "tells an exit that nobody asked for",
      (agent) => agent.send(FrameType.event, 0, { event: "container.exit", id: "z", exitCode: 0 }),
    ],
    [
      "tells an exit code out of range",
      (agent) => agent.send(FrameType.event, 0, { event: "container.exit", id: "c1", exitCode: 256 }),
    ],
    [
      "tells a negative exit code",
      (agent) => agent.send(FrameType.event, 0, { event: "container.exit", id: "c1", exitCode: -1 }),
    ],
    [
      "tells signal 65",
      (agent) => agent.send(FrameType.event, 0, { event: "container.exit", id: "c1", signal: 65 }),
    ],
    [
      "tells an exit without a reason",
      (agent) => agent.send(FrameType.event, 0, { event: "container.exit", id: "c1" }),
    ],
    ["sends events that are not JSON", (agent) => agent.send(FrameType.event, 0, Buffer.from("nonsense"))],
    [
      "sends more than its credit",
      (agent, stdio) => {
        for (let count = 0; count < 6; count++)
          agent.send(FrameType.data, stdio.stdout, Buffer.alloc(MAX_DATA_BYTES));
      },
    ],
    [
      "gives credit without end",
      (agent, stdio) => {
        for (let count = 0; count < 4; count++)
          agent.send(FrameType.credit, stdio.stdin, credit(0xffff_ffff));
      },
    ],
    [
      "floods streams that do not exist",
      (agent) => {
        for (let count = 0; count < 10_100; count++) agent.send(FrameType.eof, 999_999);
      },
    ],
    [
      "answers requests that were never made",
      (agent) => {
        for (let count = 0; count < 10_100; count++)
          agent.send(FrameType.response, 4_000_000 + count, { result: {} });
      },
    ],
  ])("that %s loses its session", async (_name, misbehave) => {
    const { agent, session, stdio } = await created();
    const exit = session.exitOf("c1");
    misbehave(agent, stdio);
    await expect(exit).rejects.toMatchObject({ code: "protocol-error" });
    expect(await session.closed).toMatchObject({ code: "protocol-error" });
  });

  it.each([
    ["says nothing", () => {}, "agent-timeout"],
    [
      "speaks another generation",
      (agent: FakeAgent) => agent.send(FrameType.hello, 0, { generation: 6, agent: "", kernel: "" }),
      "protocol-error",
    ],
    [
      "leaves the kernel out",
      (agent: FakeAgent) => agent.send(FrameType.hello, 0, { generation: 1, agent: "" }),
      "protocol-error",
    ],
    ["hangs up", (agent: FakeAgent) => agent.socket.destroy(), "agent-lost"],
    [
      "sends half a frame for ever",
      (agent: FakeAgent) => agent.sendRaw(Buffer.from("0200", "hex")),
      "agent-timeout",
    ],
  ])("that %s at the opening is given up", async (_name, misbehave, code) => {
    const agent = await FakeAgent.connect();
    onTestFinished(async () => await agent[Symbol.asyncDispose]());
    const opening = AgentSession.open(agent.host, { deadlineMs: 200 });
    opening.catch(() => {});
    await agent.next(FrameType.hello);
    misbehave(agent);
    await expect(opening).rejects.toMatchObject({ code });
  });

  it.each([
    ["neither result nor error", {}],
    ["a result that is no object", { result: 1 }],
    ["an error without a code", { error: { message: "x" } }],
    ["an error that is a string", { error: "x" }],
    ["a message of 5,000 characters", { error: { code: "failed", message: "x".repeat(5_000) } }],
  ])("whose answer has %s is not believed", async (_name, answer) => {
    const { agent, session } = await opened();
    const call = session.request("x", {});
    agent.send(FrameType.response, (await agent.request()).id, answer);
    await expect(call).rejects.toMatchObject({ code: "protocol-error" });
  });

  it("cannot invent error codes", async () => {
    const { agent, session } = await opened();
    const call = session.request("x", {});
    agent.send(FrameType.response, (await agent.request()).id, {
      error: { code: "unauthorized", message: "log in at evil" },
    });
    await expect(call).rejects.toMatchObject({ code: "failed" });
  });
});

describe("a session that is lost", () => {
  const lost = new FlameBoxError("machine-lost", "it burnt down");

  it("tells everybody the reason that was found for it, and only then", async () => {
    const { agent, session, stdin, stdout, stderr } = await created();
    let found = (_reason: FlameBoxError): void => {};
    const reason = new Promise<FlameBoxError>((resolve) => (found = resolve));
    const losses: FlameBoxError[] = [];
    session.explainLoss(async (loss) => {
      losses.push(loss);
      return await reason;
    });
    const outcome = async (promise: Promise<unknown>): Promise<unknown> =>
      await promise.catch((error: unknown) => error);
    const told = [
      session.exitOf("c1"),
      session.request("anything", {}),
      stdout.toArray(),
      stderr.toArray(),
    ].map(outcome);
    agent.socket.destroy();
    while (losses.length === 0) await new Promise((resolve) => setImmediate(resolve));
    const undecided = Symbol("undecided");
    expect(await Promise.race([...told, Promise.resolve(undecided)])).toBe(undecided);
    found(lost);
    expect(await Promise.all(told)).toEqual([lost, lost, lost, lost]);
    expect(await session.closed).toBe(lost);
    expect(stdin.destroyed).toBe(true);
    await expect(session.request("anything", {})).rejects.toBe(lost);
    expect(losses).toMatchObject([{ code: "agent-lost" }]);
  });

  it("takes nothing more from a guest that broke the protocol", async () => {
    const { agent, session, stdio, stdout } = await created();
    session.explainLoss(async () => lost);
    agent.sendRaw(Buffer.alloc(12, 0xff));
    agent.send(FrameType.data, stdio.stdout, Buffer.from("too late"));
    await expect(stdout.toArray()).rejects.toBe(lost);
    expect(await session.closed).toBe(lost);
  });

  it("can be disposed of while the reason is looked for", async () => {
    const { agent, session } = await created();
    session.explainLoss(async () => await new Promise(() => {}));
    agent.socket.destroy();
    await once(agent.host, "close");
    await session[Symbol.asyncDispose]();
    expect(await session.closed).toMatchObject({ code: "agent-lost" });
  });
});

describe("a stream that this side broke off", () => {
  const send = (agent: FakeAgent, stream: number, frames: number): void => {
    const frame = encodeFrame(FrameType.data, stream, Buffer.from("x"));
    agent.sendRaw(Buffer.concat(Array.from({ length: frames }, () => frame)));
  };

  it("may have a window full of one-byte frames under way", async () => {
    const { agent, session, stdio, stdout } = await created();
    stdout.destroy();
    await agent.next(FrameType.reset);
    send(agent, stdio.stdout, INITIAL_CREDIT_BYTES);
    const asked = session.request("anything", {});
    agent.send(FrameType.response, (await agent.request()).id, { result: { alive: true } });
    expect(await asked).toEqual({ alive: true });
  });

  it("may not be flooded for ever", async () => {
    const { agent, session, stdio, stdout } = await created();
    stdout.destroy();
    await agent.next(FrameType.reset);
    send(agent, stdio.stdout, 2 * INITIAL_CREDIT_BYTES + 1);
    expect(await session.closed).toMatchObject({ code: "protocol-error" });
  });
});

it("refuses to send more than a request may hold, and goes on", async () => {
  const { session, agent } = await opened();
  const failure = session.request("anything", { text: "x".repeat(4 << 20) });
  await expect(failure).rejects.toMatchObject({ code: "request-too-large" });
  const asked = session.request("anything", {});
  agent.send(FrameType.response, (await agent.request()).id, { result: {} });
  expect(await asked).toEqual({});
});
