/** The suites of test/firecracker/, run in an outer machine. What they print is printed here. */
import { pipeline } from "node:stream/promises";
import { Writable } from "node:stream";
import { expect, test } from "vitest";
import { startOuter } from "./outer.ts";

const ENVIRONMENT = [
  "export PATH=/opt/flamebox/bin:$PATH:/usr/sbin:/sbin",
  "export FLAMEBOX_HOME=/opt/flamebox/home FLAMEBOX_FIRECRACKER=/opt/flamebox/bin/firecracker",
  "export FLAMEBOX_TEST_FIRECRACKER=1 NO_COLOR=1 HOME=/tmp",
].join("; ");

function printer(): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      process.stderr.write(chunk);
      done();
    },
  });
}

test("the suites pass on a real Firecracker in an outer machine", async () => {
  const program = process.env["FLAMEBOX_FIRECRACKER"];
  if (program === undefined) throw new Error("run scripts/test-firecracker.sh, which says which program");
  const suites = process.env["FLAMEBOX_TEST_SUITES"] ?? "";
  const script = `${ENVIRONMENT}; id; uname -r; firecracker --version | head -n 1; node --version; ls -l /dev/kvm; cat /proc/uptime;
    node node_modules/vitest/vitest.mjs run --project firecracker --reporter=verbose --no-cache ${suites}; code=$?; cat /proc/uptime; exit $code`;
  await using outer = await startOuter(program, script);
  const { stdout, stderr } = outer.container;
  await Promise.all([pipeline(stdout, printer()), pipeline(stderr, printer())]);
  expect(await outer.container.wait()).toMatchObject({ code: 0 });
});
