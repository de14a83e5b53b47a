import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { applyChanges } from "../../src/oci/change.ts";
import { parseConfig } from "../../src/oci/config.ts";
import { FlameBoxError } from "../../src/util/error.ts";

const BASE = { Env: ["A=1", "B=2"], Cmd: ["old"], WorkingDir: "/srv", Labels: { a: "1" } };

describe("changes", () => {
  it.each<readonly [string, object]>([
    ['CMD ["/bin/sh", "-c"]', { Cmd: ["/bin/sh", "-c"] }],
    ["cmd echo $HOME 'x'", { Cmd: ["/bin/sh", "-c", "echo $HOME 'x'"] }],
    ['ENTRYPOINT ["/init"]', { Entrypoint: ["/init"], Cmd: undefined }],
    ["ENV A=3", { Env: ["A=3", "B=2"] }],
    [
      "ENV C=1 D='two words' E=\"x y\" F=a\\ b",
      { Env: ["A=1", "B=2", "C=1", "D=two words", "E=x y", "F=a b"] },
    ],
    ["ENV OLD some words = here", { Env: ["A=1", "B=2", "OLD=some words = here"] }],
    ["ENV EMPTY=", { Env: ["A=1", "B=2", "EMPTY="] }],
    ["LABEL a=2 b.c='x y'", { Labels: { a: "2", "b.c": "x y" } }],
    [
      "EXPOSE 80 443/TCP 53/udp 9000-9010",
      { ExposedPorts: { "80/tcp": {}, "443/tcp": {}, "53/udp": {}, "9000-9010/tcp": {} } },
    ],
    ["VOLUME /a /b", { Volumes: { "/a": {}, "/b": {} } }],
    ['VOLUME ["/a b"]', { Volumes: { "/a b": {} } }],
    ["USER 1000:1000", { User: "1000:1000" }],
    ["WORKDIR app", { WorkingDir: "/srv/app" }],
    ["WORKDIR /x/../y/", { WorkingDir: "/y" }],
    ["STOPSIGNAL SIGINT", { StopSignal: "SIGINT" }],
    ['SHELL ["/bin/bash", "-c"]', { Shell: ["/bin/bash", "-c"] }],
    ["HEALTHCHECK NONE", { Healthcheck: { Test: ["NONE"] } }],
    [
      "HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl -f x",
      {
        Healthcheck: {
          Test: ["CMD-SHELL", "curl -f x"],
          Interval: 90_000_000_000,
          Timeout: 500_000_000,
          Retries: 3,
        },
      },
    ],
    [
      'HEALTHCHECK --start-period=5s CMD ["a", "b"]',
      { Healthcheck: { Test: ["CMD", "a", "b"], StartPeriod: 5_000_000_000 } },
    ],
  ])("%s", (change, expected) => {
    expect(applyChanges(BASE, [change])).toEqual({ ...BASE, ...expected });
  });

  it("come in their order", () => {
    expect(applyChanges({}, ["WORKDIR /a", "WORKDIR b", "ENTRYPOINT x", 'CMD ["y"]'])).toEqual({
      WorkingDir: "/a/b",
      Entrypoint: ["/bin/sh", "-c", "x"],
      Cmd: ["y"],
    });
  });

  const REFUSED: readonly string[] = [
    "",
    "CMD",
    "CMD ",
    "RUN make",
    "FROM x",
    "ENV =x",
    "ENV A='x",
    "ENV A=1 B",
    "CMD [1]",
    'CMD ["a"',
    "SHELL sh",
    "EXPOSE 0",
    "EXPOSE 70000",
    "EXPOSE x",
    "EXPOSE 80/icmp",
    "STOPSIGNAL SIGNOT",
    "HEALTHCHECK curl",
    "HEALTHCHECK --interval=soon CMD x",
    "HEALTHCHECK --x=1 CMD x",
    "LABEL x",
    "CMD a\0b",
    "constructor x",
  ];
  it.each(REFUSED)("refuses %j", (change) => {
    expect(() => applyChanges({}, [change])).toThrow(expect.objectContaining({ code: "invalid-change" }));
  });

  it("anything makes a config that is accepted, or is refused (seeded)", () => {
    const keyword = fc.constantFrom(
      "CMD",
      "ENV",
      "LABEL",
      "EXPOSE",
      "VOLUME",
      "HEALTHCHECK",
      "WORKDIR",
      "USER",
      "X",
    );
    const change = fc.tuple(keyword, fc.string({ maxLength: 60 })).map((parts) => parts.join(" "));
    const property = fc.property(fc.array(change, { maxLength: 4 }), (changes) => {
      let failure: unknown;
      try {
        const config = applyChanges({}, changes);
        const rootfs = { type: "layers", diff_ids: [] };
        parseConfig(Buffer.from(JSON.stringify({ os: "linux", architecture: "amd64", config, rootfs })));
      } catch (error) {
        failure = error;
      }
      expect(failure === undefined || failure instanceof FlameBoxError, String(failure)).toBe(true);
    });
    fc.assert(property, { seed: 20_260_707, numRuns: 3000 });
  });
});
