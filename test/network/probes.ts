/**
 * What a guest with a packet socket may try, and what comes of it: `refused` is answered at once and told, `dropped`
 * is neither. The guest is 10.0.2.15 and fd66:6c61:6d65::15.
 */
import { arp, echo, other, solicitation, tcp, udp } from "./frames.ts";

export type Outcome = "refused" | "dropped" | "passes";

function edited(frame: Buffer, edit: (frame: Buffer) => void): Buffer {
  const copy = Buffer.from(frame);
  edit(copy);
  return copy;
}

/** Bytes from the beginning of the IP header, behind length and Ethernet header. */
const IP = 18;

export interface ProbedHost {
  readonly ipv4: string;
  readonly ipv6: string;
  /** Where it listens, for TCP and UDP. */
  readonly port: number;
}

const placesOf = ({ ipv4, ipv6 }: ProbedHost): readonly (readonly [string, string])[] => [
  ["the host's loopback", "127.0.0.1"],
  ["the end of the loopback's network", "127.255.255.254"],
  ["0.0.0.0, which Linux takes for the loopback", "0.0.0.0"],
  ["the rest of 0/8", "0.1.2.3"],
  ["an address of the host", ipv4],
  ["the gateway", "10.0.2.2"],
  ["link-local", "169.254.0.1"],
  ["the clouds' metadata", "169.254.169.254"],
  ["the clouds' tasks", "169.254.170.2"],
  ["Alibaba's metadata", "100.100.100.200"],
  ["Azure's wire server", "168.63.129.16"],
  ["Oracle's metadata", "192.0.0.192"],
  ["class E", "240.0.0.1"],
  ["the host's IPv6 loopback", "::1"],
  ["nobody's IPv6 address", "::"],
  ["an IPv6 address of the host", ipv6],
  ["the IPv6 gateway", "fd66:6c61:6d65::2"],
  ["IPv6 link-local", "fe80::1"],
  ["the end of IPv6 link-local", "febf:ffff::1"],
  ["IPv6 site-local", "fec0::1"],
  ["Amazon's metadata", "fd00:ec2::254"],
  ["Google's metadata", "fd20:ce::254"],
  ["the loopback, mapped", "::ffff:127.0.0.1"],
  ["the loopback, compatible", "::127.0.0.1"],
  ["the loopback, translated", "::ffff:0:127.0.0.1"],
  ["the loopback by NAT64", "64:ff9b::127.0.0.1"],
  ["the loopback by a local NAT64", "64:ff9b:1::127.0.0.1"],
  ["the loopback by 6to4", "2002:7f00:1::1"],
  ["the loopback by Teredo", "2001:0:102:304::80ff:fffe"],
  ["the loopback by ISATAP", "2001:db8::5efe:7f00:1"],
  ["0.0.0.0, mapped", "::ffff:0.0.0.0"],
  ["the host, mapped", `::ffff:${ipv4}`],
  ["the host by NAT64", `64:ff9b::${ipv4}`],
  ["metadata, mapped", "::ffff:169.254.169.254"],
  ["metadata, compatible", "::169.254.169.254"],
  ["metadata by NAT64", "64:ff9b::a9fe:a9fe"],
  ["metadata by 6to4", "2002:a9fe:a9fe::"],
  ["metadata by ISATAP", "fd12:3456::200:5efe:a9fe:a9fe"],
  ["multicast, mapped", "::ffff:224.0.0.1"],
];

const many: readonly (readonly [string, string])[] = [
  ["every system on the link", "224.0.0.1"],
  ["multicast DNS", "224.0.0.251"],
  ["SSDP", "239.255.255.250"],
  ["broadcast", "255.255.255.255"],
  ["broadcast on the guest's network", "10.0.2.255"],
  ["every IPv6 node", "ff02::1"],
  ["every router of the site", "ff05::2"],
];

const outside: readonly (readonly [string, string])[] = [
  ["an address outside", "198.51.100.7"],
  ["the first address behind 127/8", "128.0.0.0"],
  ["an address of a private network", "10.9.8.7"],
  ["an IPv6 address outside", "2001:db8::1"],
  ["an address outside, by NAT64", "64:ff9b::198.51.100.7"],
];

export type Probe = readonly [name: string, outcome: Outcome, frame: Buffer];

export function probesFor(host: ProbedHost): readonly Probe[] {
  const { ipv4, ipv6, port } = host;
  const places = placesOf(host);
  return [
    ...places.flatMap(([name, to]) => [
      [`TCP to ${name}`, "refused", tcp({ to, port })] as const,
      [`UDP to ${name}`, "refused", udp({ to, port })] as const,
    ]),
    ...places
      .filter(([name]) => !name.startsWith("the gateway") && !name.startsWith("the IPv6 gateway"))
      .map(([name, to]) => [`echo to ${name}`, "refused", echo({ to })] as const),
    ...many.map(([name, to]) => [`UDP to ${name}`, "dropped", udp({ to, port: 5_353 })] as const),
    ...outside.flatMap(([name, to]) => [
      [`TCP to ${name}`, "passes", tcp({ to })] as const,
      [`UDP to ${name}`, "passes", udp({ to })] as const,
      [`echo to ${name}`, "passes", echo({ to })] as const,
    ]),
    ["DNS to the container's resolver, on the host's own address", "passes", udp({ to: ipv4, port: 53 })],
    ["DNS over TCP to it", "passes", tcp({ to: ipv4, port: 53 })],
    ["DNS to another address of the host", "refused", udp({ to: ipv6, port: 53 })],
    ["the answer to a connection that nobody made", "refused", tcp({ to: ipv4 }, { flags: 18 })],
    ["the middle of a connection to the loopback", "refused", tcp({ to: "127.0.0.1" }, { flags: 16 })],
    ["from the loopback", "dropped", udp({ from: "127.0.0.1", to: "198.51.100.7" })],
    ["from nobody", "dropped", udp({ from: "0.0.0.0", to: "198.51.100.7" })],
    ["from the gateway", "dropped", udp({ from: "10.0.2.2", to: "198.51.100.7" })],
    ["from the host", "dropped", udp({ from: ipv4, to: "198.51.100.7" })],
    ["from a neighbour", "dropped", tcp({ from: "10.0.2.16", to: "198.51.100.7" })],
    ["from another IPv6 address", "dropped", tcp({ from: "fd66:6c61:6d65::16", to: "2001:db8::1" })],
    ["GRE", "refused", other({ to: "198.51.100.7" }, 47)],
    ["IPv6 in IPv4", "refused", other({ to: "198.51.100.7" }, 41)],
    ["SCTP", "refused", other({ to: "2001:db8::1" }, 132)],
    ["an ICMP redirect", "dropped", echo({ to: "198.51.100.7" }, 5)],
    ["a router's advertisement", "dropped", echo({ to: "ff02::1" }, 134)],
    ["a router's solicitation", "dropped", echo({ to: "ff02::2" }, 133)],
    ["ICMPv6 in IPv4", "dropped", other({ to: "198.51.100.7" }, 58)],
    ["ICMP in IPv6", "dropped", other({ to: "2001:db8::1" }, 1)],
    ["ARP in the name of another", "dropped", arp("10.0.2.2", { sender: "10.0.2.2" })],
    ["ARP for a neighbour", "dropped", arp("10.0.2.77")],
    ["neighbour discovery for another", "dropped", solicitation("fd66:6c61:6d65::77")],
    [
      "a fragment, the first",
      "dropped",
      edited(udp({ to: "198.51.100.7" }), (frame) => frame.writeUInt16BE(0x2000, IP + 6)),
    ],
    [
      "a fragment, the last",
      "dropped",
      edited(udp({ to: "198.51.100.7" }), (frame) => frame.writeUInt16BE(0x0001, IP + 6)),
    ],
    [
      "an IPv6 fragment",
      "refused",
      edited(tcp({ to: "2001:db8::1" }), (frame) => frame.writeUInt8(44, IP + 6)),
    ],
    [
      "a routing header",
      "refused",
      edited(tcp({ to: "2001:db8::1" }), (frame) => frame.writeUInt8(43, IP + 6)),
    ],
    [
      "IPv4 as IPv6",
      "dropped",
      edited(udp({ to: "198.51.100.7" }), (frame) => frame.writeUInt16BE(0x86dd, 16)),
    ],
    [
      "IPv6 as IPv4",
      "dropped",
      edited(tcp({ to: "2001:db8::1" }), (frame) => frame.writeUInt16BE(0x0800, 16)),
    ],
    [
      "behind a VLAN tag",
      "dropped",
      edited(udp({ to: "198.51.100.7" }), (frame) => frame.writeUInt16BE(0x8100, 16)),
    ],
    [
      "an IPv4 header that is too short",
      "dropped",
      edited(udp({ to: "198.51.100.7" }), (frame) => frame.writeUInt8(0x44, IP)),
    ],
    [
      "an IPv4 header longer than the packet",
      "dropped",
      edited(udp({ to: "198.51.100.7" }), (frame) => frame.writeUInt8(0x4f, IP)),
    ],
    [
      "a packet longer than its frame",
      "dropped",
      edited(udp({ to: "198.51.100.7" }), (frame) => frame.writeUInt16BE(999, IP + 2)),
    ],
    [
      "a packet shorter than its header",
      "dropped",
      edited(udp({ to: "198.51.100.7" }), (frame) => frame.writeUInt16BE(19, IP + 2)),
    ],
    [
      "a UDP header cut short",
      "dropped",
      edited(udp({ to: "198.51.100.7" }), (frame) => frame.writeUInt16BE(27, IP + 2)),
    ],
    [
      "a UDP datagram of no length",
      "dropped",
      edited(udp({ to: "198.51.100.7" }), (frame) => frame.writeUInt16BE(7, IP + 24)),
    ],
    [
      "a TCP header that is too short",
      "dropped",
      edited(tcp({ to: "198.51.100.7" }), (frame) => frame.writeUInt8(0x40, IP + 32)),
    ],
    [
      "a TCP header longer than the packet",
      "dropped",
      edited(tcp({ to: "198.51.100.7" }), (frame) => frame.writeUInt8(0xf0, IP + 32)),
    ],
    [
      "a long IPv6 packet",
      "dropped",
      edited(tcp({ to: "2001:db8::1" }), (frame) => frame.writeUInt16BE(4_000, IP + 4)),
    ],
  ];
}

export const probes = probesFor({ ipv4: "192.0.2.2", ipv6: "fd00::2", port: 4_500 });
