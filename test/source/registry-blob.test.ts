/** Blobs from a registry that misbehaves: resuming, refusing, retrying. One row, one way to deliver a blob. */
import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { digestOf } from "../../src/reference/digest.ts";
import { parse } from "../../src/reference/reference.ts";
import { registrySource } from "../../src/source/registry/registry.ts";
import type { RegistrySourceOptions } from "../../src/source/registry/registry.ts";
import type { ProgressEvent } from "../../src/util/progress.ts";
import { startServer } from "../support/loopback-server.ts";
import type { LoopbackServer } from "../support/loopback-server.ts";
import { makeImage } from "../support/oci-layout.ts";

const platform = { os: "linux", architecture: "amd64" };
const image = makeImage({ platform, layers: [randomBytes(2_500_000)] });
const layer = image.layers[0] as (typeof image.layers)[0];
const bytes = layer.bytes;
const blobPath = `/v2/x/blobs/${layer.digest}`;

/** Answers for the layer; `tries` counts its requests from 1. */
type BlobHandler = (tries: number, request: IncomingMessage, response: ServerResponse) => void;

function rangeStart(request: IncomingMessage): number {
  return Number(/^bytes=([0-9]+)-$/.exec(request.headers.range ?? "bytes=0-")?.[1]);
}

/** As a good registry does, with ranges. */
function serve(request: IncomingMessage, response: ServerResponse): void {
  const start = rangeStart(request);
  if (start === 0) response.writeHead(200, { "content-length": bytes.length });
  else {
    const range = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
    response.writeHead(206, { "content-length": bytes.length - start, "content-range": range });
  }
  response.end(bytes.subarray(start));
}

/** Sends the blob up to `end`, then closes the connection. A reset instead may overtake what was sent. */
function breakAt(
  end: number,
  request: IncomingMessage,
  response: ServerResponse,
  how: "close" | "reset" = "close",
): void {
  const start = rangeStart(request);
  const range = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
  const length = { "content-length": bytes.length - start };
  response.writeHead(start === 0 ? 200 : 206, start === 0 ? length : { ...length, "content-range": range });
  response.flushHeaders();
  if (end <= start) response.destroy();
  else {
    response.write(bytes.subarray(start, end), () => {
      if (how === "reset") response.socket?.resetAndDestroy();
      else response.socket?.destroy();
    });
  }
}

async function startFake(handler: BlobHandler): Promise<LoopbackServer> {
  let tries = 0;
  return startServer((request, response) => {
    if (request.url === blobPath) return handler(++tries, request, response);
    if (request.url === `/v2/x/blobs/${image.config.digest}`) return void response.end(image.configBytes);
    if (request.url?.startsWith("/v2/x/manifests/")) {
      response.setHeader("content-type", image.manifest.mediaType);
      return void response.end(image.manifestBytes);
    }
    response.statusCode = request.url === "/v2/" ? 200 : 404;
    response.end();
  });
}

interface Outcome {
  readonly error: { code?: string; message?: string } | undefined;
  readonly handedOut: Buffer;
  readonly server: LoopbackServer;
  readonly events: ProgressEvent[];
}

async function pull(
  handler: BlobHandler,
  options: RegistrySourceOptions = {},
  descriptor: Descriptor = layer,
): Promise<Outcome> {
  await using server = await startFake(handler);
  await using source = registrySource(parse(`${server.host}/x:1`), options);
  const resolved = await source.resolve({ platform });
  const chunks: Uint8Array[] = [];
  const events: ProgressEvent[] = [];
  let error: Outcome["error"];
  try {
    const blob = resolved.openBlob(descriptor, { onProgress: (event) => events.push(event) });
    for await (const chunk of blob) chunks.push(chunk);
  } catch (thrown) {
    error = thrown as Error;
  }
  return { error, handedOut: Buffer.concat(chunks), server, events };
}

function blobRequests(server: LoopbackServer): (string | undefined)[] {
  return server.requests.filter(({ line }) => line === `GET ${blobPath}`).map(({ headers }) => headers.range);
}

describe("arrives whole", () => {
  const table: readonly { name: string; handler: BlobHandler; requests: number }[] = [
    { name: "in one answer", handler: (_, request, response) => serve(request, response), requests: 1 },
    {
      name: "reset before the first byte",
      handler: (tries, request, response) => {
        if (tries === 1) request.socket.resetAndDestroy();
        else serve(request, response);
      },
      requests: 2,
    },
    ...[1, 1000, 65_536, 1_000_000, bytes.length - 1].map((end) => ({
      name: `closed behind byte ${end}, then a range`,
      handler: ((tries, request, response) => {
        if (tries === 1) breakAt(end, request, response);
        else serve(request, response);
      }) satisfies BlobHandler,
      requests: 2,
    })),
    {
      name: "reset three times on the way",
      handler: (tries, request, response) => {
        if (tries <= 3) breakAt(tries * 700_000, request, response, "reset");
        else serve(request, response);
      },
      requests: 4,
    },
    {
      name: "the range answered with 200 and everything",
      handler: (tries, request, response) => {
        if (tries === 1) return breakAt(1_234_567, request, response);
        response.writeHead(200, { "content-length": bytes.length });
        response.end(bytes);
      },
      requests: 2,
    },
    {
      name: "ranges that give less than asked for",
      handler: (tries, request, response) => {
        if (tries === 1) return breakAt(1_200_000, request, response);
        const start = rangeStart(request);
        const end = Math.min(start + 700_000, bytes.length);
        const range = `bytes ${start}-${end - 1}/*`;
        response.writeHead(206, { "content-length": end - start, "content-range": range });
        response.end(bytes.subarray(start, end));
      },
      requests: 3,
    },
    {
      name: "500, 503 and then the blob",
      handler: (tries, request, response) => {
        if (tries > 2) return serve(request, response);
        response.statusCode = tries === 1 ? 500 : 503;
        response.end("busy");
      },
      requests: 3,
    },
    {
      name: "429 with Retry-After in seconds",
      handler: (tries, request, response) => {
        if (tries > 1) return serve(request, response);
        response.writeHead(429, { "retry-after": "0" });
        response.end();
      },
      requests: 2,
    },
    {
      name: "chunked, without a length",
      handler: (_, _request, response) => {
        response.write(bytes.subarray(0, 1_000_000));
        response.end(bytes.subarray(1_000_000));
      },
      requests: 1,
    },
    {
      name: "neither length nor chunks, cut once",
      handler: (tries, request, response) => {
        if (tries > 1) return serve(request, response);
        const socket = response.socket;
        socket?.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        socket?.end(bytes.subarray(0, 1_500_000));
      },
      requests: 2,
    },
    {
      name: "closed instead of an end behind the last byte",
      handler: (_, _request, response) => {
        response.write(bytes, () => response.socket?.destroy());
      },
      requests: 1,
    },
  ];

  test.each(table)("$name", async ({ handler, requests }) => {
    const { error, handedOut, server, events } = await pull(handler, { timeouts: { bodyIdleMs: 3000 } });
    expect(error).toBeUndefined();
    expect(handedOut.equals(bytes)).toBe(true);
    expect(blobRequests(server)).toHaveLength(requests);
    expect(events.at(-1)).toMatchObject({ current: bytes.length, total: bytes.length, unit: "bytes" });
  });

  test("a stalled body is given up and resumed", async () => {
    const handler: BlobHandler = (tries, request, response) => {
      if (tries > 1) return serve(request, response);
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, 1_200_000));
    };
    const { error, handedOut, server, events } = await pull(handler, { timeouts: { bodyIdleMs: 200 } });
    expect(error).toBeUndefined();
    expect(handedOut.equals(bytes)).toBe(true);
    expect(blobRequests(server)).toEqual([undefined, "bytes=1200000-"]);
    expect(events.some(({ note }) => note?.includes("resumed after"))).toBe(true);
  });

  test("an empty blob", async () => {
    const empty = { mediaType: layer.mediaType, digest: digestOf(""), size: 0 };
    await using server = await startServer((request, response) => {
      if (request.url?.includes("/manifests/")) response.end(image.manifestBytes);
      else if (request.url?.endsWith(image.config.digest)) response.end(image.configBytes);
      else response.end();
    });
    await using source = registrySource(parse(`${server.host}/x:1`));
    const resolved = await source.resolve({ platform });
    const chunks: Uint8Array[] = [];
    for await (const chunk of resolved.openBlob(empty)) chunks.push(chunk);
    expect(Buffer.concat(chunks).length).toBe(0);
  });
});

describe("is refused", () => {
  const flipped = Buffer.from(bytes);
  flipped[1_500_000] = (flipped[1_500_000] ?? 0) ^ 1;

  const ranged =
    (headers: Record<string, string | number>, body: Uint8Array): BlobHandler =>
    (tries, request, response) => {
      if (tries === 1) return breakAt(1_200_000, request, response);
      response.writeHead(206, headers);
      response.end(body);
    };
  const rest = bytes.subarray(1_200_000);
  const end = bytes.length - 1;
  const plain =
    (status: number, headers: Record<string, string | number>, body: string | Uint8Array): BlobHandler =>
    (_, _request, response) => {
      response.writeHead(status, headers);
      response.end(body);
    };

  const table: readonly {
    name: string;
    handler: BlobHandler;
    code: string;
    says: string;
    requests: number;
  }[] = [
    {
      name: "a flipped bit",
      handler: plain(200, { "content-length": flipped.length }, flipped),
      code: "digest-mismatch",
      says: `want ${layer.digest}`,
      requests: 1,
    },
    {
      name: "another blob behind the break",
      handler: ranged(
        { "content-range": `bytes 1200000-${end}/${bytes.length}` },
        flipped.subarray(1_200_000),
      ),
      code: "digest-mismatch",
      says: "wrong digest",
      requests: 2,
    },
    {
      name: "a length that is too small",
      handler: plain(200, { "content-length": 10 }, "0123456789"),
      code: "size-mismatch",
      says: `got "10" announced, want ${bytes.length} bytes`,
      requests: 1,
    },
    {
      name: "more bytes than announced by the manifest",
      handler: (_, _request, response) => {
        response.write(bytes);
        response.end("more");
      },
      code: "size-mismatch",
      says: "got more",
      requests: 1,
    },
    {
      name: "a short body that ends properly, and a range that cannot be had",
      handler: (tries, _request, response) => {
        if (tries > 1) response.writeHead(416);
        else response.write(bytes.subarray(0, 1_200_000));
        response.end();
      },
      code: "size-mismatch",
      says: "got 1200000, want",
      requests: 2,
    },
    {
      name: "a range with another start",
      handler: ranged({ "content-range": `bytes 1199999-${end}/${bytes.length}` }, rest),
      code: "invalid-response",
      says: "got Content-Range",
      requests: 2,
    },
    {
      name: "a range with another total",
      handler: ranged({ "content-range": `bytes 1200000-${end}/${bytes.length + 1}` }, rest),
      code: "invalid-response",
      says: "got Content-Range",
      requests: 2,
    },
    {
      name: "a range beyond the end",
      handler: ranged({ "content-range": `bytes 1200000-${end + 5}/*` }, rest),
      code: "invalid-response",
      says: "got Content-Range",
      requests: 2,
    },
    {
      name: "206 without a range",
      handler: ranged({}, rest),
      code: "invalid-response",
      says: 'got Content-Range ""',
      requests: 2,
    },
    {
      name: "206 that nobody asked for",
      handler: plain(206, { "content-range": `bytes 0-${end}/${bytes.length}` }, bytes),
      code: "invalid-response",
      says: "asked for the whole",
      requests: 1,
    },
    {
      name: "Content-Encoding",
      handler: plain(200, { "content-encoding": "gzip" }, bytes),
      code: "invalid-response",
      says: 'Content-Encoding "gzip"',
      requests: 1,
    },
    {
      name: "404",
      handler: plain(404, {}, '{"errors":[{"code":"BLOB_UNKNOWN","message":"gone"}]}'),
      code: "blob-not-found",
      says: "BLOB_UNKNOWN: gone",
      requests: 1,
    },
    {
      name: "403 with control characters",
      handler: plain(403, {}, '{"errors":[{"code":"DENIED","message":"\\u001b[31mred\\nline"}]}'),
      code: "denied",
      says: "DENIED: \\u{1b}[31mred\\u{a}line",
      requests: 1,
    },
    {
      name: "500 for ever",
      handler: plain(500, {}, "oops"),
      code: "registry-error",
      says: "answered 500",
      requests: 3,
    },
    {
      name: "Retry-After that nobody waits for",
      handler: plain(429, { "retry-after": "1000000000" }, ""),
      code: "too-many-requests",
      says: "it asks to wait 1000000000 s",
      requests: 1,
    },
    {
      name: "resets without progress",
      handler: (_, request) => request.socket.resetAndDestroy(),
      code: "registry-unreachable",
      says: "cannot be reached",
      requests: 3,
    },
    {
      name: "a byte for each connection",
      handler: (_, request, response) => breakAt(rangeStart(request) + 1, request, response),
      code: "registry-unreachable",
      says: "cannot be reached",
      requests: 3,
    },
  ];

  test.each(table)("$name", async ({ handler, code, says, requests }) => {
    const { error, handedOut, server } = await pull(handler, { attempts: 3 });
    expect(error).toMatchObject({ code, message: expect.stringContaining(says) as string });
    expect(error?.message).not.toContain("\n");
    expect(blobRequests(server)).toHaveLength(requests);
    // The last chunk is never handed out of what could not be verified.
    expect(handedOut.length).toBeLessThan(bytes.length);
  });

  test("headers that never come", async () => {
    const { error } = await pull(() => {}, { attempts: 1, timeouts: { headersMs: 200 } });
    expect(error).toMatchObject({ code: "registry-timeout" });
  });
});

describe("the consumer", () => {
  test("may stop early, which ends the connection", async () => {
    let closed: Promise<unknown> | undefined;
    await using server = await startFake((_, request, response) => {
      closed = new Promise((resolve) => request.socket.once("close", resolve));
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, 2_000_000));
    });
    await using source = registrySource(parse(`${server.host}/x:1`));
    const resolved = await source.resolve({ platform });
    let handedOut = 0;
    for await (const chunk of resolved.openBlob(layer)) {
      handedOut = chunk.length;
      break;
    }
    expect(handedOut).toBeGreaterThan(0);
    await closed;
  });

  test("may abort while waiting", async () => {
    await using server = await startFake((_, _request, response) => {
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, 200_000));
    });
    await using source = registrySource(parse(`${server.host}/x:1`));
    const resolved = await source.resolve({ platform });
    const controller = new AbortController();
    const reading = (async () => {
      for await (const _ of resolved.openBlob(layer, { signal: controller.signal })) {
        controller.abort(new Error("enough"));
      }
    })();
    await expect(reading).rejects.toThrow("enough");
  });

  test("that is slow holds back the server", async () => {
    const piece = Buffer.alloc(1 << 20);
    const sizeBytes = 256 * piece.length;
    let sent = 0;
    await using server = await startFake((_, _request, response) => {
      response.writeHead(200, { "content-length": sizeBytes });
      const more = () => {
        let willing = true;
        while (willing && sent < sizeBytes) {
          sent += piece.length;
          willing = response.write(piece);
        }
        response.once("drain", more);
      };
      more();
    });
    await using source = registrySource(parse(`${server.host}/x:1`));
    const resolved = await source.resolve({ platform });
    const blob = resolved.openBlob({ ...layer, size: sizeBytes })[Symbol.asyncIterator]();
    await blob.next();
    let before = -1;
    // The kernel's socket buffers fill up, and then nothing moves.
    for (let still = 0; still < 3; still = sent === before ? still + 1 : 0) {
      before = sent;
      await sleep(50);
    }
    expect(sent).toBeLessThan(64 * piece.length);
    await blob.return?.();
  });
});
