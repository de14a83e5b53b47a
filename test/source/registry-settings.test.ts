/** Settings for registries, proxies, and certificates by directory. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { format, parse } from "../../src/reference/reference.ts";
import { findCertificates } from "../../src/source/registry/certificates.ts";
import { proxyFor } from "../../src/source/registry/proxy.ts";
import {
  endpointsOf,
  loadRegistrySettings,
  parseRegistrySettings,
} from "../../src/source/registry/settings.ts";
import { FlameBoxError } from "../../src/util/error.ts";

const settings = (...registries: object[]) => parseRegistrySettings(JSON.stringify({ registries }));

describe("endpoints", () => {
  const asked = (reference: string, ...registries: object[]) =>
    endpointsOf(parse(reference), settings(...registries)).map(
      (one) => `${format(one.reference)}${one.isMirror ? " mirror" : ""}${one.insecure ? " insecure" : ""}`,
    );
  const hub = {
    prefix: "docker.io",
    mirrors: [{ location: "m1:5000/hub" }, { location: "m2.example", insecure: true }],
  };

  it.each<readonly [string, string[], string[]]>([
    ["no settings", asked("alpine"), ["docker.io/library/alpine:latest"]],
    [
      "mirrors first",
      asked("alpine:3", hub),
      [
        "m1:5000/hub/library/alpine:3 mirror",
        "m2.example/library/alpine:3 mirror insecure",
        "docker.io/library/alpine:3",
      ],
    ],
    ["another registry", asked("ghcr.io/a/b", hub), ["ghcr.io/a/b:latest"]],
    [
      "a registry that only begins alike",
      asked("docker.io.example/a/b", hub),
      ["docker.io.example/a/b:latest"],
    ],
    [
      "a location",
      asked("r.example/old/a:1", { prefix: "r.example/old", location: "r.example/new/x" }),
      ["r.example/new/x/a:1"],
    ],
    [
      "a repository of its own",
      asked("r.example/old", { prefix: "r.example/old", location: "o.example/new" }),
      ["o.example/new:latest"],
    ],
    [
      "a prefix that is no whole component",
      asked("r.example/older", { prefix: "r.example/old", location: "o.example/new" }),
      ["r.example/older:latest"],
    ],
    [
      "the longest prefix",
      asked("r.example/a/b", { prefix: "r.example", insecure: true }, { prefix: "r.example/a" }),
      ["r.example/a/b:latest"],
    ],
    [
      "a domain",
      asked("x.y.example:5000/a", { prefix: "*.example", insecure: true }),
      ["x.y.example:5000/a:latest insecure"],
    ],
    [
      "a domain is not itself",
      asked("example:5000/a", { prefix: "*.example", insecure: true }),
      ["example:5000/a:latest"],
    ],
    [
      "mirrors for digests only",
      asked("r.example/a:1", { prefix: "r.example", mirrors: [{ location: "m.example", digestOnly: true }] }),
      ["r.example/a:1"],
    ],
  ])("%s", (_, got, want) => expect(got).toEqual(want));

  it("a digest goes to a mirror that is for digests only", () => {
    const digest = `sha256:${"a".repeat(64)}`;
    const got = asked(`r.example/a@${digest}`, {
      prefix: "r.example",
      mirrors: [{ location: "m.example", digestOnly: true }],
    });
    expect(got).toEqual([`m.example/a@${digest} mirror`, `r.example/a@${digest}`]);
  });

  it("blocked is blocked", () => {
    const blocked = settings({ prefix: "bad.example", blocked: true });
    expect(() => endpointsOf(parse("bad.example/a"), blocked)).toThrow(
      expect.objectContaining({ code: "registry-blocked" }),
    );
  });
});

describe("malformed settings", () => {
  it.each([
    ["nothing", ""],
    ["no JSON", "{registries: []}"],
    ["a list", "[]"],
    ["an unknown key", '{"registry":[]}'],
    ["registries is no list", '{"registries":{}}'],
    ["no prefix", '{"registries":[{}]}'],
    ["an empty prefix", '{"registries":[{"prefix":""}]}'],
    ["a prefix with a scheme", '{"registries":[{"prefix":"https://a"}]}'],
    ["a star in the middle", '{"registries":[{"prefix":"a.*.b"}]}'],
    ["an upper-case prefix", '{"registries":[{"prefix":"Docker.io"}]}'],
    ["an unknown key in an entry", '{"registries":[{"prefix":"a.b","block":true}]}'],
    ["blocked is a word", '{"registries":[{"prefix":"a.b","blocked":"yes"}]}'],
    ["a mirror that is a string", '{"registries":[{"prefix":"a.b","mirrors":["c.d"]}]}'],
    ["a mirror with a scheme", '{"registries":[{"prefix":"a.b","mirrors":[{"location":"http://c.d"}]}]}'],
    ["a relative path", '{"registries":[{"prefix":"a.b","ca":"ca.pem"}]}'],
    ["a key without a certificate", '{"registries":[{"prefix":"a.b","key":"/k"}]}'],
    ["2000 entries", JSON.stringify({ registries: Array.from({ length: 2000 }, () => ({ prefix: "a.b" })) })],
  ])("%s", (_, text) => {
    expect(() => parseRegistrySettings(text)).toThrow(expect.objectContaining({ code: "invalid-settings" }));
  });

  it("anything is settings or refused (seeded)", () => {
    const entryOf = fc.record(
      {
        prefix: fc.oneof(fc.string(), fc.domain()),
        mirrors: fc.anything(),
        location: fc.oneof(fc.string(), fc.domain()),
        blocked: fc.anything(),
      },
      { requiredKeys: [] },
    );
    const text = fc.oneof(
      fc.json(),
      fc.string(),
      fc.array(entryOf).map((registries) => JSON.stringify({ registries })),
    );
    const property = fc.property(text, (one) => {
      let failure: unknown;
      try {
        endpointsOf(parse("docker.io/library/alpine"), parseRegistrySettings(one));
      } catch (error) {
        failure = error;
      }
      expect(failure === undefined || failure instanceof FlameBoxError, String(failure)).toBe(true);
    });
    fc.assert(property, { seed: 20_260_705, numRuns: 2000 });
  });
});

describe("proxies", () => {
  const proxies = { http: "http://p:1", https: "http://u:secret@p:2" };
  it.each<readonly [string, string, string | undefined]>([
    ["https://ghcr.io/v2/", "", "http://u:secret@p:2/"],
    ["http://ghcr.io/v2/", "", "http://p:1/"],
    ["http://localhost:5000/", "", undefined],
    ["http://127.0.0.1:5000/", "", undefined],
    ["http://[::1]:5000/", "", undefined],
    ["https://ghcr.io/", "*", undefined],
    ["https://ghcr.io/", "ghcr.io", undefined],
    ["https://ghcr.io/", "example.com, ghcr.io", undefined],
    ["https://a.ghcr.io/", "ghcr.io", undefined],
    ["https://a.ghcr.io/", ".ghcr.io", undefined],
    ["https://ghcr.io/", ".ghcr.io", "http://u:secret@p:2/"],
    ["https://xghcr.io/", "ghcr.io", "http://u:secret@p:2/"],
    ["https://ghcr.io/", "GHCR.IO", undefined],
    ["https://ghcr.io:5000/", "ghcr.io:5000", undefined],
    ["https://ghcr.io/", "ghcr.io:443", undefined],
    ["https://ghcr.io/", "ghcr.io:5000", "http://u:secret@p:2/"],
    ["http://10.1.2.3/", "10.0.0.0/8", undefined],
    ["http://11.1.2.3/", "10.0.0.0/8", "http://p:1/"],
    ["http://10.1.2.3/", "10.1.2.3", undefined],
    ["http://[fd00::1]/", "fd00::/8", undefined],
    ["http://[fd00::1]/", "fd00::1", undefined],
    ["http://10.1.2.3/", "10.0.0.0/99,nonsense/8,/", "http://p:1/"],
  ])("%s except %s", (url, except, want) => {
    expect(proxyFor(new URL(url), { ...proxies, except })?.href).toBe(want);
  });

  it.each(["socks5://p:1", "socks5h://u:secret@p"])("takes %s", (https) => {
    expect(proxyFor(new URL("https://a.b/"), { https })?.href).toBe(https);
  });

  it("without a scheme it is http", () => {
    expect(proxyFor(new URL("https://a.b/"), { https: "p:3128" })?.href).toBe("http://p:3128/");
    expect(proxyFor(new URL("https://a.b/"), { https: "" })).toBeUndefined();
  });

  it.each(["socks4://p:1", "socks5://", "socks5h://u%ff:secret@p", "http://", "ftp://u:secret@p"])(
    "refuses %s, and shows no password",
    (https) => {
      expect(() => proxyFor(new URL("https://a.b/"), { https })).toThrow(
        expect.objectContaining({ code: "invalid-proxy", message: expect.not.stringContaining("secret") }),
      );
    },
  );
});

describe("certificates and settings on disk", () => {
  let dir = "";
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "flamebox-certs-"));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));
  const pem = (what: string) => `-----BEGIN CERTIFICATE-----\n${what}\n-----END CERTIFICATE-----\n`;
  const put = async (name: string, text: string) => {
    const path = join(dir, name);
    await mkdir(join(path, ".."), { recursive: true });
    await writeFile(path, text);
    return path;
  };

  it("takes authorities from all directories, and the first client certificate", async () => {
    await put("one/r.example:5000/a.crt", pem("A"));
    await put("two/r.example:5000/b.crt", pem("B"));
    await put("two/r.example:5000/client.cert", pem("C"));
    await put("two/r.example:5000/client.key", pem("K"));
    await put("two/r.example:5000/README", "no certificate");
    const dirs = ["none", "one", "two"].map((name) => join(dir, name));
    expect(await findCertificates(dirs, "r.example:5000")).toEqual({
      ca: `${pem("A")}\n${pem("B")}`,
      clientCertificate: { cert: pem("C"), key: pem("K") },
    });
    expect(await findCertificates(dirs, "r.example")).toEqual({ clientCertificate: undefined });
  });

  it.each<readonly [string, Record<string, string>]>([
    ["a certificate without its key", { "client.cert": pem("C") }],
    ["an authority that is no PEM", { "ca.crt": "\u0030\u0082" }],
    ["an empty authority", { "ca.crt": "" }],
    ["one of 2 MB", { "ca.crt": pem("x".repeat(2_000_000)) }],
  ])("refuses %s", async (name, files) => {
    const host = `h${name.length}.example`;
    for (const [file, text] of Object.entries(files)) await put(`bad/${host}/${file}`, text);
    await expect(findCertificates([join(dir, "bad")], host)).rejects.toMatchObject({
      code: "invalid-settings",
    });
  });

  it("settings of several files count in their order; what is not there has none", async () => {
    const first = await put("first.json", '{"registries":[{"prefix":"a.b","insecure":true}]}');
    const second = await put("second.json", '{"registries":[{"prefix":"a.b"},{"prefix":"c.d"}]}');
    const loaded = await loadRegistrySettings([first, join(dir, "none.json"), second]);
    expect(loaded.map(({ prefix }) => prefix)).toEqual(["a.b", "a.b", "c.d"]);
    expect(endpointsOf(parse("a.b/x"), loaded)).toMatchObject([{ insecure: true }]);
    const bad = await put("bad.json", "[]");
    await expect(loadRegistrySettings([bad])).rejects.toMatchObject({
      code: "invalid-settings",
      message: expect.stringContaining("bad.json"),
    });
  });
});
