/** Docker's config file and its helpers' answers: helpers are names, and no error tells a secret. */
import * as fc from "fast-check";
import { parseHelperAnswer } from "../../../src/auth/credential-helper.ts";
import { parseDockerConfig } from "../../../src/auth/docker-config.ts";
import { AuthError } from "../../../src/auth/error.ts";
import { demand, utf8 } from "../target.ts";
import type { FuzzTarget } from "../target.ts";

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
const file = fc.tuple(config, fc.nat(300)).map(([value, cut]) => {
  const whole = JSON.stringify(value);
  return cut < whole.length && cut % 3 === 0 ? whole.slice(0, cut) : whole;
});

/** `isPublic`: the words are told for another reason. */
function attempt<T>(parse: () => T, isPublic = false): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof AuthError)) throw error;
    demand(isPublic || !error.message.includes(CANARY), () => `told the secret: ${error.message}`);
    demand(error.cause === undefined, () => "has a cause, which may quote");
    return undefined;
  }
}

/** Whether the words stand where the name of a registry is, as a mutation may put them: names are told. */
function namesCanary(text: string): boolean {
  try {
    const { auths, credHelpers } = Object(JSON.parse(text)) as { auths?: unknown; credHelpers?: unknown };
    return [auths, credHelpers].some((group) =>
      Object.keys(Object(group)).some((key) => key.includes(CANARY)),
    );
  } catch {
    return false;
  }
}

export const dockerConfig: FuzzTarget = {
  name: "docker-config",
  inputs: utf8(fc.oneof(file, fc.string({ unit: "binary" }))),
  check(input) {
    const text = Buffer.from(input).toString("utf8");
    const value = attempt(() => parseDockerConfig(text), namesCanary(text));
    for (const helper of [...(value?.helpers.values() ?? []), value?.store ?? "x"])
      demand(/^[A-Za-z0-9_][\w.-]*$/.test(helper), () => `took the helper ${JSON.stringify(helper)}`);
  },
};

export const helperAnswer: FuzzTarget = {
  name: "helper-answer",
  inputs: utf8(
    fc.oneof(
      fc.record({ Username: odd, Secret: odd }, { requiredKeys: [] }).map((value) => JSON.stringify(value)),
      fc.string(),
    ),
  ),
  check(input) {
    attempt(() => parseHelperAnswer("x", Buffer.from(input).toString("utf8")));
  },
};
