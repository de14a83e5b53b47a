/** What becomes of a machine's network when its passt ends, or does nothing any more. The guest is played here. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import type { Network } from "../../src/network/network.ts";
import { findPasst } from "../../src/network/passt.ts";
import { startUserNetwork } from "../../src/network/user-mode.ts";
import type { UserNetworkOptions } from "../../src/network/user-mode.ts";
import { FrameEnd, MAC, tcp } from "./frames.ts";

const [SYN, RST, ACK] = [2, 4, 16];
const mac = MAC.toString("hex").replace(/..(?=.)/g, "$&:");

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "flamebox-way-out-"))));
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true, force: true });
});

/** In the place of passt: leaves its number in a file, and does for its first life what `script` says. */
async function wrapPasst(script: string): Promise<() => number[]> {
  const [real, lives] = [await findPasst(), join(dir, "lives")];
  const lines = [
    "#!/bin/sh",
    `echo $$ >> ${lives}`,
    `if [ "$(wc -l < ${lives})" = 1 ]; then ${script}; fi`,
    `exec ${real} "$@"`,
  ];
  writeFileSync(join(dir, "passt"), `${lines.join("\n")}\n`);
  chmodSync(join(dir, "passt"), 0o755);
  vi.stubEnv("PATH", `${dir}:${process.env["PATH"]}`);
  return () => readFileSync(lives, "latin1").trim().split("\n").map(Number);
}

interface Guest {
  readonly network: Network;
  readonly frames: FrameEnd;
  readonly notices: string[];
  /** Whether the host answers a connection from this port. */
  connect(sourcePort: number): Promise<boolean>;
  /** The flags of what comes back for a segment of that connection. */
  say(sourcePort: number): Promise<number | undefined>;
}

async function enter(options: UserNetworkOptions): Promise<Guest> {
  const server = createServer((socket) => socket.on("error", () => {}).resume()).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const notices: string[] = [];
  const onNotice = (notice: string): void => void notices.push(notice);
  const network = await startUserNetwork({ mac, hostGateway: true, onNotice, ...options });
  onTestFinished(async () => await network[Symbol.asyncDispose]());
  const frames = new FrameEnd();
  network.attach(frames);
  const from = network.guest.addresses[0]?.replace(/\/.*$/, "") ?? "";
  const [to = ""] = network.guest.gateways;
  const answer = async (sourcePort: number, flags: number): Promise<number | undefined> => {
    const isAnswer = (packet: { protocol: number; sourcePort: number; destinationPort: number }): boolean =>
      packet.protocol === 6 && packet.sourcePort === port && packet.destinationPort === sourcePort;
    // A machine says it again, too: the first one may have gone before there was anybody to hear it.
    for (let tries = 0; tries < 4; tries++) {
      frames.give(tcp({ from, to, port, sourcePort }, { flags, acknowledged: flags === ACK ? 1 : 0 }));
      const answered = await frames.next(isAnswer, 600).catch(() => undefined);
      if (answered !== undefined) return answered.tcpFlags;
    }
    return undefined;
  };
  return {
    network,
    frames,
    notices,
    connect: async (sourcePort) => (await answer(sourcePort, SYN)) === (SYN | ACK),
    say: async (sourcePort) => await answer(sourcePort, ACK),
  };
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (isSo()) return;
    await sleep(50);
  }
  throw new Error(`it did not come to ${what}`);
}

describe("a passt", () => {
  test("that is killed is followed by another, which knows nothing of the connections before", async () => {
    const lives = await wrapPasst(":");
    const guest = await enter({ pace: { settledMs: 0, lookMs: 60_000 } });
    expect(await guest.connect(4_001)).toBe(true);
    process.kill(lives()[0] ?? 0, "SIGKILL");
    await until("a notice", () => guest.notices.length > 0);
    expect(guest.notices).toEqual([expect.stringMatching(/passt gave up: .*SIGKILL; another passt/)]);
    expect((await guest.say(4_001)) ?? 0).toSatisfy((flags: number) => (flags & RST) !== 0);
    expect(await guest.connect(4_002)).toBe(true);
    expect(await guest.connect(4_001)).toBe(true);
    expect(lives()).toHaveLength(2);
  });

  test.each([
    ["in the middle of a frame", "printf '\\0\\0\\3\\350half' >&3; sleep 1; exit 7", "exit code 7"],
    ["without a complaint", "sleep 1; exit 0", "has ended"],
  ])("that ends %s is followed by another", async (_name, script, why) => {
    const lives = await wrapPasst(script);
    const guest = await enter({ pace: { settledMs: 500, lookMs: 60_000 } });
    void guest.connect(4_001);
    await until("a notice", () => guest.notices.length > 0);
    expect(guest.notices).toEqual([expect.stringContaining(why)]);
    expect(await guest.connect(4_002)).toBe(true);
    expect(lives()).toHaveLength(2);
  });

  test("that cannot be followed by another is the network's failure", async () => {
    await wrapPasst(`rm ${dir}/passt; sleep 1; exit 7`);
    const guest = await enter({ pace: { settledMs: 500, lookMs: 60_000 } });
    const closed = once(guest.frames, "close");
    void guest.connect(4_001);
    expect(await guest.network.failed).toMatchObject({
      code: "network-failed",
      message: expect.stringContaining("No such file") as string,
    });
    await closed;
  });

  test("that keeps a processor busy and carries nothing is followed by another, at the published ports", async () => {
    const lives = await wrapPasst("while :; do :; done");
    const ports = [{ hostAddress: "127.0.0.1", hostPort: 0, containerPort: 80, protocol: "tcp" }] as const;
    const guest = await enter({ ports, pace: { settledMs: 0, lookMs: 300 } });
    void guest.connect(4_001);
    await until("a notice", () => guest.notices.length > 0);
    expect(guest.notices).toEqual([expect.stringContaining("keeps a processor busy")]);
    expect(await guest.connect(4_002)).toBe(true);
    expect(lives()).toHaveLength(2);
  });

  test("that does nothing because there is nothing to do is left alone", async () => {
    const lives = await wrapPasst(":");
    const guest = await enter({ pace: { settledMs: 0, lookMs: 50 } });
    expect(await guest.connect(4_001)).toBe(true);
    await sleep(1_000);
    expect(await guest.connect(4_002)).toBe(true);
    expect([guest.notices, lives().length]).toEqual([[], 1]);
  });

  test("that ends as soon as it has begun is the network's failure", async () => {
    const lives = await wrapPasst("echo it has no legs >&2; exit 3");
    const guest = await enter({});
    const closed = once(guest.frames, "close");
    expect(await guest.connect(4_001)).toBe(false);
    expect(await guest.network.failed).toMatchObject({
      code: "network-failed",
      message: expect.stringContaining("it has no legs") as string,
    });
    await closed;
    expect([guest.notices, lives().length]).toEqual([[], 1]);
  });
});
