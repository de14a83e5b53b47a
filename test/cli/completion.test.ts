import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { shortNames } from "../../src/cli/completion/images.ts";
import { completionScript } from "../../src/cli/completion/script.ts";
import { completedTree } from "../../src/cli/completion/tree.ts";
import { createProgram } from "../../src/cli/program.ts";
import { fakeContext } from "./fake-context.ts";

const shells = ["bash", "zsh", "fish"] as const;
type Shell = (typeof shells)[number];

let directory: string;
const scripts = new Map<Shell, string>();

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "flamebox-completion-"));
  const program = createProgram(fakeContext());
  await program.loadAll();
  for (const shell of shells) {
    const path = join(directory, shell);
    writeFileSync(path, completionScript(shell, program.root));
    scripts.set(shell, path);
  }
  // What the scripts ask for names.
  const answers = `case $2 in images) printf 'alpine:3\\ndebian:12\\n';; containers) printf 'quiet_ember\\nweb\\n';; networks) printf 'user\\nshop\\n';; templates) printf '0a1b2c\\nffee01\\n';; kernels) printf 'debian\\ntuned\\n';; places) printf 'quiet_ember:\\nweb:\\n';; esac`;
  writeFileSync(join(directory, "flamebox"), `#!/bin/sh\n${answers}\n`, { mode: 0o755 });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function installed(shell: Shell): boolean {
  return spawnSync(shell, ["-c", "exit 0"]).status === 0;
}

describe.each(shells)("the script for %s", (shell) => {
  it.skipIf(!installed(shell))(`is accepted by ${shell} (skipped where it is not installed)`, () => {
    const { status, stderr } = spawnSync(shell, ["-n", scripts.get(shell) ?? ""], { encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
  });
});

/** What bash would offer at the end of `line`. */
function bashOffers(line: string): string[] {
  const body =
    'source "$1"; COMP_LINE=$2; COMP_POINT=${#2}; COMPREPLY=(); _flamebox; printf "%s\\n" "${COMPREPLY[@]}"';
  const env = { ...process.env, PATH: `${directory}:${process.env["PATH"] ?? ""}` };
  const output = execFileSync("bash", ["--norc", "-c", body, "bash", scripts.get("bash") ?? "", line], {
    encoding: "utf8",
    env,
  });
  return output.split("\n").filter((word) => word !== "");
}

describe("bash offers", () => {
  it.each<[string, string, string[]]>([
    ["commands", "flamebox r", ["run", "restart", "rm", "rename", "rmi", "rootfs"]],
    ["options of the program", "flamebox --js", ["--json"]],
    ["options of a command", "flamebox run --pu", ["--publish", "--publish-all", "--pull"]],
    ["no hidden command", "flamebox __", []],
    ["choices", "flamebox run --pull ", ["always", "missing", "never"]],
    ["choices of an argument", "flamebox completion ", ["bash", "zsh", "fish"]],
    ["commands of a command", "flamebox template ", ["ls", "build", "rm", "prune"]],
    ["options of a command of a command", "flamebox template build --ne", ["--network"]],
    ["images", "flamebox run al", ["alpine:3"]],
    ["what is behind the colon", "flamebox run alpine:", ["3"]],
    ["images behind an option's value", "flamebox run -e run -it ", ["alpine:3", "debian:12"]],
    ["every further image to rmi", "flamebox rmi alpine:3 d", ["debian:12"]],
    ["files to the command in the container", "flamebox run alpine:3 /etc/os-relea", ["/etc/os-release"]],
    ["containers", "flamebox stop q", ["quiet_ember"]],
    ["networks", "flamebox run --network sh", ["shop"]],
    ["a place in a container to cp", "flamebox cp we", ["web:"]],
    ["files to cp", "flamebox cp /etc/os-relea", ["/etc/os-release"]],
    ["networks to a command of their group", "flamebox network rm s", ["shop"]],
    ["networks behind another", "flamebox network inspect user sh", ["shop"]],
    ["nothing to a command of a group that makes a name", "flamebox network create ", []],
    ["templates", "flamebox template rm --json ", ["0a1b2c", "ffee01"]],
    ["kernels", "flamebox kernel use t", ["tuned"]],
    ["images to a command of a group", "flamebox image rm al", ["alpine:3"]],
    ["restart policies", "flamebox run --restart un", ["unless-stopped"]],
    ["log drivers", "flamebox create --log-driver ", ["local", "json-file", "none"]],
    ["signals", "flamebox kill -s US", ["USR1", "USR2"]],
    ["signals to a command of a group", "flamebox container stop --signal HU", ["HUP"]],
    ["keys of filters", "flamebox ps --filter he", ["health="]],
    ["keys of other filters", "flamebox events -f ", ["container=", "event=", "image=", "label=", "type="]],
    ["keys of filters of images", "flamebox image prune --filter un", ["until="]],
    ["containers to a command of their group", "flamebox container rm -f q", ["quiet_ember"]],
    ["images to a command of the group", "flamebox container run --tty -e A=1 al", ["alpine:3"]],
    ["nothing of what is in a container", "flamebox cp web:/et", []],
    ["nothing for free text", "flamebox run -e ", []],
  ])("%s", (_, line, words) => {
    expect(bashOffers(line)).toEqual(words);
  });
});

/** Everything that is done to containers. */
const VERBS = [
  "create start run ps stop kill restart pause unpause wait rm rename inspect attach exec logs top stats events cp diff",
  "commit export port update network",
]
  .join(" ")
  .split(" ");
/** Of these the first argument is no container's. */
const WITHOUT = new Map([
  ["create", "images"],
  ["run", "images"],
  ["ps", undefined],
  ["events", undefined],
  ["cp", "places"],
  ["network", "words"],
]);

describe("every verb", () => {
  it.each(VERBS)("%s is offered by every shell, with what it is done to", async (verb) => {
    const program = createProgram(fakeContext());
    await program.loadAll();
    const command = completedTree(program.root).commands.find(({ name }) => name === verb);
    expect(command?.summary).toMatch(/\w/);
    expect(command?.argument?.kind).toBe(WITHOUT.has(verb) ? WITHOUT.get(verb) : "containers");
    for (const shell of shells) {
      const text = readFileSync(scripts.get(shell) ?? "", "utf8");
      expect([shell, text]).toEqual([shell, expect.stringMatching(new RegExp(`\\b${verb}\\b`)) as string]);
    }
  });
});

describe.skipIf(!installed("zsh"))("zsh (skipped where it is not installed)", () => {
  it("defines what it calls, when it is sourced", () => {
    const script = scripts.get("zsh") ?? "";
    const asked = `compdef() { print -r -- "$@"; }; source '${script}'; print -l -- \${(ok)functions[(I)_flamebox*]}`;
    const defined = execFileSync("zsh", ["-f", "-c", asked], { encoding: "utf8" }).trim().split("\n");
    expect(defined[0]).toBe("_flamebox flamebox");
    const text = readFileSync(script, "utf8");
    const called = new Set([...text.matchAll(/(?<![\w-])_flamebox_\w+/g)].map(([name]) => name));
    expect(defined.slice(1).toSorted()).toEqual(["_flamebox", ...called].toSorted());
  });
});

describe.skipIf(!installed("fish"))("fish offers (skipped where it is not installed)", () => {
  it.each<[string, string, string[]]>([
    ["commands", "flamebox ro", ["rootfs"]],
    ["choices", "flamebox run --pull ", ["always", "missing", "never"]],
    ["images", "flamebox run al", ["alpine:3"]],
    ["containers", "flamebox stop q", ["quiet_ember"]],
    ["networks", "flamebox run --network sh", ["shop"]],
    ["a place in a container to cp", "flamebox cp web", ["web:"]],
    ["commands of a group", "flamebox network in", ["inspect"]],
    ["networks to a command of their group", "flamebox network rm s", ["shop"]],
    ["kernels", "flamebox kernel use t", ["tuned"]],
  ])("%s", (_, line, words) => {
    const env = { ...process.env, HOME: directory, PATH: `${directory}:${process.env["PATH"] ?? ""}` };
    const output = execFileSync(
      "fish",
      ["--no-config", "-c", `source '${scripts.get("fish") ?? ""}'; complete -C '${line}'`],
      { encoding: "utf8", env },
    );
    expect(
      output
        .split("\n")
        .filter((word) => word !== "")
        .map((word) => word.split("\t")[0]),
    ).toEqual(words);
  });
});

describe("image names", () => {
  it("are short, once each, in order, and safe on a command line", () => {
    const references = [
      "docker.io/library/b:1",
      "docker.io/me/a:1",
      "localhost:5000/c:1",
      "docker.io/library/b:1",
      "x y",
      "$(boo)",
    ];
    expect(shortNames(references.map((reference) => ({ reference })))).toEqual([
      "b:1",
      "localhost:5000/c:1",
      "me/a:1",
    ]);
  });
});
