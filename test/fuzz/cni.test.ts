/** Files of CNI networks, results of their plugins and records of what was made, of any content: read, or refused. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseAttachment } from "../../src/network/cni/attachment.ts";
import { parseConfig } from "../../src/network/cni/config.ts";
import { errorIn } from "../../src/network/cni/plugin.ts";
import { parseResult } from "../../src/network/cni/result.ts";
import { NetworkError } from "../../src/network/network.ts";

const sandbox = "/run/netns/x";
const conflist = JSON.stringify({
  cniVersion: "1.0.0",
  name: "shop",
  plugins: [{ type: "bridge", capabilities: { ips: true }, ipam: { type: "host-local" } }],
});
const result = JSON.stringify({
  cniVersion: "1.0.0",
  interfaces: [{ name: "br0" }, { name: "eth0", sandbox }],
  ips: [{ address: "10.1.0.5/24", gateway: "10.1.0.1", interface: 1 }],
  routes: [{ dst: "0.0.0.0/0" }],
  dns: { nameservers: ["10.1.0.1"], search: ["a.test"] },
});

describe("anything at all", () => {
  const SEED = { seed: 20_267, numRuns: 1_000 };
  const bit = fc.oneof(
    fc.constantFrom(
      "shop",
      "bridge",
      "../sh",
      "1.0.0",
      "eth0",
      sandbox,
      "10.1.0.5/24",
      "10.1.0.1",
      "0.0.0.0/0",
      "::1",
    ),
    fc.string({ maxLength: 8 }),
    fc.integer(),
    fc.constantFrom(true, null),
  );
  const members =
    "name cniVersion plugins type capabilities ipam interfaces ips routes dns address gateway interface dst gw sandbox " +
    "nameservers search msg __proto__ network pluginDirs containerId args runtimeConfig result";
  const key = fc.constantFrom(...members.split(" "));
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      bit,
      fc.array(tie("tree"), { maxLength: 4 }),
      fc.dictionary(key, tie("tree"), { maxKeys: 8 }),
    ),
  }));
  /** A good document with some of its members replaced. */
  const spoilt = (good: object) =>
    fc
      .dictionary(fc.constantFrom(...Object.keys(good)), tree, { maxKeys: 2 })
      .map((more) => ({ ...good, ...more }));
  const text = (good: string) =>
    fc.oneof(
      fc.string(),
      tree.map((value) => JSON.stringify(value)),
      spoilt(JSON.parse(good) as object).map((value) => JSON.stringify(value)),
    );
  const orRefused = <T>(job: () => T): T | undefined => {
    try {
      return job();
    } catch (error) {
      if (!(error instanceof NetworkError)) throw error;
      expect(error.message).not.toMatch(/[\p{C}]/u);
      return undefined;
    }
  };

  it("is a network whose programs are names of files, or is refused", () => {
    fc.assert(
      fc.property(text(conflist), (input) => {
        for (const { type } of orRefused(() => parseConfig(input, "f"))?.plugins ?? [])
          expect(type).toMatch(/^[\w][\w.-]*$/);
      }),
      SEED,
    );
  });

  it("is a result whose words are safe in a file, or is refused", () => {
    fc.assert(
      fc.property(text(result), (input) => {
        const parsed = orRefused(() => parseResult(input, "eth0"));
        expect(parsed?.addresses.length ?? 1).toBeGreaterThan(0);
        expect(parsed?.gateways.length ?? 0).toBeLessThan(3);
        const { servers = [], search = [], options = [] } = parsed?.dns ?? {};
        for (const word of [...servers, ...search, ...options]) expect(word).toMatch(/^[\w.:-]+$/);
      }),
      SEED,
    );
  });

  it("is a record of one's own or none, and an error that can be printed or none", () => {
    const record = { network: JSON.parse(conflist) as object, pluginDirs: [], containerId: "x", args: "" };
    fc.assert(
      fc.property(text(JSON.stringify({ ...record, runtimeConfig: {} })), (input) => {
        expect(parseAttachment(input)?.chain.network.name ?? "shop").toBeTypeOf("string");
        expect(errorIn(input) ?? "").toBeTypeOf("string");
      }),
      SEED,
    );
  });
});
