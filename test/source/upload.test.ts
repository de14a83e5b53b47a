/** Blobs on their way into registries that break, forget, refuse and misname. */
import { randomBytes } from "node:crypto";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { passwordCredentials } from "../../src/auth/credentials.ts";
import { digestOf } from "../../src/reference/digest.ts";
import type { Digest } from "../../src/reference/digest.ts";
import { parse } from "../../src/reference/reference.ts";
import { registryTarget } from "../../src/source/registry/push.ts";
import type { RegistryTarget } from "../../src/source/registry/push.ts";
import { registrySource } from "../../src/source/registry/registry.ts";
import { parseUploadRange } from "../../src/source/registry/upload.ts";
import { FlameBoxError } from "../../src/util/error.ts";
import { startServer } from "../support/loopback-server.ts";
import { missingPrograms } from "../support/programs.ts";
import { startRegistry } from "../support/registry.ts";

const CHUNK_BYTES = 64 * 1024;
const bytes = randomBytes(1_000_001);
const digest = digestOf(bytes);
let opened = 0;
const blob = {
  digest,
  async *open() {
    opened++;
    for (let at = 0; at < bytes.length; at += 30_000) yield bytes.subarray(at, at + 30_000);
  },
};

function targetAt(host: string, options = {}): RegistryTarget {
  const target = registryTarget(parse(`${host}/some/repo:1`), { attempts: 5, ...options });
  onTestFinished(() => target[Symbol.asyncDispose]());
  return target;
}

/** A TCP way to a port that breaks each connection after so many bytes of what is sent. */
async function brittleWay(port: number, bytesEach: (connection: number) => number): Promise<string> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    let left = bytesEach(connections++);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    }
    client.on("data", (chunk: Buffer) => {
      upstream.write(chunk.subarray(0, left));
      left -= chunk.length;
      if (left > 0) return;
      client.destroy();
      // What was sent arrives; its answer does not.
      upstream.end();
    });
    client.on("close", () => upstream.end());
    upstream.pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

describe.skipIf(missingPrograms("docker-registry").length > 0)(
  "docker-registry (needs docker-registry)",
  () => {
    const received = async (host: string): Promise<Digest> => {
      await using source = registrySource(parse(`${host}/some/repo:1`));
      const chunks: Uint8Array[] = [];
      const descriptor = { mediaType: "application/octet-stream", digest, size: bytes.length };
      for await (const chunk of source.openBlob(descriptor)) chunks.push(chunk);
      return digestOf(Buffer.concat(chunks));
    };

    test("whole, in chunks, with and without a digest known before", async () => {
      await using registry = await startRegistry();
      const target = targetAt(registry.host);
      expect(await target.has(digest)).toBe(false);
      const sent: number[] = [];
      const options = { chunkBytes: CHUNK_BYTES, onSent: (count: number) => void sent.push(count) };
      expect(await target.upload({ open: () => blob.open() }, options)).toEqual({
        digest,
        size: bytes.length,
      });
      expect(sent.at(-1)).toBe(bytes.length);
      expect(sent.length).toBe(Math.ceil(bytes.length / CHUNK_BYTES));
      expect(await target.has(digest)).toBe(true);
      expect(await received(registry.host)).toBe(digest);
      const small = Buffer.from("small");
      const open = async function* () {
        yield small;
      };
      expect(await target.upload({ digest: digestOf(small), open })).toEqual({
        digest: digestOf(small),
        size: 5,
      });
      const nothing = await target.upload({ open: async function* () {} });
      expect(nothing).toEqual({ digest: digestOf(""), size: 0 });
      expect(await target.mount(digest, "no/such/repository")).toBe(false);
    });

    test("a way that breaks: this registry forgets the upload, which begins again", async () => {
      await using registry = await startRegistry();
      const host = await brittleWay(registry.port, (connection) => (connection === 0 ? 300_000 : Infinity));
      opened = 0;
      const result = await targetAt(host).upload(blob, { chunkBytes: CHUNK_BYTES });
      expect(result).toEqual({ digest, size: bytes.length });
      expect(opened).toBe(2);
      expect(await received(registry.host)).toBe(digest);
    });

    test("a way that always breaks is told as such", async () => {
      await using registry = await startRegistry();
      const host = await brittleWay(registry.port, () => 100_000);
      await expect(targetAt(host).upload(blob, { chunkBytes: CHUNK_BYTES })).rejects.toMatchObject({
        code: "registry-unreachable",
      });
    });

    test("bytes that are not what they should be are not kept", async () => {
      await using registry = await startRegistry();
      const target = targetAt(registry.host);
      const wrong = { ...blob, digest: digestOf("another") };
      await expect(target.upload(wrong, { chunkBytes: CHUNK_BYTES })).rejects.toMatchObject({
        code: "digest-mismatch",
      });
      const failing = async function* () {
        yield bytes.subarray(0, 100_000);
        throw new FlameBoxError("source-broke", "no more");
      };
      await expect(target.upload({ open: failing }, { chunkBytes: CHUNK_BYTES })).rejects.toMatchObject({
        code: "source-broke",
      });
      expect(await target.has(digest)).toBe(false);
    });
  },
);

interface Script {
  /** Status for a PATCH with a Content-Range; undefined takes it. */
  readonly chunkStatus?: (count: number) => number | undefined;
  readonly headers?: Record<string, string>;
  readonly location?: (host: string) => string;
  readonly wantsPassword?: boolean;
  /** Answers a GET of the upload; by default with what is there. */
  readonly range?: string;
  /** Breaks the connection of a PATCH after so many bytes of it, which are kept. */
  readonly breakAfter?: (count: number) => number | undefined;
}

async function scripted(script: Script) {
  let received: Buffer[] = [];
  let chunks = 0;
  const finished: Buffer[] = [];
  /** Up to `maxBytes`, where the connection breaks. */
  const body = (request: IncomingMessage, maxBytes = Infinity): Promise<Buffer> =>
    new Promise((resolve) => {
      const all: Buffer[] = [];
      let size = 0;
      const done = () => resolve(Buffer.concat(all));
      request.on("data", (chunk: Buffer) => {
        all.push(chunk.subarray(0, maxBytes - size));
        size += chunk.length;
        if (size < maxBytes) return;
        request.socket.destroy();
        done();
      });
      request.on("end", done).on("close", done).on("error", done);
    });
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const location = script.location?.(request.headers.host ?? "") ?? "/upload?state=1";
    const end = (status: number, headers = {}) => response.writeHead(status, { location, ...headers }).end();
    if (script.wantsPassword === true && request.headers.authorization === undefined)
      return end(401, { "www-authenticate": 'Basic realm="x"' });
    if (request.url === "/v2/") return end(200);
    if (request.method === "HEAD") return end(404);
    if (request.method === "POST") {
      received = [];
      return end(202, script.headers);
    }
    const count = request.method === "PATCH" ? chunks++ : -1;
    const cutAt = count === -1 ? undefined : script.breakAfter?.(count);
    const given = await body(request, cutAt);
    if (cutAt !== undefined) {
      received.push(given);
      return void request.socket.destroy();
    }
    if (request.method === "GET") {
      const there = received.reduce((sum, { length }) => sum + length, 0);
      return end(
        204,
        there === 0 && script.range === undefined ? {} : { range: script.range ?? `0-${there - 1}` },
      );
    }
    if (request.method === "PATCH") {
      const status = request.headers["content-range"] === undefined ? undefined : script.chunkStatus?.(count);
      if (status !== undefined) return end(status);
      received.push(given);
      return end(202);
    }
    finished.push(Buffer.concat([...received, given]));
    return end(201);
  };
  const server = await startServer((request, response) => void answer(request, response));
  onTestFinished(() => server[Symbol.asyncDispose]());
  return { host: server.host, requests: server.requests, finished };
}

describe("scripted registries", () => {
  test.each([405, 413, 416, 501])("chunks refused with %i: a stream of all of it instead", async (status) => {
    const { host, finished } = await scripted({ chunkStatus: () => status });
    expect(await targetAt(host).upload(blob, { chunkBytes: CHUNK_BYTES })).toEqual({
      digest,
      size: bytes.length,
    });
    expect(digestOf(finished.at(-1) ?? "")).toBe(digest);
  });

  test("an upload that the registry has lost begins again", async () => {
    const { host, finished } = await scripted({ chunkStatus: (count) => (count === 3 ? 404 : undefined) });
    opened = 0;
    await targetAt(host).upload(blob, { chunkBytes: CHUNK_BYTES });
    expect(opened).toBe(2);
    expect(digestOf(finished.at(-1) ?? "")).toBe(digest);
  });

  test("what broke within a chunk goes on from there: the blob is read once", async () => {
    const sizes = [100, 0, 40_000, undefined, 1, 65_535, undefined];
    const breakAfter = (count: number) => (count < 2 || count > 8 ? undefined : sizes[count - 2]);
    const { host, finished, requests } = await scripted({ breakAfter });
    opened = 0;
    const sent = await targetAt(host).upload({ open: () => blob.open() }, { chunkBytes: CHUNK_BYTES });
    expect(sent).toEqual({ digest, size: bytes.length });
    expect(opened).toBe(1);
    expect(digestOf(finished.at(-1) ?? "")).toBe(digest);
    const ranges = requests.map(({ headers }) => headers["content-range"]).filter(Boolean);
    expect(ranges).toContain(`${2 * CHUNK_BYTES + 100}-${3 * CHUNK_BYTES - 1}`);
  });

  test("one that loses every upload is given up", async () => {
    const { host } = await scripted({ chunkStatus: () => 404 });
    opened = 0;
    await expect(targetAt(host).upload(blob, { chunkBytes: CHUNK_BYTES })).rejects.toMatchObject({
      status: 404,
    });
    expect(opened).toBe(4);
  });

  test.each(["0-99", "5-100", "nonsense", "0-99999999999"])(
    "after a 503, a Range of %s is not believed",
    async (range) => {
      const { host } = await scripted({ chunkStatus: (count) => (count % 2 === 1 ? 503 : undefined), range });
      opened = 0;
      const upload = targetAt(host).upload(blob, { chunkBytes: CHUNK_BYTES });
      await expect(upload).rejects.toBeInstanceOf(FlameBoxError);
      expect(opened).toBe(4);
    },
  );

  test("OCI-Chunk-Min-Length is kept to", async () => {
    const { host, requests, finished } = await scripted({ headers: { "oci-chunk-min-length": "400000" } });
    await targetAt(host).upload(blob, { chunkBytes: CHUNK_BYTES });
    const sizes = requests
      .filter(({ line }) => line.startsWith("PATCH"))
      .map(({ headers }) => Number(headers["content-length"]));
    expect(sizes).toEqual([400_000, 400_000, 200_001]);
    expect(digestOf(finished.at(-1) ?? "")).toBe(digest);
  });

  test("an upload that goes on elsewhere gets no credentials", async () => {
    const elsewhere = await scripted({});
    const password = "aliSecret42";
    const { host, requests } = await scripted({
      location: () => `http://${elsewhere.host}/upload?x=y`,
      wantsPassword: true,
    });
    const keychain = { credentialsFor: async () => passwordCredentials("ali", password) };
    await targetAt(host, { keychain }).upload(blob, { chunkBytes: CHUNK_BYTES });
    expect(elsewhere.requests.length).toBeGreaterThan(2);
    expect(elsewhere.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    const secret = Buffer.from(`ali:${password}`).toString("base64");
    expect(JSON.stringify(requests)).toContain(secret);
    expect(JSON.stringify(elsewhere.requests)).not.toContain(secret);
    expect(elsewhere.requests.at(-1)?.line).toContain(`&digest=${encodeURIComponent(digest)}`);
  });

  test.each(["ftp://x/", "http://[", ""])("a Location of %j is refused", async (location) => {
    const { host } = await scripted({ location: () => location });
    const upload = targetAt(host).upload(blob, { chunkBytes: CHUNK_BYTES });
    await expect(upload).rejects.toBeInstanceOf(FlameBoxError);
  });

  test("ranges", () => {
    const texts = ["0-0", "0-1023", "bytes=0-9", "1-5", "x", "", undefined, "0-9999999999999999"];
    expect(texts.map(parseUploadRange)).toEqual([1, 1024, 10, ...Array.from({ length: 5 }, () => undefined)]);
  });
});
