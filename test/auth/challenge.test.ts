import { describe, expect, test } from "vitest";
import { parseChallenges } from "../../src/auth/challenge.ts";

type Want = readonly (readonly [scheme: string, parameters: Record<string, string>])[];

const table: readonly (readonly [name: string, header: string, want: Want])[] = [
  ["nothing", "", []],
  ["a scheme alone", "Basic", [["basic", {}]]],
  ["Basic", 'Basic realm="a b"', [["basic", { realm: "a b" }]]],
  [
    "Docker Hub's",
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
    [
      [
        "bearer",
        {
          realm: "https://auth.docker.io/token",
          service: "registry.docker.io",
          scope: "repository:a/b:pull,push",
        },
      ],
    ],
  ],
  ["values without quotes", "Bearer realm=x, service=y", [["bearer", { realm: "x", service: "y" }]]],
  ["names in any case", 'BEARER Realm="x"', [["bearer", { realm: "x" }]]],
  ["spaces around =", 'Bearer realm = "x" , service= "y"', [["bearer", { realm: "x", service: "y" }]]],
  ["escaped quotes", 'Bearer realm="a\\"b\\\\c"', [["bearer", { realm: 'a"b\\c' }]]],
  ["an empty value", 'Bearer realm=""', [["bearer", { realm: "" }]]],
  [
    "two challenges",
    'Basic realm="a", Bearer realm="b",service="c"',
    [
      ["basic", { realm: "a" }],
      ["bearer", { realm: "b", service: "c" }],
    ],
  ],
  [
    "a scheme alone before another",
    'Negotiate, Basic realm="a"',
    [
      ["negotiate", {}],
      ["basic", { realm: "a" }],
    ],
  ],
  [
    "a token68 before another",
    'Negotiate YII9a+/==, Basic realm="a"',
    [
      ["negotiate", {}],
      ["basic", { realm: "a" }],
    ],
  ],
  ["commas too many", ',, Basic ,realm="a",,', [["basic", { realm: "a" }]]],
  ["a name twice: the first counts", 'Bearer realm="a",realm="b"', [["bearer", { realm: "a" }]]],
  [
    "__proto__ is a name like any other",
    'Bearer __proto__="a",realm="b"',
    [["bearer", { ["__proto__"]: "a", realm: "b" }]],
  ],
  ["a quote that never ends", 'Bearer realm="a', [["bearer", {}]]],
  ["a quote in the first place", '"Bearer" realm="a", Basic realm="b"', [["basic", { realm: "b" }]]],
  ["a scheme with = first", '=x, Basic realm="b"', [["basic", { realm: "b" }]]],
  ["other letters", 'B\u00e9arer realm="a"', [["b", {}]]],
  [
    "a parameter without a value",
    'Bearer realm=, Basic realm="b"',
    [
      ["bearer", {}],
      ["basic", { realm: "b" }],
    ],
  ],
];

describe("WWW-Authenticate", () => {
  test.each(table)("%s", (_, header, want) => {
    const got = parseChallenges(header).map(({ scheme, parameters }) => [scheme, parameters]);
    expect(got).toEqual(want.map(([scheme, parameters]) => [scheme, new Map(Object.entries(parameters))]));
  });

  test("a very long one is cut, and gives at most 16", () => {
    expect(parseChallenges("Basic,".repeat(100_000))).toHaveLength(16);
    expect(parseChallenges(`Bearer realm="${"\\\\".repeat(1_000_000)}`)).toHaveLength(1);
  });
});
