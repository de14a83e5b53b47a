/** Images that are odd, or made to do harm: what becomes of them in a machine, and what is said about them. */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { pushVariants } from "../support/busybox-variant.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";
import { entry } from "../support/tar-builder.ts";

const symlink = (name: string, linkName: string): Uint8Array => entry({ name, linkName, type: "2" });
const dir = (name: string, mode = 0o755): Uint8Array => entry({ name: `${name}/`, type: "5", mode });

const variants = {
  "odd-dangling": {
    entries: [
      symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
      symlink("etc/hosts", "/nowhere/a/hosts"),
      symlink("etc/hostname", "hostname.real"),
    ],
  },
  "odd-escaping": {
    entries: [
      symlink("etc/resolv.conf", "../../../../../../tmp/escaped"),
      symlink("place", "/../../../srv/place"),
      symlink("srv", "loop/../var"),
      dir("loop"),
    ],
    config: { WorkingDir: "/place/below" },
  },
  "odd-circle": { entries: [symlink("etc/resolv.conf", "resolv.conf")] },
  "odd-directory": { entries: [dir("etc/hosts")] },
  "odd-fifos": {
    entries: [entry({ name: "etc/passwd", type: "6" }), entry({ name: "etc/group", type: "6" })],
    config: { User: "12" },
  },
  "odd-devices": {
    entries: [
      entry({ name: "etc/passwd", type: "3", devMajor: 1, devMinor: 5 }),
      symlink("etc/group", "/proc/self/environ"),
    ],
    config: { User: "12:13" },
  },
  "odd-dev-file": { entries: [entry({ name: ".wh.dev" }), entry({ name: "dev" }, "no directory")] },
  "odd-no-proc": {
    entries: [entry({ name: ".wh.proc" }), entry({ name: ".wh.sys" }), entry({ name: ".wh.dev" })],
  },
  "odd-proc-link": { entries: [entry({ name: ".wh.proc" }), symlink("proc", "/etc")] },
  "odd-cwd-fd": { config: { WorkingDir: "/proc/self/fd/8" } },
  "odd-cwd-dangling": { entries: [symlink("app", "/data/app")], config: { WorkingDir: "/app" } },
  "odd-self": { config: { Entrypoint: ["/proc/self/exe"] } },
  "odd-env": { config: { Env: ["PATH=/bin", "A=1", "NOTHING", "A=2", "", "=x"] } },
  "odd-words": {
    config: { Entrypoint: ["/bin/sh", "-c", 'printf "%s|" "$0" "$@"', ""], Cmd: ["", "a b", ""] },
  },
  "odd-relative": {
    entries: [dir("opt"), entry({ name: "opt/tool", mode: 0o755 }, "#!/bin/sh\necho relative\n")],
    config: { Entrypoint: ["./tool"], WorkingDir: "/opt" },
  },
  "odd-private": {
    entries: [
      dir("secret", 0o700),
      entry({ name: "secret/tool", mode: 0o755 }, "#!/bin/sh\nid -u\n"),
      entry({ name: "tool", mode: 0o700 }, "#!/bin/sh\nid -u\n"),
    ],
  },
  "odd-root": {
    entries: [entry({ name: "./", type: "5", mode: 0o1751, uid: 3, gid: 4, mtime: 1_600_000_000 })],
  },
} as const;

let home: Home;
let images: Record<keyof typeof variants, string>;
beforeAll(async () => {
  [home, images] = await Promise.all([
    makeHome(inject("kernelDir")),
    pushVariants(inject("registry"), variants),
  ]);
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

interface Case {
  readonly name: string;
  readonly image: keyof typeof variants;
  readonly options?: readonly string[];
  readonly words?: readonly string[];
  readonly code?: number;
  readonly stdout?: RegExp;
  readonly stderr?: RegExp;
}

const status = ["grep", "-E", "^[UG]id", "/proc/self/status"];
const cases: readonly Case[] = [
  {
    name: "links to nothing where generated files go are followed inside the image",
    image: "odd-dangling",
    words: ["sh", "-c", "cat /etc/resolv.conf; grep -c localhost /etc/hosts; readlink /etc/resolv.conf"],
    stdout: /^nameserver 192\.0\.2\.53\n2\n\.\.\/run\/systemd\/resolve\/stub-resolv\.conf\n$/,
  },
  {
    name: "links that leave the image lead back into it",
    image: "odd-escaping",
    words: ["sh", "-c", "pwd; cat /tmp/escaped"],
    stdout: /^\/var\/place\/below\nnameserver 192\.0\.2\.53\n$/,
  },
  {
    name: "a link in a circle is named",
    image: "odd-circle",
    words: ["true"],
    code: 125,
    stderr: /\/etc\/resolv\.conf .*symbolic links/,
  },
  {
    name: "a directory in a generated file's place is named",
    image: "odd-directory",
    words: ["true"],
    code: 125,
    stderr: /\/etc\/hosts .*directory/,
  },
  {
    name: "FIFOs as passwd and group hold nobody up",
    image: "odd-fifos",
    words: status,
    stdout: /^Uid:\t12\b.*\nGid:\t0\b/,
  },
  {
    name: "an endless device as passwd is not read",
    image: "odd-devices",
    words: status,
    stdout: /^Uid:\t12\b.*\nGid:\t13\b/,
  },
  {
    name: "a file as /dev is named",
    image: "odd-dev-file",
    words: ["true"],
    code: 125,
    stderr: /^flamebox: \/dev of the image cannot be mounted on: Not a directory$/m,
  },
  {
    name: "missing /proc, /sys and /dev are made",
    image: "odd-no-proc",
    words: ["sh", "-c", "readlink /proc/self/exe; [ -d /sys/kernel ] && [ -c /dev/null ] && echo all"],
    stdout: /^\/bin\/busybox\nall\n$/,
  },
  {
    name: "/proc as a link into the image is refused",
    image: "odd-proc-link",
    words: ["true"],
    code: 125,
    stderr: /proc must be mounted on ordinary directory/,
  },
  {
    name: "a descriptor of the runtime's as working directory is refused",
    image: "odd-cwd-fd",
    words: ["pwd"],
    code: 125,
    stderr: /working directory/,
  },
  {
    name: "a link to nothing as working directory",
    image: "odd-cwd-dangling",
    words: ["pwd"],
    stdout: /^\/data\/app\n$/,
  },
  { name: "the runtime's own program does nothing in a container", image: "odd-self", code: 125 },
  {
    name: "an environment with repetitions and things that are no variables",
    image: "odd-env",
    words: ["env"],
    stdout: /^A=2$/m,
  },
  { name: "empty words", image: "odd-words", stdout: /^\|\|a b\|\|$/ },
  {
    name: "a relative entrypoint, from the working directory",
    image: "odd-relative",
    stdout: /^relative\n$/,
  },
  {
    name: "a program that its user may not execute",
    image: "odd-private",
    options: ["-u", "12"],
    words: ["/tool"],
    code: 126,
    stderr: /\/tool.*permission denied/,
  },
  {
    name: "a program in a directory that its user may not enter",
    image: "odd-private",
    options: ["-u", "12"],
    words: ["/secret/tool"],
    code: 126,
    stderr: /\/secret\/tool.*permission denied/,
  },
  {
    name: "the root directory's own mode, owner and time",
    image: "odd-root",
    words: ["stat", "-c", "%a %u %g %Y", "/"],
    stdout: /^1751 3 4 1600000000\n$/,
  },
  {
    name: "a terminal belongs to its user",
    image: "odd-private",
    options: ["-t", "-u", "12"],
    words: ["sh", "-c", "stat -c %u $(tty); echo by name >/dev/stdout"],
    stdout: /^12\r\nby name\r\n$/,
  },
];

test.each(cases)(
  "$name",
  async ({ image, options = [], words = [], code = 0, stdout = /^/, stderr = code === 0 ? /^$/ : /./ }) => {
    const fixed = ["run", "--rm", "-q", "--network", "none", "--dns", "192.0.2.53"];
    const ended = await home.run([...fixed, ...options, images[image], ...words]);
    expect(ended, ended.stderr).toMatchObject({ code, signal: null });
    expect(ended.stdout).toMatch(stdout);
    expect(ended.stderr).toMatch(stderr);
  },
);

test("none of them left anything on this side", async () => {
  expect(await home.leftovers()).toEqual([]);
});
