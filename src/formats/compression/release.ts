/**
 * Frees a buffer now. Inflating a layer makes thousands of buffers of 1 MiB; left to the garbage collector, which
 * runs when 64 MiB of them have gathered in a thread, they make up much of a pull's memory.
 *
 * A buffer that is transferred to a port without a peer is detached here and freed there: nobody receives it.
 * https://html.spec.whatwg.org/multipage/web-messaging.html#message-port-post-message-steps
 */
import { MessageChannel } from "node:worker_threads";

const { port1: nowhere } = new MessageChannel();
nowhere.close();

/** Smaller ones are not worth the call, and may be parts of a pool that others use. */
const LEAST_BYTES = 64 * 1024;

/**
 * Frees the memory behind `chunk` when `chunk` is the end of it: a decoder gives out a buffer in pieces, from its
 * beginning to its end. The caller has taken what it needs of this and all earlier pieces, and owns them alone;
 * every view of the buffer is empty afterwards.
 */
export function release(chunk: Uint8Array): void {
  const { buffer, byteOffset, byteLength } = chunk;
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength < LEAST_BYTES) return;
  if (byteOffset + byteLength === buffer.byteLength) nowhere.postMessage(null, [buffer]);
}
