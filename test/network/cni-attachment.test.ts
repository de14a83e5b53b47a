/**
 * A machine's place in a network of CNI, with plugins that are shell scripts and write down what they were told, and a
 * program in the agent's place that does the same.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { checkConnection } from "../../src/container/connection.ts";
import type { AttachRequest } from "../../src/network/cni/attachment.ts";
import { attach, collectAttachments } from "../../src/network/cni/attachment.ts";
import { parseConfig } from "../../src/network/cni/config.ts";
import { startCniNetwork } from "../../src/network/cni/network.ts";
import { runPlugin } from "../../src/network/cni/plugin.ts";
import { compileRepository } from "../support/compiled.ts";

const root = process.getuid?.() === 0;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "flamebox-cni-"));
  mkdirSync(join(dir, "bin"));
  // In the agent's place: a namespace is a file.
  script("helper", 'echo "$*" >>LOG\ncase "$2" in make) : >"$3" ;; drop) rm -f "$3" ;; esac');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A program in `bin`; LOG stands for the file of all calls. */
function script(name: string, body: string): string {
  const path = join(dir, "bin", name);
  writeFileSync(path, `#!/bin/sh\n${body.replaceAll("LOG", join(dir, "log"))}\n`);
  chmodSync(path, 0o755);
  return path;
}

const RESULT = JSON.stringify({
  cniVersion: "1.0.0",
  interfaces: [{ name: "eth0", mac: "02:00:00:00:00:01", sandbox: "/x" }],
  ips: [{ address: "10.1.0.5/24", gateway: "10.1.0.1", interface: 0 }],
  routes: [{ dst: "0.0.0.0/0" }],
});

/** Writes down its name, the command, the variables and what it read, a line each call. */
function plugin(name: string, answer = `echo '${RESULT}'`): void {
  const line = `echo "${name} $CNI_COMMAND $CNI_IFNAME $CNI_ARGS netns=\${CNI_NETNS##*/run/netns/cni.*} $(cat)" >>LOG`;
  script(name, `${line}\n${answer}`);
}

function request(types: readonly string[], more: Partial<AttachRequest> = {}): AttachRequest {
  const plugins = types.map((type) => ({ type, capabilities: { portMappings: type === "second" } }));
  return {
    dataDir: dir,
    helper: join(dir, "bin", "helper"),
    network: parseConfig(JSON.stringify({ cniVersion: "1.0.0", name: "shop", plugins }), "f"),
    pluginDirs: [join(dir, "none"), join(dir, "bin")],
    containerId: "c1",
    runtimeConfig: {
      portMappings: [{ hostIP: "127.0.0.1", hostPort: 80, containerPort: 8080, protocol: "tcp" }],
    },
    args: "IgnoreUnknown=1",
    ...more,
  };
}

interface Call {
  readonly who: string;
  readonly config: Readonly<Record<string, unknown>>;
}

/** What was called, in order: the program and its command, and what it read. */
function calls(): Call[] {
  const lines = existsSync(join(dir, "log")) ? readFileSync(join(dir, "log"), "utf8").trim().split("\n") : [];
  return lines.map((line) => {
    const at = line.indexOf("{");
    const [words, json] = at < 0 ? [line, "{}"] : [line.slice(0, at), line.slice(at)];
    return {
      who: words.split(" ").slice(0, 2).join(" "),
      config: JSON.parse(json) as Call["config"],
    };
  });
}
const order = (): string[] => calls().map(({ who }) => who);
const kept = (): string[] => readdirSync(join(dir, "cni"));

describe.skipIf(!root)("a place in a network (skipped without root, whose networks these are)", () => {
  test("is made by each plugin in turn, and taken away in reverse, each told of what there is", async () => {
    for (const name of ["first", "second", "third"]) plugin(name);
    const attachment = await attach(request(["first", "second", "third"]));
    expect(existsSync(attachment.netns)).toBe(true);
    expect(attachment.result.addresses.length).toBe(1);
    await attachment[Symbol.asyncDispose]();
    await attachment[Symbol.asyncDispose]();
    expect(order()).toEqual([
      "netns make",
      "first ADD",
      "second ADD",
      "third ADD",
      "netns restore",
      "third DEL",
      "second DEL",
      "first DEL",
      "netns drop",
    ]);
    const result: unknown = JSON.parse(RESULT);
    const told = (who: string) => calls().find((call) => call.who === who)?.config;
    expect(told("first ADD")).toEqual({
      type: "first",
      capabilities: { portMappings: false },
      name: "shop",
      cniVersion: "1.0.0",
    });
    expect(told("second ADD")?.["prevResult"]).toEqual(result);
    expect(told("second ADD")?.["runtimeConfig"]).toEqual(request(["first"]).runtimeConfig);
    expect(told("third ADD")?.["runtimeConfig"]).toBeUndefined();
    for (const name of ["first", "second", "third"])
      expect(told(`${name} DEL`)?.["prevResult"]).toEqual(result);
    expect(told("second DEL")?.["runtimeConfig"]).toEqual(request(["first"]).runtimeConfig);
    expect([existsSync(attachment.netns), kept()]).toEqual([false, []]);
  });

  test.each<[string, string, string, RegExp]>([
    [
      "fails",
      `[ "$CNI_COMMAND" = DEL ] || { echo '{"code":11,"msg":"no room \\u001b[1m","details":"all taken"}'; exit 1; }`,
      "cni-failed",
      /second failed at ADD: no room \\u\{1b\}\[1m: all taken$/,
    ],
    ["fails without a word", '[ "$CNI_COMMAND" = DEL ]', "cni-failed", /second failed at ADD$/],
    ["says why in its own way", "echo oh no >&2; exit 3", "cni-failed", /second failed at ADD: oh no$/],
    ["says nothing", ":", "cni-bad-result", /second did not say/],
    ["says no JSON", "echo made it", "cni-bad-result", /second did not say/],
    ["says too much", "yes no-end", "cni-failed", /second failed at ADD \(it printed too much\)/],
    ["says what makes no sense", "echo '{}'", "cni-bad-result", /eth0 has no address/],
  ])("is taken away again when a plugin %s", async (_name, body, code, message) => {
    plugin("first");
    plugin("second", body);
    plugin("third", "cat >/dev/null; echo '{}'");
    const types =
      code === "cni-bad-result" && body.includes("{}") ? ["first", "second"] : ["first", "second", "third"];
    const failing = attach(request(types));
    await expect(failing).rejects.toMatchObject({ code, message: expect.stringMatching(message) as string });
    expect(
      order()
        .filter((who) => who.endsWith("DEL"))
        .at(-1),
    ).toBe("first DEL");
    expect([order().at(-1), kept()]).toEqual(["netns drop", []]);
  });

  test("is not begun when a plugin is missing", async () => {
    plugin("first");
    await expect(attach(request(["first", "nowhere"]))).rejects.toMatchObject({
      code: "cni-plugin-missing",
      hint: expect.stringContaining("containernetworking-plugins") as string,
    });
    expect(order()).toEqual([]);
  });

  test("is taken away when whoever wanted it is stopped meanwhile", async () => {
    const stopping = new AbortController();
    plugin("first", '[ "$CNI_COMMAND" = DEL ] || sleep 60');
    const attaching = attach(request(["first"], { signal: stopping.signal }));
    while (!order().includes("first ADD")) await new Promise((resolve) => setTimeout(resolve, 10));
    stopping.abort(new Error("enough"));
    await expect(attaching).rejects.toThrow("enough");
    expect([order().at(-1), kept()]).toEqual(["netns drop", []]);
  });

  test("that a plugin does not give up is told of, and tried again by others when its process is gone", async () => {
    plugin("first", `[ "$CNI_COMMAND" = ADD ] && echo '${RESULT}' || [ -e ${join(dir, "may-go")} ]`);
    using compiled = compileRepository(["src", "test/network/cni-child.ts"]);
    const program = compiled.url("test/network/cni-child.ts").pathname;
    const child = spawn(process.execPath, [program, JSON.stringify(request(["first"]))], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    const notices: string[] = [];
    const collect = async () =>
      await collectAttachments(dir, {
        helper: async () => join(dir, "bin", "helper"),
        onNotice: (notice) => notices.push(notice),
      });
    // As long as its process lives, it is nobody else's.
    await collect();
    expect(order()).toEqual(["netns make", "first ADD"]);
    child.kill("SIGKILL");
    await once(child, "close");
    await collect();
    expect([notices.length, kept().length]).toEqual([1, 1]);
    expect(notices[0]).toContain("the CNI plugin first failed at DEL");
    writeFileSync(join(dir, "may-go"), "");
    await collect();
    expect([notices.length, kept()]).toEqual([1, []]);
    expect(order().slice(2)).toEqual([
      "netns restore",
      "first DEL",
      "netns restore",
      "first DEL",
      "netns drop",
    ]);
  }, 240_000);

  test("without a record that makes sense loses its namespace and no more", async () => {
    const name = "cni.999999999.1.abcdef";
    mkdirSync(join(dir, "cni", name), { recursive: true });
    writeFileSync(join(dir, "cni", name, "attachment.json"), "{");
    await collectAttachments(dir, { helper: async () => join(dir, "bin", "helper") });
    expect([order(), kept()]).toEqual([["netns drop"], []]);
  });

  test("in a network that publishes no ports cannot have any", async () => {
    plugin("first");
    const config = { cniVersion: "1.0.0", name: "shop", plugins: [{ type: "first" }] };
    writeFileSync(join(dir, "shop.conflist"), JSON.stringify(config));
    const port = { hostAddress: "127.0.0.1", hostPort: 0, containerPort: 80, protocol: "tcp" } as const;
    const { dataDir, helper, pluginDirs } = request(["first"]);
    const places = { confDir: dir, pluginDirs };
    const own = { dataDir, helper, places, containerId: "c1" };
    await expect(startCniNetwork({ ...own, network: "shop", ports: [port] })).rejects.toMatchObject({
      code: "cni-unsupported",
      hint: expect.stringContaining("portmap") as string,
    });
    await expect(startCniNetwork({ ...own, network: "shpo" })).rejects.toMatchObject({
      code: "network-missing",
    });
    expect(order()).toEqual([]);
  });
});

test("only root has such a network, and others are told before anything is begun", async () => {
  using user = vi.spyOn(process, "geteuid").mockReturnValue(1_000);
  const refusal = { code: "cni-needs-root", hint: expect.stringContaining("--network user") as string };
  expect(() => checkConnection({ network: "cni:shop" })).toThrow(expect.objectContaining(refusal));
  const own = { dataDir: dir, helper: "/x", containerId: "c1" };
  await expect(startCniNetwork({ ...own, network: "shop" })).rejects.toMatchObject(refusal);
  expect(user).toHaveBeenCalledTimes(2);
});

test("a plugin gets no more of the environment than CNI's variables and a path", async () => {
  script("env", "cat >/dev/null; env | sed 's/=.*//' | sort | tr '\\n' ' '");
  const said = await runPlugin("env", {
    command: "DEL",
    containerId: "c1",
    netns: "",
    interfaceName: "eth0",
    args: "",
    pluginDirs: [join(dir, "bin")],
    config: {},
  });
  const own = ["ARGS", "COMMAND", "CONTAINERID", "IFNAME", "NETNS", "PATH"].map((name) => `CNI_${name}`);
  expect(
    said
      .trim()
      .split(" ")
      .filter((name) => !["PWD", "SHLVL", "_", "OLDPWD"].includes(name)),
  ).toEqual([...own, "PATH"]);
});
