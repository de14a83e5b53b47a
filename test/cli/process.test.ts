/**
 * The built command line as a real process, with containers that are processes of this host
 * (process-library.ts): streams, signals, terminals and exit codes as a shell sees them.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BuiltCli, buildCli } from "./build.ts";

let cli: BuiltCli;
beforeAll(() => {
  cli = buildCli();
});
afterAll(() => cli.remove());

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function begin(words: readonly string[]): ChildProcess {
  const env = { PATH: process.env["PATH"], HOME: cli.directory, TERM: "xterm", SET: "from outside" };
  return spawn(process.execPath, [cli.main, ...words], { env, stdio: "pipe" });
}

async function end(child: ChildProcess): Promise<Ended> {
  const text = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.setEncoding("utf8").on("data", (chunk: string) => {
      text[name] += chunk;
    });
  }
  child.stdin?.on("error", () => {});
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  return { code, signal, ...text };
}

async function flamebox(...words: string[]): Promise<Ended> {
  const child = begin(words);
  child.stdin?.end();
  return end(child);
}

/** Resolves when the child has written `text`; what came before it is left to `end`, which must be called first. */
async function said(child: ChildProcess, name: "stdout" | "stderr", text: string): Promise<void> {
  let seen = "";
  for await (const [chunk] of eventsOf(child, name)) {
    seen += String(chunk);
    if (seen.includes(text)) return;
  }
}

async function* eventsOf(child: ChildProcess, name: "stdout" | "stderr"): AsyncGenerator<unknown[]> {
  for (;;) yield (await once(child[name] as NonNullable<ChildProcess["stdout"]>, "data")) as unknown[];
}

describe.concurrent("exit codes", () => {
  it.each<[string, string[], number, string, string]>([
    ["the process's own", ["run", "x", "sh", "-c", "echo out; echo err >&2; exit 7"], 7, "out\n", "err\n"],
    ["128+n for a signal", ["run", "x", "sh", "-c", "kill -9 $$"], 137, "", ""],
    [
      "127 for a command that is not there",
      ["run", "x", "no-such-command"],
      127,
      "",
      "flamebox: no-such-command: not found in the image\n",
    ],
    [
      "126 for one that cannot be executed",
      ["run", "x", "/etc/passwd"],
      126,
      "",
      "flamebox: /etc/passwd: cannot be executed in the image\n",
    ],
    [
      "125 for what FlameBox could not do",
      ["run", "missing"],
      125,
      "",
      "flamebox: there is no image 'missing'\\x1b[31m\n  hint: check\\nthe name\n",
    ],
    ["125 for a lost machine", ["run", "lost"], 125, "", "flamebox: the machine ended unexpectedly\n"],
    [
      "125 for a bad flag of run",
      ["run", "--no-such", "x"],
      125,
      "",
      "flamebox: unknown option '--no-such'\n  hint: see 'flamebox run --help'\n",
    ],
    [
      "1 for a bad flag elsewhere",
      ["images", "--no-such"],
      1,
      "",
      "flamebox: unknown option '--no-such'\n  hint: see 'flamebox images --help'\n",
    ],
    [
      "1 for a failed pull",
      ["pull", "missing"],
      1,
      "",
      "flamebox: there is no image 'missing'\n  hint: check the name\n",
    ],
    [
      "1 when one of several fails",
      ["rmi", "missing", "-q", "a"],
      1,
      "",
      "flamebox: there is no image 'missing'\n",
    ],
    ["0 when what is missing does not matter", ["rmi", "-fq", "missing"], 0, "", ""],
    ["0 for a host that is ready", ["doctor", "-q"], 0, "", ""],
    [
      "a notice is one line",
      ["run", "notice", "true"],
      0,
      "",
      "flamebox: no usable KVM: running under software emulation\n",
    ],
    ["and none with -q", ["run", "-q", "notice", "true"], 0, "", ""],
  ])("%s", async (_, words, code, stdout, stderr) => {
    expect(await flamebox(...words)).toEqual({ code, signal: null, stdout, stderr });
  });
});

describe.concurrent("results", () => {
  it.each<[string, string[], string]>([
    ["pull", ["pull", "alpine"], `Digest: sha256:${"ab12".repeat(16)}\ndocker.io/library/alpine:latest\n`],
    ["pull -q", ["pull", "-q", "alpine:3"], "docker.io/library/alpine:3\n"],
    [
      "images -q, newest first",
      ["images", "-q"],
      "docker.io/library/debian:12\ndocker.io/library/alpine:3\n",
    ],
    ["images --format", ["images", "--format", "{{.Repository}}:{{.Tag}}"], "debian:12\nalpine:3\n"],
    ["rootfs", ["rootfs", "a", "-o", "/tmp/x"], "/tmp/x 4.1kB\n"],
    ["rootfs to standard output", ["rootfs", "a", "-o", "-", "--format", "tar"], "an archive"],
    ["and as JSON, which it is not", ["rootfs", "a", "-o", "-", "--format", "tar", "--json"], "an archive"],
    [
      "rmi",
      ["rmi", "a"],
      `Untagged: docker.io/library/a:latest\nDeleted: sha256:${"cd34".repeat(16)}\nReclaimed: 7.83MB\n`,
    ],
    [
      "setup",
      ["setup"],
      "kernel      6.12.1  /k/vmlinuz\nagent       /g/agent\ninitramfs   /g/initramfs\ntemplate    488425218ea368f5a883b2ba  117MB\n",
    ],
    ["template ls -q", ["template", "ls", "-q"], `488425218ea368f5a883b2ba\n${"f".repeat(24)}\n`],
    [
      "template ls --format",
      ["template", "ls", "--format", "{{truncate .Key 4}} {{.CPUs}} {{.Memory}} {{.Network}} {{.Size}}"],
      "4884 1 512MiB user 117MB\nffff 1 512MiB user 117MB\n",
    ],
    ["template build", ["template", "build", "--cpus", "2"], `${"0".repeat(24)}\n`],
    ["template rm", ["template", "rm", "a", "b"], "Deleted: a\nDeleted: b\nReclaimed: 234MB\n"],
    ["template prune, with nothing to do", ["template", "prune"], ""],
    ["kernel ls -q", ["kernel", "ls", "-q"], "6.12.1-flamebox-0a\n6.12.1-cloud-amd64\n"],
    [
      "kernel ls --format",
      ["kernel", "ls", "--format", "{{.Name}} {{.Release}} {{.Kind}} {{.Size}} {{.InUse}}"],
      "6.12.1-flamebox-0a 6.12.1 built 9MB yes\n6.12.1-cloud-amd64 6.12.1 built 9MB \n",
    ],
    ["kernel build -j", ["kernel", "build", "-j", "3"], "built-3\n"],
    ["kernel build --use", ["kernel", "build", "--use"], "built-auto\n"],
    ["kernel use", ["kernel", "use", "a"], "a\n"],
    ["kernel use debian, of which there is none yet", ["kernel", "use", "debian"], "debian\n"],
    ["network create", ["network", "create", "a", "--subnet", "10.9.0.0/24"], "a\n"],
    ["network ls -q", ["network", "ls", "-q"], "shop\nvault\ncni:podman\n"],
    [
      "network ls --format",
      ["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Subnet}} {{.Internal}} {{.Members}}"],
      "shop flamebox 10.87.0.0/24  1\nvault flamebox 10.9.0.0/24 yes 1\ncni:podman cni (bridge, portmap)   \n",
    ],
    ["network inspect --format", ["network", "inspect", "a", "-f", "{{.Gateway}}"], "10.87.0.1\n"],
    [
      "network inspect --format, of the document",
      [
        "network",
        "inspect",
        "a",
        "--format",
        "{{(index .IPAM.Config 0).Subnet}} {{range .Containers}}{{.IPv4Address}} {{end}}",
      ],
      "10.87.0.0/24 10.87.0.2/24 \n",
    ],
    ["network rm", ["network", "rm", "a", "b"], "Deleted: a\nDeleted: b\n"],
    ["network prune", ["network", "prune"], "Deleted: old\n"],
    ["kernel rm", ["kernel", "rm", "a", "b"], "Deleted: a\nDeleted: b\nReclaimed: 18MB\n"],
    ["completion's question", ["__complete", "images"], "alpine:3\ndebian:12\n"],
  ])("%s", async (_, words, stdout) => {
    expect(await flamebox(...words)).toMatchObject({ code: 0, stdout });
  });

  it.each([
    ["images", ["images"]],
    ["pull", ["pull", "a"]],
    ["rmi", ["rmi", "a"]],
    ["rootfs", ["rootfs", "a", "-o", "/tmp/x"]],
    ["doctor", ["doctor"]],
    ["setup", ["setup"]],
    ["template ls", ["template", "ls"]],
    ["template build", ["template", "build", "--network", "none", "-m", "1g"]],
    ["template rm", ["template", "rm", "a"]],
    ["template prune", ["template", "prune"]],
    ["kernel ls", ["kernel", "ls"]],
    ["kernel use", ["kernel", "use", "a"]],
    ["kernel use debian, of which there is none yet", ["kernel", "use", "debian"]],
    ["kernel rm", ["kernel", "rm", "a"]],
  ])("%s --json is JSON and nothing else", async (_, words) => {
    const { code, stdout, stderr } = await flamebox("--json", ...words);
    expect([code, stderr]).toEqual([0, ""]);
    expect(JSON.parse(stdout)).toBeTypeOf("object");
  });

  it("gives the library what was asked, and the command everything behind the image", async () => {
    const words = [
      "run",
      "-e",
      "A=1",
      "-e",
      "SET",
      "-m",
      "1g",
      "--rm",
      "-h",
      "box",
      "show-options",
      "-it",
      "--",
      "--help",
      "-e",
      "B",
    ];
    const { stdout } = await flamebox(...words);
    expect(JSON.parse(stdout)).toMatchObject({
      image: "show-options",
      env: { A: "1", SET: "from outside" },
      memoryMib: 1024,
      hostname: "box",
      command: ["-it", "--", "--help", "-e", "B"],
      autoRemove: true,
      detachable: false,
      paths: {
        dataDir: join(cli.directory, ".local/share/flamebox"),
        runtimeDir: expect.stringContaining("/flamebox") as string,
      },
    });
  });
});

describe.concurrent("streams", () => {
  it("pipes standard input through, whole and with back pressure", async () => {
    const child = begin(["run", "-i", "x", "wc", "-c"]);
    createReadStream("/dev/zero", { end: 20_000_000 - 1 }).pipe(
      child.stdin as NonNullable<ChildProcess["stdin"]>,
    );
    expect(await end(child)).toEqual({ code: 0, signal: null, stdout: "20000000\n", stderr: "" });
  });

  it("gives no input without -i", async () => {
    const child = begin(["run", "x", "wc", "-c"]);
    child.stdin?.write("not for the process");
    expect(await end(child)).toMatchObject({ code: 0, stdout: "0\n" });
  });

  it("ends when the process does, though input goes on", async () => {
    const child = begin(["run", "-i", "x", "sh", "-c", "read line; exit 4"]);
    child.stdin?.write("line\n");
    expect(await end(child)).toMatchObject({ code: 4 });
  });

  it("delivers all output before it exits", async () => {
    const { code, stdout } = await flamebox(
      "run",
      "x",
      "sh",
      "-c",
      "head -c 3000000 /dev/zero | tr '\\0' a; exit 3",
    );
    expect([code, stdout.length]).toEqual([3, 3_000_000]);
  });

  it.each([
    ["a process that writes for ever", ["run", "x", "sh", "-c", "yes 2>/dev/null"]],
    ["a list", ["images"]],
  ])("ends quietly when the reader of %s goes away", async (_, words) => {
    const child = begin(words);
    child.stdout?.destroy();
    expect(await end(child)).toMatchObject({ code: 141, stderr: "" });
  });

  it.each([
    ["run", ["run", "x", "echo", "hi"], 125],
    ["images", ["images"], 1],
  ])("says that the output of %s cannot be written", async (_, words, code) => {
    const line = [process.execPath, cli.main, ...words].map((word) => `'${word}'`).join(" ");
    const ended = await end(spawn("sh", ["-c", `${line} > /dev/full`], { stdio: "pipe" }));
    expect(ended).toMatchObject({
      code,
      stderr: expect.stringMatching(/^flamebox: standard output cannot be written: /) as string,
    });
  });
});

describe.concurrent("signals", () => {
  it.each(["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const)(
    "hands %s to the process",
    async (name) => {
      const script = `trap 'echo got; exit 9' ${name.slice(3)}; echo ready; while :; do sleep 0.05; done`;
      const child = begin(["run", "x", "sh", "-c", script]);
      const ended = end(child);
      await said(child, "stdout", "ready");
      child.kill(name);
      expect(await ended).toMatchObject({ code: 9, stdout: "ready\ngot\n" });
    },
  );

  it("ends the machine at the second Ctrl-C, and leaves nothing", async () => {
    const child = begin(["run", "x", "sh", "-c", "trap '' INT; echo $$; while :; do sleep 0.05; done"]);
    let pid = 0;
    child.stdout?.once("data", (chunk) => {
      pid = Number(String(chunk).trim());
    });
    const ended = end(child);
    await said(child, "stdout", "\n");
    child.kill("SIGINT");
    // Signals that are pending at once are one; the first must have been taken.
    setTimeout(() => child.kill("SIGINT"), 300);
    expect(await ended).toMatchObject({ code: 130, stderr: "flamebox: interrupted by SIGINT\n" });
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s gives up the start", async (name, code) => {
    const child = begin(["run", "never-starts"]);
    const ended = end(child);
    await said(child, "stderr", "starting");
    child.kill(name);
    expect(await ended).toMatchObject({ code, stderr: `starting\nflamebox: interrupted by ${name}\n` });
  });
});

describe.concurrent("terminals", () => {
  /** Runs a shell line on a terminal of its own. */
  function onTerminal(line: string): ChildProcess {
    const env = {
      PATH: process.env["PATH"],
      HOME: cli.directory,
      TERM: "xterm",
      FB: `${process.execPath} ${cli.main}`,
    };
    return spawn("script", ["-qefc", line, "/dev/null"], { env, stdio: "pipe" });
  }

  it("-t gives the process a terminal though we have none", async () => {
    const { code, stdout } = await flamebox("run", "-t", "x", "tty");
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^\/dev\/pts\/\d+\r\n$/)]);
  });

  it("-it hands keys on, Ctrl-C among them, and gives the terminal back", async () => {
    const inside = "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done";
    const child = onTerminal(`$FB run -it x sh -c "${inside}"; echo "code $?"; stty -a`);
    const ended = end(child);
    await said(child, "stdout", "ready");
    child.stdin?.write("\u0003");
    const { stdout } = await ended;
    // The inner terminal ends its lines with CR LF, and ours must not add to that.
    expect(stdout).toMatch(/ready\r\n/);
    expect(stdout).toContain("interrupted\r\n");
    expect(stdout).toContain("code 5");
    expect(stdout).toMatch(/ icanon /);
    expect(stdout).toMatch(/ echo /);
    expect(stdout).toMatch(/^opost /m);
  });

  it("gives the terminal back when the machine is lost", async () => {
    const { stdout } = await end(onTerminal('$FB run -it lost; echo "code $?"; stty -a'));
    expect(stdout).toContain("flamebox: the machine ended unexpectedly");
    expect(stdout).toContain("code 125");
    expect(stdout).toMatch(/ icanon /);
  });

  it("gives the terminal back when an error comes from nowhere", async () => {
    const { stdout } = await end(onTerminal('$FB run -it defect cat; echo "code $?"; stty -a'));
    expect(stdout).toContain("flamebox: x is not a function");
    expect(stdout).toContain("  hint: this is a defect in FlameBox");
    expect(stdout).toContain("code 125");
    expect(stdout).toMatch(/ icanon /);
  });

  it("-t alone leaves Ctrl-C a signal", async () => {
    const child = onTerminal(
      "exec $FB run -t x sh -c 'trap \"echo interrupted; exit 5\" INT; echo ready; while :; do sleep 0.05; done'",
    );
    const ended = end(child);
    await said(child, "stdout", "ready");
    child.stdin?.write("\u0003");
    const { code, stdout } = await ended;
    expect(stdout).toContain("interrupted");
    expect(code).toBe(5);
  });
});
