import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseHelperAnswer } from "../../src/auth/credential-helper.ts";
import { parseDockerConfig } from "../../src/auth/docker-config.ts";
import { AuthError } from "../../src/auth/error.ts";

const options = { seed: 0x0c4, numRuns: 3000 };
const CANARY = "canary-5ecret";
const odd = fc.oneof(
  fc.constantFrom<unknown>(CANARY, [CANARY], { [CANARY]: CANARY }, null, 7),
  fc.jsonValue(),
);
const entry = fc.record(
  { auth: fc.oneof(odd, fc.base64String()), username: odd, password: odd, identitytoken: odd },
  { requiredKeys: [] },
);
const name = fc.constantFrom("h", "https://index.docker.io/v1/", "docker.io", "__proto__", "constructor", "");
const config = fc.record(
  {
    auths: fc.oneof(fc.dictionary(name, entry), odd),
    credHelpers: fc.oneof(fc.dictionary(name, odd), odd),
    credsStore: odd,
  },
  { requiredKeys: [] },
);
/** Whole, or cut somewhere, which is where JSON.parse likes to quote. */
const text = fc.tuple(config, fc.nat(300)).map(([value, cut]) => {
  const whole = JSON.stringify(value);
  return cut < whole.length && cut % 3 === 0 ? whole.slice(0, cut) : whole;
});

/** What a parser that refused did wrong while refusing; undefined is fine. */
function faultOf(error: unknown): string | undefined {
  if (!(error instanceof AuthError)) return `threw ${String(error)}`;
  if (error.message.includes(CANARY)) return `told the secret: ${error.message}`;
  return error.cause === undefined ? undefined : "has a cause, which may quote";
}

function attempt<T>(parse: () => T): { value?: T; fault?: string | undefined } {
  try {
    return { value: parse() };
  } catch (error) {
    return { fault: faultOf(error) };
  }
}

test("any file is a configuration whose helpers are names, or an AuthError without its secrets", () => {
  fc.assert(
    fc.property(fc.oneof(text, fc.string({ unit: "binary" })), (input) => {
      const { value, fault } = attempt(() => parseDockerConfig(input));
      expect(fault).toBeUndefined();
      const helpers = [...(value?.helpers.values() ?? []), value?.store ?? "x"];
      expect(helpers.filter((helper) => !/^[A-Za-z0-9_][\w.-]*$/.test(helper))).toEqual([]);
    }),
    options,
  );
});

test("any answer of a helper gives credentials, or an AuthError without its secrets", () => {
  const answer = fc.record({ Username: odd, Secret: odd }, { requiredKeys: [] });
  const text = answer.map((value) => JSON.stringify(value));
  fc.assert(
    fc.property(fc.oneof(text, fc.string()), (input) => {
      expect(attempt(() => parseHelperAnswer("x", input)).fault).toBeUndefined();
    }),
    options,
  );
});
