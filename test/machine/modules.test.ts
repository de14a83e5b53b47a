import { describe, expect, it } from "vitest";
import { loadOrder, moduleName, parseModulesDep } from "../../src/machine/kernel/modules.ts";

const DEP = `kernel/fs/erofs/erofs.ko.xz: kernel/fs/netfs/netfs.ko.xz kernel/lib/libcrc32c.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/lib/libcrc32c.ko.xz: kernel/crypto/crc32c_generic.ko.xz
kernel/crypto/crc32c_generic.ko.xz:
kernel/drivers/char/hw_random/virtio-rng.ko.xz:
`;

describe("modules.dep", () => {
  it("gives dependencies before what needs them, each once", () => {
    const order = loadOrder(parseModulesDep(DEP), ["erofs", "virtio_rng", "not_there"]).map(moduleName);
    expect(order).toEqual(["crc32c_generic", "libcrc32c", "netfs", "erofs", "virtio_rng"]);
  });

  it.each([
    ["a path that leaves the folder", "kernel/../../etc/x.ko:\n"],
    ["an absolute path", "/etc/x.ko:\n"],
    ["no colon", "kernel/a.ko\n"],
    ["a dependency that is no module", "kernel/a.ko: kernel/b.txt\n"],
    ["an empty name", ": kernel/b.ko\n"],
  ])("refuses %s", (_name, text) => {
    expect(() => parseModulesDep(text)).toThrow(expect.objectContaining({ code: "bad-modules-dep" }));
  });

  it("refuses a cycle", () => {
    const cycle = parseModulesDep("kernel/a.ko: kernel/b.ko\nkernel/b.ko: kernel/a.ko\n");
    expect(() => loadOrder(cycle, ["a"])).toThrow(expect.objectContaining({ code: "bad-modules-dep" }));
  });
});
