import type { EventEmitter } from "node:events";
import { PassThrough, Writable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { Interrupted } from "../../src/cli/failure.ts";
import type { AttachedContainer, ContainerExit, CreateOptions } from "../../src/cli/library.ts";
import { createReporter } from "../../src/cli/output/reporter.ts";
import { runSession, type SessionPlan } from "../../src/cli/session/run-session.ts";
import { feedInput } from "../../src/cli/session/streams.ts";
import { type FakeContext, FakeOutput, fakeContext } from "./fake-context.ts";

interface Scene {
  readonly context: FakeContext;
  readonly container: AttachedContainer & { readonly stdout: PassThrough; readonly stderr: PassThrough };
  readonly calls: string[];
  readonly rawModes: boolean[];
  asked: CreateOptions | undefined;
  /** Ends the process and its output. */
  end(exit: Partial<ContainerExit>): void;
  lose(error: Error): void;
  run(plan?: Partial<SessionPlan>): Promise<number>;
}

/** A container whose process is this test. */
function scene(
  options: {
    readonly stdin?: Writable;
    readonly stdout?: Writable;
    readonly terminal?: boolean;
    readonly survives?: boolean;
  } = {},
): Scene {
  const { terminal = false } = options;
  const calls: string[] = [];
  const rawModes: boolean[] = [];
  const stdin = Object.assign(new PassThrough(), {
    isTTY: terminal,
    setRawMode: (on: boolean) => rawModes.push(on),
  });
  const stdout = options.stdout ?? new FakeOutput(terminal);
  const context = { ...fakeContext(), stdin, stdout } as unknown as FakeContext;
  let settle: { resolve: (exit: ContainerExit) => void; reject: (error: Error) => void } | undefined;
  const exit = new Promise<ContainerExit>((resolve, reject) => {
    settle = { resolve, reject };
  });
  const container = {
    id: "id",
    machine: "none",
    kernelRelease: "0",
    bootRetries: 0,
    ports: [{ hostAddress: "::1", hostPort: 40_001, containerPort: 80, protocol: "tcp" as const }],
    name: "web",
    memoryLimitBytes: 64 * 2 ** 20,
    survives: options.survives ?? false,
    stdin: options.stdin ?? null,
    stdout: new PassThrough(),
    stderr: new PassThrough(),
    wait: () => exit,
    kill: async (signal: number) => void calls.push(`kill ${signal}`),
    resize: async ({ columns, rows }: { columns: number; rows: number }) =>
      void calls.push(`resize ${columns}x${rows}`),
    [Symbol.asyncDispose]: async () => void calls.push("dispose"),
  };
  const made: Scene = {
    context,
    container,
    calls,
    rawModes,
    asked: undefined,
    end: (how) => {
      container.stdout.end();
      container.stderr.end();
      settle?.resolve({ code: 0, oomKilled: false, ...how });
    },
    lose: (error) => settle?.reject(error),
    run: async (plan = {}) => {
      const reporter = createReporter(context, {
        json: false,
        format: undefined,
        quiet: false,
        logLevel: "info",
      });
      const runContainer = async (_image: string, asked: CreateOptions = {}) => {
        made.asked = asked;
        return container;
      };
      return runSession(
        context,
        { runContainer },
        { image: "i", options: {}, interactive: false, tty: false, ...plan },
        { reporter },
      );
    },
  };
  return made;
}

/** No listener is left on the signals, and the container was disposed of once. */
function expectTidy({ context, calls }: Scene): void {
  expect((context.signals as EventEmitter).eventNames()).toEqual([]);
  expect(calls.filter((call) => call === "dispose")).toHaveLength(1);
  expect(context.exitJobs.size).toBe(0);
}

describe("a session", () => {
  it("hands on output and the exit code", async () => {
    const it = scene();
    const running = it.run();
    it.container.stdout.write("out");
    it.container.stderr.write("err");
    it.end({ code: 7 });
    expect(await running).toBe(7);
    expect(it.context.stdout.text).toBe("out");
    expect(it.context.stderr.text).toBe("err");
    expectTidy(it);
  });

  it("waits for output that comes after the exit code", async () => {
    const it = scene();
    const running = it.run();
    it.container.wait = async () => ({ code: 3, oomKilled: false });
    it.container.stderr.end();
    it.container.stdout.write("a");
    await turn();
    await turn();
    it.container.stdout.end("b");
    it.end({ code: 3 });
    expect(await running).toBe(3);
    expect(it.context.stdout.text).toBe("ab");
  });

  it("says which port was found, and what ran out of memory", async () => {
    const it = scene();
    const running = it.run({ options: { publish: [{ hostPort: 0, containerPort: 80, protocol: "tcp" }] } });
    it.end({ code: 137, signal: 9, oomKilled: true });
    expect(await running).toBe(137);
    expect(it.context.stderr.text).toBe(
      "flamebox: published [::1]:40001 -> 80/tcp\nflamebox: killed: out of memory (limit 64 MiB); raise --memory\n",
    );
  });

  it("forwards signals, and ends the machine when the user insists within two seconds", async () => {
    const it = scene();
    const running = it.run();
    await turn();
    for (const name of ["SIGTERM", "SIGUSR1", "SIGHUP", "SIGINT"] as const)
      (it.context.signals as EventEmitter).emit(name);
    expect(it.calls).toEqual(["kill 15", "kill 10", "kill 1", "kill 2"]);
    it.context.clock.advance(2500);
    (it.context.signals as EventEmitter).emit("SIGINT");
    expect(it.calls.at(-1)).toBe("kill 2");
    it.context.clock.advance(2500);
    (it.context.signals as EventEmitter).emit("SIGINT");
    await expect(running).rejects.toThrow(Interrupted);
    expectTidy(it);
  });

  it("ends the machine at the second of two quick interrupts", async () => {
    const it = scene();
    const running = it.run();
    await turn();
    (it.context.signals as EventEmitter).emit("SIGINT");
    it.context.clock.advance(1999);
    (it.context.signals as EventEmitter).emit("SIGINT");
    await expect(running).rejects.toMatchObject({ signalNumber: 2 });
    expectTidy(it);
  });

  it("follows the window, once a size", async () => {
    const it = scene({ terminal: true });
    const running = it.run({ tty: true });
    await turn();
    expect(it.asked?.tty).toEqual({ columns: 80, rows: 24 });
    it.context.stdout.columns = 100;
    for (let count = 0; count < 3; count++) (it.context.signals as EventEmitter).emit("SIGWINCH");
    await turn();
    await turn();
    it.end({});
    await running;
    expect(it.calls).toEqual(["resize 80x24", "resize 100x24", "dispose"]);
    expect(it.rawModes).toEqual([]);
    expectTidy(it);
  });

  it("gives the terminal back, whichever way it ends", async () => {
    for (const end of [(it: Scene) => it.end({}), (it: Scene) => it.lose(new Error("lost"))]) {
      const it = scene({ terminal: true, stdin: new PassThrough() });
      const running = it.run({ tty: true, interactive: true });
      await turn();
      expect(it.rawModes).toEqual([true]);
      end(it);
      await running.catch(() => {});
      expect(it.rawModes).toEqual([true, false]);
      expectTidy(it);
    }
  });

  it("leaves a container that goes on when the detach keys are pressed", async () => {
    const stdin = new PassThrough();
    const it = scene({ terminal: true, stdin, survives: true });
    const running = it.run({ tty: true, interactive: true });
    await turn();
    const keyboard = it.context.stdin as unknown as PassThrough;
    keyboard.write("a\u0010b");
    await turn();
    expect(stdin.read()?.toString()).toBe("a\u0010b");
    keyboard.write("\u0010\u0011");
    expect(await running).toBe(0);
    expect(it.context.stderr.text).toContain("left web, which goes on; flamebox attach web");
    expect(it.rawModes).toEqual([true, false]);
    expectTidy(it);
  });

  it("hands on every key to a container that ends with its session", async () => {
    const stdin = new PassThrough();
    const it = scene({ terminal: true, stdin });
    const running = it.run({ tty: true, interactive: true });
    await turn();
    (it.context.stdin as unknown as PassThrough).write("\u0010\u0011");
    await turn();
    expect(stdin.read()?.toString()).toBe("\u0010\u0011");
    it.end({});
    expect(await running).toBe(0);
  });

  it("has other detach keys, or none", async () => {
    for (const [detachKeys, passed] of [
      [Uint8Array.of(1), "\u0010\u0011"],
      [new Uint8Array(), "\u0001\u0010\u0011"],
    ] as const) {
      const stdin = new PassThrough();
      const it = scene({ terminal: true, stdin, survives: true });
      const running = it.run({ tty: true, interactive: true, detachKeys });
      await turn();
      (it.context.stdin as unknown as PassThrough).write("\u0001\u0010\u0011");
      await turn();
      expect(stdin.read()?.toString()).toBe(passed);
      it.end({});
      await running;
    }
  });

  it("ends a container that takes no notice of its terminal's going away, after ten seconds", async () => {
    const it = scene({ terminal: true, stdin: new PassThrough() });
    const running = it.run({ tty: true, interactive: true });
    await turn();
    (it.context.stdin as unknown as PassThrough).destroy(new Error("read EIO"));
    await turn();
    it.context.clock.advance(9_999);
    await turn();
    expect(it.calls).not.toContain("dispose");
    it.context.clock.advance(1);
    await expect(running).rejects.toMatchObject({ code: "interrupted", signalNumber: 1 });
    expect(it.context.clock.timers).toBe(0);
    expectTidy(it);
  });

  it("gives the terminal back when the process is ended from without", async () => {
    const it = scene({ terminal: true, stdin: new PassThrough() });
    const running = it.run({ tty: true, interactive: true });
    await turn();
    for (const job of it.context.exitJobs) job();
    expect(it.rawModes).toEqual([true, false]);
    it.end({});
    await running;
  });

  it("tells the kind of the terminal only where images will know it", async () => {
    for (const [term, told] of [
      ["xterm-256color", "xterm-256color"],
      ["xterm-kitty", undefined],
    ] as const) {
      const it = scene({ terminal: true });
      Object.assign(it.context, { env: { TERM: term } });
      const running = it.run({ tty: true });
      it.end({});
      await running;
      expect(it.asked?.term).toBe(told);
    }
  });

  it("refuses -it without a terminal before anything is started", async () => {
    const it = scene();
    await expect(it.run({ tty: true, interactive: true })).rejects.toThrow("the input device is not a TTY");
    expect(it.asked).toBeUndefined();
  });

  it("passes the loss of the machine on", async () => {
    const it = scene();
    const running = it.run();
    it.lose(new Error("the machine was lost"));
    await expect(running).rejects.toThrow("the machine was lost");
    expectTidy(it);
  });

  it.each([
    ["EPIPE", "quietly, as of SIGPIPE", 141],
    ["ENOSPC", "with an error that names the stream", "standard output cannot be written: write ENOSPC"],
  ])("ends on %s %s", async (code, _, outcome) => {
    const broken = Object.assign(new Error(`write ${code}`), { code });
    const stdout = new Writable({ write: (_chunk, _encoding, done) => done(broken) });
    stdout.on("error", () => {});
    const it = scene({ stdout });
    const running = it.run();
    it.container.stdout.write("x");
    it.container.stdout.end();
    expect(await running.catch((error: Error) => error.message)).toBe(outcome);
    expectTidy(it);
  });

  it("reads no faster than the output takes", async () => {
    const stdout = new Writable({ highWaterMark: 1, write: () => {} });
    const it = scene({ stdout });
    const running = it.run();
    let sent = 0;
    while (it.container.stdout.write(Buffer.alloc(65_536)) && sent < 100) {
      sent++;
      await turn();
    }
    // One chunk is with the sink; what else was taken fits the buffers between.
    expect(sent).toBeLessThan(5);
    it.lose(new Error("over"));
    await expect(running).rejects.toThrow("over");
  });
});

describe("standard input", () => {
  it("waits for a slow process and then goes on to the end", async () => {
    const source = new PassThrough();
    const got: Buffer[] = [];
    let release: (() => void) | undefined;
    const target = new Writable({
      highWaterMark: 1,
      write: (chunk: Buffer, _encoding, done) => {
        got.push(chunk);
        release = done;
      },
    });
    feedInput(source, target, () => {});
    source.write("a");
    await turn();
    source.write("b");
    await turn();
    expect(Buffer.concat(got).toString()).toBe("a");
    expect(source.isPaused()).toBe(true);
    source.end("c");
    const finished = new Promise((resolve) => target.once("finish", resolve));
    const pump = setInterval(() => release?.(), 1);
    await finished;
    clearInterval(pump);
    expect(Buffer.concat(got).toString()).toBe("abc");
  });

  it("lets go when the process closes its input", async () => {
    const source = new PassThrough();
    const target = new PassThrough();
    feedInput(source, target, () => {});
    target.destroy(Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
    await turn();
    expect(source.isPaused()).toBe(true);
    source.write("nobody reads this");
    await turn();
    expect(source.listenerCount("data")).toBe(0);
  });

  it("reports an input that cannot be read, and ends the process's", async () => {
    const source = new PassThrough();
    const target = new PassThrough();
    const errors: string[] = [];
    feedInput(source, target, (error) => errors.push(error.message));
    source.destroy(new Error("EISDIR"));
    await turn();
    expect(errors).toEqual(["EISDIR"]);
    expect(target.writableEnded).toBe(true);
  });
});
