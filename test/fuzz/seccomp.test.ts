/** Seccomp profiles are a user's files: whatever is in one, it is taken or refused, and what is taken is sound. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { DEFAULT_PROFILE } from "../../src/runtime-spec/seccomp/default-profile.ts";
import { ACTIONS, parseProfile } from "../../src/runtime-spec/seccomp/profile.ts";
import { resolveProfile } from "../../src/runtime-spec/seccomp/resolve.ts";
import { FlameBoxError } from "../../src/util/error.ts";

const SEED = 20_250_611;
const target = { architecture: "amd64", capabilities: ["CAP_CHOWN"], kernelRelease: "6.12" } as const;

/** What is wrong with how `text` was taken or refused; nothing. */
function problemsOf(text: string): string[] {
  let profile: ReturnType<typeof parseProfile>;
  try {
    profile = parseProfile(text);
  } catch (error) {
    const refused = error instanceof FlameBoxError && error.code === "invalid-seccomp-profile";
    return refused && error.message.length < 1_000 ? [] : [`refused with ${String(error)}`];
  }
  return resolveProfile(profile, target).syscalls.flatMap(({ names, action, args = [] }) => [
    ...((ACTIONS as readonly string[]).includes(action) ? [] : [`the action ${action}`]),
    ...names.filter((name) => !/^\w{1,64}$/.test(name)),
    ...args
      .filter(({ index, value }) => index > 5 || !Number.isSafeInteger(value))
      .map((argument) => JSON.stringify(argument)),
  ]);
}

it("takes or refuses any text", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      expect(problemsOf(text)).toEqual([]);
    }),
    { seed: SEED, numRuns: 2_000 },
  );
});

it("takes or refuses profiles with a piece of JSON put in somewhere", () => {
  const base = JSON.stringify({
    ...DEFAULT_PROFILE,
    syscalls: DEFAULT_PROFILE.syscalls.filter(({ names = [] }) => names.length < 20),
  });
  const places = [...base.matchAll(/[[{,:]/g)].map(({ index }) => index + 1);
  const mutation = fc.record({
    at: fc.constantFrom(...places),
    drop: fc.nat(40),
    put: fc.oneof(
      fc.json(),
      fc.string(),
      fc.constantFrom("null", "[]", "{}", "-1", "1e400", '"\\u0000"', ","),
    ),
  });
  fc.assert(
    fc.property(mutation, ({ at, drop, put }) => {
      expect(problemsOf(base.slice(0, at) + put + base.slice(at + drop))).toEqual([]);
    }),
    { seed: SEED, numRuns: 3_000 },
  );
});

it("takes or refuses objects that are nearly profiles", () => {
  const word = fc.constantFrom("read", "write", "SCMP_ACT_ALLOW", "CAP_CHOWN", "amd64", "4.8", "", "a b");
  const filter = fc.record(
    { caps: fc.array(word), arches: fc.array(word), minKernel: word },
    { requiredKeys: [] },
  );
  const rule = fc.record(
    {
      names: fc.array(word),
      name: word,
      action: fc.constantFrom(...ACTIONS, "SCMP_ACT_NOTIFY"),
      errnoRet: fc.oneof(fc.integer(), fc.double()),
      includes: filter,
      excludes: filter,
      args: fc.array(
        fc.record({
          index: fc.integer({ min: -1, max: 7 }),
          value: fc.double(),
          op: fc.constantFrom("SCMP_CMP_EQ", "x"),
        }),
      ),
    },
    { requiredKeys: ["names", "action"] },
  );
  const profile = fc.record({ defaultAction: fc.constantFrom(...ACTIONS), syscalls: fc.array(rule) });
  fc.assert(
    fc.property(profile, (value) => {
      expect(problemsOf(JSON.stringify(value))).toEqual([]);
    }),
    { seed: SEED, numRuns: 2_000 },
  );
});
