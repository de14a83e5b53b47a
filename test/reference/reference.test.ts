import { describe, expect, test } from "vitest";
import { familiar, familiarName, format, isTag, parse } from "../../src/reference/reference.ts";

const sha256 = `sha256:${"0123456789abcdef".repeat(4)}`;
const sha512 = `sha512:${"0123456789abcdef".repeat(8)}`;

describe("valid", () => {
  interface Row {
    readonly text: string;
    readonly registry?: string;
    readonly repository: string;
    /** `latest` unless said otherwise; null for none. */
    readonly tag?: string | null;
    readonly digest?: string;
    /** The short form, where it is not `text`. */
    readonly short?: string;
  }
  const table: readonly Row[] = [
    { text: "alpine", repository: "library/alpine", short: "alpine:latest" },
    { text: "alpine:3.20", repository: "library/alpine", tag: "3.20" },
    { text: "library/alpine", repository: "library/alpine", short: "alpine:latest" },
    { text: "docker.io/alpine", repository: "library/alpine", short: "alpine:latest" },
    { text: "index.docker.io/alpine", repository: "library/alpine", short: "alpine:latest" },
    { text: "docker.io/library/alpine:1", repository: "library/alpine", tag: "1", short: "alpine:1" },
    { text: "Docker.IO/me/app:1", repository: "me/app", tag: "1", short: "me/app:1" },
    { text: "me/app:1", repository: "me/app", tag: "1" },
    { text: "library/a/b:1", repository: "library/a/b", tag: "1" },
    { text: "ghcr.io/me/app", registry: "ghcr.io", repository: "me/app", short: "ghcr.io/me/app:latest" },
    { text: "localhost/x:1", registry: "localhost", repository: "x", tag: "1" },
    { text: "localhost:5000/x:1", registry: "localhost:5000", repository: "x", tag: "1" },
    { text: "127.0.0.1:5000/a/b/c:v-1_2.3", registry: "127.0.0.1:5000", repository: "a/b/c", tag: "v-1_2.3" },
    { text: "[::1]:5000/x:1", registry: "[::1]:5000", repository: "x", tag: "1" },
    { text: "[2001:db8::1]/x:1", registry: "[2001:db8::1]", repository: "x", tag: "1" },
    { text: "host:80/x:1", registry: "host:80", repository: "x", tag: "1" },
    { text: "a-b.c-d.example/x:1", registry: "a-b.c-d.example", repository: "x", tag: "1" },
    { text: "xn--7o8h.example:5000/x:1", registry: "xn--7o8h.example:5000", repository: "x", tag: "1" },
    { text: "a_b/c__d/e.f/g---h:1", repository: "a_b/c__d/e.f/g---h", tag: "1" },
    { text: "0/0:0", repository: "0/0", tag: "0" },
    { text: "x:_", repository: "library/x", tag: "_" },
    { text: `x:${"t".repeat(128)}`, repository: "library/x", tag: "t".repeat(128) },
    { text: `x@${sha256}`, repository: "library/x", tag: null, digest: sha256 },
    { text: `x:1@${sha256}`, repository: "library/x", tag: "1", digest: sha256 },
    { text: `h:1/x@${sha512}`, registry: "h:1", repository: "x", tag: null, digest: sha512 },
    { text: `h.example/${"a".repeat(255)}:1`, registry: "h.example", repository: "a".repeat(255), tag: "1" },
    { text: "docker.io/a.b/c:1", repository: "a.b/c", tag: "1" },
    { text: "docker.io/localhost/c:1", repository: "localhost/c", tag: "1" },
    { text: "library/sha256:9", repository: "library/sha256", tag: "9" },
    {
      text: `docker.io/library/${"a".repeat(64)}:1`,
      repository: `library/${"a".repeat(64)}`,
      tag: "1",
      short: `library/${"a".repeat(64)}:1`,
    },
    { text: `${"a".repeat(63)}:1`, repository: `library/${"a".repeat(63)}`, tag: "1" },
  ];
  test.each(table)(
    "$text",
    ({ text, registry = "docker.io", repository, tag = "latest", digest, short = text }) => {
      const reference = parse(text);
      expect(reference).toEqual({
        registry,
        repository,
        ...(tag === null ? {} : { tag }),
        ...(digest === undefined ? {} : { digest }),
      });
      expect(familiar(reference)).toBe(short);
      expect(parse(format(reference))).toEqual(reference);
      expect(parse(familiar(reference))).toEqual(reference);
      expect(familiar(reference).startsWith(familiarName(reference))).toBe(true);
    },
  );
});

describe("invalid", () => {
  const table: readonly (readonly [name: string, text: string, says: string, hint: string])[] = [
    ["nothing", "", "empty", "alpine:3"],
    ["a scheme", "https://ghcr.io/x", "URL", 'leave out "https://"'],
    ["another scheme", "docker://alpine", "URL", 'leave out "docker://"'],
    ["spaces around", " alpine", "white space", "remove the spaces"],
    ["a space inside", "al pine", "white space", "remove the spaces"],
    ["a line break", "alpine\n", "white space", "remove the spaces"],
    ["a colon at the end", "alpine:", "tag is missing", "after the colon"],
    ["an @ at the end", "alpine@", "digest is missing", "after the @"],
    ["a slash at the end", "me/", "ends with a slash", "remove the slash"],
    ["a path", "/etc/passwd", "starts with a slash", "not its path"],
    ["an ID", "0123456789abcdef".repeat(4), "are an ID", "name@sha256"],
    ["a digest alone", sha256, "digest alone", "name@sha256"],
    ["upper case", "Alpine", "must be lower case", 'write "alpine"'],
    ["upper case behind a host", "ghcr.io/Me/App", "must be lower case", 'write "me/app"'],
    ["upper case that would be a host", "Foo/bar", "must be lower case", 'write "foo/bar"'],
    ["two slashes", "a//b", "not a repository", "components"],
    ["a dot first", ".a", "not a repository", "components"],
    ["a dash last", "a-", "not a repository", "components"],
    ["three underscores", "a___b", "not a repository", "components"],
    ["two dots", "a..b", "not a repository", "components"],
    ["a parent", "a/../b", "not a repository", "components"],
    ["a parent first", "../b", "not a registry host", "HOST"],
    ["other letters", "größe", "not a repository", "components"],
    ["a NUL", "a\0b", "not a repository", "components"],
    ["a percent sign", "a%2fb", "not a repository", "components"],
    ["a query", "a?b", "not a repository", "components"],
    ["a user in the host", "me@h.example/x", "not a digest", "@sha256"],
    ["a host with a dash first", "-h.example/x", "not a registry host", "HOST"],
    ["a host with an empty label", "h..example/x", "not a registry host", "HOST"],
    ["a host with a dot last", "h.example./x", "not a registry host", "HOST"],
    ["an address that is none", "999.1.1.1/x", "not a registry host", "HOST"],
    ["IPv6 without brackets", "::1/x", "not a registry host", "HOST"],
    ["IPv6 that is none", "[:::::]/x", "not a registry host", "HOST"],
    ["IPv6 with a zone", "[fe80::1%eth0]/x", "not a registry host", "HOST"],
    ["an open bracket", "[::1/x", "not a registry host", "HOST"],
    ["port 0", "h:0/x", "port 0 does not exist", "1 to 65535"],
    ["port 65536", "h:65536/x", "port 65536 does not exist", "1 to 65535"],
    ["no port", "h:/x", "not a registry host", "HOST"],
    ["a tag with a dash first", "x:-1", "not a tag", "at most 128"],
    ["a tag with a dot first", "x:.1", "not a tag", "at most 128"],
    ["a tag with a plus", "x:1+2", "not a tag", "at most 128"],
    ["two tags", "x:1:2", "not a tag", "at most 128"],
    ["a long tag", `x:${"t".repeat(129)}`, "not a tag", "at most 128"],
    ["a short digest", "x@sha256:abc", "not a digest", "64 lower-case"],
    ["an upper-case digest", `x@sha256:${"A".repeat(64)}`, "not a digest", "64 lower-case"],
    ["an unknown algorithm", `x@md5:${"a".repeat(32)}`, "not a digest", "64 lower-case"],
    ["two digests", `x@${sha256}@${sha256}`, "not a digest", "64 lower-case"],
    ["a digest that is a path", "x@sha256:../../etc/passwd", "not a digest", "64 lower-case"],
    ["a long repository", "a".repeat(256), "256 characters", "at most 255"],
    ["a very long text", "a/".repeat(100_000), "200000 characters", "at most 1024"],
  ];
  test.each(table)("%s", (_, text, says, hint) => {
    let error: unknown;
    try {
      parse(text);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({
      code: "invalid-reference",
      message: expect.stringContaining(says) as string,
      hint: expect.stringContaining(hint) as string,
    });
    expect((error as Error).message).not.toMatch(/[\n\0]/);
    expect((error as Error).message.length).toBeLessThan(600);
  });
});

test("tags", () => {
  expect(["latest", "1", "_", "A.b-c_d"].filter(isTag)).toHaveLength(4);
  expect(["", ".", "-", "a b", "a/b", "a:b", "t".repeat(129)].filter(isTag)).toEqual([]);
});
