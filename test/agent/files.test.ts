/** Files, layers and processes as the host's side has them, from a guest that is played: whole, cut off, and hostile. */
import { once } from "node:events";
import { buffer } from "node:stream/consumers";
import { describe, expect, it, onTestFinished } from "vitest";
import { archiveFile, extractArchive } from "../../src/agent/files.ts";
import { listDirectory } from "../../src/agent/listing.ts";
import { containerChanges } from "../../src/agent/layer.ts";
import type { Change } from "../../src/agent/layer.ts";
import { FrameType, MAX_DATA_BYTES } from "../../src/agent/protocol/frame.ts";
import { AgentSession } from "../../src/agent/session/session.ts";
import { containerProcesses } from "../../src/agent/usage.ts";
import { FakeAgent } from "./fake-agent.ts";

const stat = {
  name: "srv",
  kind: "directory",
  mode: 0o755,
  sizeBytes: 4_096,
  mtime: { seconds: 1, nanoseconds: 2 },
  uid: 0,
  gid: 0,
};
const process = {
  pid: 1,
  machinePid: 60,
  parent: 0,
  uid: 0,
  name: "sh",
  state: "S",
  started: { seconds: 1, nanoseconds: 0 },
  cpuMicroseconds: 1,
  rssBytes: 1,
  args: ["sh"],
};

async function opened(): Promise<{ agent: FakeAgent; session: AgentSession }> {
  const agent = await FakeAgent.connect();
  const open = AgentSession.open(agent.host, { deadlineMs: 5_000 });
  await agent.hello();
  const { session } = await open;
  onTestFinished(async () => {
    await session[Symbol.asyncDispose]();
    await agent[Symbol.asyncDispose]();
  });
  return { agent, session };
}

/** Answers the next request, and says which stream it names. */
async function answered(agent: FakeAgent, result: object = {}): Promise<number> {
  const { id, params } = await agent.request();
  agent.send(FrameType.response, id, { result });
  return params["stream"] as number;
}

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const found: Item[] = [];
  for await (const item of items) found.push(item);
  return found;
}

describe("an archive", () => {
  it("that ends is whole", async () => {
    const { agent, session } = await opened();
    const begun = archiveFile(session, { id: "c", path: "/srv" });
    const stream = await answered(agent, stat);
    agent.send(FrameType.data, stream, Buffer.from("archive"));
    agent.send(FrameType.eof, stream);
    const { stat: told, stream: bytes } = await begun;
    expect(told).toMatchObject(stat);
    expect((await buffer(bytes)).toString()).toBe("archive");
  });

  it("that is broken off is an error with the guest's reason, on one line", async () => {
    const { agent, session } = await opened();
    const begun = archiveFile(session, { id: "c", path: "/srv" });
    const stream = await answered(agent, stat);
    const { stream: bytes } = await begun;
    agent.send(FrameType.data, stream, Buffer.from("half"));
    agent.send(FrameType.reset, stream, Buffer.from("srv/f:\n\x1b[31mInput/output error"));
    await expect(buffer(bytes)).rejects.toMatchObject({
      code: "failed",
      message: "container.archive was broken off: srv/f: \\u{1b}[31mInput/output error",
    });
  });

  it("that is refused gives its stream back", async () => {
    const { agent, session } = await opened();
    const begun = archiveFile(session, { id: "c", path: "/no" });
    const { id, params } = await agent.request();
    agent.send(FrameType.response, id, { error: { code: "path-not-found", message: "/no: nothing" } });
    await expect(begun).rejects.toMatchObject({ code: "path-not-found" });
    expect((await agent.next(FrameType.reset)).id).toBe(params["stream"]);
  });

  it("whose answer is none ends the session", async () => {
    const { agent, session } = await opened();
    const begun = archiveFile(session, { id: "c", path: "/srv" });
    await answered(agent, { ...stat, kind: "door" });
    await expect(begun).rejects.toMatchObject({ code: "protocol-error" });
    expect(await session.closed).toMatchObject({ code: "protocol-error" });
  });
});

describe("an extraction", () => {
  it("is done when the guest says so", async () => {
    const { agent, session } = await opened();
    const { stream, done } = extractArchive(session, { id: "c", path: "/" });
    stream.end("tar");
    const { id } = await agent.request();
    expect((await agent.next(FrameType.data)).payload.toString()).toBe("tar");
    await agent.next(FrameType.eof);
    agent.send(FrameType.response, id, { result: { entries: 3, bytes: 4 } });
    expect(await done).toMatchObject({ entries: 3, bytes: 4 });
  });

  it("that is refused early takes what is still written, and tells why", async () => {
    const { agent, session } = await opened();
    const { stream, done } = extractArchive(session, { id: "c", path: "/" });
    stream.write(Buffer.alloc(MAX_DATA_BYTES));
    const { id, params } = await agent.request();
    agent.send(FrameType.reset, params["stream"] as number, Buffer.from("no more"));
    agent.send(FrameType.response, id, { error: { code: "failed", message: "../x: leads elsewhere" } });
    await expect(done).rejects.toMatchObject({ code: "failed", message: "../x: leads elsewhere" });
    expect(stream.destroyed).toBe(true);
  });

  it("that is aborted breaks its stream off", async () => {
    const { agent, session } = await opened();
    const abort = new AbortController();
    const { stream, done } = extractArchive(session, { id: "c", path: "/" }, { signal: abort.signal });
    stream.write("half");
    const { params } = await agent.request();
    const reason = new Error("enough");
    abort.abort(reason);
    await expect(done).rejects.toBe(reason);
    expect((await agent.next(FrameType.reset)).id).toBe(params["stream"]);
  });
});

describe("changes", () => {
  const told = async (...chunks: readonly string[]): Promise<Change[]> => {
    const { agent, session } = await opened();
    const list = all(containerChanges(session, "c"));
    list.catch(() => {});
    const stream = await answered(agent);
    for (const chunk of chunks) agent.send(FrameType.data, stream, Buffer.from(chunk, "latin1"));
    agent.send(FrameType.eof, stream);
    return await list;
  };

  it("come in whatever pieces", async () => {
    expect(await told("A /a", "\0C ", "/b/\n", "\0D /\xc3", "\xa4\0")).toEqual([
      { kind: "added", path: "/a" },
      { kind: "changed", path: "/b/\n" },
      { kind: "deleted", path: "/ä" },
    ]);
    expect(await told()).toEqual([]);
  });

  it.each([
    ["another letter", "X /a\0"],
    ["no path", "A\0"],
    ["a relative path", "A a\0"],
    ["nothing", "\0"],
    ["half a record", "A /a"],
    ["bytes", "\xff\xff\0"],
  ])("that are %s end the session", async (_name, text) => {
    await expect(told(text)).rejects.toMatchObject({ code: "protocol-error" });
  });

  it("of a megabyte each end it as well", async () => {
    const { agent, session } = await opened();
    const list = all(containerChanges(session, "c"));
    const stream = await answered(agent);
    list.catch(() => {});
    for (let sent = 0; sent < 4; sent++)
      agent.send(FrameType.data, stream, Buffer.alloc(MAX_DATA_BYTES, 0x41));
    while (session.generation > 0) {
      const credit = await Promise.race([agent.next(FrameType.credit), session.closed.then(() => undefined)]);
      if (credit === undefined) break;
      agent.send(FrameType.data, stream, Buffer.alloc(MAX_DATA_BYTES, 0x41));
    }
    await expect(list).rejects.toMatchObject({ code: "protocol-error" });
  });

  it("that nobody wants any more are broken off", async () => {
    const { agent, session } = await opened();
    const changes = containerChanges(session, "c");
    const first = changes.next();
    const stream = await answered(agent);
    agent.send(FrameType.data, stream, Buffer.from("A /a\0A /b\0"));
    expect((await first).value).toMatchObject({ path: "/a" });
    await changes.return();
    expect((await agent.next(FrameType.reset)).id).toBe(stream);
  });

  it("are aborted with the caller's reason", async () => {
    const { agent, session } = await opened();
    const abort = new AbortController();
    const list = all(containerChanges(session, "c", { signal: abort.signal }));
    await answered(agent);
    const reason = new Error("enough");
    setImmediate(() => setImmediate(() => abort.abort(reason)));
    await expect(list).rejects.toBe(reason);
  });
});

describe("a list", () => {
  const entry = { ...stat, name: "f", kind: "file", sizeBytes: 4 };
  const told = async (...chunks: readonly string[]) => {
    const { agent, session } = await opened();
    const begun = listDirectory(session, { id: "c", path: "/srv", follow: true });
    const stream = await answered(agent, stat);
    for (const chunk of chunks) agent.send(FrameType.data, stream, Buffer.from(chunk, "latin1"));
    agent.send(FrameType.eof, stream);
    const { stat: directory, entries } = await begun;
    expect(directory).toMatchObject(stat);
    return await all(entries);
  };
  const record = (change: object) => `${JSON.stringify({ ...entry, ...change })}\0`;

  it("is what was told, in whatever pieces", async () => {
    const link = { name: "l", kind: "symlink", linkTarget: "../x" };
    const text = record({}) + record(link);
    expect(await told(text.slice(0, 20), text.slice(20))).toMatchObject([entry, { ...entry, ...link }]);
    expect(await told()).toEqual([]);
  });

  it.each([
    ["is not JSON", "{\0"],
    ["is nothing", "\0"],
    ["has half a record", record({}).slice(0, -1)],
    ["has a kind that nobody knows", record({ kind: "door" })],
    ["has a mode out of range", record({ mode: 0o10000 })],
    ["has no time", record({ mtime: undefined })],
    ["has a name without a character", record({ name: "" })],
    ["has itself", record({ name: "." })],
    ["leads upwards", record({ name: ".." })],
    ["has a path for a name", record({ name: "a/../../b" })],
    ["has a number for a name", record({ name: 5 })],
    ["has a link target that is too long", record({ linkTarget: "x".repeat(4_097) })],
    ["has a record that is too long", " ".repeat(66_000)],
  ])("that %s ends the session", async (_name, text) => {
    const chunks = [text.slice(0, 40_000), text.slice(40_000)].filter((chunk) => chunk !== "");
    await expect(told(...chunks)).rejects.toMatchObject({ code: "protocol-error" });
  });

  it("of something that is none is refused, and its stream given back", async () => {
    const { agent, session } = await opened();
    const begun = listDirectory(session, { id: "c", path: "/etc/hosts" });
    const { id, params } = await agent.request();
    agent.send(FrameType.response, id, { error: { code: "not-a-directory", message: "/etc/hosts: none" } });
    await expect(begun).rejects.toMatchObject({ code: "not-a-directory" });
    expect((await agent.next(FrameType.reset)).id).toBe(params["stream"]);
  });

  it("that is left in the middle is broken off", async () => {
    const { agent, session } = await opened();
    const begun = listDirectory(session, { id: "c", path: "/srv" });
    const stream = await answered(agent, stat);
    agent.send(FrameType.data, stream, Buffer.from(record({}) + record({ name: "g" })));
    for await (const { name } of (await begun).entries) {
      expect(name).toBe("f");
      break;
    }
    expect((await agent.next(FrameType.reset)).id).toBe(stream);
  });
});

describe("processes", () => {
  const told = async (...records: readonly string[]) => {
    const { agent, session } = await opened();
    const list = containerProcesses(session, "c");
    list.catch(() => {});
    const stream = await answered(agent);
    for (const record of records) {
      agent.send(FrameType.data, stream, Buffer.from(`${record}\0`));
      if (agent.socket.writableNeedDrain) await once(agent.socket, "drain");
    }
    agent.send(FrameType.eof, stream);
    return await list;
  };

  it("are what was told", async () => {
    const named = { ...process, pid: 2, user: "www-data", args: [] };
    expect(await told(JSON.stringify(process), JSON.stringify(named))).toMatchObject([process, named]);
  });

  it.each([
    ["not JSON", "{"],
    ["an array", "[]"],
    ["nobody", JSON.stringify({ ...process, pid: 0 })],
    ["without arguments", JSON.stringify({ ...process, args: undefined })],
    ["in a state of two letters", JSON.stringify({ ...process, state: "SS" })],
    ["of a name that is too long", JSON.stringify({ ...process, name: "x".repeat(65) })],
    ["from before time", JSON.stringify({ ...process, started: { seconds: 1, nanoseconds: -1 } })],
  ])("that are %s end the session", async (_name, record) => {
    await expect(told(record)).rejects.toMatchObject({ code: "protocol-error" });
  });

  it("of more than 4,096 end it as well", async () => {
    const many = Array.from({ length: 1_200 }, () => JSON.stringify(process));
    expect(await told(...many)).toHaveLength(1_200);
    await expect(
      told(...Array.from({ length: 4_097 }, () => JSON.stringify({ ...process, args: [] }))),
    ).rejects.toMatchObject({
      code: "protocol-error",
    });
  });
});
