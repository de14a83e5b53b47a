/** Operations on names in directories: look up, make, remove, move. linux/fuse.h has the requests. */
import { constants as files } from "node:fs";
import { link, mkdir, readlink, rename, rmdir, symlink, unlink } from "node:fs/promises";
import { systemCode } from "../../util/error.ts";
import { entryReply, putEntry } from "../attributes.ts";
import {
  CREATE_IN,
  ENTRY_BYTES,
  LINK_IN,
  MAX_TARGET_BYTES,
  MKDIR_IN,
  MKNOD_IN,
  OPEN_OUT,
  OUT_HEADER_BYTES,
  RENAME2_IN,
  RENAME_IN,
} from "../fuse/format.ts";
import type { Request } from "../fuse/message.ts";
import { argumentsOf, checkName, nameOf, Refusal, replyOf, stringsOf } from "../fuse/message.ts";
import type { Found, Node } from "../nodes.ts";
import { nameOf as lastNameOf } from "../nodes.ts";
import { at, changeMode, changeOwner, closeFile, itself, O_PATH, statFile, statPlace } from "../system.ts";
import { ACCESS_MODE, openHandle } from "./files.ts";
import type { Operation, Tree } from "./operation.ts";
import { GIVEN_MODE } from "./operation.ts";

const SET_GROUP_ID = 0o2000;

const done = (): Buffer => replyOf(0);

export const lookUp: Operation = async (tree, request) => {
  const parent = tree.nodes.find(request.nodeId);
  return entryReply(await tree.nodes.enter(parent, nameOf(request, 0)), tree.home);
};

/** A link's target is text for the guest; nothing on the host follows it. */
export const readLink: Operation = async ({ nodes }, request) => {
  const node = nodes.find(request.nodeId);
  const { parent } = node;
  if (node.kind !== "link" || parent === undefined) throw new Refusal("EINVAL");
  const target = await nodes.use(parent, async (dir) => {
    const path = at(dir, lastNameOf(node));
    const { dev, ino } = await statPlace(path);
    if (dev !== node.dev || ino !== node.ino) throw new Refusal("ESTALE");
    return await readlink(path, "buffer");
  });
  return Buffer.concat([replyOf(0), target]);
};

export const makeLink: Operation = async (tree, request) => {
  const parent = tree.nodes.find(request.nodeId);
  const [first, target] = stringsOf(request, 0, 2);
  const name = checkName(first);
  if (target === undefined || target.length === 0) throw new Refusal("ENOENT");
  if (target.length > MAX_TARGET_BYTES) throw new Refusal("ENAMETOOLONG");
  await tree.nodes.use(parent, async (dir) => await symlink(target, at(dir, name)));
  const found = await tree.nodes.enter(parent, name);
  return await finish(tree, request, parent, found, undefined);
};

export const makeDirectory: Operation = async (tree, request) => {
  const parent = tree.nodes.find(request.nodeId);
  const { mode } = argumentsOf(MKDIR_IN, request);
  const name = nameOf(request, MKDIR_IN.sizeBytes);
  await tree.nodes.use(parent, async (dir) => await mkdir(at(dir, name), mode & GIVEN_MODE));
  const found = await tree.nodes.enter(parent, name);
  return await finish(tree, request, parent, found, mode);
};

/** Only plain files: a device, a FIFO or a socket of the guest's has no place on the host. */
export const makeNode: Operation = async (tree, request) => {
  const parent = tree.nodes.find(request.nodeId);
  const { mode } = argumentsOf(MKNOD_IN, request);
  const name = nameOf(request, MKNOD_IN.sizeBytes);
  if ((mode & files.S_IFMT) !== files.S_IFREG) throw new Refusal("EPERM");
  const { fd, found } = await makeFile(tree, parent, name, files.O_WRONLY, mode);
  await closeFile(fd);
  return await finish(tree, request, parent, found, mode);
};

export const create: Operation = async (tree, request) => {
  const parent = tree.nodes.find(request.nodeId);
  const { flags, mode } = argumentsOf(CREATE_IN, request);
  const name = nameOf(request, CREATE_IN.sizeBytes);
  const made = await makeFile(tree, parent, name, flags & ACCESS_MODE, mode).catch(async (error: unknown) => {
    // What is there already is opened as any file is: only after it is known to be one.
    if (systemCode(error) !== "EEXIST" || (flags & files.O_EXCL) !== 0) throw error;
    return { fd: undefined, found: await tree.nodes.enter(parent, name) };
  });
  const { node } = made.found;
  const { fd } = made;
  const reply = replyOf(ENTRY_BYTES + OPEN_OUT.sizeBytes);
  if (fd === undefined) {
    const { handle, openFlags } = await undoing(tree, node, async () => await openHandle(tree, node, flags));
    putEntry(reply, OUT_HEADER_BYTES, made.found, tree.home);
    OPEN_OUT.encode(reply, OUT_HEADER_BYTES + ENTRY_BYTES, { fh: handle, openFlags });
    return reply;
  }
  const handle = await undoing(
    tree,
    node,
    async () => await tree.handles.openFile(node, async () => fd),
  ).catch(async (error: unknown) => {
    await closeFile(fd);
    throw error;
  });
  const entry = await finish(tree, request, parent, made.found, mode);
  entry.copy(reply, OUT_HEADER_BYTES, OUT_HEADER_BYTES);
  OPEN_OUT.encode(reply, OUT_HEADER_BYTES + ENTRY_BYTES, { fh: handle });
  return reply;
};

export const removeFile: Operation = async ({ nodes }, request) => {
  const name = nameOf(request, 0);
  await nodes.use(nodes.find(request.nodeId), async (dir) => await unlink(at(dir, name)));
  return done();
};

export const removeDirectory: Operation = async ({ nodes }, request) => {
  const name = nameOf(request, 0);
  await nodes.use(nodes.find(request.nodeId), async (dir) => await rmdir(at(dir, name)));
  return done();
};

export const move: Operation = async (tree, request) => {
  const { newdir } = argumentsOf(RENAME_IN, request);
  return await moveTo(tree, request, newdir, RENAME_IN.sizeBytes);
};

/** Node has no renameat2(2); ENOSYS tells the guest's kernel never to ask again, and callers get EINVAL. */
export const moveWithFlags: Operation = async (tree, request) => {
  const { newdir, flags } = argumentsOf(RENAME2_IN, request);
  if (flags !== 0) throw new Refusal("ENOSYS");
  return await moveTo(tree, request, newdir, RENAME2_IN.sizeBytes);
};

async function moveTo({ nodes }: Tree, request: Request, newdir: number, offset: number): Promise<Buffer> {
  const [first, second] = stringsOf(request, offset, 2);
  const [from, to] = [checkName(first), checkName(second)];
  const [source, target] = [nodes.find(request.nodeId), nodes.find(newdir)];
  await nodes.use(
    source,
    async (a) => await nodes.use(target, async (b) => await rename(at(a, from), at(b, to))),
  );
  // It has happened; that somebody else has moved it on meanwhile is no failure of this.
  await nodes.relocate(target, to).catch(() => {});
  return done();
}

/** linkat(2) does not take an O_PATH descriptor without privileges, so the file is named where it was found last. */
export const addName: Operation = async (tree, request) => {
  const { nodes } = tree;
  const node = nodes.find(argumentsOf(LINK_IN, request).oldnodeid);
  const target = nodes.find(request.nodeId);
  const to = nameOf(request, LINK_IN.sizeBytes);
  const { parent } = node;
  if (parent === undefined || node.kind === "directory") throw new Refusal("EPERM");
  await nodes.use(parent, async (a) => {
    const path = at(a, lastNameOf(node));
    const { dev, ino } = await statPlace(path);
    if (dev !== node.dev || ino !== node.ino) throw new Refusal("ESTALE");
    await nodes.use(target, async (b) => await link(path, at(b, to)));
  });
  return entryReply(await nodes.enter(target, to), tree.home);
};

/** Makes a file that was not there; with its descriptor, and told to the guest as what that descriptor is. */
async function makeFile(
  { nodes }: Tree,
  parent: Node,
  name: Buffer,
  access: number,
  mode: number,
): Promise<{ readonly fd: number; readonly found: Found }> {
  return await nodes.use(parent, async (dir) => {
    const flags = access | files.O_CREAT | files.O_EXCL | files.O_NOFOLLOW | files.O_NOCTTY;
    const fd = await nodes.open(at(dir, name), flags, mode & GIVEN_MODE);
    try {
      const place = await nodes.open(itself(fd), O_PATH);
      return { fd, found: await nodes.adopt(parent, name, place) };
    } catch (error) {
      await closeFile(fd);
      throw error;
    }
  });
}

/** Gives what was made its owner and the mode that was asked for, which this process's umask has made less of. */
async function finish(
  tree: Tree,
  request: Request,
  parent: Node,
  { node, stats }: Found,
  mode: number | undefined,
): Promise<Buffer> {
  return await undoing(tree, node, async () => {
    const owner = await ownerOf(tree, request, parent);
    const wanted = mode === undefined ? undefined : mode & GIVEN_MODE;
    const modeNow = Number(stats.mode) & 0o7777;
    if (owner === undefined && (wanted === undefined || wanted === modeNow))
      return entryReply({ node, stats }, tree.home);
    const now = await tree.nodes.use(node, async (fd) => {
      if (owner !== undefined) await changeOwner(itself(fd), owner.uid, owner.gid);
      // Set by the directory it is in, the set-group-id bit of a directory stays.
      if (wanted !== undefined && wanted !== (modeNow & GIVEN_MODE))
        await changeMode(
          itself(fd),
          wanted | (modeNow & SET_GROUP_ID & (node.kind === "directory" ? ~0 : 0)),
        );
      return await statFile(fd);
    });
    return entryReply({ node, stats: now }, tree.home);
  });
}

async function ownerOf(
  tree: Tree,
  { uid, gid }: Request,
  parent: Node,
): Promise<{ readonly uid: number; readonly gid: number } | undefined> {
  if (!tree.givesOwners) return undefined;
  const { mode, gid: parentGid } = await tree.nodes.use(parent, statFile);
  return { uid, gid: (Number(mode) & SET_GROUP_ID) === 0 ? gid : Number(parentGid) };
}

/** What the guest is not told of in the end it cannot forget either. */
async function undoing<T>(tree: Tree, node: Node, job: () => Promise<T>): Promise<T> {
  try {
    return await job();
  } catch (error) {
    tree.nodes.forget(node.id, 1);
    throw error;
  }
}
