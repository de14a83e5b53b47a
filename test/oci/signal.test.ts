import { constants } from "node:os";
import { describe, expect, it } from "vitest";
import { parseSignal } from "../../src/oci/signal.ts";

describe("signals", () => {
  it("have the numbers that this system has", () => {
    const known = Object.entries(constants.signals);
    expect(known.map(([name]) => [name, parseSignal(name)])).toEqual(known);
  });

  it.each([
    ["TERM", 15],
    ["term", 15],
    ["SigKill", 9],
    ["15", 15],
    ["1", 1],
    ["64", 64],
    ["SIGRTMIN", 34],
    ["RTMIN+3", 37],
    ["SIGRTMIN+30", 64],
    ["SIGRTMAX", 64],
    ["rtmax-14", 50],
    ["SIGPOLL", 29],
  ])("%s is %i", (text, number) => {
    expect(parseSignal(text)).toBe(number);
  });

  it.each([
    "",
    "0",
    "65",
    "-1",
    "1.5",
    "SIG",
    "SIGFOO",
    "SIGRTMIN+31",
    "SIGRTMAX-31",
    "RTMIN-1",
    "RTMAX+1",
    "constructor",
    "15 ",
  ])("there is none called '%s'", (text) => {
    expect(parseSignal(text)).toBeUndefined();
  });
});
