import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatResolvConf, parseResolvConf } from "../../src/network/resolvers.ts";

describe("resolv.conf", () => {
  it.each([
    ["the usual", "nameserver 192.0.2.1\nsearch a.example b.example\noptions ndots:1\n", ["192.0.2.1"]],
    ["comments", "# nameserver 192.0.2.9\nnameserver 192.0.2.1 # here\n;x\n", ["192.0.2.1"]],
    ["IPv6", "nameserver 2001:db8::1\n", ["2001:db8::1"]],
    ["no address", "nameserver example.org\nnameserver\n", []],
    ["indented", "  nameserver\t192.0.2.1\n", ["192.0.2.1"]],
  ])("reads %s", (_name, text, servers) => {
    expect(parseResolvConf(text).servers).toEqual(servers);
  });

  it("writes what it reads", () => {
    const text = "nameserver 192.0.2.1\nsearch a.example\noptions ndots:1\n";
    expect(formatResolvConf(parseResolvConf(text))).toBe(text);
  });

  it("never lets a line through that it did not understand", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const written = formatResolvConf(parseResolvConf(`search ${text}\n${text}`));
        for (const line of written.split("\n"))
          expect(line).toMatch(/^$|^(nameserver|search|options) [0-9A-Za-z.:_ -]+$/);
      }),
      { seed: 20_262, numRuns: 2_000 },
    );
  });
});
