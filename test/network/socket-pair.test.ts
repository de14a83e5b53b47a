import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { makeSocketPair } from "../../src/network/socket-pair.ts";

describe("makeSocketPair", () => {
  it("connects two sockets, in both directions", async () => {
    const { ours, theirs } = await makeSocketPair();
    expect(theirs.isPaused()).toBe(true);
    theirs.write("to us");
    expect(String((await once(ours, "data"))[0])).toBe("to us");
    ours.write("to them");
    const arrived = once(theirs, "data");
    theirs.resume();
    expect(String((await arrived)[0])).toBe("to them");
    const ended = once(ours, "close");
    theirs.destroy();
    ours.resume();
    await ended;
  });

  it("takes nobody else's connection", async () => {
    const making = makeSocketPair();
    // Whoever looks at /proc sees the name, and connects before our own connection has been accepted.
    const path = /@(flamebox-[0-9a-f]{32})/.exec(readFileSync("/proc/net/unix", "latin1"))?.[1];
    expect(path).toBeDefined();
    const stranger = connect(`\0${path}`);
    stranger.on("error", () => {});
    stranger.write("x".repeat(32));
    const { ours, theirs } = await making;
    theirs.write("the right one");
    expect(String((await once(ours, "data"))[0])).toBe("the right one");
    ours.destroy();
    theirs.destroy();
    stranger.destroy();
  });

  it("keeps many apart, and leaves no name", async () => {
    const pairs = await Promise.all(Array.from({ length: 20 }, async () => await makeSocketPair()));
    for (const [i, { theirs }] of pairs.entries()) theirs.write(`${i}`);
    const got = await Promise.all(pairs.map(async ({ ours }) => String((await once(ours, "data"))[0])));
    expect(got).toEqual(pairs.map((_, i) => `${i}`));
    for (const { ours, theirs } of pairs) for (const socket of [ours, theirs]) socket.destroy();
  });
});
