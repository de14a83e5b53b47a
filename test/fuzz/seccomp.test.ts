/** Seccomp profiles are a user's files: whatever is in one, it is taken or refused, and what is taken is sound. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { DEFAULT_PROFILE } from "../../src/runtime-spec/seccomp/default-profile.ts";
import { ACTIONS, parseProfile } from "../../src/runtime-spec/seccomp/profile.ts";
import { resolveProfile } from "../../src/runtime-spec/seccomp/resolve.ts";
import { FlameBoxError } from "../../src/util/error.ts";

const SEED = 20_250_611;
const target = { architecture: "amd64", capabilities: ["CAP_CHOWN"], kernelRelease: "6.12" } as const;

/** The profile, or undefined when it was refused properly. */
function taken(text: string): ReturnType<typeof parseProfile> | undefined {
  try {
    return parseProfile(text);
  } catch (error) {
    const proper = error instanceof FlameBoxError && error.code === "invalid-seccomp-profile";
    if (proper && error.message.length < 1_000) return undefined;
    throw error;
  }
}

function expectSound(text: string): void {
  const profile = taken(text);
  if (profile === undefined) return;
  const resolved = resolveProfile(profile, target);
  for (const { names, action, args = [] } of resolved.syscalls) {
    expect(ACTIONS).toContain(action);
    for (const name of names) expect(name).toMatch(/^\w{1,64}$/);
    for (const { index, value } of args) {
      expect(index).toBeLessThan(6);
      expect(Number.isSafeInteger(value)).toBe(true);
    }
  }
}

it("takes or refuses any text", () => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), expectSound), { seed: SEED, numRuns: 2_000 });
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
    fc.property(
      mutation.map(({ at, drop, put }) => base.slice(0, at) + put + base.slice(at + drop)),
      expectSound,
    ),
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
    fc.property(
      profile.map((value) => JSON.stringify(value)),
      expectSound,
    ),
    { seed: SEED, numRuns: 2_000 },
  );
});
