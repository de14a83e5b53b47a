import { describe, expect, it } from "vitest";
import { generate } from "../../src/runtime-spec/generate.ts";
import type { ProcessRequest } from "../../src/runtime-spec/generate.ts";

const request: ProcessRequest = {
  containerId: "ab12",
  hostname: "box",
  share: { memoryLimitBytes: 400 << 20 },
  kernelRelease: "6.12.1",
};

describe("arguments", () => {
  it.each([
    ["the image's command", { Cmd: ["sh"] }, {}, ["sh"]],
    ["entrypoint and command", { Entrypoint: ["a"], Cmd: ["b"] }, {}, ["a", "b"]],
    ["a command of the user's", { Entrypoint: ["a"], Cmd: ["b"] }, { command: ["c", "d"] }, ["a", "c", "d"]],
    ["an empty command", { Entrypoint: ["a"], Cmd: ["b"] }, { command: [] }, ["a", "b"]],
    [
      "an entrypoint of the user's, which clears Cmd",
      { Entrypoint: ["a"], Cmd: ["b"] },
      { entrypoint: ["e"] },
      ["e"],
    ],
    ["a cleared entrypoint", { Entrypoint: ["a"], Cmd: ["b"] }, { entrypoint: [], command: ["c"] }, ["c"]],
    ["an empty argument", { Entrypoint: ["echo"] }, { command: [""] }, ["echo", ""]],
  ])("%s", (_name, image, options, args) => {
    expect(generate(image, { ...request, ...options }).process.args).toEqual(args);
  });

  it.each([
    ["nothing to run", {}, {}, "no-command"],
    ["a cleared entrypoint and no command", { Cmd: ["b"] }, { entrypoint: [] }, "no-command"],
    ["NUL in an argument", {}, { command: ["a\0b"] }, "invalid-option"],
    ["a relative working directory", { Cmd: ["sh"] }, { workdir: "tmp" }, "invalid-option"],
    ["NUL in the environment", { Cmd: ["sh"] }, { env: { A: "\0" } }, "invalid-option"],
    ["a name with an equals sign", { Cmd: ["sh"] }, { env: { "A=B": "c" } }, "invalid-option"],
    ["an empty name", { Cmd: ["sh"] }, { env: { "": "c" } }, "invalid-option"],
    ["a host name with a line feed", { Cmd: ["sh"] }, { hostname: "a\nb" }, "invalid-option"],
    ["a host name of 65 characters", { Cmd: ["sh"] }, { hostname: "a".repeat(65) }, "invalid-option"],
  ])("refuses %s", (_name, image, options, code) => {
    expect(() => generate(image, { ...request, ...options })).toThrow(expect.objectContaining({ code }));
  });
});

describe("environment", () => {
  it("has a path and the host name, then the image's, then the user's", () => {
    const image = { Cmd: ["sh"], Env: ["PATH=/bin", "LANG=C", "EMPTY="] };
    const { env } = generate(image, { ...request, env: { LANG: "de", X: "a=b" } }).process;
    expect(env).toEqual(["PATH=/bin", "HOSTNAME=box", "LANG=de", "EMPTY=", "X=a=b"]);
  });

  it("has Docker's path where neither the image nor the user has one", () => {
    const { env } = generate({ Cmd: ["sh"] }, request).process;
    expect(env).toContain("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  });

  it("says the terminal's kind only with a terminal", () => {
    const tty = { columns: 100, rows: 30 };
    expect(generate({ Cmd: ["sh"] }, { ...request, tty }).process).toMatchObject({
      terminal: true,
      consoleSize: { height: 30, width: 100 },
      env: expect.arrayContaining(["TERM=xterm"]) as string[],
    });
    expect(generate({ Cmd: ["sh"] }, request).process).not.toHaveProperty("consoleSize");
  });
});

describe("working directory", () => {
  it.each([
    ["the root by default", undefined, undefined, "/"],
    ["the image's", "/app", undefined, "/app"],
    ["a relative one of the image's", "app", undefined, "/app"],
    ["the user's", "/app", "/srv/../tmp", "/tmp"],
    ["one that climbs", "/../../etc", undefined, "/etc"],
  ])("is %s", (_name, image, user, cwd) => {
    const config = generate(
      { Cmd: ["sh"], ...(image && { WorkingDir: image }) },
      { ...request, workdir: user },
    );
    expect(config.process.cwd).toBe(cwd);
  });
});

describe("what surrounds the process", () => {
  const config = generate({ Cmd: ["sh"] }, request);

  it("is in namespaces of its own, with the machine's network", () => {
    expect(config.linux.namespaces.map(({ type }) => type)).toEqual(["pid", "mount", "ipc", "uts", "cgroup"]);
  });

  it("has Docker's 14 capabilities and no ambient or inheritable ones", () => {
    expect(config.process.capabilities.bounding).toHaveLength(14);
    expect(Object.keys(config.process.capabilities)).toEqual(["bounding", "effective", "permitted"]);
  });

  it("sees /sys and the cgroups read-only", () => {
    for (const destination of ["/sys", "/sys/fs/cgroup"])
      expect(config.mounts.find((mount) => mount.destination === destination)?.options).toContain("ro");
  });
});
