import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FrameFilter } from "../../src/network/frame-filter.ts";

const IPV4 = 0x0800;
const ARP = 0x0806;

/** The last bytes are numbered, so that a byte out of place shows. */
function frame(type: number, { from = "10.0.2.15", to = "192.0.2.1", sizeBytes = 60 } = {}): Buffer {
  const bytes = Buffer.from(Array.from({ length: sizeBytes }, (_, i) => i & 0xff));
  if (sizeBytes >= 14) bytes.writeUInt16BE(type, 12);
  for (const [at, address] of [
    [26, from],
    [30, to],
  ] as const)
    if (sizeBytes >= at + 4) bytes.set(address.split(".").map(Number), at);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(sizeBytes);
  return Buffer.concat([length, bytes]);
}

/** To a link-local address: `first` is the byte with version and length, `fragment` the field with the offset. */
function linkLocal({ port = 53, protocol = 17, first = 0x45, fragment = 0, sizeBytes = 60 } = {}): Buffer {
  const bytes = frame(IPV4, { to: "169.254.169.254", sizeBytes });
  const ip = 4 + 14;
  bytes.writeUInt8(first, ip);
  bytes.writeUInt16BE(fragment, ip + 6);
  bytes.writeUInt8(protocol, ip + 9);
  if (sizeBytes >= 38) bytes.writeUInt16BE(port, ip + 22);
  return bytes;
}

async function filter(chunks: readonly Buffer[]): Promise<Buffer> {
  const filtering = new FrameFilter();
  const out: Buffer[] = [];
  filtering.on("data", (chunk: Buffer) => out.push(chunk));
  const ended = new Promise<void>((resolve, reject) => {
    filtering.once("end", resolve);
    filtering.once("error", reject);
  });
  for (const chunk of chunks) filtering.write(chunk);
  filtering.end();
  await ended;
  return Buffer.concat(out);
}

const cases: readonly (readonly [name: string, passes: boolean, frame: Buffer])[] = [
  ["ARP", true, frame(ARP)],
  ["ARP of the least size", true, frame(ARP, { sizeBytes: 42 })],
  ["IPv4 to the outside", true, frame(IPV4)],
  ["IPv4 of headers only", true, frame(IPV4, { sizeBytes: 34 })],
  ["IPv4 as large as it gets", true, frame(IPV4, { sizeBytes: 65_534 })],
  ["IPv4 to the gateway, which passt does not map", true, frame(IPV4, { to: "10.0.2.2" })],
  ["IPv4 to the first address behind 127/8", true, frame(IPV4, { to: "128.0.0.0" })],
  ["IPv4 to 127.0.0.1", false, frame(IPV4, { to: "127.0.0.1" })],
  ["IPv4 to the end of 127/8", false, frame(IPV4, { to: "127.255.255.255" })],
  ["IPv4 to 0.0.0.0", false, frame(IPV4, { to: "0.0.0.0" })],
  ["IPv4 to the rest of 0/8", false, frame(IPV4, { to: "0.1.2.3" })],
  ["IPv4 from 127.0.0.1", false, frame(IPV4, { from: "127.0.0.1" })],
  ["IPv4 from 0.0.0.0", false, frame(IPV4, { from: "0.0.0.0" })],
  ["a large IPv4 frame to 127.0.0.1", false, frame(IPV4, { to: "127.0.0.1", sizeBytes: 65_534 })],
  ["IPv4 cut before its last address is whole", false, frame(IPV4, { sizeBytes: 33 })],
  ["UDP to a link-local name server", true, linkLocal()],
  ["TCP to a link-local name server", true, linkLocal({ protocol: 6 })],
  ["the first fragment of a long question", true, linkLocal({ fragment: 0x2000 })],
  ["TCP to a link-local web server", false, linkLocal({ protocol: 6, port: 80 })],
  ["a later fragment to a link-local address", false, linkLocal({ fragment: 1 })],
  ["ICMP to a link-local address", false, linkLocal({ protocol: 1 })],
  ["options in front of the port of a name server", false, linkLocal({ first: 0x46 })],
  ["too little to have ports, to a link-local address", false, linkLocal({ sizeBytes: 37 })],
  ["IPv4 to the first address behind 169.254/16", true, frame(IPV4, { to: "169.255.0.0" })],
  ["IPv4 to the last address before 169.254/16", true, frame(IPV4, { to: "169.253.255.255" })],
  ["IPv6", false, frame(0x86dd)],
  ["IPv4 behind a VLAN tag", false, frame(0x8100)],
  ["less than an Ethernet header", false, frame(IPV4, { sizeBytes: 13 })],
  ["nothing", false, frame(IPV4, { sizeBytes: 0 })],
];

describe("FrameFilter", () => {
  it.each(cases)("%s: %s", async (_name, passes, bytes) => {
    const [before, behind] = [frame(ARP), frame(IPV4, { to: "192.0.2.9" })];
    const expected = Buffer.concat(passes ? [before, bytes, behind] : [before, behind]);
    expect((await filter([Buffer.concat([before, bytes, behind])])).equals(expected)).toBe(true);
  });

  it("says the same however the stream is cut", async () => {
    const small = cases.filter(([, , bytes]) => bytes.length < 1_000);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...small), { maxLength: 12 }),
        fc.array(fc.nat(800), { maxLength: 30 }),
        async (frames, cuts) => {
          const whole = Buffer.concat(frames.map(([, , bytes]) => bytes));
          const expected = Buffer.concat(frames.filter(([, passes]) => passes).map(([, , bytes]) => bytes));
          const places = [...new Set([0, ...cuts, whole.length])].toSorted((a, b) => a - b);
          const chunks = places.map((place, i) => whole.subarray(place, places[i + 1]));
          expect((await filter(chunks)).equals(expected)).toBe(true);
        },
      ),
      { seed: 20_261, numRuns: 300 },
    );
  });

  it("says the same byte by byte", async () => {
    const whole = Buffer.concat(cases.slice(5, 17).map(([, , bytes]) => bytes));
    expect((await filter([...whole].map((byte) => Buffer.of(byte)))).equals(await filter([whole]))).toBe(
      true,
    );
  });

  it.each([
    ["a frame larger than any", 65_554],
    ["a frame of 4 GiB", 0xffff_ffff],
  ])("refuses %s before its bytes come", async (_name, sizeBytes) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(sizeBytes);
    await expect(filter([length])).rejects.toMatchObject({ code: "network-failed" });
  });

  it("never lets a frame through that names the loopback, whatever comes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 90 }), { maxLength: 20 }), async (bodies) => {
        const frames = bodies.map((body) => {
          const bytes = frame(IPV4, { sizeBytes: body.length });
          bytes.set(body, 4);
          if (body.length >= 14) bytes.writeUInt16BE(IPV4, 4 + 12);
          return bytes;
        });
        const out = await filter([Buffer.concat(frames)]);
        for (let at = 0; at < out.length; at += 4 + out.readUInt32BE(at))
          for (const place of [26, 30]) expect([0, 127]).not.toContain(out[at + 4 + place]);
      }),
      { seed: 20_262, numRuns: 300 },
    );
  });
});
