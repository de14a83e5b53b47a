/** Nobody is led nearer than where it came from: what is connected to is looked at, not what it is called. */
import { describe, expect, test } from "vitest";
import { reachOf } from "../../../src/source/registry/address.ts";
import type { Reach } from "../../../src/source/registry/address.ts";
import { credentials, guarded, image, layer, PLACES, pull, serveImage, startAt, world } from "./world.ts";
import type { Handler, LoopbackServer } from "../../support/loopback-server.ts";

const REACHES = ["public", "private", "link-local", "loopback"] as const;

/** What the registry does to have somebody else asked. */
const ways = {
  "a redirect of the manifest": (to) => (request, response) => {
    if (!request.url?.includes("/manifests/")) return serveImage(request, response);
    response.writeHead(307, { location: `${to}${request.url}` }).end();
    return undefined;
  },
  "a redirect of the layer": (to) => (request, response) => {
    if (!request.url?.includes(layer.digest)) return serveImage(request, response);
    response.writeHead(302, { location: `${to}${request.url}` }).end();
    return undefined;
  },
  "a token realm": (to) => guarded(() => `Bearer realm="${to}/token",service="s"`, ["Bearer t"]),
} as const satisfies Record<string, (to: string) => Handler>;

const rows = Object.keys(ways).flatMap((way) =>
  REACHES.flatMap((from) =>
    REACHES.map((to) => ({
      way: way as keyof typeof ways,
      from,
      to,
      isAllowed: REACHES.indexOf(to) <= REACHES.indexOf(from),
    })),
  ),
);

const tokens: Handler = (request, response) =>
  request.url?.startsWith("/token") ? void response.end('{"token":"t"}') : serveImage(request, response);

async function registryAt(
  reach: Reach,
  handler: Handler,
): Promise<LoopbackServer & { readonly name: string }> {
  const server = await startAt(reach, handler);
  return { ...server, name: `registry.${reach}.test:${server.port}` };
}

test("these are all of them", () => {
  expect(rows.length).toBeGreaterThanOrEqual(48);
});

describe("by name", () => {
  test.each(rows)("$way from $from to $to: allowed $isAllowed", async ({ way, from, to, isAllowed }) => {
    await using target = await startAt(to, tokens);
    await using registry = await registryAt(from, ways[way](`http://target.${to}.test:${target.port}`));
    const got = await pull(registry.name, { insecure: true, addressing: world(), credentials });
    expect(got).toMatchObject({ outcome: isAllowed ? "pulled" : "unsafe-address", leaked: false });
    expect(target.connections() > 0).toBe(isAllowed);
  });
});

describe("by address", () => {
  // To a registry at a literal address of loopback only the seam of this world says that it is public.
  test.each(REACHES.slice(1).map((to) => ({ to })))("from a public registry to $to", async ({ to }) => {
    await using target = await startAt(to, tokens);
    await using registry = await startAt("public", ways["a redirect of the layer"](target.origin));
    const got = await pull(registry.host, { addressing: world() });
    expect(got).toMatchObject({ outcome: "unsafe-address", leaked: false });
    expect(target.connections()).toBe(0);
  });
});

describe("names that change their meaning", () => {
  const closing: Handler = (request, response) => {
    response.setHeader("connection", "close");
    serveImage(request, response);
  };

  test.each(REACHES.slice(1).map((to) => ({ to })))(
    "the registry's own, from public to $to",
    async ({ to }) => {
      const port = { current: 0 };
      await using first = await startAt("public", closing);
      port.current = first.port;
      const names = { "moving.test": [[PLACES.public], [PLACES.public], [PLACES[to]]] };
      const got = await pull(`moving.test:${first.port}`, { insecure: true, addressing: world(names) });
      expect(got).toMatchObject({ outcome: "unsafe-address" });
      expect(got.message).toContain(PLACES[to]);
    },
  );

  test("one that means a public and a private place at once: only the public one is asked", async () => {
    await using target = await startAt("public", tokens);
    await using registry = await registryAt(
      "public",
      ways["a redirect of the layer"](`http://both.test:${target.port}`),
    );
    const addressing = world({ "both.test": [[PLACES.private, PLACES.public, PLACES.loopback]] });
    expect(await pull(registry.name, { insecure: true, addressing })).toMatchObject({ outcome: "pulled" });
  });

  test("one that is looked up is connected to as looked up: there is no second look", async () => {
    await using target = await startAt("public", tokens);
    await using registry = await registryAt(
      "public",
      ways["a redirect of the layer"](`http://twice.test:${target.port}`),
    );
    const addressing = world({ "twice.test": [[PLACES.public], [PLACES.loopback]] });
    expect(await pull(registry.name, { insecure: true, addressing })).toMatchObject({ outcome: "pulled" });
    expect(addressing.lookups.filter((name) => name === "twice.test")).toHaveLength(1);
  });

  test("one that the user calls so may be near: then it is a near registry", async () => {
    await using target = await startAt("private", tokens);
    await using registry = await startAt(
      "private",
      ways["a redirect of the layer"](`http://x.private.test:${target.port}`),
    );
    const addressing = world({ "inside.test": [[PLACES.private]] });
    expect(await pull(`inside.test:${registry.port}`, { insecure: true, addressing })).toMatchObject({
      outcome: "pulled",
    });
  });

  test.each(["localhost.", "a.localhost", "ip6-localhost"])("%s is where it leads to", async (name) => {
    await using target = await startAt("loopback", tokens);
    await using registry = await registryAt(
      "public",
      ways["a redirect of the layer"](`http://${name}:${target.port}`),
    );
    const addressing = world({ [name]: [[PLACES.loopback]] });
    expect(await pull(registry.name, { insecure: true, addressing })).toMatchObject({
      outcome: "unsafe-address",
    });
    expect(target.connections()).toBe(0);
  });

  test("a redirect back to the registry from elsewhere is no way around", async () => {
    await using target = await startAt("loopback", tokens);
    await using middle = await startAt("public", (_, response) => {
      response.writeHead(307, { location: `http://target.loopback.test:${target.port}/` }).end();
    });
    await using registry = await registryAt(
      "public",
      ways["a redirect of the layer"](`http://middle.public.test:${middle.port}`),
    );
    expect(await pull(registry.name, { insecure: true, addressing: world() })).toMatchObject({
      outcome: "unsafe-address",
    });
    expect(target.connections()).toBe(0);
    expect(image.layers).toHaveLength(1);
  });
});

const addresses: readonly (readonly [address: string, reach: Reach])[] = [
  ["8.8.8.8", "public"],
  ["203.0.113.7", "public"],
  ["172.15.255.255", "public"],
  ["172.32.0.1", "public"],
  ["100.63.255.255", "public"],
  ["2606:4700::1", "public"],
  ["10.0.0.1", "private"],
  ["10.255.255.255", "private"],
  ["172.16.0.1", "private"],
  ["172.31.255.255", "private"],
  ["192.168.0.1", "private"],
  ["100.64.0.1", "private"],
  ["198.18.0.1", "private"],
  ["224.0.0.1", "private"],
  ["255.255.255.255", "private"],
  ["fd00::1", "private"],
  ["fc00::1", "private"],
  ["ff02::1", "private"],
  ["169.254.169.254", "link-local"],
  ["fe80::1", "link-local"],
  ["fe80::1%eth0", "link-local"],
  ["0.0.0.0", "link-local"],
  ["::", "link-local"],
  ["127.0.0.1", "loopback"],
  ["127.255.255.254", "loopback"],
  ["::1", "loopback"],
  ["[::1]", "loopback"],
  ["::ffff:127.0.0.1", "loopback"],
  ["::ffff:7f00:1", "loopback"],
  ["::ffff:169.254.169.254", "link-local"],
  ["::ffff:10.0.0.1", "private"],
  ["::ffff:8.8.8.8", "public"],
  ["64:ff9b::7f00:1", "loopback"],
  ["64:ff9b::a9fe:a9fe", "link-local"],
  ["64:ff9b::808:808", "public"],
  ["2002:7f00:1::", "loopback"],
  ["2002:c0a8:1::1", "private"],
  ["2002:808:808::", "public"],
  ["registry.example", "loopback"],
  ["", "loopback"],
];

test.each(addresses)("%s is %s", (address, reach) => {
  expect(reachOf(address)).toBe(reach);
});
