/**
 * Servers from Debian's packages, kept running and worked with by the command line: published on one address only,
 * talked to from the host, executed into, restarted, stopped and removed. What they are given inside is
 * real-images.test.ts's.
 */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";
import { query } from "../support/postgres.ts";
import { findProgram } from "../../src/util/find-program.ts";

const root = process.getuid?.() === 0;
const PATIENCE_MS = 120_000;
const image = (tag: string): string => `${inject("registry")}/flamebox/services:${tag}`;
let home: Home;

/** Output of a command that has to succeed, without its last line feed. */
async function fine(...args: string[]): Promise<string> {
  const ended = await home.run(args);
  expect(ended, `${args.join(" ")}: ${ended.stderr}`).toMatchObject({ code: 0, signal: null });
  return ended.stdout.trimEnd();
}

/** Starts a server, published at 127.0.0.1, and gives the host's port. */
async function serve(tag: string, containerPort: number, ...options: string[]): Promise<number> {
  const publish = `127.0.0.1:0:${containerPort}`;
  await fine("run", "-q", "-d", "--name", tag, "-p", publish, ...options, image(tag));
  return await portOf(tag, containerPort);
}

async function portOf(name: string, containerPort: number): Promise<number> {
  const address = await fine("port", name, String(containerPort));
  expect(address).toMatch(/^127\.0\.0\.1:\d+$/);
  return Number(address.split(":")[1]);
}

/** A server is there when it is: whatever it says until then is no failure. */
async function until(
  what: string,
  ask: () => Promise<string>,
  isIt: (text: string) => boolean,
): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const text = await ask().catch((error: unknown) => String(error));
    if (isIt(text)) return;
    if (performance.now() > deadline) throw new Error(`not seen: ${what}, but ${text}`);
    await sleep(100);
  }
}

/** Whether somebody takes connections there. */
async function isOpen(host: string, port: number): Promise<boolean> {
  const socket = connect(port, host);
  try {
    await once(socket, "connect", { signal: AbortSignal.timeout(10_000) });
    return true;
  } catch (error) {
    if (String(error).includes("ECONNREFUSED")) return false;
    throw error;
  } finally {
    socket.destroy();
  }
}

async function psql(port: number, sql: string): Promise<string> {
  const args = ["-h", "127.0.0.1", "-p", String(port), "-U", "postgres", "-Atc", sql];
  return (await promisify(execFile)("psql", args)).stdout.trim();
}

/** One command to Redis, in its inline form, and its answer. */
async function redis(port: number, command: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.setTimeout(10_000, () => socket.destroy(new Error("Redis says nothing")));
  try {
    await once(socket, "connect");
    socket.write(`${command}\r\n`);
    for await (const chunk of socket as AsyncIterable<Buffer>) return chunk.toString();
    throw new Error("Redis has ended the connection");
  } finally {
    socket.destroy();
  }
}

describe.skipIf(!root)("(skipped without root: their image's packages are installed in a chroot)", () => {
  beforeAll(async () => {
    home = await makeHome(inject("kernelDir"));
    for (const tag of ["nginx", "postgres", "redis"]) await fine("pull", "-q", image(tag));
  });
  afterEach(async () => {
    const ids = (await fine("ps", "-aq")).split("\n").filter((id) => id !== "");
    if (ids.length > 0) await fine("rm", "-f", ...ids);
    const left = await home.leftovers();
    if (left.length > 0) throw new Error(`left behind: ${left.join(", ")}`);
  });
  afterAll(async () => {
    await home[Symbol.asyncDispose]();
  });

  /** Ends it as it wants to be ended, and leaves nothing. */
  async function end(name: string, port: number, exitCode: number): Promise<void> {
    await fine("stop", "-t", "60", name);
    expect(await fine("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name)).toBe(
      `exited ${exitCode}`,
    );
    expect(await isOpen("127.0.0.1", port)).toBe(false);
    await fine("rm", name);
    expect(await fine("ps", "-aq")).toBe("");
  }

  test("nginx is reached where it was published, and nowhere else", async () => {
    const port = await serve("nginx", 80);
    const page = async (path: string): Promise<string> => {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(10_000) });
      return `${answer.status} ${(await answer.text()).trim()}`;
    };
    await until(
      "the page",
      async () => await page("/"),
      (text) => text === "200 served from the image",
    );
    // Loopback is all of 127.0.0.0/8, and one address was asked for.
    for (const other of ["127.0.0.2", "::1"])
      expect([other, await isOpen(other, port)]).toEqual([other, false]);
    await fine("exec", "nginx", "sh", "-c", "echo from exec >/var/www/html/new.html");
    expect(await page("/new.html")).toBe("200 from exec");
    expect(await page("/none")).toMatch(/^404 /);
    const seen = async () => await fine("logs", "nginx");
    await until("its access log", seen, (text) => text.includes('"GET /none HTTP/1.1" 404'));
    await end("nginx", port, 0);
  });

  test("PostgreSQL answers the host, and keeps its rows over a restart", async () => {
    let port = await serve("postgres", 5432);
    const count = "SELECT name, count FROM fruit ORDER BY count";
    await until(
      "its rows",
      async () => JSON.stringify(await query(port, count)),
      (text) => text === '[["pear","12"],["apple","30"]]',
    );
    await query(port, "INSERT INTO fruit VALUES ('plum', 7)");
    const inside = ["exec", "-u", "postgres", "postgres", "psql", "-Atc", count];
    expect(await fine(...inside)).toBe("plum|7\npear|12\napple|30");
    const { stdout, stderr } = await home.run(["logs", "postgres"]);
    expect(stdout).toContain("inside: postgres counts 42");
    expect(stderr).toContain("ready to accept connections");
    await fine("restart", "-t", "60", "postgres");
    port = await portOf("postgres", 5432);
    await until(
      "its rows again",
      async () => JSON.stringify(await query(port, count)),
      (text) => text === '[["plum","7"],["pear","12"],["apple","30"]]',
    );
    // Where the host has psql, it is the judge.
    const fromHost = (await findProgram("psql")) === undefined ? undefined : await psql(port, count);
    expect(["plum|7\npear|12\napple|30", undefined]).toContain(fromHost);
    await end("postgres", port, 0);
  });

  test("Redis answers the host, and keeps what it was given over a restart", async () => {
    let port = await serve("redis", 6379);
    const ping = async () => await redis(port, "PING");
    await until("its answer", ping, (text) => text === "+PONG\r\n");
    expect(await redis(port, "SET colour green")).toBe("+OK\r\n");
    expect(await fine("exec", "redis", "redis-cli", "GET", "colour")).toBe("green");
    await fine("restart", "redis");
    port = await portOf("redis", 6379);
    await until("its answer again", ping, (text) => text === "+PONG\r\n");
    expect(await redis(port, "GET colour")).toBe("$5\r\ngreen\r\n");
    expect(await fine("logs", "redis")).toContain("DB saved on disk");
    await end("redis", port, 0);
  });
});
