/** How long a process takes to be executed into a container that runs, beside the same in a container of runc's. */
import { openPodman } from "../test/conformance/podman.ts";
import { timeMs } from "./floors.ts";
import { compare } from "./measurement.ts";
import type { Measurement } from "./measurement.ts";
import type { Setting } from "./start.ts";

const SAMPLES = 20;
const NAME = "box";
const IDLE = ["sleep", "100000"];

/** Without podman and runc there is nothing to compare with. */
export async function measureExec({ home, image, flamebox, env, say }: Setting): Promise<Measurement[]> {
  const podman = await openPodman(image);
  if (typeof podman === "string") return [];
  await using _ = podman;
  const inPodman = async (...args: string[]): Promise<number> => {
    const started = performance.now();
    const { code, stderr } = await podman.run(args);
    if (code !== 0) throw new Error(`podman ${args.join(" ")}: ${stderr}`);
    return performance.now() - started;
  };
  const samples = { ours: [] as number[], podman: [] as number[] };
  await timeMs([...flamebox, "run", "--quiet", "-d", "--name", NAME, image, ...IDLE], env);
  try {
    await inPodman("run", "-d", "--name", NAME, "--network", "none", image, ...IDLE);
    for (let turn = 0; turn <= SAMPLES; turn++) {
      const ours = await timeMs([...flamebox, "exec", NAME, "true"], env);
      const theirs = await inPodman("exec", NAME, "true");
      say(`exec ${ours.toFixed(0)}, podman exec ${theirs.toFixed(0)}`);
      // The first turn warms caches up.
      if (turn === 0) continue;
      samples.ours.push(ours);
      samples.podman.push(theirs);
    }
    await inPodman("rm", "-f", NAME);
  } finally {
    await home.run(["rm", "-f", NAME]);
  }
  return [compare("start.exec_vs_podman", 1, samples.ours, samples.podman)];
}
