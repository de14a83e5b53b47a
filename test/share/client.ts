/** A FUSE client without a kernel: it says what a guest's kernel, or a hostile guest, would say. */
import { constants as files } from "node:fs";
import { constants } from "node:os";
import { PassThrough } from "node:stream";
import * as fuse from "../../src/share/fuse/format.ts";
import { Opcode } from "../../src/share/fuse/format.ts";
import { Share } from "../../src/share/share.ts";
import type { ShareOptions } from "../../src/share/share.ts";

export interface Answer {
  /** 0, or a positive error number. */
  readonly errno: number;
  readonly body: Buffer;
}

const NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** The kernel's caller got an error. */
export class Denied extends Error {
  readonly code: string;
  constructor(errno: number) {
    super(NAMES.get(errno) ?? String(errno));
    this.code = this.message;
  }
}

export class Client implements AsyncDisposable {
  readonly share: Share;
  readonly toServer = new PassThrough({ highWaterMark: 4 << 20 });
  readonly fromServer = new PassThrough({ highWaterMark: 4 << 20 });
  /** Resolves with why the share ended. */
  readonly ended: Promise<Error | undefined>;
  /** The process that asks. */
  uid = process.getuid?.() ?? 0;
  gid = process.getgid?.() ?? 0;
  readonly #waiting = new Map<bigint, (answer: Answer) => void>();
  #unique = 2n;
  #received = Buffer.alloc(0);

  private constructor(share: Share) {
    this.share = share;
    this.fromServer.on("data", (chunk: Buffer) => this.#take(chunk));
    this.fromServer.on("error", () => {});
    this.toServer.on("error", () => {});
    this.ended = share.serve(this.toServer, this.fromServer);
  }

  static async open(source: string, options: Partial<ShareOptions> = {}): Promise<Client> {
    const client = new Client(await Share.open(source, { readonly: false, ...options }));
    await client.call(
      Opcode.init,
      0,
      encode(fuse.INIT_IN, { major: 7, minor: 41, maxReadahead: 131_072, flags: 0xffff_ffff }),
    );
    return client;
  }

  #take(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    while (this.#received.length >= 16 && this.#received.length >= this.#received.readUInt32LE(0)) {
      const length = this.#received.readUInt32LE(0);
      const reply = this.#received.subarray(0, length);
      this.#received = this.#received.subarray(length);
      const unique = reply.readBigUInt64LE(8);
      const resolve = this.#waiting.get(unique);
      if (resolve === undefined) throw new Error(`a reply to ${unique}, which nobody asked`);
      this.#waiting.delete(unique);
      resolve({ errno: Math.abs(reply.readInt32LE(4)), body: reply.subarray(16) });
    }
  }

  /** A whole request, for its bytes. */
  message(
    opcode: number,
    nodeid: number,
    body: Uint8Array = Buffer.alloc(0),
    unique = (this.#unique +=
      2n),
  ): Buffer {
    const message = Buffer.alloc(40 + body.length);
    const { uid, gid } = this;
    fuse.IN_HEADER.encode(message, 0, { len: message.length, opcode, unique, nodeid, uid, gid });
    message.set(body, 40);
    return message;
  }

  /** Without a reply to wait for. */
  tell(opcode: number, nodeid: number, body?: Uint8Array): void {
    this.toServer.write(this.message(opcode, nodeid, body));
  }

  async ask(opcode: number, nodeid: number, body?: Uint8Array): Promise<Answer> {
    const message = this.message(opcode, nodeid, body);
    const answer = new Promise<Answer>((resolve) => this.#waiting.set(message.readBigUInt64LE(8), resolve));
    this.toServer.write(message);
    return await answer;
  }

  /** @throws Denied */
  async call(opcode: number, nodeid: number, body?: Uint8Array): Promise<Buffer> {
    const { errno, body: result } = await this.ask(opcode, nodeid, body);
    if (errno !== 0) throw new Denied(errno);
    return result;
  }

  async lookUp(parent: number, name: string | Buffer): Promise<Entry> {
    return entryOf(await this.call(Opcode.lookup, parent, text(name)));
  }

  /** From the root, one step after the other. */
  async walk(path: string): Promise<Entry> {
    let entry: Entry = { id: fuse.ROOT_ID, ...(await this.attributes(fuse.ROOT_ID)) };
    for (const step of path.split("/").filter((each) => each !== ""))
      entry = await this.lookUp(entry.id, step);
    return entry;
  }

  async attributes(id: number): Promise<Attributes> {
    return fuse.ATTR.decode(await this.call(Opcode.getattr, id, encode(fuse.GETATTR_IN, {})), 16);
  }

  async change(id: number, values: Parameters<typeof fuse.SETATTR_IN.encode>[2]): Promise<Attributes> {
    return fuse.ATTR.decode(await this.call(Opcode.setattr, id, encode(fuse.SETATTR_IN, values)), 16);
  }

  async makeDirectory(parent: number, name: string | Buffer, mode = 0o755): Promise<Entry> {
    return entryOf(await this.call(Opcode.mkdir, parent, encode(fuse.MKDIR_IN, { mode }, text(name))));
  }

  async makeNode(parent: number, name: string, mode: number): Promise<Entry> {
    return entryOf(await this.call(Opcode.mknod, parent, encode(fuse.MKNOD_IN, { mode }, text(name))));
  }

  async create(
    parent: number,
    name: string | Buffer,
    { mode = 0o644, flags = files.O_RDWR | files.O_CREAT }: { mode?: number; flags?: number } = {},
  ): Promise<Entry & { readonly fh: number }> {
    const body = await this.call(
      Opcode.create,
      parent,
      encode(fuse.CREATE_IN, { flags, mode: 0o100000 | mode }, text(name)),
    );
    return { ...entryOf(body), fh: fuse.OPEN_OUT.decode(body, fuse.ENTRY_BYTES).fh };
  }

  async open(id: number, flags: number = files.O_RDONLY): Promise<number> {
    return fuse.OPEN_OUT.decode(await this.call(Opcode.open, id, encode(fuse.OPEN_IN, { flags })), 0).fh;
  }

  async read(fh: number, offset = 0, size = fuse.MAX_DATA_BYTES): Promise<Buffer> {
    return await this.call(Opcode.read, 0, encode(fuse.READ_IN, { fh, offset, size }));
  }

  async write(
    fh: number,
    data: string | Buffer,
    offset = 0,
    more: { flags?: number; writeFlags?: number } = {},
  ): Promise<number> {
    const bytes = Buffer.from(data);
    const body = await this.call(
      Opcode.write,
      0,
      encode(fuse.WRITE_IN, { fh, offset, size: bytes.length, ...more }, bytes),
    );
    return fuse.WRITE_OUT.decode(body, 0).size;
  }

  async release(fh: number): Promise<void> {
    await this.call(Opcode.release, 0, encode(fuse.RELEASE_IN, { fh }));
  }

  async openDirectory(id: number): Promise<number> {
    return fuse.OPEN_OUT.decode(await this.call(Opcode.opendir, id, encode(fuse.OPEN_IN, {})), 0).fh;
  }

  /** Entries of one reply. */
  async page(fh: number, offset: number, { size = 4096, plus = false } = {}): Promise<Listed[]> {
    const body = await this.call(
      plus ? Opcode.readdirplus : Opcode.readdir,
      0,
      encode(fuse.READ_IN, { fh, offset, size }),
    );
    const listed: Listed[] = [];
    for (let at = 0; at < body.length; ) {
      const entry = plus ? entryOf(body.subarray(at)) : undefined;
      if (plus) at += fuse.ENTRY_BYTES;
      const { off, namelen, type } = fuse.DIRENT.decode(body, at);
      const name = body.subarray(at + 24, at + 24 + namelen);
      listed.push({ name: name.toString("latin1"), next: off, type, entry });
      at += Math.ceil((24 + namelen) / 8) * 8;
    }
    return listed;
  }

  async list(id: number, options: { size?: number; plus?: boolean } = {}): Promise<Listed[]> {
    const fh = await this.openDirectory(id);
    const all: Listed[] = [];
    for (;;) {
      const page = await this.page(fh, all.at(-1)?.next ?? 0, options);
      if (page.length === 0) break;
      all.push(...page);
    }
    await this.call(Opcode.releasedir, 0, encode(fuse.RELEASE_IN, { fh }));
    return all;
  }

  async rename(from: number, name: string, to: number, newName: string): Promise<void> {
    await this.call(
      Opcode.rename,
      from,
      encode(fuse.RENAME_IN, { newdir: to }, Buffer.concat([text(name), text(newName)])),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.share[Symbol.asyncDispose]();
  }
}

type Attributes = ReturnType<typeof fuse.ATTR.decode>;
export type Entry = Attributes & { readonly id: number };
export interface Listed {
  readonly name: string;
  readonly next: number;
  readonly type: number;
  readonly entry: Entry | undefined;
}

export function entryOf(body: Buffer): Entry {
  return { id: fuse.ENTRY_OUT.decode(body, 0).nodeid, ...fuse.ATTR.decode(body, fuse.ENTRY_OUT.sizeBytes) };
}

export function text(value: string | Buffer): Buffer {
  return Buffer.concat([Buffer.from(value), Buffer.alloc(1)]);
}

interface Encodable<Values> {
  readonly sizeBytes: number;
  encode(out: Uint8Array, offset: number, values: Values): void;
}

export function encode<Values>(
  table: Encodable<Values>,
  values: Values,
  rest: Uint8Array = Buffer.alloc(0),
): Buffer {
  const bytes = Buffer.alloc(table.sizeBytes + rest.length);
  table.encode(bytes, 0, values);
  bytes.set(rest, table.sizeBytes);
  return bytes;
}
