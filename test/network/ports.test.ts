import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import type { PortForward } from "../../src/network/network.ts";
import { reservePorts } from "../../src/network/ports.ts";

const forward = (change: Partial<PortForward>): PortForward => ({
  hostAddress: "127.0.0.1",
  hostPort: 0,
  containerPort: 80,
  protocol: "tcp",
  ...change,
});

describe("reservePorts", () => {
  it("finds free ports, and lets them go", async () => {
    const [tcp, udp] = await reservePorts([forward({}), forward({ protocol: "udp" })]);
    expect(tcp?.hostPort).toBeGreaterThan(0);
    expect(udp?.hostPort).toBeGreaterThan(0);
    const again = await reservePorts([forward({ hostPort: tcp?.hostPort ?? 0 })]);
    expect(again[0]?.hostPort).toBe(tcp?.hostPort);
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

  it("refuses the same port twice", async () => {
    const [free] = await reservePorts([forward({})]);
    const both = [
      forward({ hostPort: free?.hostPort ?? 0 }),
      forward({ hostPort: free?.hostPort ?? 0, containerPort: 81 }),
    ];
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
