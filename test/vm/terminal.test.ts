/** `flamebox run -it` on a real terminal: what reaches the process, and what the terminal is afterwards. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { columnsOf } from "../../src/cli/output/text.ts";
import { makeHome } from "../support/home.ts";
import type { Home } from "../support/home.ts";
import { repository } from "../support/images/layouts.ts";
import { openTerminal } from "../support/terminal.ts";
import type { Terminal, TerminalOptions } from "../support/terminal.ts";

const busybox = `${inject("registry")}/flamebox/busybox:1`;
const MAIN = join(repository, "dist", "cli", "main.js");
const CTRL_C = "\u0003";
const DETACH = "\u0010\u0011";

let home: Home;
beforeAll(async () => {
  home = await makeHome(inject("kernelDir"));
  const pulled = await home.run(["pull", busybox]);
  if (pulled.code !== 0) throw new Error(pulled.stderr);
});
afterAll(async () => await home[Symbol.asyncDispose]());

type Watched = Terminal & { readonly pid: () => number };

/**
 * `flamebox …` from a shell on the terminal, which says how the terminal was set before and after, and the exit code.
 * The process id of flamebox is in the file `pid`.
 */
function atShell(words: readonly string[], { env = {}, ...options }: TerminalOptions = {}): Watched {
  const pidFile = join(home.dir, "pid");
  const script = `
    echo "before: $(stty -g)"
    sh -c 'echo $$ >"$0"; exec "$@"' "$PID_FILE" "$@"
    echo "code: $?"
    echo "after: $(stty -g)"`;
  const terminal = openTerminal(["sh", "-c", script, "sh", process.execPath, MAIN, ...words], {
    ...options,
    env: {
      FLAMEBOX_HOME: home.dir,
      DOCKER_CONFIG: join(home.dir, "none"),
      PID_FILE: pidFile,
      TERM: "xterm",
      ...env,
    },
  });
  return Object.defineProperties(terminal, {
    pid: { value: () => Number(readFileSync(pidFile, "latin1")) },
  }) as Watched;
}

function atTerminal(args: readonly string[], options: TerminalOptions = {}): Watched {
  return atShell(["run", "--rm", "-q", "--network", "none", ...args], options);
}

function shellLine({ shown }: Terminal, label: string): string | undefined {
  return new RegExp(`^${label}: (.*?)\r?$`, "m").exec(shown)?.[1];
}

describe("the process", () => {
  test("has the terminal's size, follows it, and its keys come one by one", async () => {
    const script = "stty size; tty; read -n 1 key; echo key-$key; stty size; read line; stty size";
    const terminal = atTerminal(["-it", busybox, "sh", "-c", script], { rows: 31, columns: 97 });
    await terminal.shows(/31 97\r\n\/dev\/pts\/\d+\r\n/);
    terminal.resize(50, 132);
    await sleep(1_000);
    // Without a line's end: a terminal of the host's that were not raw would keep it.
    terminal.type("k");
    await terminal.shows("key-k\r\n50 132\r\n");
    terminal.resize(7, 13);
    await sleep(1_000);
    terminal.type("\r");
    await terminal.shows("7 13\r\n");
    expect(await terminal.ended).toBe(0);
    expect(shellLine(terminal, "code")).toBe("0");
  });

  test("gets Ctrl-C as its terminal's foreground group does, and its shell goes on", async () => {
    const terminal = atTerminal(["-it", busybox, "sh"]);
    await terminal.shows("# ");
    terminal.type("sleep 1000; echo woken\r");
    await terminal.shows("woken\r\n");
    await sleep(500);
    terminal.type(CTRL_C);
    await terminal.shows("# ");
    terminal.type("echo code-$?\r");
    await terminal.shows("code-130\r\n");
    terminal.type("exit 4\r");
    await terminal.ended;
    expect(shellLine(terminal, "code")).toBe("4");
    expect(terminal.shown).not.toContain("\nwoken");
  });

  test.each([
    ["xterm-256color", "xterm-256color"],
    ["xterm-of-my-own", "xterm"],
  ])("finds, where TERM is %s, %s", async (outside, inside) => {
    const terminal = atTerminal(["-it", busybox, "sh", "-c", "echo term-$TERM-"], { env: { TERM: outside } });
    await terminal.shows(`term-${inside}-`);
    expect(await terminal.ended).toBe(0);
  });

  test("keeps stdout and stderr apart when only -i is given, on a terminal too", async () => {
    const script = "test -t 1 || echo no; echo out; echo err >&2";
    const outPath = join(home.dir, "out");
    const terminal = openTerminal(
      [
        "sh",
        "-c",
        '"$@" >"$OUT"',
        "sh",
        process.execPath,
        MAIN,
        "run",
        "--rm",
        "-q",
        "-i",
        busybox,
        "sh",
        "-c",
        script,
      ],
      { env: { FLAMEBOX_HOME: home.dir, DOCKER_CONFIG: join(home.dir, "none"), OUT: outPath } },
    );
    expect(await terminal.ended).toBe(0);
    expect(readFileSync(outPath, "utf8")).toBe("no\nout\n");
    expect(terminal.shown).toBe("err\r\n");
  });
});

/** Any other way out of a process: an error that nobody awaits, at a moment of the test's choice. */
const crashOn = (path: string): string => {
  const source = `
    import { existsSync } from "node:fs";
    setInterval(() => { if (existsSync(${JSON.stringify(path)})) throw new TypeError("a defect"); }, 50);`;
  return `--import=data:text/javascript,${encodeURIComponent(source)}`;
};

function vmmPid(): number {
  const dir = join(home.paths.dataDir, "containers");
  const [id = ""] = readdirSync(dir).filter((name) => !name.startsWith("."));
  return (JSON.parse(readFileSync(join(dir, id, "owner.json"), "utf8")) as { vmm: { pid: number } }).vmm.pid;
}

describe("the terminal is as it was", () => {
  type Scene = ReturnType<typeof atTerminal>;
  const crashFile = (): string => join(home.dir, "crash-now");
  const deaf = "trap '' INT TERM HUP; stty -echo; echo ready; while :; do sleep 1; done";
  const polite = "trap 'exit 5' TERM; trap 'exit 6' HUP; echo ready; while :; do sleep 0.1; done";

  test.each<[name: string, script: string, end: (scene: Scene) => void | Promise<void>, code: string]>([
    ["after the process's own end", "stty raw; echo ready; exit 0", () => {}, "0"],
    ["after an end with another code", "echo ready; exit 7", () => {}, "7"],
    [
      "after a program that is killed",
      "echo ready; stty raw; sleep 1; sh -c 'kill -9 $$'; exit $?",
      () => {},
      "137",
    ],
    [
      "after SIGTERM, which the process handles",
      polite,
      ({ pid }) => void process.kill(pid(), "SIGTERM"),
      "5",
    ],
    ["after SIGHUP, which the process handles", polite, ({ pid }) => void process.kill(pid(), "SIGHUP"), "6"],
    ["after the loss of the machine", deaf, () => void process.kill(vmmPid(), "SIGKILL"), "125"],
    [
      "after two SIGINTs from elsewhere",
      deaf,
      async ({ pid }) => {
        process.kill(pid(), "SIGINT");
        await sleep(300);
        process.kill(pid(), "SIGINT");
      },
      "130",
    ],
    ["after a defect of FlameBox's own", deaf, () => writeFileSync(crashFile(), ""), "125"],
  ])("%s", async (_name, script, end, code) => {
    const terminal = atTerminal(["-it", busybox, "sh", "-c", script], {
      env: { NODE_OPTIONS: crashOn(crashFile()) },
    });
    await terminal.shows("ready");
    // Raw mode begins as the process does; what is to be undone should have been done.
    await sleep(300);
    await end(terminal);
    await terminal.ended;
    expect(shellLine(terminal, "code"), terminal.shown).toBe(code);
    expect(shellLine(terminal, "before")).toMatch(/^[0-9a-f:]{20,}$/);
    expect(shellLine(terminal, "after")).toBe(shellLine(terminal, "before"));
  });

  test("raw while the process has it, as far as another program on it can see", async () => {
    const terminal = atTerminal(["-it", busybox, "sh", "-c", "echo ready; read line"]);
    await terminal.shows("ready");
    await sleep(300);
    const device = `/proc/${terminal.pid()}/fd/0`;
    const seen = openTerminal(["sh", "-c", `stty -a <${device}`]);
    await seen.ended;
    for (const setting of ["-icanon", "-echo", "-isig", "-opost", "-icrnl"])
      expect(seen.shown).toContain(setting);
    terminal.type("\r");
    expect(await terminal.ended).toBe(0);
  });

  test("and a terminal that goes away leaves its container, as its keys would", async () => {
    const terminal = atTerminal([
      "-it",
      "--name",
      "left",
      busybox,
      "sh",
      "-c",
      "trap '' HUP; echo ready; sleep 1000",
    ]);
    await terminal.shows("ready");
    terminal.hangUp();
    await terminal.ended;
    const states = await home.run(["ps", "--format", "{{.Names}} {{.State}}"]);
    expect(states.stdout).toBe("left running\n");
    expect(await home.run(["rm", "-f", "left"])).toMatchObject({ code: 0 });
    expect(await home.leftovers()).toEqual([]);
  });

  test("and the detach keys leave the container running; attach comes back to it", async () => {
    const terminal = atTerminal(["-it", "--name", "shell", busybox, "sh"]);
    await terminal.shows("# ");
    terminal.type("x=kept\r");
    await sleep(300);
    terminal.type(DETACH);
    await terminal.ended;
    expect(shellLine(terminal, "code"), terminal.shown).toBe("0");
    expect(terminal.shown).toContain("left shell, which goes on");
    const env = { FLAMEBOX_HOME: home.dir, MAIN };
    const again = openTerminal(["sh", "-c", `"$0" "$MAIN" attach shell`, process.execPath], { env });
    await sleep(1_500);
    again.type("echo still $x\r");
    await again.shows("still kept");
    again.type("exit 4\r");
    expect(await again.ended).toBe(4);
    await home.run(["rm", "-f", "shell"]);
  });
});

const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
const ESCAPE = "\u001b";
const CONTROL = new RegExp(`${ESCAPE}\\[[0-9;?]*[A-Za-z]`, "g");

/** What was drawn one over the other, line by line, without control sequences. */
function screensOf({ shown }: Terminal): string[][] {
  const drawn = shown.slice(shown.indexOf(ENTER) + ENTER.length, shown.lastIndexOf(LEAVE));
  const bare = (text: string): string => text.replace(CONTROL, "");
  return drawn
    .split("\u001b[H")
    .slice(1)
    .map((screen) => bare(screen).replaceAll("\r\r\n", "\r\n").replace(/\r\n$/, "").split("\r\n"));
}

describe("the dashboard on a terminal of 80 columns", () => {
  const name = `a-name-that-is-much-longer-than-its-column-${"x".repeat(40)}`;
  beforeAll(async () => {
    const words = ["run", "-dq", "--name", name, "--network", "none", busybox, "sh", "-c", "sleep 1000"];
    const started = await home.run(words);
    if (started.code !== 0) throw new Error(started.stderr);
  });
  afterAll(async () => void (await home.run(["rm", "-f", name])));

  test.each<[string, (terminal: Watched) => void, string]>([
    ["q", (terminal) => terminal.type("q"), "0"],
    ["Ctrl-C", (terminal) => terminal.type(CTRL_C), "0"],
    ["SIGTERM", ({ pid }) => process.kill(pid(), "SIGTERM"), "143"],
  ])("fits, is drawn again, and %s gives the terminal back", async (_what, end, code) => {
    const terminal = atShell(["top"]);
    await terminal.shows(ENTER);
    await terminal.shows("a-name-that");
    // Again by itself, and for each key and each other size.
    await terminal.shows("\u001b[H");
    terminal.type("m");
    await terminal.shows("\u001b[H");
    end(terminal);
    expect(await terminal.ended).toBe(0);
    // The shell goes on where it was when it was left.
    expect(terminal.shown.slice(terminal.shown.lastIndexOf(LEAVE))).toMatch(new RegExp(`code: ${code}\r`));
    expect(shellLine(terminal, "after")).toBe(shellLine(terminal, "before"));
    expect(terminal.shown.lastIndexOf(LEAVE)).toBeGreaterThan(terminal.shown.lastIndexOf("\u001b[?25l"));
    const screens = screensOf(terminal);
    expect(screens.length).toBeGreaterThanOrEqual(3);
    for (const screen of screens) {
      expect(screen.length).toBeLessThan(24);
      for (const line of screen) expect(columnsOf(line), line).toBeLessThanOrEqual(80);
    }
  });

  test("fits a smaller one after it was made smaller", async () => {
    const terminal = atShell(["top"]);
    await terminal.shows("a-name-that");
    terminal.resize(10, 60);
    await sleep(500);
    await terminal.shows("\u001b[H");
    await terminal.shows("a-name");
    await terminal.shows("\u001b[J");
    terminal.type("q");
    await terminal.ended;
    const last = screensOf(terminal).at(-1) ?? [];
    expect(last.length).toBeLessThan(10);
    for (const line of last) expect(columnsOf(line), line).toBeLessThanOrEqual(60);
  });
});

test("nothing is left", async () => {
  await home.run(["images"]);
  expect(await home.leftovers()).toEqual([]);
});
