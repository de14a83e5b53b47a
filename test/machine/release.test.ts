/** Firecracker's release, fetched from a site that is played on loopback with real archives. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { RequestListener, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { locateFirecracker } from "../../src/container/vmm.ts";
import type { Release } from "../../src/machine/firecracker/installed.ts";
import { FIRECRACKER_RELEASE, installedFirecracker } from "../../src/machine/firecracker/installed.ts";
import { installFirecracker } from "../../src/machine/firecracker/release.ts";
import type { Paths } from "../../src/util/paths.ts";

const run = promisify(execFile);
const VERSION = "1.16.1";
const PROGRAM = "#!/bin/sh\necho Firecracker v1.16.1\n";

let dir: string;
let paths: Paths;
let server: Server;
let answer: RequestListener;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "flamebox-release-"));
  paths = { dataDir: join(dir, "data"), runtimeDir: join(dir, "run") };
  server = createServer((request, response) => answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(dir, { recursive: true, force: true });
});

/** As releases are packed: the version in every name. `names`: what is in it. */
async function pack(names: readonly string[] = ["firecracker", "jailer"]): Promise<Buffer> {
  const folder = `release-v${VERSION}-x86_64`;
  await mkdir(join(dir, folder), { recursive: true });
  for (const name of names) {
    const path = join(dir, folder, `${name}-v${VERSION}-x86_64`);
    await writeFile(path, PROGRAM);
    await chmod(path, 0o755);
  }
  await writeFile(join(dir, folder, "LICENSE"), "free\n");
  await run("tar", ["-C", dir, "-czf", join(dir, "archive.tgz"), folder]);
  return await readFile(join(dir, "archive.tgz"));
}

function releaseOf(archive: Buffer, path = "/archive.tgz"): Release {
  const sha256 = createHash("sha256").update(archive).digest("hex");
  const { port } = server.address() as AddressInfo;
  return { version: VERSION, url: `http://127.0.0.1:${port}${path}`, sha256 };
}

describe("Firecracker's release", () => {
  it("is named with a digest of its own version", () => {
    expect(FIRECRACKER_RELEASE.url).toMatch(/^https:\/\/.*\/v1\.16\.1\/firecracker-v1\.16\.1-x86_64\.tgz$/);
    expect(FIRECRACKER_RELEASE.sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it("is fetched over a redirect, unpacked, and found again without being fetched", async () => {
    const archive = await pack();
    let count = 0;
    answer = ({ url }, response) => {
      count += 1;
      if (url === "/archive.tgz") response.writeHead(302, { location: "/elsewhere" }).end();
      else response.end(archive);
    };
    const release = releaseOf(archive);
    const installed = await installFirecracker({ paths, release });
    expect(installed.path).toBe(join(paths.dataDir, "firecracker", VERSION, "firecracker"));
    expect((await run(installed.path)).stdout).toBe("Firecracker v1.16.1\n");
    expect((await stat(installed.jailerPath)).mode & 0o777).toBe(0o755);
    expect(await readdir(join(paths.dataDir, "firecracker", VERSION))).toEqual(["firecracker", "jailer"]);
    expect(await installFirecracker({ paths, release })).toEqual(installed);
    expect(await locateFirecracker(undefined, paths)).toBe(installed.path);
    expect(count).toBe(2);
    await installFirecracker({ paths, release, force: true });
    expect(count).toBe(4);
  });

  it("takes the place of another version, and of what a killed process left", async () => {
    const parent = join(paths.dataDir, "firecracker");
    await mkdir(join(parent, "1.12.0"), { recursive: true });
    await mkdir(join(parent, `.new.${2 ** 22 + 1}.1.0a0b`));
    const archive = await pack();
    answer = (_request, response) => response.end(archive);
    await installFirecracker({ paths, release: releaseOf(archive) });
    expect(await readdir(parent)).toEqual([VERSION]);
  });

  const refused = async (release: Release): Promise<unknown> => {
    const error: unknown = await installFirecracker({ paths, release }).catch((e: unknown) => e);
    expect(await installedFirecracker(paths, release)).toBeUndefined();
    expect(await readdir(join(paths.dataDir, "firecracker"))).toEqual([]);
    return error;
  };

  it.each<[string, (archive: Buffer) => RequestListener, RegExp]>([
    ["other bytes", () => (_, response) => response.end("other bytes"), /has the SHA-256 [0-9a-f]{64}, not /],
    [
      "half of it",
      (archive) => (_, response) => {
        response.writeHead(200, { "content-length": archive.length });
        response.write(archive.subarray(0, 100), () => response.destroy());
      },
      /cannot fetch http:\/\/127\.0\.0\.1:\d+\/archive\.tgz: aborted/,
    ],
    ["nothing", () => (_, response) => response.writeHead(404).end(), /answered with status 404/],
    [
      "one redirect after the other",
      () => (_, response) => response.writeHead(302, { location: "/again" }).end(),
      /more than 5 redirects/,
    ],
    [
      "a redirect to a file",
      () => (_, response) => response.writeHead(302, { location: "file:///etc/passwd" }).end(),
      /file: is not https/,
    ],
    [
      "a redirect to plain http elsewhere",
      () => (_, response) => response.writeHead(302, { location: "http://192.0.2.1/" }).end(),
      /http: is not https/,
    ],
    [
      "more than any release has",
      () => (_, response) => {
        const isOver = () => response.destroyed || response.socket?.destroyed === true;
        const more = () => response.write(Buffer.alloc(2 ** 20), () => isOver() || more());
        more();
      },
      /more than \d+ bytes/,
    ],
  ])("is refused when the site gives %s, and nothing is left", async (_name, play, why) => {
    const archive = await pack();
    answer = play(archive);
    expect(await refused(releaseOf(archive))).toMatchObject({
      code: "firecracker-unavailable",
      message: expect.stringMatching(why) as string,
      hint: expect.stringContaining("/archive.tgz where there is a network") as string,
    });
  });

  it.each<[string, () => Promise<Buffer>, RegExp]>([
    ["no jailer", async () => await pack(["firecracker"]), /has no program jailer/],
    ["no gzip", async () => Buffer.from("plain"), /incorrect header check/],
    ["cut short", async () => (await pack()).subarray(0, 150), /unexpected end of file/],
  ])("is refused when the archive with this digest is %s", async (_name, make, why) => {
    const archive = await make();
    answer = (_request, response) => response.end(archive);
    expect(await refused(releaseOf(archive))).toMatchObject({
      message: expect.stringMatching(why) as string,
    });
  });

  it("is said to be out of reach, and where it is, when there is no network", async () => {
    const release = { ...releaseOf(Buffer.alloc(0)), url: "http://127.0.0.1:1/firecracker.tgz" };
    const error = await refused(release);
    expect(error).toMatchObject({
      message: expect.stringContaining("cannot fetch http://127.0.0.1:1/firecracker.tgz: ") as string,
      hint: expect.stringContaining(join(paths.dataDir, "firecracker", VERSION)) as string,
    });
  });

  it("is no longer fetched when somebody says stop", async () => {
    answer = (_request, response) => void response.write("x");
    const stop = new AbortController();
    const reason = new Error("enough");
    setTimeout(() => stop.abort(reason), 50);
    const fetching = installFirecracker({ paths, release: releaseOf(Buffer.alloc(1)), signal: stop.signal });
    await expect(fetching).rejects.toBe(reason);
    expect(await readdir(join(paths.dataDir, "firecracker"))).toEqual([]);
  });
});
