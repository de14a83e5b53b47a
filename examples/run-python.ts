/**
 * Pulls an image and runs a Python program in a machine of its own:
 *
 *     node run-python.js [IMAGE]        compiled by tsc; Node 22.18 and newer run run-python.ts as it is
 */
import { FlameBoxError, pull, run } from "flamebox";

const reference = process.argv[2] ?? "docker.io/library/python:3-slim";
const controller = new AbortController();
process.once("SIGINT", () => controller.abort());
const { signal } = controller;

try {
  const image = await pull(reference, {
    signal,
    onProgress: ({ label, state }) => {
      if (state !== "running") console.error(`${label}: ${state}`);
    },
  });
  console.error(`${image.reference} is ${image.digest}`);

  const result = await run(reference, {
    signal,
    command: ["python3", "-"],
    stdin: "import os, platform; print(f'process {os.getpid()} on Linux {platform.release()}')",
    network: "none",
    onNotice: (notice) => console.error(notice),
  });
  process.stdout.write(result.stdout);
  process.stderr.write(result.stderr);
  process.exitCode = result.code;
} catch (error) {
  if (!(error instanceof FlameBoxError)) throw error;
  console.error(`${error.code}: ${error.message}`);
  if (error.hint !== undefined) console.error(error.hint);
  process.exitCode = 125;
}
