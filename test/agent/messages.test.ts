/** protocol/vectors/messages.json: the JSON of generations 2 to 5, which the guest's implementation is tested against, too. */
import { readFileSync } from "node:fs";
import type { BaseIssue, BaseSchema } from "valibot";
import { describe, expect, it } from "vitest";
import {
  createContainer,
  execInContainer,
  ping,
  prepareContainer,
  rehearse,
  resizeContainer,
  signalContainer,
  startContainer,
} from "../../src/agent/client.ts";
import { archiveFile, extractArchive, statFile } from "../../src/agent/files.ts";
import { listDirectory } from "../../src/agent/listing.ts";
import { containerChanges, containerLayer } from "../../src/agent/layer.ts";
import { containerProcesses, containerStats, updateContainer } from "../../src/agent/usage.ts";
import { FrameType, ProtocolError } from "../../src/agent/protocol/frame.ts";
import type { ContainerStreams } from "../../src/agent/client.ts";
import {
  check,
  createdSchema,
  execExitSchema,
  exitSchema,
  extractedSchema,
  fileStatSchema,
  pidSchema,
  pingSchema,
  statsSchema,
  updatedSchema,
} from "../../src/agent/protocol/messages.ts";
import { AgentSession } from "../../src/agent/session/session.ts";
import { FakeAgent } from "./fake-agent.ts";

interface Vector {
  readonly name: string;
  readonly request?: string;
  readonly params?: object;
  readonly result?: string;
  readonly value?: object;
  readonly event?: { readonly event: string };
  readonly malformed?: true;
}

const vectors = JSON.parse(
  readFileSync(new URL("../../protocol/vectors/messages.json", import.meta.url), "utf8"),
) as readonly Vector[];

async function opened(agent: FakeAgent, generation = 5): Promise<AgentSession> {
  const open = AgentSession.open(agent.host, { deadlineMs: 5_000 });
  await agent.hello(generation);
  return (await open).session;
}

const process = { args: ["sh", "-c", "true"], env: ["A=b"], cwd: "/" };
const terminal = { ...process, terminal: true, consoleSize: { width: 91, height: 17 } };
const exec = { id: "c1", exec: "e1" };
const hosts = { id: "c1", path: "/etc/hosts" };
const srv = { id: "c1", path: "/srv" };

/** What sends each request, and what it is answered. */
const senders: Readonly<Record<string, (session: AgentSession) => Promise<unknown>>> = {
  ping: ping,
  rehearsal: rehearse,
  prepare: async (session) =>
    await prepareContainer(session, {
      baseDevice: "base",
      scratchDevice: "scratch",
      config: { ociVersion: "1.2.0" },
    }),
  "start with another command": async (session) =>
    await startContainer(session, "c1", { override: { args: process.args, env: process.env } }),
  stats: async (session) => await containerStats(session, "c1"),
  "exec with pipes": async (session) =>
    await execInContainer(session, {
      ...exec,
      process,
      user: "www-data:adm",
      groups: ["audio"],
      stdin: true,
      terminal: false,
    }),
  "exec with a terminal": async (session) =>
    await execInContainer(session, { ...exec, process: terminal, stdin: false, terminal: true }),
  "signal to a container": async (session) => await signalContainer(session, "c1", 15),
  "signal to an exec": async (session) => await signalContainer(session, "c1", 15, "e1"),
  "size of an exec's terminal": async (session) =>
    await resizeContainer(session, "c1", { columns: 91, rows: 17 }, "e1"),
  "create with an init and volumes": async (session) =>
    await createContainer(session, {
      id: "c1",
      baseDevice: "base",
      scratchDevice: "scratch",
      files: [],
      user: "",
      groups: [],
      config: { ociVersion: "1.2.0" },
      stdin: false,
      terminal: false,
      init: true,
      volumes: [
        { path: "/data", readonly: false, seed: true },
        { path: "/data/ro", readonly: true, seed: false },
      ],
    }),
  "what a path is": async (session) => await statFile(session, hosts),
  "what a path leads to": async (session) => await statFile(session, { ...hosts, follow: true }),
  archive: async (session) => await archiveFile(session, srv),
  "archive without mounts": async (session) =>
    await archiveFile(session, { id: "c1", path: "/", follow: true, oneFileSystem: true }),
  list: async (session) => await listDirectory(session, srv),
  "list of what a link leads to": async (session) => await listDirectory(session, { ...srv, follow: true }),
  extract: async (session) => await extractArchive(session, srv).done,
  "extract for an owner": async (session) =>
    await extractArchive(session, { ...srv, owner: { uid: 33, gid: 44 } }).done,
  changes: async (session) => await containerChanges(session, "c1").next(),
  layer: async (session) => await containerLayer(session, "c1"),
  processes: async (session) => await containerProcesses(session, "c1"),
  update: async (session) =>
    await updateContainer(session, "c1", {
      memory: { limit: 134_217_728 },
      cpu: { quota: 50_000, period: 100_000 },
      pids: { limit: 50 },
    }),
  "create with shares": async (session) =>
    await createContainer(session, {
      id: "c1",
      baseDevice: "base",
      scratchDevice: "scratch",
      files: [],
      user: "",
      groups: [],
      config: { ociVersion: "1.2.0" },
      stdin: false,
      terminal: false,
      shares: [
        { path: "/src", kind: "directory", readonly: false, serve: () => {} },
        { path: "/etc/a file", kind: "file", readonly: true, serve: () => {} },
      ],
    }),
};
const answer = {
  name: "hosts",
  kind: "file",
  mode: 0o644,
  sizeBytes: 1,
  mtime: { seconds: 1, nanoseconds: 1 },
  uid: 0,
  gid: 0,
  entries: 1,
  bytes: 1,
  pid: 42,
  rssBytes: 1,
  memoryBytes: 1,
  memoryPeakBytes: 1,
  pids: 1,
  cpuMicroseconds: 1,
  oomKills: 0,
};

describe("requests", () => {
  const requests = vectors.filter(({ request }) => request !== undefined);

  it.each(requests)("$name", async ({ name, request, params }) => {
    await using agent = await FakeAgent.connect();
    await using session = await opened(agent);
    const send = senders[name];
    if (send === undefined) throw new Error("nothing sends this");
    const sent = send(session);
    const { id, method, params: given } = await agent.request();
    expect({ method, params: given }).toEqual({ method: request, params });
    agent.send(FrameType.response, id, { result: answer });
    if (typeof given["stream"] === "number") agent.send(FrameType.eof, given["stream"]);
    await sent;
  });

  it.each(requests.filter(({ name }) => name !== "signal to a container"))(
    "$name: not to an agent of generation 1",
    async ({ name }) => {
      await using agent = await FakeAgent.connect();
      await using session = await opened(agent, 1);
      const asked = async (): Promise<unknown> => await senders[name]?.(session);
      await expect(asked()).rejects.toMatchObject({ code: "agent-too-old" });
      expect(agent.received).toEqual([]);
    },
  );
});

describe("what generation 5 has added", () => {
  it("is not asked of an agent of generation 4", async () => {
    await using agent = await FakeAgent.connect();
    await using session = await opened(agent, 4);
    await expect(listDirectory(session, srv)).rejects.toMatchObject({ code: "agent-too-old" });
    expect(agent.received).toEqual([]);
  });
});

describe("results and events", () => {
  const schemas: Readonly<Record<string, BaseSchema<unknown, unknown, BaseIssue<unknown>>>> = {
    "system.ping": pingSchema,
    "container.create": createdSchema,
    "container.exec": pidSchema,
    "container.stats": statsSchema,
    "container.stat": fileStatSchema,
    "container.extract": extractedSchema,
    "container.update": updatedSchema,
    "container.exit": exitSchema,
    "container.exec.exit": execExitSchema,
  };
  const payloads = vectors.flatMap(({ name, result, value, event, malformed = false }) => {
    const schema = schemas[result ?? event?.event ?? ""];
    return schema === undefined ? [] : [{ name, schema, payload: value ?? event, malformed }];
  });

  it.each(payloads.filter(({ malformed }) => !malformed))("$name", ({ schema, payload }) => {
    expect(check("it", schema, payload)).toMatchObject(payload ?? {});
  });

  it.each(payloads.filter(({ malformed }) => malformed))("$name: refused", ({ schema, payload }) => {
    expect(() => check("it", schema, payload)).toThrow(ProtocolError);
  });
});

describe("an exec", () => {
  const begin = async (session: AgentSession, signal?: AbortSignal) =>
    await execInContainer(session, { ...exec, process, stdin: true, terminal: false }, { signal });

  it("ends with its event, even when that overtakes the answer", async () => {
    await using agent = await FakeAgent.connect();
    await using session = await opened(agent);
    const begun = begin(session);
    const { id } = await agent.request();
    for (const output of [2, 3]) agent.send(FrameType.eof, output);
    agent.send(FrameType.event, 0, { event: "container.exec.exit", ...exec, exitCode: 3, oomKilled: true });
    agent.send(FrameType.response, id, { result: { pid: 9 } });
    expect(await (await begun).wait()).toMatchObject({ exec: "e1", exitCode: 3, oomKilled: true });
  });

  it("that was refused leaves its name free, and its streams closed", async () => {
    await using agent = await FakeAgent.connect();
    await using session = await opened(agent);
    for (let round = 0; round < 2; round++) {
      const begun = begin(session);
      const { id } = await agent.request();
      agent.send(FrameType.response, id, { error: { code: "command-not-found", message: "no" } });
      await expect(begun).rejects.toMatchObject({ code: "command-not-found" });
      const closed = [await agent.next(FrameType.reset), await agent.next(FrameType.reset)];
      closed.push(await agent.next(FrameType.reset));
      expect(closed.map((frame) => frame.id)).toEqual([1, 2, 3].map((stream) => stream + 3 * round));
    }
  });

  it("whose name is taken is refused on this side, and the other goes on", async () => {
    await using agent = await FakeAgent.connect();
    await using session = await opened(agent);
    const begun = begin(session);
    await expect(begin(session)).rejects.toMatchObject({ code: "conflict" });
    const { id } = await agent.request();
    agent.send(FrameType.response, id, { result: { pid: 9 } });
    for (const output of [2, 3]) agent.send(FrameType.eof, output);
    agent.send(FrameType.event, 0, { event: "container.exec.exit", ...exec, signal: 9 });
    expect(await (await begun).wait()).toMatchObject({ signal: 9, oomKilled: false });
  });

  it("that is aborted is killed, and may still tell its exit", async () => {
    await using agent = await FakeAgent.connect();
    await using session = await opened(agent);
    const abort = new AbortController();
    const begun = begin(session, abort.signal);
    const { id } = await agent.request();
    const reason = new Error("enough");
    abort.abort(reason);
    await expect(begun).rejects.toBe(reason);
    expect(await agent.request()).toMatchObject({
      method: "container.signal",
      params: { ...exec, signal: 9 },
    });
    agent.send(FrameType.response, id, { result: { pid: 9 } });
    agent.send(FrameType.event, 0, { event: "container.exec.exit", ...exec, signal: 9 });
    const pong = ping(session);
    agent.send(FrameType.response, (await agent.request()).id, { result: { rssBytes: 1 } });
    expect(await pong).toMatchObject({ rssBytes: 1 });
  });

  it.each([
    ["of nobody", { event: "container.exec.exit", id: "c1", exec: "e2", exitCode: 0 }],
    ["of another container", { event: "container.exec.exit", id: "c2", exec: "e1", exitCode: 0 }],
    ["told as the container's", { event: "container.exit", id: "c1", exitCode: 0 }],
  ])("an exit %s ends the session", async (_name, event) => {
    await using agent = await FakeAgent.connect();
    const session = await opened(agent);
    const begun = begin(session);
    const { id } = await agent.request();
    agent.send(FrameType.response, id, { result: { pid: 9 } });
    const { wait, streams } = await begun;
    silence(streams);
    agent.send(FrameType.event, 0, event);
    await expect(wait()).rejects.toMatchObject({ code: "protocol-error" });
  });
});

function silence({ stdin, stdout, stderr }: ContainerStreams): void {
  for (const stream of [stdin, stdout, stderr]) stream?.on("error", () => {});
}
