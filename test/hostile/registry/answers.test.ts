/** Answers that are too slow, too short, too long, somebody else's, or never come. */
import { createServer } from "node:net";
import type { Socket } from "node:net";
import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import type { Handler } from "../../support/loopback-server.ts";
import { startServer } from "../../support/loopback-server.ts";
import { image, layer, pull, serveImage } from "./world.ts";
import type { Outcome, PullOptions } from "./world.ts";

/** A minute is a fifth of a second here. */
const timeouts = {
  connectMs: 500,
  headersMs: 400,
  bodyIdleMs: 400,
  pace: { windowMs: 200, minBytes: 16 * 1024 },
};
const bytes = layer.bytes;
const size = bytes.length;
const rangeOf = (range: string | undefined) => Number(/bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);

type BlobHandler = (response: ServerResponse, from: number, turn: number) => void;

/** The image, with this for its layer; `turn` counts the requests for it from 1. */
function serving(blob: BlobHandler): Handler {
  let turn = 0;
  return (request, response) => {
    if (!request.url?.includes(layer.digest)) return serveImage(request, response);
    blob(response, rangeOf(request.headers.range), ++turn);
    return undefined;
  };
}

async function outcomeOf(
  handler: Handler,
  options: PullOptions = {},
): Promise<Outcome & { requests: number }> {
  await using server = await startServer(handler);
  const got = await pull(server.host, { timeouts, ...options });
  return { ...got, requests: server.requests.length };
}

const partial = (response: ServerResponse, from: number, more: object = {}) =>
  response.writeHead(206, { "content-range": `bytes ${from}-${size - 1}/${size}`, ...more });
const whole = (response: ServerResponse, from: number) =>
  void (from === 0 ? response : partial(response, from)).end(bytes.subarray(from));
/** So many bytes, and then the connection breaks. */
const broken = (response: ServerResponse, from: number, count: number) => {
  if (from > 0) partial(response, from);
  else response.writeHead(200, { "content-length": size });
  response.write(bytes.subarray(from, from + count), () => response.destroy());
  if (count === 0) response.destroy();
};
function drip(response: ServerResponse, chunk: Uint8Array | string, everyMs: number): void {
  const timer = setInterval(() => response.write(chunk), everyMs);
  response.on("close", () => clearInterval(timer));
}

interface Row {
  readonly name: string;
  readonly handler: Handler;
  readonly outcome: string;
  readonly options?: PullOptions;
  readonly maxMs?: number;
}
const row = (name: string, blob: BlobHandler, outcome: string, options?: PullOptions): Row => ({
  name,
  handler: serving(blob),
  outcome,
  ...(options ? { options } : {}),
});

const retried = { attempts: 3 };
const breaks: Row[] = Array.from({ length: 10 }, (_, tenth) =>
  row(
    `reset behind ${tenth} tenths, then resumed`,
    (response, from, turn) =>
      turn === 1 ? broken(response, from, Math.floor((size * tenth) / 10)) : whole(response, from),
    "pulled",
    retried,
  ),
).concat([
  row(
    "reset at every fourth, in turn",
    (response, from) =>
      from < size * 0.7 ? broken(response, from, Math.ceil(size / 4)) : whole(response, from),
    "pulled",
    { attempts: 6 },
  ),
  row(
    "reset at once, for ever",
    (response, from) => broken(response, from, 0),
    "registry-unreachable",
    retried,
  ),
  row(
    "reset behind the last byte but one, for ever",
    (response, from) => broken(response, from, size - 1 - from),
    "registry-unreachable",
    retried,
  ),
]);

const ranges: Row[] = [
  row(
    "answered with 200 and all of it",
    (response, from, turn) => (turn === 1 ? broken(response, from, 100) : void response.end(bytes)),
    "pulled",
    retried,
  ),
  row(
    "answered with 200 and another blob",
    (response, from, turn) =>
      turn === 1 ? broken(response, from, 100) : void response.end(Buffer.alloc(size, "evil")),
    "digest-mismatch",
    retried,
  ),
  row(
    "answered with 206 and another blob",
    (response, from, turn) =>
      turn === 1
        ? broken(response, from, 100)
        : void partial(response, from).end(Buffer.alloc(size - from, "evil")),
    "digest-mismatch",
    retried,
  ),
  ...(
    [
      ["of another start", (from: number) => `bytes ${from + 1}-${size - 1}/${size}`],
      ["of an earlier start", () => `bytes 0-${size - 1}/${size}`],
      ["of another size", (from: number) => `bytes ${from}-${size - 1}/${size + 1}`],
      ["beyond the end", (from: number) => `bytes ${from}-${size}/${size}`],
      ["that ends before it starts", (from: number) => `bytes ${from}-${from - 1}/${size}`],
      ["in other units", (from: number) => `items ${from}-${size - 1}/${size}`],
      ["of 10^30", (from: number) => `bytes ${from}-${"9".repeat(30)}/${"9".repeat(30)}`],
      ["of nothing", () => `bytes */${size}`],
      ["with control characters", () => "bytes \t 1-2/3"],
    ] as const
  ).map(([name, range]) =>
    row(
      `Content-Range ${name}`,
      (response, from, turn) => {
        if (turn === 1) return broken(response, from, 100);
        response.writeHead(206, { "content-range": range(from) }).end(bytes.subarray(from));
        return undefined;
      },
      "invalid-response",
      retried,
    ),
  ),
  row(
    "206 without a range",
    (response, from, turn) =>
      turn === 1 ? broken(response, from, 100) : void response.writeHead(206).end(bytes.subarray(from)),
    "invalid-response",
    retried,
  ),
  row(
    "206 that nobody asked for",
    (response) => void response.writeHead(206, { "content-range": `bytes 0-${size - 1}/${size}` }).end(bytes),
    "invalid-response",
  ),
  row(
    "416 for what is there",
    (response, from, turn) => (turn === 1 ? broken(response, from, 100) : void response.writeHead(416).end()),
    "size-mismatch",
    retried,
  ),
  row("304 for what nobody has", (response) => void response.writeHead(304).end(), "registry-error"),
  row("204", (response) => void response.writeHead(204).end(), "registry-error"),
];

const lengths: Row[] = [
  row(
    "Content-Length too small",
    (response) => void response.writeHead(200, { "content-length": size - 1 }).end(bytes.subarray(0, -1)),
    "size-mismatch",
  ),
  row(
    "Content-Length too large",
    (response) =>
      void response
        .writeHead(200, { "content-length": size + 1 })
        .end(Buffer.concat([bytes, Buffer.alloc(1)])),
    "size-mismatch",
  ),
  row(
    "Content-Length of 10^15",
    (response) => {
      response.writeHead(200, { "content-length": 1e15 });
      response.write(bytes);
    },
    "size-mismatch",
  ),
  row(
    "more than it is, without a length",
    (response) => void response.end(Buffer.concat([bytes, bytes])),
    "size-mismatch",
  ),
  row(
    "less than it is, without a length",
    (response) => {
      response.write(bytes.subarray(0, -1));
      response.end();
    },
    "size-mismatch",
  ),
  row("without end", (response) => drip(response, Buffer.alloc(64 * 1024), 1), "size-mismatch"),
  row(
    "other bytes of the same size",
    (response) => void response.end(Buffer.alloc(size, "evil")),
    "digest-mismatch",
  ),
  ...["gzip", "br", "zstd", "deflate", "gzip, gzip", "x-evil\t1"].map((encoding) =>
    row(
      `Content-Encoding ${JSON.stringify(encoding)}`,
      (response) => void response.writeHead(200, { "content-encoding": encoding }).end(bytes),
      "invalid-response",
    ),
  ),
  row(
    "Content-Encoding identity",
    (response) => void response.writeHead(200, { "content-encoding": "identity" }).end(bytes),
    "pulled",
  ),
];

const slow: Row[] = [
  row("a byte every ten seconds", (response) => drip(response, "x", 30), "registry-timeout"),
  row(
    "a byte every ten seconds, in chunks of their own, resumed",
    (response, from) => {
      if (from > 0) partial(response, from);
      drip(response, "x", 30);
    },
    "registry-timeout",
    { attempts: 2 },
  ),
  row("a KiB every second", (response) => drip(response, Buffer.alloc(400, "x"), 20), "registry-timeout"),
  row("silence in the middle", (response) => void response.write(bytes.subarray(0, 100)), "registry-timeout"),
  row("silence instead of headers", () => {}, "registry-timeout"),
  row(
    "fast enough, in pieces",
    (response) => {
      for (let at = 0; at < size; at += 1000)
        setTimeout(() => response.write(bytes.subarray(at, at + 1000)), at / 2000);
      setTimeout(() => response.end(), size / 1000 + 50);
    },
    "pulled",
  ),
  {
    name: "a manifest, a byte every ten seconds",
    handler: (request, response) => (request.url === "/v2/" ? void response.end() : drip(response, " ", 30)),
    outcome: "registry-timeout",
  },
  {
    name: "an error's body, a byte every ten seconds",
    handler: (request, response) => {
      if (request.url === "/v2/") return void response.end();
      response.writeHead(400);
      return drip(response, "x", 30);
    },
    outcome: "registry-error",
    maxMs: 12_000,
  },
];

const errors: Row[] = [
  ...["1000000000", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"].map(
    (after): Row => ({
      name: `429 with Retry-After ${after}`,
      handler: (request, response) =>
        void (request.url === "/v2/"
          ? response.end()
          : response.writeHead(429, { "retry-after": after }).end()),
      outcome: "too-many-requests",
      options: { attempts: 3 },
    }),
  ),
  ...["-1", "NaN", "0", "soon", "1e9", "0x10"].map(
    (after): Row => ({
      name: `503 with Retry-After ${after}`,
      handler: (request, response) =>
        void (request.url === "/v2/"
          ? response.end()
          : response.writeHead(503, { "retry-after": after }).end()),
      outcome: "registry-error",
      options: { attempts: 2 },
    }),
  ),
  ...(
    [
      ["escape sequences", "\x1b[2J\x1b]0;owned\x07red"],
      ["line breaks that look like our own output", "x\nflamebox: error: all is well\r\n"],
      ["NULs", "a\0b"],
      ["text that runs from right to left", "\u202egnp.exe\u202c"],
      ["no UTF-8", Buffer.from([0xff, 0xfe, 0x9b, 0x32, 0x4a])],
      ["a megabyte", "x".repeat(2 ** 20)],
      ["JSON of another kind", '{"errors":{"0":"x"}}'],
      ["JSON of nulls", '{"errors":[null,null]}'],
      [
        "JSON with control characters",
        JSON.stringify({ errors: [{ code: "\x1b[2J", message: "\u009b31m\r\n" }] }),
      ],
      ["deep JSON", "[".repeat(60_000)],
    ] as const
  ).map(
    ([name, body]): Row => ({
      name: `an error body with ${name}`,
      handler: (request, response) =>
        void (request.url === "/v2/" ? response.end() : response.writeHead(400).end(body)),
      outcome: "registry-error",
    }),
  ),
  {
    name: "headers of 100 KB",
    handler: (request, response) =>
      void (request.url === "/v2/"
        ? response.end()
        : response.writeHead(200, { "x-large": "x".repeat(100_000) }).end()),
    outcome: "invalid-response",
  },
  {
    name: "a Docker-Content-Digest that lies",
    handler: (request, response) => {
      response.setHeader("docker-content-digest", `sha256:${"0".repeat(64)}`);
      return serveImage(request, response);
    },
    outcome: "pulled",
  },
];

const suites = { breaks, ranges, lengths, slow, errors };
test("these are all of them", () => {
  expect(Object.values(suites).flat().length).toBeGreaterThanOrEqual(73);
});

describe.each(Object.entries(suites))("%s", (_, rows) => {
  test.each(rows)("$name", { timeout: 20_000 }, async ({ handler, outcome, options, maxMs = 6000 }) => {
    const got = await outcomeOf(handler, options);
    expect(got.outcome).toBe(outcome);
    expect(got.elapsedMs).toBeLessThan(maxMs);
    expect(got.message.length).toBeLessThan(1000);
    expect(got.message).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
  });
});

describe("not quite HTTP", () => {
  const head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.oci.image.manifest.v1+json\r\n";
  const dripping = (text: string) => (socket: Socket) => {
    let at = 0;
    const timer = setInterval(() => socket.write(text[at++ % text.length] as string), 30);
    socket.on("close", () => clearInterval(timer));
  };
  const rows: readonly (readonly [name: string, talk: (socket: Socket) => void, outcome: RegExp])[] = [
    [
      "something else",
      (socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n"),
      /^(?:invalid-response|registry-unreachable|tls-error)$/,
    ],
    [
      "both a length and chunks",
      (socket) => socket.write(`${head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`),
      /^(?:invalid-response|registry-unreachable)$/,
    ],
    [
      "two lengths",
      (socket) => socket.write(`${head}content-length: 5\r\ncontent-length: 6\r\n\r\nhello`),
      /^(?:invalid-response|registry-unreachable)$/,
    ],
    [
      "a negative length",
      (socket) => socket.write(`${head}content-length: -1\r\n\r\n`),
      /^(?:invalid-response|registry-unreachable)$/,
    ],
    [
      "a chunk of 2^64 bytes",
      (socket) => socket.write(`${head}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n`),
      /^(?:invalid-response|registry-unreachable)$/,
    ],
    [
      "NUL in a header",
      (socket) => socket.write("HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n"),
      /^(?:invalid-response|registry-unreachable)$/,
    ],
    [
      "headers, a byte every ten seconds",
      dripping(`${head}x-filler: ${"x".repeat(10_000)}\r\n`),
      /^registry-timeout$/,
    ],
    [
      "headers without end",
      (socket) => void setInterval(() => socket.write(`x: ${"y".repeat(1000)}\r\n`), 1).unref(),
      /^(?:invalid-response|registry-unreachable)$/,
    ],
    [
      "a status that is none",
      (socket) => socket.write("HTTP/1.1 999 \x1b[2J\r\ncontent-length: 0\r\n\r\n"),
      /^(?:invalid-response|registry-error|registry-unreachable)$/,
    ],
    [
      "1xx for ever",
      (socket) => void setInterval(() => socket.write("HTTP/1.1 103 Early Hints\r\n\r\n"), 5).unref(),
      /^(?:registry-timeout|invalid-response|registry-unreachable)$/,
    ],
  ];
  test.each(rows)("%s", { timeout: 20_000 }, async (_, talk, outcome) => {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      // The question whether it speaks HTTP is answered as it should be.
      socket.once("data", (asked) => {
        if (!asked.toString().startsWith("GET /v2/ ")) return talk(socket);
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return socket.end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = server.address() as { port: number };
      const got = await pull(`127.0.0.1:${port}`, { timeouts });
      expect(got.outcome).toMatch(outcome);
      expect(got.elapsedMs).toBeLessThan(6000);
      expect(got.message).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
    } finally {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test("a manifest that changes between two looks is pulled by what it was", async () => {
    let looks = 0;
    const got = await outcomeOf((request, response) => {
      if (request.url?.includes("/manifests/") && ++looks > 1) return void response.end("{}");
      return serveImage(request, response);
    });
    expect(got).toMatchObject({ outcome: "pulled" });
    expect(image.layers).toHaveLength(1);
  });
});
