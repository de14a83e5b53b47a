/**
 * Bytes between a host and a guest, beside the same bytes through the bare pair: the same machine, whose frames go to
 * passt without FlameBox in between.
 *
 *   bare        client ─► passt ─────────────► QEMU ─► server in the guest
 *   ours        client ─► passt ─► FlameBox ─► QEMU ─► the same server
 *   loopback    client ─► the same server in a process of this host
 *
 * Of the bare pair, FlameBox starts and configures the machine; a program in QEMU's place hands QEMU a socket of a
 * passt that was started with the same addresses. All take turns, so that a host that is busy for a while is so for all.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { execFile } from "node:child_process";
import { chooseGuestSubnet, outwardAddresses, outwardIpv6 } from "../src/network/host-address.ts";
import { passtArguments } from "../src/network/passt.ts";
import { findProgram } from "../src/util/find-program.ts";
import { locatePaths } from "../src/util/paths.ts";
import { makeHome } from "../test/support/home.ts";
import type { Home } from "../test/support/home.ts";
import { layout, repository } from "../test/support/images/layouts.ts";
import { startRegistry } from "../test/support/registry.ts";
import { measureJudging } from "./judging.ts";
import { compare } from "./measurement.ts";
import type { Benchmark, Measurement } from "./measurement.ts";

const SAMPLES = 5;
const CONNECTIONS = 20;
const SIZE_BYTES = 64 * 1024 * 1024;
const LOOPBACK_BYTES = 512 * 1024 * 1024;
const GUEST_PORT = 5_001;
/** At least nine tenths of the bare pair's speed. */
const GOAL = 1 / 0.9;
const MAIN = join(repository, "dist", "cli", "main.js");

/**
 * A command of one byte, a number of eight: `s` asks for so many bytes, `r` gives them, `e` is answered by one byte,
 * `o` asks for so many bytes over a connection to the host: a port of four bytes follows, and its address.
 */
const SERVER = `
import socket, sys, threading
block = memoryview(bytearray(1 << 18))
def send(connection, count):
    while count > 0:
        count -= connection.send(block[:min(count, len(block))])
def receive(connection, count):
    room = bytearray(1 << 18)
    while count > 0:
        got = connection.recv_into(room)
        if got == 0:
            return
        count -= got
def exactly(connection, count):
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data
def serve(connection):
    with connection:
        while len(head := exactly(connection, 9)) == 9:
            count = int.from_bytes(head[1:], "big")
            if head[:1] == b"s":
                send(connection, count)
            elif head[:1] == b"r":
                receive(connection, count)
                connection.send(b".")
            elif head[:1] == b"o":
                port = int.from_bytes(exactly(connection, 4), "big")
                place = exactly(connection, exactly(connection, 1)[0]).decode()
                with socket.create_connection((place, port)) as out:
                    send(out, count)
                    out.shutdown(socket.SHUT_WR)
                    out.recv(1)
                connection.send(b".")
            else:
                connection.send(b".")
server = socket.create_server(("", int(sys.argv[1])))
print("listening", server.getsockname()[1], flush=True)
while True:
    connection = server.accept()[0]
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
`;

function command(letter: string, count: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes.write(letter, "latin1");
  bytes.writeBigUInt64BE(BigInt(count), 1);
  return bytes;
}

async function take(socket: Socket, count: number): Promise<void> {
  let left = count;
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    left -= chunk.length;
    if (left <= 0) return;
  }
  throw new Error(`the connection ended ${left} bytes too early`);
}

async function timed(job: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await job();
  return performance.now() - started;
}

async function opened(port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  return socket;
}

/** Each through one published port, in milliseconds. */
interface Way {
  /** From the guest to a client of the published port. */
  readonly download: () => Promise<number>;
  readonly upload: () => Promise<number>;
  /** From the guest to a server of the host that it connects to. */
  readonly outbound: () => Promise<number>;
  /** Connections, each to its first answer; all of them together. */
  readonly connections: () => Promise<number>;
}

const block = Buffer.alloc(256 * 1024);

async function give(socket: Socket, count: number): Promise<void> {
  for (let left = count; left > 0; left -= block.length)
    if (!socket.write(block.subarray(0, Math.min(left, block.length)))) await once(socket, "drain");
}

function wayOf(port: number, sizeBytes: number, sink: { readonly port: number; readonly host: string }): Way {
  const asking = async (letter: string, more: Buffer, then: (socket: Socket) => Promise<void>) => {
    const socket = await opened(port);
    try {
      return await timed(async () => {
        socket.write(Buffer.concat([command(letter, sizeBytes), more]));
        await then(socket);
      });
    } finally {
      socket.destroy();
    }
  };
  const none = Buffer.alloc(0);
  const place = Buffer.alloc(5);
  place.writeUInt32BE(sink.port);
  place.writeUInt8(sink.host.length, 4);
  return {
    download: async () => await asking("s", none, async (socket) => await take(socket, sizeBytes)),
    upload: async () =>
      await asking("r", none, async (socket) => {
        const answered = take(socket, 1);
        await give(socket, sizeBytes);
        await answered;
      }),
    outbound: async () =>
      await asking(
        "o",
        Buffer.concat([place, Buffer.from(sink.host)]),
        async (socket) => await take(socket, 1),
      ),
    connections: async () =>
      await timed(async () => {
        for (let i = 0; i < CONNECTIONS; i++) {
          const socket = await opened(port);
          socket.write(command("e", 0));
          await take(socket, 1);
          socket.destroy();
        }
      }),
  };
}

/** Takes what comes, and says so at the end. */
async function openSink(host: string): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => socket.destroy());
    socket.on("end", () => socket.end("."));
    socket.resume();
  });
  server.listen(0, host);
  await once(server, "listening");
  return server;
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const port = portOf(server);
  server.close();
  return port;
}

/** Resolves with the last word of what it says when it listens. */
async function listening(child: ChildProcess): Promise<string> {
  let said = "";
  child.stdout?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  for (let tries = 0; tries < 1_200; tries++) {
    const port = /listening (\d+)/.exec(said)?.[1];
    if (port !== undefined) return port;
    if (child.exitCode !== null) break;
    await sleep(100);
  }
  throw new Error(`the server did not come up: ${said}`);
}

/** QEMU with another stream of frames than the one that it is given. A VMM has nothing of its starter's environment. */
function inPlaceOf(qemu: string, passtSocket: string): string {
  return `#!/usr/bin/env python3
import json, os, sys
qemu, passt = ${JSON.stringify(qemu)}, ${JSON.stringify(passtSocket)}
words = sys.argv[1:]
for i, word in enumerate(words):
    if word == "-netdev":
        backend = json.loads(words[i + 1])
        backend["addr"] = {"type": "unix", "path": passt}
        words[i + 1] = json.dumps(backend)
# Nobody else may think that FlameBox's own network has gone: its end stays open.
os.execv(qemu, [qemu, *words])
`;
}

class Bare implements AsyncDisposable {
  readonly port: number;
  readonly env: NodeJS.ProcessEnv;
  readonly #passt: ChildProcess;

  private constructor(port: number, env: NodeJS.ProcessEnv, passt: ChildProcess) {
    this.port = port;
    this.env = env;
    this.#passt = passt;
  }

  static async open(home: Home): Promise<Bare> {
    const [qemu, passt] = [await findProgram("qemu-system-x86_64"), await findProgram("passt")];
    if (qemu === undefined || passt === undefined) throw new Error("QEMU or passt is not installed");
    const port = await freePort();
    const dir = join(home.dir, "bare");
    mkdirSync(dir);
    // passt gives root's rights up, and has to be able to make its socket there.
    chmodSync(home.dir, 0o755);
    chmodSync(dir, 0o777);
    const socket = join(dir, "passt.sock");
    const subnet = chooseGuestSubnet(outwardAddresses(), outwardIpv6());
    const forwards = [
      { hostAddress: "127.0.0.1", hostPort: port, containerPort: GUEST_PORT, protocol: "tcp" as const },
    ];
    const words = passtArguments({ subnet, forwards, hostGateway: false });
    const at = words.indexOf("--fd");
    words.splice(at, 2, "--socket", socket);
    const child = spawn(passt, words, { stdio: "ignore" });
    for (let tries = 0; !existsSync(socket); tries++) {
      if (tries > 100 || child.exitCode !== null) throw new Error("passt did not start");
      await sleep(50);
    }
    writeFileSync(join(dir, "qemu-system-x86_64"), inPlaceOf(qemu, socket), { mode: 0o755 });
    const env = {
      ...process.env,
      PATH: `${dir}:${process.env["PATH"]}`,
      FLAMEBOX_HOME: home.dir,
    };
    return new Bare(port, env, child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#passt.exitCode !== null) return;
    const ended = once(this.#passt, "close");
    this.#passt.kill("SIGKILL");
    await ended;
  }
}

async function takeTurns(
  ways: Readonly<Record<"bare" | "ours" | "loopback", Way>>,
  say: (line: string) => void,
): Promise<Measurement[]> {
  const results: Measurement[] = [];
  for (const what of ["download", "upload", "outbound", "connections"] as const) {
    const samples = { bare: [] as number[], ours: [] as number[], loopback: [] as number[] };
    for (let turn = 0; turn <= SAMPLES; turn++)
      for (const name of ["bare", "ours", "loopback"] as const) {
        const ms = await ways[name][what]();
        // The first turn warms caches up, and the windows of TCP.
        if (turn > 0) samples[name].push(ms);
      }
    const all = (["bare", "ours", "loopback"] as const).map(
      (name) => `${name} ${samples[name].map((ms) => ms.toFixed(0)).join(" ")}`,
    );
    say(`${what}, ms: ${all.join("; ")}`);
    results.push(compare(`network.${what}`, GOAL, samples.ours, samples.bare));
    const isBytes = what !== "connections";
    const scale = isBytes ? SIZE_BYTES / LOOPBACK_BYTES : 1;
    const loopback = samples.loopback.map((ms) => ms * scale);
    results.push(compare(`network.${what}_loopback`, LOOPBACK_GOALS[what], samples.ours, loopback));
  }
  return results;
}

/** In software emulation nearly all of it is the guest's. */
const LOOPBACK_GOALS = { download: 200, upload: 200, outbound: 200, connections: 100 };

async function measure(home: Home, image: string, say: (line: string) => void): Promise<Measurement[]> {
  const host = Object.values(networkInterfaces())
    .flat()
    .find((one) => one?.family === "IPv4" && !one.internal)?.address;
  if (host === undefined) throw new Error("this host has no address besides its loopback's");
  const sink = await openSink("0.0.0.0");
  const to = { port: portOf(sink), host };
  await using bare = await Bare.open(home);
  const port = await freePort();
  const server = ["python3", "-u", "-c", SERVER, String(GUEST_PORT)];
  const run = [MAIN, "run", "-q", "--rm"];
  const allow = ["--egress", "allow", "--egress-allow", host];
  const children = [
    spawn(process.execPath, [...run, image, ...server], { env: bare.env }),
    spawn(process.execPath, [...run, "-p", `${port}:${GUEST_PORT}`, ...allow, image, ...server], {
      env: { ...process.env, FLAMEBOX_HOME: home.dir },
    }),
    spawn("python3", ["-u", "-c", SERVER, "0"]),
  ];
  for (const child of children) child.stderr.pipe(process.stderr);
  try {
    const [, , loopbackPort] = await Promise.all(children.map(listening));
    const ways = {
      bare: wayOf(bare.port, SIZE_BYTES, to),
      ours: wayOf(port, SIZE_BYTES, to),
      loopback: wayOf(Number(loopbackPort), LOOPBACK_BYTES, to),
    };
    return await takeTurns(ways, say);
  } finally {
    await Promise.all(
      children.map(async (child) => {
        if (child.exitCode !== null) return;
        const ended = once(child, "close");
        child.kill("SIGKILL");
        await ended;
      }),
    );
    sink.close();
  }
}

async function run(say: (line: string) => void): Promise<Measurement[]> {
  const judging = await measureJudging(say);
  await promisify(execFile)(process.execPath, [MAIN, "setup", "--quiet"]);
  const { dir, tag } = await layout("debian");
  await using registry = await startRegistry();
  await registry.push(dir, tag, "bench/debian:12");
  await using home = await makeHome(join(locatePaths(process.env).dataDir, "kernels"));
  const image = `${registry.host}/bench/debian:12`;
  const { code, stderr } = await home.run(["pull", "-q", image]);
  if (code !== 0) throw new Error(stderr);
  return [...judging, ...(await measure(home, image, say))];
}

export const network: Benchmark = {
  name: "network",
  about: "bytes and connections to and from a guest, against the bare pair of QEMU and passt",
  run,
};
