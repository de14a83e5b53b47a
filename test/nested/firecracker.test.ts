/**
 * The suites of test/firecracker/, run in an outer machine: by an ordinary user, and then by root, whose machines are
 * jailed. What they print is printed here.
 */
import { pipeline } from "node:stream/promises";
import { Writable } from "node:stream";
import { expect, test } from "vitest";
import { messageOf, systemCode } from "../../src/util/error.ts";
import { AS_ROOT, AS_USER, startOuter } from "./outer.ts";

const ENVIRONMENT = [
  "export PATH=/opt/flamebox/bin:$PATH:/usr/sbin:/sbin",
  "export FLAMEBOX_HOME=/opt/flamebox/home FLAMEBOX_FIRECRACKER=/opt/flamebox/bin/firecracker",
  "export FLAMEBOX_TEST_FIRECRACKER=1 NO_COLOR=1 HOME=/tmp",
  "export FLAMEBOX_TEST_BARE=/opt/flamebox/bin/bare-firecracker FLAMEBOX_TEST_CPUS=1",
].join("; ");

/** What the suites ended with; an outer machine may be lost after it has said so, at its own end. */
const VERDICT = /^suites: ended with (\d{1,3})$/m;

/** Prints what comes, and hands on each line once. */
function printer(onLine: (line: string) => void): Writable {
  let rest = "";
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      process.stderr.write(chunk);
      const lines = (rest + chunk.toString("latin1")).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) onLine(line);
      done();
    },
  });
}

/** The outer machine's kernel, in an emulator's SVM, is known to die: not what is tested here. Told, and once more. */
const ATTEMPTS = 2;

async function codeOf(program: string, script: string): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    let verdict: number | undefined;
    const onLine = (line: string): void => {
      const [, code] = VERDICT.exec(line) ?? [];
      if (code !== undefined) verdict = Number(code);
    };
    try {
      await using outer = await startOuter(program, script);
      const { stdout, stderr } = outer.container;
      await Promise.all([
        pipeline(stdout, printer(onLine)),
        pipeline(
          stderr,
          printer(() => {}),
        ),
      ]);
      return (await outer.container.wait()).code;
    } catch (error) {
      if (systemCode(error) !== "machine-lost") throw error;
      if (verdict !== undefined) {
        process.stderr.write(`the outer machine was lost behind its suites: ${messageOf(error)}\n`);
        return verdict;
      }
      if (attempt === ATTEMPTS) throw error;
      process.stderr.write(`the outer machine was lost, and is started again: ${messageOf(error)}\n`);
    }
  }
}

const VITEST = "node node_modules/vitest/vitest.mjs run --project firecracker --reporter=verbose --no-cache";
const SUITES = process.env["FLAMEBOX_TEST_SUITES"] ?? "";
const USERS = (process.env["FLAMEBOX_TEST_USERS"] ?? "user root").split(" ");

const RUNS = [
  { who: "an ordinary user", user: "user", suites: `${AS_USER} sh -c 'id; exec ${VITEST} ${SUITES}'` },
  // Twenty starts and 32 clones have been shown then.
  {
    who: "root",
    user: "root",
    suites: [
      AS_ROOT,
      "id",
      "export FLAMEBOX_TEST_STARTS=5 FLAMEBOX_TEST_CLONES=8",
      `${VITEST} ${SUITES}`,
    ].join("\n"),
  },
].filter(({ user }) => USERS.includes(user));

// Each has an outer machine of its own: one that is lost costs only what was in it.
test.each(RUNS)("the suites pass on a real Firecracker in an outer machine, for $who", async ({ suites }) => {
  const program = process.env["FLAMEBOX_FIRECRACKER"];
  if (program === undefined) throw new Error("run scripts/test-firecracker.sh, which says which program");
  const script = [
    ENVIRONMENT,
    "uname -r; firecracker --version | head -n 1; jailer --version | head -n 1; node --version; ls -l /dev/kvm",
    // Ends with the machine.
    'mkfifo /tmp/held; hold-kvm > /tmp/held & read -r held < /tmp/held && echo "$held"',
    suites,
    'code=$?; echo "suites: ended with $code"; exit $code',
  ].join("\n");
  expect(await codeOf(program, script)).toBe(0);
});
