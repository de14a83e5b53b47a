/**
 * What it costs to look at every frame: the processor's time for judging frames of 64 KiB that pass, beside the time for
 * taking the same bytes from one socket and giving them to another, which the process has to do in any case.
 */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { cidr, parseAddress } from "../src/network/address.ts";
import type { Address } from "../src/network/address.ts";
import { FramePath } from "../src/network/frames/path.ts";
import { ipFrame } from "../src/network/packet/build.ts";
import { Policy } from "../src/network/policy/policy.ts";
import { Refusals } from "../src/network/policy/refusals.ts";
import { compare } from "./measurement.ts";
import type { Measurement } from "./measurement.ts";

const SAMPLES = 7;
/** Until the compiler has made its best of it. */
const WARM_UP = 6;
const BATCH_BYTES = 64 * 1024 * 1024;
const READ_BYTES = 64 * 1024;
const MAC = Buffer.from("525400123456", "hex");

class Nowhere extends Duplex {
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done();
  }
  override _writev(_chunks: unknown, done: () => void): void {
    done();
  }
}

function address(text: string): Address {
  return parseAddress(text) ?? 0;
}

/** As reads of a socket deliver them: nearly every frame is cut in two. */
function chunksOf(payloadBytes: number): Buffer[] {
  const segment = Buffer.alloc(20 + payloadBytes);
  segment.writeUInt16BE(4_000, 0);
  segment.writeUInt16BE(80, 2);
  segment.writeUInt8(0x50, 12);
  segment.writeUInt8(0x10, 13);
  const ends = { source: address("10.0.2.15"), destination: address("198.51.100.1") };
  const frame = ipFrame({ sourceMac: MAC, destinationMac: MAC }, ends, 6, segment, 16);
  const count = Math.ceil((4 * 1024 * 1024) / frame.length);
  const all = Buffer.concat(Array.from({ length: count }, () => frame));
  const starts = Array.from({ length: Math.ceil(all.length / READ_BYTES) }, (_, i) => i * READ_BYTES);
  return starts.map((start) => all.subarray(start, start + READ_BYTES));
}

function cpuMs(since?: NodeJS.CpuUsage): NodeJS.CpuUsage & { readonly ms: number } {
  const usage = process.cpuUsage(since);
  return { ...usage, ms: (usage.user + usage.system) / 1000 };
}

async function judge(chunks: readonly Buffer[]): Promise<number> {
  const guest = new Nowhere();
  const path = new FramePath(guest, {
    policy: new Policy({ resolvers: [], isHost: () => false }),
    refusals: new Refusals(() => {}),
    mac: MAC,
    addresses: [address("10.0.2.15")],
    gateways: [address("10.0.2.2")],
    subnets: [cidr("10.0.2.0/24")],
    hostGateway: false,
    ipv6: false,
    uplinkBytes: READ_BYTES,
    openUplink: () => new Nowhere(),
  });
  const started = cpuMs();
  for (let bytes = 0; bytes < BATCH_BYTES; ) {
    for (const chunk of chunks) {
      guest.emit("data", chunk);
      bytes += chunk.length;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { ms } = cpuMs(started);
  path.destroy();
  return ms;
}

async function copy(chunks: readonly Buffer[], near: Socket, far: Socket): Promise<number> {
  let left = BATCH_BYTES;
  const done = new Promise<void>((resolve) => {
    const onData = (chunk: Buffer): void => {
      left -= chunk.length;
      if (left > 0) return;
      far.off("data", onData);
      resolve();
    };
    far.on("data", onData);
  });
  const started = cpuMs();
  for (let bytes = 0; bytes < BATCH_BYTES; )
    for (const chunk of chunks) {
      const part = chunk.subarray(0, BATCH_BYTES - bytes);
      if (part.length === 0) break;
      bytes += part.length;
      if (!near.write(part)) await once(near, "drain");
    }
  await done;
  return cpuMs(started).ms;
}

export async function measureJudging(say: (line: string) => void): Promise<Measurement[]> {
  const dir = mkdtempSync(join(tmpdir(), "flamebox-judging-"));
  const server = createServer().listen(join(dir, "sock"));
  const accepted = once(server, "connection");
  const near = connect(join(dir, "sock"));
  const [far] = (await accepted) as [Socket];
  try {
    const chunks = chunksOf(65_436);
    const samples = { judge: [] as number[], copy: [] as number[] };
    for (let turn = 0; turn < WARM_UP + SAMPLES; turn++) {
      const taken = { judge: await judge(chunks), copy: await copy(chunks, near, far) };
      if (turn >= WARM_UP) for (const name of ["judge", "copy"] as const) samples[name].push(taken[name]);
    }
    const shown = (["judge", "copy"] as const).map(
      (name) => `${name} ${samples[name].map((ms) => ms.toFixed(1)).join(" ")}`,
    );
    say(`judging 64 MiB, ms of CPU: ${shown.join("; ")}`);
    return [compare("network.judging", 0.1, samples.judge, samples.copy)];
  } finally {
    near.destroy();
    far.destroy();
    server.close();
    rmSync(dir, { recursive: true, force: true });
  }
}
