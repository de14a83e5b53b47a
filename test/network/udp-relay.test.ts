/** The relay between real sockets of the loopback; 127.0.0.2 plays the host's outward address. */
import type { Socket } from "node:dgram";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import type { UdpRelayOptions } from "../../src/network/udp-relay.ts";
import { UdpRelay } from "../../src/network/udp-relay.ts";
import { bindUdpSocket, closeUdpSocket } from "../../src/network/udp-socket.ts";

const SOURCE = "127.0.0.2";
const owned: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of owned.splice(0)) await one[Symbol.asyncDispose]();
});

async function bound(address: string, port = 0): Promise<Socket> {
  const socket = await bindUdpSocket(address, port);
  owned.push({ [Symbol.asyncDispose]: async () => await closeUdpSocket(socket) });
  return socket;
}

interface Seen {
  readonly text: string;
  readonly port: number;
  readonly address: string;
}

/** As passt with an echo server behind it: it takes at 127.0.0.1, and answers from the source address. */
async function startTarget(): Promise<{ port: number; seen: Seen[] }> {
  const answering = await bound(SOURCE);
  const { port } = answering.address();
  const taking = await bound("127.0.0.1", port);
  const seen: Seen[] = [];
  taking.on("message", (datagram, from) => {
    seen.push({ text: datagram.toString(), port: from.port, address: from.address });
    answering.send(datagram.toString().toUpperCase(), from.port, from.address);
  });
  return { port, seen };
}

async function startRelay(targetPorts: readonly number[], options: UdpRelayOptions = {}) {
  const listeners = await Promise.all(targetPorts.map(async () => await bindUdpSocket("127.0.0.1", 0)));
  const ports = listeners.map((listener) => listener.address().port);
  const routes = listeners.map((listener, index) => ({ listener, targetPort: targetPorts[index] ?? 0 }));
  const relay = new UdpRelay(routes, { sourceAddress: () => SOURCE, ...options });
  owned.push(relay);
  return { relay, ports, port: ports[0] ?? 0 };
}

/** On loopback nothing is lost as long as buffers are not full. */
async function ask(client: Socket, port: number, text: string): Promise<string> {
  const answer = once(client, "message", { signal: AbortSignal.timeout(10_000) });
  client.send(text, port, "127.0.0.1");
  const [datagram] = (await answer) as [Buffer];
  return datagram.toString();
}

describe("UdpRelay", () => {
  it("brings each client its own answers, from one source for each", async () => {
    const target = await startTarget();
    const { relay, port } = await startRelay([target.port]);
    const clients = await Promise.all(Array.from({ length: 20 }, async () => await bound("127.0.0.1")));
    for (const round of ["a", "b"]) {
      const answers = await Promise.all(clients.map(async (one, i) => await ask(one, port, `${round}${i}`)));
      expect(answers).toEqual(clients.map((_, i) => `${round}${i}`.toUpperCase()));
    }
    expect(relay.clientCount).toBe(20);
    expect(new Set(target.seen.map((one) => one.port)).size).toBe(20);
    expect(new Set(target.seen.map((one) => one.address))).toEqual(new Set([SOURCE]));
  });

  it.each([
    ["an empty datagram", 0],
    ["the largest datagram there is", 65_507],
  ])("passes %s", async (_name, length) => {
    const target = await startTarget();
    const { port } = await startRelay([target.port]);
    expect(await ask(await bound("127.0.0.1"), port, "x".repeat(length))).toBe("X".repeat(length));
  });

  it("keeps ports apart", async () => {
    const targets = [await startTarget(), await startTarget()];
    const { ports, relay } = await startRelay(targets.map(({ port }) => port));
    const client = await bound("127.0.0.1");
    expect(await ask(client, ports[0] ?? 0, "one")).toBe("ONE");
    expect(await ask(client, ports[1] ?? 0, "two")).toBe("TWO");
    expect(targets.map(({ seen }) => seen.map(({ text }) => text))).toEqual([["one"], ["two"]]);
    expect(relay.clientCount).toBe(2);
  });

  it("brings a client nothing but what comes from the target", async () => {
    const target = await startTarget();
    const { port } = await startRelay([target.port]);
    const client = await bound("127.0.0.1");
    await ask(client, port, "first");
    const towardsTarget = target.seen[0]?.port ?? 0;
    const got: string[] = [];
    client.on("message", (datagram) => got.push(datagram.toString()));
    for (const address of [SOURCE, "127.0.0.1"]) (await bound(address)).send("forged", towardsTarget, SOURCE);
    expect(await ask(client, port, "second")).toBe("SECOND");
    await sleep(20);
    expect(got).toEqual(["SECOND"]);
  });

  it("forgets the client that was silent longest when one too many comes", async () => {
    const target = await startTarget();
    const { relay, port } = await startRelay([target.port], { maxClients: 3 });
    const clients = await Promise.all(Array.from({ length: 4 }, async () => await bound("127.0.0.1")));
    const [a, b, c, d] = clients as [Socket, Socket, Socket, Socket];
    for (const [client, text] of [
      [a, "a1"],
      [b, "b1"],
      [c, "c1"],
      [a, "a2"],
      [d, "d1"],
      [a, "a3"],
    ] as const)
      await ask(client, port, text);
    expect(relay.clientCount).toBe(3);
    expect(await ask(b, port, "b2")).toBe("B2");
    const portsOf = (name: string): number =>
      new Set(target.seen.filter(({ text }) => text.startsWith(name)).map((one) => one.port)).size;
    // b was forgotten for d, and came back with a new socket; a never was.
    expect([portsOf("a"), portsOf("b")]).toEqual([1, 2]);
    expect(relay.clientCount).toBe(3);
  });

  it("stays within its bound under a flood of clients", async () => {
    const target = await startTarget();
    const { relay, port } = await startRelay([target.port], { maxClients: 8 });
    for (let i = 0; i < 100; i++) {
      const client = createSocket("udp4");
      expect(await ask(client, port, `${i}`)).toBe(`${i}`);
      client.close();
      expect(relay.clientCount).toBeLessThanOrEqual(8);
    }
  });

  it("drops clients that are idle, and no others", async () => {
    const target = await startTarget();
    let nowMs = 0;
    const { relay, port } = await startRelay([target.port], { idleMs: 60_000, now: () => nowMs });
    const [early, late] = [await bound("127.0.0.1"), await bound("127.0.0.1")];
    await ask(early, port, "early");
    nowMs = 30_000;
    await ask(late, port, "late");
    nowMs = 59_999;
    relay.sweep();
    expect(relay.clientCount).toBe(2);
    nowMs = 60_000;
    relay.sweep();
    expect(relay.clientCount).toBe(1);
    expect(await ask(early, port, "again")).toBe("AGAIN");
    nowMs = 200_000;
    relay.sweep();
    expect(relay.clientCount).toBe(0);
  });

  it("sweeps by itself", async () => {
    const target = await startTarget();
    const { relay, port } = await startRelay([target.port], { idleMs: 30 });
    await ask(await bound("127.0.0.1"), port, "x");
    while (relay.clientCount > 0) await sleep(5);
    expect(relay.clientCount).toBe(0);
  });

  it("drops datagrams while the host has no address, and goes on when it has one", async () => {
    const target = await startTarget();
    const addresses = [undefined, "203.0.113.77", SOURCE];
    const { relay, port } = await startRelay([target.port], { sourceAddress: () => addresses.shift() });
    const client = await bound("127.0.0.1");
    for (const text of ["no address", "not this host's"]) client.send(text, port, "127.0.0.1");
    while (addresses.length > 1) await sleep(5);
    await sleep(5);
    expect(relay.clientCount).toBe(0);
    expect(await ask(client, port, "at last")).toBe("AT LAST");
  });

  it("outlives a target that does not listen", async () => {
    const free = await bindUdpSocket("127.0.0.1", 0);
    const targetPort = free.address().port;
    await closeUdpSocket(free);
    const { relay, port } = await startRelay([targetPort]);
    const client = await bound("127.0.0.1");
    for (let i = 0; i < 5; i++) client.send("x", port, "127.0.0.1");
    while (relay.clientCount === 0) await sleep(5);
    await sleep(20);
    expect(relay.clientCount).toBe(1);
  });

  it("closes every socket when it is disposed, in the middle of traffic, and once only", async () => {
    const target = await startTarget();
    const { relay, port } = await startRelay([target.port]);
    const client = await bound("127.0.0.1");
    await ask(client, port, "x");
    const used = target.seen[0]?.port ?? 0;
    for (let i = 0; i < 50; i++) client.send("more", port, "127.0.0.1");
    await relay[Symbol.asyncDispose]();
    await relay[Symbol.asyncDispose]();
    expect(relay.clientCount).toBe(0);
    await bound("127.0.0.1", port);
    await bound(SOURCE, used);
  });
});
