/**
 * The tuned kernel, made for real and run. That takes minutes and 2.5 GiB of disk, so it has to be asked for; all other
 * tests in machines run with the kernel that the home of their setup has chosen.
 */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import type { Home } from "../support/home.ts";
import { makeHome } from "../support/home.ts";

const wanted = process.env["FLAMEBOX_TEST_KERNEL_BUILD"] === "1";
const MINUTES_MS = 60_000;

interface Listed {
  readonly name: string;
  readonly release: string;
  readonly kind: string;
  readonly inUse: boolean;
}

let home: Home;

beforeAll(async () => {
  home = await makeHome(inject("kernelDir"), { ownTemplates: true });
});
afterAll(async () => await home[Symbol.asyncDispose]());

const listed = async () => JSON.parse((await home.run(["kernel", "ls", "--json"])).stdout) as Listed[];

test("without a choice the kernel is Debian's, which can be named and not removed", async () => {
  await home.run(["kernel", "use", "debian"]);
  const used = (await listed()).filter(({ inUse }) => inUse);
  expect(used).toMatchObject([{ kind: "debian" }]);
  const removed = await home.run(["kernel", "rm", used[0]?.name ?? ""]);
  expect([removed.code, removed.stderr]).toEqual([1, expect.stringContaining("is the one in use")]);
});

test("a chosen kernel that has gone is an error of run, and doctor says what to do", async () => {
  const [debian] = await listed();
  await home.run(["kernel", "use", debian?.name ?? ""]);
  await writeFile(join(home.paths.dataDir, "kernels", "chosen.json"), '{"name":"gone"}');
  const image = `${inject("registry")}/flamebox/busybox:1`;
  const run = await home.run(["run", "--rm", "-q", image, "true"]);
  expect([run.code, run.stderr]).toEqual([
    125,
    'flamebox: the kernel "gone" was chosen and is not here any more\n' +
      '  hint: run "flamebox kernel use debian" to go back to Debian\'s own\n',
  ]);
  const doctor = await home.run(["doctor"]);
  expect([doctor.code, doctor.stdout]).toEqual([
    1,
    expect.stringMatching(/missing +kernel +the kernel "gone"/),
  ]);
  await home.run(["kernel", "use", "debian"]);
  expect((await home.run(["doctor"])).stdout).toMatch(/ok +kernel/);
});

describe.skipIf(!wanted)(
  "the tuned kernel (skipped: it takes minutes; FLAMEBOX_TEST_KERNEL_BUILD=1 makes it)",
  () => {
    test(
      "is made, chosen, run and removed",
      async () => {
        const built = await home.run(["kernel", "build"]);
        expect(built.code, built.stderr).toBe(0);
        const name = built.stdout.trim();
        expect(await listed()).toContainEqual(
          expect.objectContaining({
            name,
            kind: "built",
            release: expect.stringMatching(/-flamebox$/) as string,
          }),
        );
        // The second time there is nothing to do.
        const beganMs = performance.now();
        expect((await home.run(["kernel", "build", "--use"])).stdout).toBe(built.stdout);
        expect(performance.now() - beganMs).toBeLessThan(MINUTES_MS);
        const image = `${inject("registry")}/flamebox/busybox:1`;
        const run = await home.run(["run", "--rm", "-q", image, "sh", "-c", "uname -r; ls /proc/modules"]);
        expect(run.stdout).toMatch(/^6\.12\.\d+-flamebox\n$/);
        expect(run.stderr).toMatch(/\/proc\/modules: No such file/);
        expect((await home.run(["kernel", "rm", name])).code).toBe(1);
        await home.run(["kernel", "use", "debian"]);
        expect((await home.run(["kernel", "rm", name])).stdout).toContain(`Deleted: ${name}\n`);
        expect((await listed()).map((kernel) => kernel.name)).not.toContain(name);
      },
      120 * MINUTES_MS,
    );

    test(
      "is not made with lines that do not take, and then nothing is left",
      async () => {
        const own = join(home.dir, "own.config");
        await writeFile(own, "CONFIG_NO_SUCH_THING=y\n");
        const kernels = join(home.paths.dataDir, "kernels");
        const before = await readdir(kernels);
        const built = await home.run(["kernel", "build", "--fragment", own]);
        expect([built.code, built.stderr]).toEqual([
          1,
          expect.stringContaining("did not take CONFIG_NO_SUCH_THING=y (is n)"),
        ]);
        expect(await readdir(kernels)).toEqual(before);
      },
      30 * MINUTES_MS,
    );
  },
);
