/** Uploads into registries that want to be left alone for a while, or break, at each of their steps. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { digestOf } from "../../src/reference/digest.ts";
import { parse } from "../../src/reference/reference.ts";
import { registryTarget } from "../../src/source/registry/push.ts";
import { startServer } from "../support/loopback-server.ts";

const CHUNK_BYTES = 1000;

/** A status, with the Retry-After; `reset` breaks before anything was done, `deed` after it. */
type Fault = readonly [status: number, retryAfter?: string] | "reset" | "deed";
type Method = "POST" | "PATCH" | "PUT";

interface Script {
  readonly faults: Partial<Record<Method, readonly Fault[]>>;
  /** Chunks are refused, so that a stream comes; faults of PATCH are for that. */
  readonly wantsStream?: boolean;
  /** An upload whose request broke is forgotten. */
  readonly forgets?: boolean;
  readonly attempts?: number;
}

function bodyOf(request: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve) => {
    const all: Buffer[] = [];
    request.on("data", (chunk: Buffer) => all.push(chunk)).on("end", () => resolve(Buffer.concat(all)));
  });
}

async function scripted(script: Script, sizeBytes: number) {
  const { faults, wantsStream = false, forgets = false, attempts } = script;
  const left = new Map(Object.entries(faults).map(([method, list]) => [method, [...list]]));
  const blobs = new Set<string>();
  let state = 0;
  let received: Buffer[] = [];
  const apply = (request: IncomingMessage, body: Buffer): number => {
    const { searchParams } = new URL(request.url ?? "", "http://x");
    if (request.method === "POST") {
      received = [];
      state++;
      return 202;
    }
    if (searchParams.get("state") !== `${state}`) return 404;
    received.push(body);
    if (request.method === "PATCH") return 202;
    state++;
    const got = digestOf(Buffer.concat(received));
    if (got !== searchParams.get("digest")) return 400;
    blobs.add(got);
    return 201;
  };
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { method = "", url = "" } = request;
    const end = (status: number, headers = {}) => response.writeHead(status, headers).end();
    const body = await bodyOf(request);
    if (url === "/v2/") return end(200);
    if (method === "HEAD") return end(blobs.has(url.replace(/.*\//, "")) ? 200 : 404);
    if (method === "GET") {
      const { length } = Buffer.concat(received);
      return end(204, length === 0 ? {} : { range: `0-${length - 1}` });
    }
    if (wantsStream && request.headers["content-range"] !== undefined) return end(405);
    const fault = left.get(method)?.shift();
    if (typeof fault === "object") return end(fault[0], fault[1] ? { "retry-after": fault[1] } : {});
    if (fault === "deed") apply(request, body);
    if (fault !== undefined && forgets) state++;
    if (fault !== undefined) return request.socket.destroy();
    return end(apply(request, body), { location: `/upload?state=${state}` });
  };
  const server = await startServer((request, response) => void answer(request, response));
  onTestFinished(() => server[Symbol.asyncDispose]());
  const target = registryTarget(parse(`${server.host}/x:1`), { attempts, maxRetryAfterMs: 5000 });
  onTestFinished(() => target[Symbol.asyncDispose]());
  const bytes = Buffer.alloc(sizeBytes, "patience");
  let opened = 0;
  const open = async function* () {
    opened++;
    yield bytes;
  };
  return {
    bytes,
    upload: (signal?: AbortSignal) => target.upload({ open }, { chunkBytes: CHUNK_BYTES, signal }),
    opened: () => opened,
    has: () => blobs.has(digestOf(bytes)),
    count: (method: Method) => server.requests.filter(({ line }) => line.startsWith(method)).length,
  };
}

/** In one request, and in chunks. */
const SIZES = [CHUNK_BYTES - 1, 2 * CHUNK_BYTES + 1];
const STEPS: readonly { readonly size: number; readonly method: Method }[] = [
  ...SIZES.flatMap((size) => (["POST", "PUT"] as const).map((method) => ({ size, method }))),
  { size: 2 * CHUNK_BYTES + 1, method: "PATCH" },
];

describe.each(STEPS)("$method of $size bytes", ({ size, method }) => {
  test("Retry-After is waited for, and the blob is read once", async () => {
    const registry = await scripted({ faults: { [method]: [[method === "PUT" ? 503 : 429, "1"]] } }, size);
    const startMs = performance.now();
    await registry.upload();
    expect(performance.now() - startMs).toBeGreaterThan(990);
    expect([registry.has(), registry.opened()]).toEqual([true, 1]);
  });

  test.each([429, 503])("%i with Retry-After of 10^9 is an error at once", async (status) => {
    const registry = await scripted({ faults: { [method]: [[status, "1000000000"]] } }, size);
    const startMs = performance.now();
    await expect(registry.upload()).rejects.toMatchObject({ status, retryAfterMs: 1e12 });
    expect(performance.now() - startMs).toBeLessThan(1000);
    expect([registry.count(method), registry.opened()]).toEqual([1, method === "POST" ? 0 : 1]);
  });

  test("503 for ever is tried as often as anything", async () => {
    const faults = Array.from({ length: 9 }, () => [503, "0"] as const);
    const registry = await scripted({ faults: { [method]: faults }, attempts: 3 }, size);
    await expect(registry.upload()).rejects.toMatchObject({ code: "registry-error", status: 503 });
    expect(registry.count(method)).toBe(3);
  });

  test("a wait ends with its signal", async () => {
    const registry = await scripted({ faults: { [method]: [[503, "5"]] } }, size);
    const signal = AbortSignal.timeout(200);
    const startMs = performance.now();
    await expect(registry.upload(signal)).rejects.toMatchObject({ name: "TimeoutError" });
    expect(performance.now() - startMs).toBeLessThan(2000);
  });

  test.each([502, 504])("%i passes", async (status) => {
    const registry = await scripted({ faults: { [method]: [[status]] } }, size);
    await registry.upload();
    expect([registry.has(), registry.opened()]).toEqual([true, 1]);
  });

  test("a reset passes", async () => {
    const registry = await scripted({ faults: { [method]: ["reset"] } }, size);
    await registry.upload();
    expect([registry.has(), registry.opened()]).toEqual([true, 1]);
  });
});

describe.each(SIZES)("the last step of %i bytes", (size) => {
  test("whose answer is lost behind the deed: the blob is there", async () => {
    const registry = await scripted({ faults: { PUT: ["deed"] } }, size);
    await registry.upload();
    expect([registry.has(), registry.opened(), registry.count("POST")]).toEqual([true, 1, 1]);
  });

  test("that breaks, and is forgotten, begins again", async () => {
    const registry = await scripted({ faults: { PUT: ["reset"] }, forgets: true }, size);
    await registry.upload();
    expect([registry.has(), registry.opened(), registry.count("POST")]).toEqual([true, 2, 2]);
  });

  test("that the registry cannot end begins again", async () => {
    const registry = await scripted({ faults: { PUT: [[500]] } }, size);
    await registry.upload();
    expect([registry.has(), registry.opened(), registry.count("POST")]).toEqual([true, 2, 2]);
  });
});

describe("a stream of all of it", () => {
  const size = 2 * CHUNK_BYTES + 1;
  test("is sent again after as long as is asked", async () => {
    const registry = await scripted({ faults: { PATCH: [[429, "1"]] }, wantsStream: true }, size);
    const startMs = performance.now();
    await registry.upload();
    expect(performance.now() - startMs).toBeGreaterThan(990);
    expect(registry.has()).toBe(true);
  });

  test("is not sent again where that is too long", async () => {
    const registry = await scripted({ faults: { PATCH: [[429, "1000000000"]] }, wantsStream: true }, size);
    await expect(registry.upload()).rejects.toMatchObject({ code: "too-many-requests" });
    // Once in a chunk, once as a stream.
    expect([registry.opened(), registry.count("PATCH")]).toEqual([2, 2]);
  });
});
