import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { createServer as createSocketServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ApiClient } from "../../src/machine/firecracker/api/client.ts";
import { putBootSource } from "../../src/machine/firecracker/api/boot-source.ts";
import { putMachineConfig } from "../../src/machine/firecracker/api/machine-config.ts";
import { getVersion } from "../../src/machine/firecracker/api/version.ts";
import { connectToGuest } from "../../src/machine/firecracker/api/vsock.ts";
import { DialledStream } from "../../src/machine/firecracker/dialled-stream.ts";
import { Output } from "../../src/machine/firecracker/output.ts";
import { makePlace } from "../../src/machine/firecracker/place.ts";
import { isSupported, parseVersion } from "../../src/machine/firecracker/version.ts";

let dir: string;
beforeEach(async () => (dir = await mkdtemp(join(tmpdir(), "flamebox-fc-"))));
afterEach(async () => await rm(dir, { recursive: true, force: true }));

describe("Firecracker's version", () => {
  it.each([
    ["Firecracker v1.16.1\n\n2026-11-28T21:58:32 exiting", "1.16.1", true],
    ["1.17.0-dev", "1.17.0-dev", true],
    ["v1.12.0", "1.12.0", true],
    ["v1.11.9", "1.11.9", false],
    ["v0.25.2", "0.25.2", false],
    ["v2.0.0", "2.0.0", true],
  ])("%j", (text, expected, supported) => {
    const version = parseVersion(text);
    expect(version?.text).toBe(expected);
    expect(version !== undefined && isSupported(version)).toBe(supported);
  });

  it.each(["", "QEMU emulator", "v1.2", "v99999.0.0"])("%j is none", (text) => {
    expect(parseVersion(text)).toBeUndefined();
  });
});

describe("Firecracker's output", () => {
  const line = "2026-11-28T21:59:26.07 [fb-0a1b:fc_vcpu 0] no such port\n";

  it("is the guest's, but for the VMM's own lines", () => {
    const output = new Output("fb-0a1b");
    output.write(Buffer.from(`booting\n${line}ready`));
    expect(output.console()).toBe("booting\nready");
    expect(output.log()).toBe(":fc_vcpu 0] no such port\n");
  });

  it("is told apart in any pieces, and in the middle of a line", () => {
    const output = new Output("fb-0a1b");
    for (const byte of Buffer.from(`half a ${line}line\n`)) output.write(Buffer.from([byte]));
    expect(output.console()).toBe("half a line\n");
    expect(output.log()).toContain("no such port");
  });

  it("cannot be imitated by a guest that does not know the id", () => {
    const output = new Output("fb-0a1b");
    output.write(Buffer.from(line.replace("0a1b", "ffff")));
    expect(output.log()).toBe("");
  });

  it("is bounded, with line feeds and without", () => {
    const output = new Output("fb-0a1b");
    for (let n = 0; n < 64; n++) output.write(Buffer.alloc(64 * 1024, n % 2 ? "x" : "y\n"));
    expect(output.console().length).toBeLessThanOrEqual(80 * 1024);
  });
});

describe("the API's client", () => {
  let server: Server;
  let api: ApiClient;
  let answer: { status: number; body: string } = { status: 204, body: "" };
  const seen: string[] = [];

  beforeEach(async () => {
    seen.length = 0;
    server = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk: Buffer) => (body += chunk.toString()));
      request.on("end", () => {
        seen.push(`${request.method} ${request.url} ${body}`);
        response.writeHead(answer.status).end(answer.body);
      });
    });
    const path = join(dir, "api.sock");
    await new Promise<void>((resolve) => server.listen(path, resolve));
    api = new ApiClient(path);
  });
  afterEach(() => {
    api.close();
    server.close();
  });

  it("sends a resource as the API names it", async () => {
    answer = { status: 204, body: "" };
    await putMachineConfig(api, { vcpu_count: 2, mem_size_mib: 256 });
    expect(seen).toEqual(['PUT /machine-config {"vcpu_count":2,"mem_size_mib":256}']);
  });

  it("turns a refusal into the resource's error, with the files that it is about", async () => {
    answer = { status: 400, body: '{"fault_message": "The kernel file cannot be opened"}' };
    const refused = putBootSource(api, { kernel_image_path: "/k", initrd_path: "/i", boot_args: "" });
    await expect(refused).rejects.toMatchObject({
      code: "boot-source-refused",
      message: 'Firecracker refused PUT /boot-source "/k" "/i": The kernel file cannot be opened',
    });
  });

  it.each<[string, { status: number; body: string }, string]>([
    ["an answer without end", { status: 200, body: "x".repeat(300_000) }, "firecracker-lost"],
    ["an answer that is not JSON", { status: 200, body: "{" }, "firecracker-version"],
    ["JSON of another form", { status: 200, body: '{"version": 1}' }, "firecracker-version"],
    [
      "a version that is none",
      { status: 200, body: '{"firecracker_version": "new"}' },
      "firecracker-version",
    ],
    ["an error without a reason", { status: 500, body: "" }, "firecracker-version"],
  ])("refuses %s", async (_name, given, code) => {
    answer = given;
    await expect(getVersion(api)).rejects.toMatchObject({ code });
  });

  it("does not ask for more CPUs than Firecracker has", async () => {
    await expect(putMachineConfig(api, { vcpu_count: 33, mem_size_mib: 256 })).rejects.toMatchObject({
      code: "machine-config-refused",
    });
    expect(seen).toEqual([]);
  });

  it("gives up on what does not answer", async () => {
    server.removeAllListeners("request");
    const asked = api.send({ method: "GET", path: "/", refusal: "x", deadlineMs: 50 });
    await expect(asked).rejects.toMatchObject({ code: "firecracker-timeout" });
    server.closeAllConnections();
  });
});

describe("a dialled stream", () => {
  /** A vsock socket as Firecracker's: refuses `refusals` connections, then takes them and says back what comes. */
  async function listen(
    refusals: number,
    answer = "OK 1073741824\n",
  ): Promise<AsyncDisposable & { path: string }> {
    const path = join(dir, "v.sock");
    let left = refusals;
    const server = createSocketServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (chunk: Buffer) => {
        if (left-- > 0) {
          socket.destroy();
          return;
        }
        expect(chunk.toString()).toBe("CONNECT 1024\n");
        socket.write(answer);
        socket.pipe(socket);
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return { path, [Symbol.asyncDispose]: async () => void server.close() };
  }
  const dial = (path: string) =>
    new DialledStream(async (signal) => await connectToGuest(path, 1024, signal));

  it("waits until somebody listens, and has lost nothing of what was written meanwhile", async () => {
    await using server = await listen(3);
    const stream = dial(server.path);
    stream.write("early ");
    stream.end("late");
    let text = "";
    for await (const chunk of stream) text += String(chunk);
    expect(text).toBe("early late");
  });

  it("can be destroyed before there is anybody", async () => {
    const stream = dial(join(dir, "nobody.sock"));
    const closed = new Promise((resolve) => stream.once("close", resolve));
    stream.destroy();
    await closed;
    expect(stream.destroyed).toBe(true);
  });

  it("fails over an answer that is none", async () => {
    await using server = await listen(0, "x".repeat(100));
    const stream = dial(server.path);
    const error = await new Promise((resolve) => stream.once("error", resolve));
    expect(error).toMatchObject({ code: "vsock-refused" });
  });
});

describe("a VMM's directory", () => {
  it("is private, reached by a short path, and gone with its owner", async () => {
    const runtimeDir = join(dir, "x".repeat(200), "run");
    const place = await makePlace(runtimeDir);
    expect(place.reach("api.sock").length).toBeLessThan(40);
    expect(await readdir(place.reach("."))).toEqual([]);
    await place[Symbol.asyncDispose]();
    expect(await readdir(runtimeDir)).toEqual([]);
  });

  it("is removed by the next when its owner is dead, and not before", async () => {
    const dead = `fc.${2 ** 22 + 1}.1.0a0b`;
    await (await makePlace(join(dir, dead)))[Symbol.asyncDispose]();
    await using first = await makePlace(dir);
    await using second = await makePlace(dir);
    const left = await readdir(dir);
    expect(left).not.toContain(dead);
    expect(left).toHaveLength(2);
    expect(first.dir).not.toBe(second.dir);
  });

  it("is not made where others can write", async () => {
    const { chmod, mkdir } = await import("node:fs/promises");
    await mkdir(join(dir, "open"));
    await chmod(join(dir, "open"), 0o777);
    await expect(makePlace(join(dir, "open"))).rejects.toMatchObject({ code: "runtime-dir-unsafe" });
  });
});
