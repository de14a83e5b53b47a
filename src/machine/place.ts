/**
 * A running VMM's own directory: where its sockets are, and how it names the host's files. A VMM that sees the host's
 * file system names them as everybody does; one in a jail (jail/) sees only what lies in its directory.
 */
export interface Place extends AsyncDisposable {
  readonly dir: string;
  /** A path in it, short however long the directory's is, because a socket's has at most 107 bytes. */
  reach(name: string): string;
  /** @returns the VMM's name for a file of the host's, which it may read from now on */
  lend(path: string): Promise<string>;
  /** As `lend`, to read and to write; `name` is a name in the directory, as saved machines have it. */
  give(path: string, name?: string): Promise<string>;
  /** Lets the VMM write to a file that was made in its directory. */
  adopt(name: string): Promise<void>;
}
