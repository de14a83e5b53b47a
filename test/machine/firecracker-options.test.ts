/** Firecracker's resources as FlameBox sends them, on an API that is played; the real one: test/firecracker/. */
import { mkdtemp, open, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { putBalloon, getBalloonMib, patchBalloon } from "../../src/machine/firecracker/api/balloon.ts";
import { ApiClient } from "../../src/machine/firecracker/api/client.ts";
import { putDrive } from "../../src/machine/firecracker/api/drive.ts";
import { putEntropy } from "../../src/machine/firecracker/api/entropy.ts";
import { putLogger } from "../../src/machine/firecracker/api/logger.ts";
import { putMachineConfig } from "../../src/machine/firecracker/api/machine-config.ts";
import { putNetworkInterface } from "../../src/machine/firecracker/api/network-interface.ts";
import { putSerial } from "../../src/machine/firecracker/api/serial.ts";
import { hasFeature } from "../../src/machine/firecracker/features.ts";
import { openMetrics } from "../../src/machine/firecracker/metrics.ts";
import { makePlace } from "../../src/machine/firecracker/place.ts";
import { tuneMachine, tuneVmm } from "../../src/machine/firecracker/tuning.ts";
import { parseVersion } from "../../src/machine/firecracker/version.ts";

let dir: string;
let server: Server;
let api: ApiClient;
let seen: string[];
/** What is done at each request, and its answer's body; undefined: none, with status 204. */
let play: (request: string) => Promise<string | undefined> | string | undefined;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "flamebox-fc-"));
  seen = [];
  play = () => undefined;
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const text = `${request.method} ${request.url} ${body}`.trim();
      seen.push(text);
      void Promise.resolve(play(text)).then((answer) =>
        response.writeHead(answer === undefined ? 204 : 200).end(answer),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(join(dir, "api.sock"), resolve));
  api = new ApiClient(join(dir, "api.sock"));
});
afterEach(async () => {
  api.close();
  server.close();
  await rm(dir, { recursive: true, force: true });
});

const versionOf = (text: string) => {
  const version = parseVersion(text);
  if (version === undefined) throw new Error(`no version: ${text}`);
  return version;
};

describe("a resource", () => {
  const bucket = { size: 1_024, refill_time: 100 };
  const drive = { drive_id: "scratch", path_on_host: "s", is_read_only: false, is_root_device: false };

  it.each<[string, () => Promise<void>, string]>([
    [
      "a CPU template",
      async () => await putMachineConfig(api, { vcpu_count: 1, mem_size_mib: 128, cpu_template: "T2" }),
      'PUT /machine-config {"vcpu_count":1,"mem_size_mib":128,"cpu_template":"T2"}',
    ],
    [
      "a limit of a drive",
      async () => await putDrive(api, { ...drive, rate_limiter: { bandwidth: bucket } }),
      'PUT /drives/scratch {"drive_id":"scratch","path_on_host":"s","is_read_only":false,"is_root_device":false,"rate_limiter":{"bandwidth":{"size":1024,"refill_time":100}}}',
    ],
    [
      "limits of an interface",
      async () =>
        await putNetworkInterface(api, {
          iface_id: "eth0",
          host_dev_name: "fb0",
          rx_rate_limiter: { bandwidth: bucket },
          tx_rate_limiter: { ops: { ...bucket, one_time_burst: 9 } },
        }),
      'PUT /network-interfaces/eth0 {"iface_id":"eth0","host_dev_name":"fb0","rx_rate_limiter":{"bandwidth":{"size":1024,"refill_time":100}},"tx_rate_limiter":{"ops":{"size":1024,"refill_time":100,"one_time_burst":9}}}',
    ],
    [
      "a limit of entropy",
      async () => await putEntropy(api, { rate_limiter: { bandwidth: bucket } }),
      'PUT /entropy {"rate_limiter":{"bandwidth":{"size":1024,"refill_time":100}}}',
    ],
    [
      "a balloon",
      async () =>
        await putBalloon(api, { amount_mib: 64, deflate_on_oom: true, stats_polling_interval_s: 1 }),
      'PUT /balloon {"amount_mib":64,"deflate_on_oom":true,"stats_polling_interval_s":1}',
    ],
    [
      "a balloon that changes",
      async () => await patchBalloon(api, { amount_mib: 0 }),
      'PATCH /balloon {"amount_mib":0}',
    ],
    ["the logger", async () => await putLogger(api, { level: "Info" }), 'PUT /logger {"level":"Info"}'],
    [
      "the console",
      async () => await putSerial(api, { rate_limiter: bucket }),
      'PUT /serial {"rate_limiter":{"size":1024,"refill_time":100}}',
    ],
  ])("that is %s is sent as the API names it", async (_name, put, expected) => {
    await put();
    expect(seen).toEqual([expected]);
  });

  it.each(["", "{}", '{"amount_mib":"64"}', "[]", "{"])(
    "that has %j for a balloon says nothing",
    async (body) => {
      play = () => body;
      await expect(getBalloonMib(api)).rejects.toMatchObject({ code: "balloon-refused" });
    },
  );
});

describe("what a version of Firecracker can", () => {
  it.each([
    ["1.12.0", "serialRateLimiter", false],
    ["1.15.9", "serialRateLimiter", false],
    ["1.16.0", "serialRateLimiter", true],
    ["1.13.1", "balloonReporting", false],
    ["1.14.0", "balloonReporting", true],
    ["2.0.0", "serialRateLimiter", true],
  ] as const)("%s: %s: %s", (text, feature, expected) => {
    expect(hasFeature(versionOf(text), feature)).toBe(expected);
  });

  it("is asked for before it is sent", async () => {
    const [old, recent] = [versionOf("1.13.0"), versionOf("1.16.1")];
    const limits = { console: { size: 1, refill_time: 1 } };
    const balloon = { amount_mib: 1, deflate_on_oom: true, free_page_reporting: true };
    await expect(tuneVmm(api, old, { limits })).rejects.toMatchObject({
      code: "firecracker-feature",
      message: expect.stringContaining("takes Firecracker 1.16, and this is 1.13.0") as string,
    });
    await expect(tuneMachine(api, old, { balloon })).rejects.toMatchObject({ code: "firecracker-feature" });
    expect(seen).toEqual([]);
    await tuneVmm(api, recent, { limits, logLevel: "Error" });
    await tuneMachine(api, recent, { balloon });
    expect(seen.map((text) => text.split(" {")[0])).toEqual(["PUT /logger", "PUT /serial", "PUT /balloon"]);
  });
});

describe("metrics", () => {
  /** Firecracker's part: what it writes into the FIFO when it is told to. */
  const writing = (path: string, pieces: readonly (string | Buffer)[]) => async (request: string) => {
    if (!request.includes("FlushMetrics")) return undefined;
    await using fifo = await open(path, "r+");
    for (const piece of pieces) await fifo.write(Buffer.from(piece));
    return undefined;
  };

  it("are the last whole line, however it came", async () => {
    await using place = await makePlace(dir);
    await using metrics = await openMetrics(api, place);
    expect(seen).toEqual(['PUT /metrics {"metrics_path":"metrics"}']);
    play = writing(join(place.dir, "metrics"), ['{"n":1}\n{"n"', ":2}\n", '{"n":3']);
    expect(await metrics.read(api)).toMatchObject({ n: expect.any(Number) as number });
    play = writing(join(place.dir, "metrics"), ["}\n"]);
    expect(await metrics.read(api)).toEqual({ n: 3 });
  });

  it("are found again behind what is no line of theirs", async () => {
    await using place = await makePlace(dir);
    await using metrics = await openMetrics(api, place);
    const noise = Buffer.alloc(48 * 1024, "x");
    play = writing(join(place.dir, "metrics"), [
      ...Array.from({ length: 8 }, () => noise),
      "\n",
      '{"n":4}\n',
    ]);
    expect(await metrics.read(api)).toEqual({ n: 4 });
  });

  it("are never anything but JSON, whatever is written", async () => {
    await using place = await makePlace(dir);
    await using metrics = await openMetrics(api, place);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ maxLength: 40 }), { maxLength: 8 }), async (pieces) => {
        play = writing(join(place.dir, "metrics"), [...pieces, '\n{"end":true}\n']);
        expect(JSON.stringify(await metrics.read(api))).toBeTypeOf("string");
      }),
      { seed: 20_261, numRuns: 100 },
    );
  });
});
