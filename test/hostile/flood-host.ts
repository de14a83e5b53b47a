/**
 * The host of one flood, in a process of its own, because its memory is what is measured:
 * flood-host.js PORT read|leave|feed. Its guest plays in the test's process. Prints one JSON object and ends by
 * itself, which it can only when nothing is left.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { FlameBoxError } from "../../src/util/error.ts";
import { QUICK, ScriptedMachine, Stage } from "./stage.ts";

const FED_BYTES = 256 << 20;

/** A line of /proc/self/status, in MiB. */
function memoryMib(name: "VmRSS" | "VmHWM"): number {
  const status = readFileSync("/proc/self/status", "latin1");
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]) / 1024;
}

async function main(port: number, manner: string): Promise<object> {
  await using stage = await Stage.open();
  // proc(5): 5 resets the peak to what is used now.
  writeFileSync("/proc/self/clear_refs", "5");
  const beforeMib = memoryMib("VmRSS");
  let ending: object;
  try {
    const machine = async (): Promise<ScriptedMachine> => {
      const socket = connect(port, "127.0.0.1");
      await new Promise<void>((resolve) => socket.once("connect", resolve));
      return new ScriptedMachine(socket);
    };
    await using container = await stage.start(machine, {}, { ...QUICK, patience: 0.2 });
    if (manner === "read") for (const output of [container.stdout, container.stderr]) output.resume();
    const chunk = Buffer.alloc(65_536);
    const feed = (): void => {
      let fed = 0;
      const go = (): void => {
        for (; fed < FED_BYTES; fed += chunk.length)
          if (container.stdin?.write(chunk) !== true) return void container.stdin?.once("drain", go);
      };
      go();
    };
    if (manner === "feed") feed();
    ending = { code: (await container.wait()).code };
  } catch (error) {
    if (!(error instanceof FlameBoxError)) throw error;
    ending = { error: error.code, message: error.message };
  }
  const grownMib = memoryMib("VmHWM") - beforeMib;
  return { grownMib, ending, leftovers: await stage.leftovers() };
}

const [port, manner = ""] = process.argv.slice(2);
process.stdout.write(JSON.stringify(await main(Number(port), manner)));
