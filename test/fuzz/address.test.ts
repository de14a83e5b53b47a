/** Addresses, fuzzed: every spelling of one is as near as every other. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { mayLeadTo, reachOf } from "../../src/source/registry/address.ts";

const seed = 20_261_129;
const octets = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255));
const hex = (value: number) => value.toString(16);

test("IPv4, and the same within IPv6", () => {
  const property = fc.property(octets, ([a, b, c, d]) => {
    const plain = [a, b, c, d].join(".");
    const [high, low] = [hex((a << 8) | b), hex((c << 8) | d)];
    const reach = reachOf(plain);
    const spellings = [`::ffff:${plain}`, `::ffff:${high}:${low}`, `0:0:0:0:0:ffff:${high}:${low}`];
    const translated = [`64:ff9b::${high}:${low}`, `2002:${high}:${low}::`, `2002:${high}:${low}::1`];
    for (const address of [...spellings, ...translated, `[::ffff:${plain}]`])
      expect([address, reachOf(address)]).toEqual([address, reach]);
    const first = { 10: "private", 127: "loopback", 0: "link-local" }[a];
    expect(first ?? reach).toBe(reach);
  });
  fc.assert(property, { seed, numRuns: 2000 });
});

test("anything else is as near as can be, and nothing far leads there", () => {
  const property = fc.property(fc.string(), (text) => {
    const reach = reachOf(text);
    expect(["public", "private", "link-local", "loopback"]).toContain(reach);
    expect(mayLeadTo("loopback", reach) && mayLeadTo(reach, "public")).toBe(true);
  });
  fc.assert(property, { seed, numRuns: 2000 });
  expect(mayLeadTo("public", reachOf("no address"))).toBe(false);
});
