/**
 * Whoever is attached to a container: a stream for each of its outputs, in this process or over a control socket. The
 * container's output goes to all of them, at the pace of the slowest.
 */
import { PassThrough } from "node:stream";
import type { LogStream } from "../log/format.ts";
import type { ContainerExit } from "../options.ts";

export interface Attachment {
  /** Resolves when it can take more; rejects when it has gone. */
  write(stream: LogStream, bytes: Buffer): Promise<void>;
  /** The container's process has ended, or its machine was lost; all output was written before. */
  end(exit: ContainerExit | Error): void;
}

export class Attachments {
  readonly #all = new Set<Attachment>();

  add(attachment: Attachment): () => void {
    this.#all.add(attachment);
    return () => this.#all.delete(attachment);
  }

  get count(): number {
    return this.#all.size;
  }

  async write(stream: LogStream, bytes: Buffer): Promise<void> {
    if (this.#all.size === 0) return;
    await Promise.all(
      [...this.#all].map(async (attachment) => {
        try {
          await attachment.write(stream, bytes);
        } catch {
          this.#all.delete(attachment);
        }
      }),
    );
  }

  end(exit: ContainerExit | Error): void {
    for (const attachment of this.#all) attachment.end(exit);
    this.#all.clear();
  }
}

/** An attachment of this process's own. */
export class LocalAttachment implements Attachment {
  readonly stdout = new PassThrough();
  readonly stderr = new PassThrough();
  readonly ended: Promise<ContainerExit>;
  #resolve: (exit: ContainerExit) => void = () => {};
  #reject: (error: Error) => void = () => {};

  constructor() {
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ended.catch(() => {});
  }

  async write(stream: LogStream, bytes: Buffer): Promise<void> {
    const sink = stream === "stdout" ? this.stdout : this.stderr;
    if (sink.destroyed) throw new Error("nobody reads it any more");
    if (sink.write(bytes)) return;
    await new Promise<void>((resolve) => {
      const settle = () => {
        sink.off("drain", settle);
        sink.off("close", settle);
        resolve();
      };
      sink.on("drain", settle);
      sink.on("close", settle);
    });
  }

  end(exit: ContainerExit | Error): void {
    if (exit instanceof Error) {
      this.#reject(exit);
      this.stdout.destroy();
      this.stderr.destroy();
      return;
    }
    this.stdout.end();
    this.stderr.end();
    this.#resolve(exit);
  }
}
