/** Containers in Firecracker's machines: booted and restored, with a network and without. */
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { text } from "node:stream/consumers";
import { describe, expect, inject, test } from "vitest";
import type { ContainerOptions, RunningContainer } from "../../src/container/options.ts";
import { startOn } from "../../src/container/start.ts";
import { PATIENCE, firecrackerHost, leftOfMachines } from "./setup.ts";

const { image, paths } = inject("firecracker");
async function start(options: ContainerOptions): Promise<RunningContainer> {
  const surroundings = { ...PATIENCE, prepareHost: async () => await firecrackerHost() };
  return await startOn(surroundings, image, { paths, dockerConfig: null, ...options });
}

async function run(script: string, options: ContainerOptions): Promise<{ code: number; stdout: string }> {
  await using container = await start({ command: ["sh", "-c", script], ...options });
  expect(container.machine).toBe("firecracker (kvm)");
  const [stdout, stderr, { code }] = await Promise.all([
    text(container.stdout),
    text(container.stderr),
    container.wait(),
  ]);
  expect(stderr).toBe("");
  return { code, stdout };
}

/** An address of this host that is not loopback: that one no container can reach, and this one where it is allowed. */
function hostAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const found = addresses.find(({ family, internal }) => family === "IPv4" && !internal);
  if (found === undefined) throw new Error("this host has no address");
  return found.address;
}

describe.each([
  ["booted", false],
  ["restored", true],
])("a container in a machine that was %s", (_name, template) => {
  test("reads its image, writes beside it, and ends with its own code", { timeout: 600_000 }, async () => {
    const script = "cat /etc/passwd | wc -l; echo x > /new && cat /new; ls /sys/class/net; exit 7";
    const { code, stdout } = await run(script, { template, network: "none" });
    expect({ code, stdout }).toEqual({ code: 7, stdout: expect.stringMatching(/^\d+\nx\nlo\n$/) as string });
  });

  test("reaches a server on this host's network", { timeout: 600_000 }, async () => {
    const body = "0123456789".repeat(10_000);
    const server = createServer((_request, response) => response.end(body));
    await new Promise<void>((resolve) => server.listen(0, resolve));
    try {
      const { port } = server.address() as AddressInfo;
      // passt gives up on a guest that is too slow, as an emulated one is at times.
      const get = `timeout 60 wget -q -O /tmp/body http://${hostAddress()}:${port}/ 2>/dev/null`;
      const script = `for n in 1 2 3 4; do ${get} && break; done; md5sum < /tmp/body`;
      const egress = { policy: "allow", allow: [hostAddress()] } as const;
      const { code, stdout } = await run(script, { template, egress });
      expect({ code, stdout }).toEqual({
        code: 0,
        stdout: `${createHash("md5").update(body).digest("hex")}  -\n`,
      });
    } finally {
      server.close();
    }
  });

  test("is reached through a published port", { timeout: 600_000 }, async () => {
    await using container = await start({
      command: ["sh", "-c", "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www"],
      publish: [{ hostPort: 0, containerPort: 80, protocol: "tcp" }],
      template,
    });
    const url = `http://127.0.0.1:${container.ports[0]?.hostPort}/`;
    let answer: string | undefined;
    for (let n = 0; n < 100 && answer === undefined; n++) {
      answer = await fetch(url).then(
        (response) => response.text(),
        () => undefined,
      );
      await sleep(100);
    }
    expect(answer).toBe("hello\n");
  });
});

test("two containers from one template have their own randomness, time and names", {
  timeout: 600_000,
}, async () => {
  const script = "head -c 16 /dev/urandom | od -An -tx1; cat /etc/hostname; date +%s";
  const outputs = [await run(script, { network: "none" }), await run(script, { network: "none" })];
  const [first = [], second = []] = outputs.map(({ stdout }) => stdout.trim().split("\n"));
  expect(first[0]).not.toBe(second[0]);
  expect(first[1]).not.toBe(second[1]);
  expect(Math.abs(Number(second[2]) * 1_000 - Date.now())).toBeLessThan(60_000);
});

test("nothing of all these machines is left", async () => {
  expect(await leftOfMachines()).toEqual([]);
});
