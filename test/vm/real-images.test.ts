/**
 * Servers and programs from Debian's packages, started as their authors' images start them: the image's own
 * command as process 1, its ports published, its end asked for by its own stop signal.
 */
import { once } from "node:events";
import { connect } from "node:net";
import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { pull, run, start } from "flamebox";
import type { ContainerOptions, RunningContainer } from "flamebox";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";
import { isLong } from "../support/long.ts";
import { serviceTags } from "../support/images/layouts.ts";
import { query } from "../support/postgres.ts";

const PATIENCE_MS = 120_000;
const root = process.getuid?.() === 0;
const image = (tag: (typeof serviceTags)[number]): string => `${inject("registry")}/flamebox/services:${tag}`;

let home: Home;
const common = () => ({ paths: home.paths, dockerConfig: null });

interface Service extends AsyncDisposable {
  readonly container: RunningContainer;
  /** Resolves when stdout or stderr has shown `text`. */
  shows(text: string): Promise<void>;
  output(): string;
  /** The host's port for one of the container's. */
  port(containerPort: number): number;
}

function collect(stream: Readable, add: (text: string) => void): void {
  stream.setEncoding("utf8").on("data", add);
}

async function until(holds: () => boolean, what: () => string): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`it did not come to it: ${what()}`);
    await sleep(50);
  }
}

async function service(
  tag: (typeof serviceTags)[number],
  options: Partial<ContainerOptions> = {},
): Promise<Service> {
  const container = await start(image(tag), { ...common(), publishAll: true, ...options });
  let output = "";
  collect(container.stdout, (text) => (output += text));
  collect(container.stderr, (text) => (output += text));
  return {
    container,
    output: () => output,
    shows: async (text) =>
      await until(
        () => output.includes(text),
        () => `"${text}" in ${output}`,
      ),
    port: (containerPort) =>
      container.ports.find((port) => port.containerPort === containerPort)?.hostPort ?? 0,
    [Symbol.asyncDispose]: async () => await container[Symbol.asyncDispose](),
  };
}

/** Sends `text` and gives what has come back once it holds `lines` lines. */
async function converse(port: number, text: string, lines: number): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    socket.write(text);
    let answer = "";
    while (answer.split("\r\n").length <= lines) {
      const [chunk] = (await once(socket, "data", { signal: AbortSignal.timeout(60_000) })) as [Buffer];
      answer += chunk.toString();
    }
    return answer;
  } finally {
    socket.destroy();
  }
}

async function get(port: number, path: string, init: RequestInit = {}): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    ...init,
    signal: AbortSignal.timeout(60_000),
  });
  return `${response.status} ${(await response.text()).trim()}`;
}

describe.skipIf(!root)("(skipped without root: their image's packages are installed in a chroot)", () => {
  let cron: Service;
  beforeAll(async () => {
    home = await makeHome(inject("kernelDir"));
    for (const tag of serviceTags) await pull(image(tag), common());
    // Its first minute may be a minute away: it comes while the others are looked at.
    cron = await service("cron", { init: true });
  });
  afterAll(async () => {
    await cron[Symbol.asyncDispose]();
    const left = await home.leftovers();
    await home[Symbol.asyncDispose]();
    if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
  });

  test("nginx serves, logs to stdout, and ends when it is asked to", async () => {
    await using nginx = await service("nginx");
    const port = nginx.port(80);
    await until(
      () => port > 0,
      () => "a port for 80",
    );
    const page = async (): Promise<string> => await get(port, "/").catch((error: unknown) => String(error));
    let answer = await page();
    for (let tries = 0; answer !== "200 served from the image" && tries < 100; tries++) {
      await sleep(100);
      answer = await page();
    }
    expect(answer).toBe("200 served from the image");
    expect(await get(port, "/none")).toMatch(/^404 /);
    await nginx.shows('"GET /none HTTP/1.1" 404');
    // The image's SIGQUIT is nginx's graceful end.
    expect(await nginx.container.stop()).toMatchObject({ code: 0 });
  });

  // services.test.ts has it as a container that lives on.
  test.runIf(isLong)(
    "PostgreSQL makes its cluster as user postgres, answers from inside and from the host (the long run)",
    async () => {
      await using postgres = await service("postgres", {
        shmSizeBytes: 256 << 20,
        memoryMib: 768,
        healthcheck: { test: ["CMD-SHELL", "pg_isready --username=postgres --quiet"], intervalMs: 1000 },
      });
      await postgres.shows("listening on IPv4");
      await postgres.shows("ready to accept connections");
      expect(postgres.output()).toContain("inside: postgres counts 42\nshared memory: posix\n");
      const port = postgres.port(5432);
      expect(await query(port, "SELECT name, count FROM fruit ORDER BY count")).toEqual([
        ["pear", "12"],
        ["apple", "30"],
      ]);
      // Parallel workers share /dev/shm.
      const parallel = "SET force_parallel_mode = on; SELECT count(*), pg_backend_pid() > 1 FROM fruit";
      expect(await query(port, parallel)).toEqual([["2", "t"]]);
      await until(
        () => postgres.container.health?.status === "healthy",
        () => JSON.stringify(postgres.container.health),
      );
      // The image's SIGINT is PostgreSQL's fast shutdown.
      expect(await postgres.container.stop({ timeoutMs: 60_000 })).toMatchObject({ code: 0 });
      expect(postgres.output()).toContain("database system is shut down");
    },
  );

  test("Redis answers redis-cli inside, and the host; it saves when it ends", async () => {
    await using redis = await service("redis", {
      healthcheck: { test: ["CMD", "redis-cli", "ping"], intervalMs: 1000 },
    });
    await redis.shows("Ready to accept connections");
    expect(await converse(redis.port(6379), "SET colour green\r\nGET colour\r\nPING\r\n", 4)).toBe(
      "+OK\r\n$5\r\ngreen\r\n+PONG\r\n",
    );
    await until(
      () => redis.container.health?.status === "healthy",
      () => JSON.stringify(redis.container.health),
    );
    expect(redis.container.health?.log.at(-1)?.output.trim()).toBe("PONG");
    expect(await redis.container.stop()).toMatchObject({ code: 0 });
    expect(redis.output()).toContain("DB saved on disk");
  });

  test("a Node server has its worker thread, child processes and user", async () => {
    await using node = await service("node");
    await node.shows("listening");
    const port = node.port(3000);
    expect(await get(port, "/")).toMatch(/^200 node v\d+\S+, production, process 1$/);
    expect(await get(port, "/sum?to=1000")).toBe("200 500500");
    expect(await get(port, "/user")).toBe("200 www-data");
    const body = "x".repeat(1 << 20);
    expect(await get(port, "/echo", { method: "POST", body })).toBe(`200 ${body}`);
    expect(await node.container.stop()).toMatchObject({ code: 0 });
    expect(node.output()).toContain("closing");
  });

  test("a Python program has threads, processes, shared memory and signals", async () => {
    const { code, stdout, stderr } = await run(image("python"), common());
    expect(stdout.toString(), stderr.toString()).toBe(
      [
        "threads: 8000",
        "subprocess: THROUGH A PIPE",
        "ended by signal: 10",
        "pool: 328350",
        "shared memory: 42",
        "alarm: True",
        "file: 1048576",
        "process: 1",
        "",
      ].join("\n"),
    );
    expect(code).toBe(3);
  });

  test("cron runs its jobs below an init, as their users", async () => {
    await cron.shows("at the start, as root");
    await cron.shows("each minute, as www-data");
    expect(await cron.container.stop()).toMatchObject({ code: 143 });
  });
});
