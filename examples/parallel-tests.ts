/**
 * A test runner that gives each test file a machine of its own, some at a time. A pool keeps machines ready, so that a
 * test waits for nothing but itself.
 *
 *     node parallel-tests.js [IMAGE]
 */
import { createPool } from "flamebox";

const image = process.argv[2] ?? "docker.io/library/busybox:1";
const atOnce = 2;

/** Stand-ins for test files: what they do to the file system, no other one sees. */
const tests = Array.from({ length: 6 }, (_, index) => ({
  name: `test ${index}`,
  script: `[ ! -e /seen ] && touch /seen && [ ${index} -ne 3 ]`,
}));

const pool = await createPool({ size: atOnce, image, network: "none" });
try {
  const waiting = [...tests];
  const failed: string[] = [];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const box = await pool.take();
      const { exitCode } = await box.exec(next.script);
      await box.close();
      console.log(`${exitCode === 0 ? "ok" : "not ok"} ${next.name}`);
      if (exitCode !== 0) failed.push(next.name);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  console.log(`${tests.length - failed.length} of ${tests.length} passed`);
} finally {
  await pool[Symbol.asyncDispose]();
}
