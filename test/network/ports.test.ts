import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import type { PortForward } from "../../src/network/network.ts";
import type { ReservedPorts } from "../../src/network/ports.ts";
import { reservePorts } from "../../src/network/ports.ts";
import { closeUdpSocket } from "../../src/network/udp-socket.ts";

const forward = (change: Partial<PortForward>): PortForward => ({
  hostAddress: "127.0.0.1",
  hostPort: 0,
  containerPort: 80,
  protocol: "tcp",
  ...change,
});

async function release({ udp }: ReservedPorts): Promise<void> {
  for (const { socket } of udp) await closeUdpSocket(socket);
}

describe("reservePorts", () => {
  it("finds free TCP ports, and lets them go", async () => {
    const { ports } = await reservePorts([forward({}), forward({ containerPort: 81 })]);
    const [first, second] = ports.map(({ hostPort }) => hostPort);
    expect(first).toBeGreaterThan(0);
    expect(second).toBeGreaterThan(0);
    expect(second).not.toBe(first);
    const again = await reservePorts([forward({ hostPort: first ?? 0 })]);
    expect(again.ports[0]?.hostPort).toBe(first);
  });

  it("finds free UDP ports, and keeps them", async () => {
    const reserved = await reservePorts([forward({ protocol: "udp" })]);
    const [listener] = reserved.udp;
    expect(reserved.ports).toEqual([listener?.forward]);
    expect(listener?.socket.address().port).toBe(listener?.forward.hostPort);
    const second = forward({ protocol: "udp", hostPort: listener?.forward.hostPort ?? 0 });
    await expect(reservePorts([second])).rejects.toMatchObject({ code: "port-in-use" });
    await release(reserved);
    await release(await reservePorts([second]));
  });

  it("has one target for each container port", async () => {
    const reserved = await reservePorts(
      [53, 53, 54].map((containerPort) => forward({ protocol: "udp", containerPort })),
    );
    const [first, second, third] = reserved.udp.map(({ targetPort }) => targetPort);
    expect(second).toBe(first);
    expect(third).not.toBe(first);
    expect(new Set(reserved.ports.map(({ hostPort }) => hostPort)).size).toBe(3);
    await release(reserved);
  });

  it("lets UDP ports go when another port is refused", async () => {
    const hostPort = (await reservePorts([forward({})])).ports[0]?.hostPort ?? 0;
    const udp = forward({ protocol: "udp", hostPort });
    await expect(reservePorts([udp, forward({ hostAddress: "203.0.113.77" })])).rejects.toMatchObject({
      code: "invalid-port",
    });
    await release(await reservePorts([udp]));
  });

  it("refuses a TCP port that is taken", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    await expect(reservePorts([forward({ hostPort: port })])).rejects.toMatchObject({ code: "port-in-use" });
    server.close();
  });

  it("refuses a UDP port that is taken", async () => {
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", () => resolve()));
    const { port } = socket.address();
    await expect(reservePorts([forward({ hostPort: port, protocol: "udp" })])).rejects.toMatchObject({
      code: "port-in-use",
    });
    socket.close();
  });

  it("refuses one TCP port on two addresses, which passt cannot tell apart", async () => {
    const { ports } = await reservePorts([forward({})]);
    const hostPort = ports[0]?.hostPort ?? 0;
    const two = [forward({ hostPort }), forward({ hostPort, hostAddress: "127.0.0.2" })];
    await expect(reservePorts(two)).rejects.toMatchObject({ code: "invalid-port" });
    // Both were let go.
    expect((await reservePorts([forward({ hostPort })])).ports[0]?.hostPort).toBe(hostPort);
  });

  it("finds ports on IPv6 addresses, each its own", async () => {
    const [tcp, udp] = [forward({ hostAddress: "::1" }), forward({ hostAddress: "::1", protocol: "udp" })];
    const reserved = await reservePorts([tcp, udp]);
    expect(reserved.udp[0]?.socket.address()).toMatchObject({ address: "::1", family: "IPv6" });
    await expect(
      reservePorts([{ ...udp, hostPort: reserved.ports[1]?.hostPort ?? 0 }]),
    ).rejects.toMatchObject({
      code: "port-in-use",
      message: expect.stringContaining("[::1]:") as string,
    });
    await release(reserved);
  });

  it("refuses the same port twice", async () => {
    const hostPort = (await reservePorts([forward({})])).ports[0]?.hostPort ?? 0;
    const both = [forward({ hostPort }), forward({ hostPort, containerPort: 81 })];
    await expect(reservePorts(both)).rejects.toMatchObject({ code: "port-in-use" });
  });

  it.each([
    ["a container port of 0", forward({ containerPort: 0 })],
    ["a port beyond 65535", forward({ hostPort: 65_536 })],
    ["half a port", forward({ hostPort: 80.5 })],
    ["a name as address", forward({ hostAddress: "localhost" })],
    ["options for the network program", forward({ hostAddress: "127.0.0.1 --tcp-ports all" })],
    ["an address that is not this host's", forward({ hostAddress: "203.0.113.77" })],
  ])("refuses %s", async (_name, bad) => {
    await expect(reservePorts([bad])).rejects.toMatchObject({ code: "invalid-port" });
  });
});
