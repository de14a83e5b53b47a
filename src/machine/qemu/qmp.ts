/**
 * QEMU's monitor protocol: one JSON object a line, commands answered in order.
 * https://www.qemu.org/docs/master/interop/qmp-spec.html
 *
 * QEMU is trusted less than it seems: a guest that broke into it speaks here, so lines and waits are bounded.
 */
import type { Duplex } from "node:stream";
import { messageOf } from "../../util/error.ts";
import { MachineError } from "../machine.ts";

const MAX_LINE_BYTES = 1 << 20;
const DEFAULT_DEADLINE_MS = 5_000;
/** Longer: a VMM on a busy host is still being loaded when it is asked. */
const NEGOTIATION_DEADLINE_MS = 60_000;

export interface QmpEvent {
  readonly event: string;
  readonly data: unknown;
}

interface Waiter {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class QmpClient {
  readonly #stream: Duplex;
  readonly #waiting: Waiter[] = [];
  readonly #onEvent: ((event: QmpEvent) => void) | undefined;
  /** A line whose end is to come, in the pieces that it came in: joined once, however many they are. */
  #pieces: string[] = [];
  #pieceLength = 0;
  #failure: MachineError | undefined;
  #isNegotiated = false;

  /** QEMU tells events only to those who have negotiated: with `onEvent`, that is done at once. */
  constructor(stream: Duplex, onEvent?: (event: QmpEvent) => void) {
    this.#stream = stream;
    this.#onEvent = onEvent;
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => this.#take(text));
    stream.on("error", (error) => this.#fail(`the monitor connection broke: ${messageOf(error)}`));
    stream.on("close", () => this.#fail("the monitor connection closed"));
    if (onEvent !== undefined) this.#negotiate(NEGOTIATION_DEADLINE_MS);
  }

  /**
   * Runs one command and returns its result as QEMU gave it, unchecked.
   * @throws MachineError `qmp-error` for an error answer, `qmp-timeout`, `qmp-closed`
   */
  async execute(command: string, args?: object, deadlineMs = DEFAULT_DEADLINE_MS): Promise<unknown> {
    if (!this.#isNegotiated) this.#negotiate(deadlineMs);
    return await this.#send(command, args, deadlineMs);
  }

  /**
   * Answers come in the order of the commands, so that nobody has to wait for this one; where it fails, what comes
   * behind it does, too.
   */
  #negotiate(deadlineMs: number): void {
    this.#isNegotiated = true;
    this.#send("qmp_capabilities", undefined, deadlineMs).catch((error: unknown) =>
      this.#fail(messageOf(error), "qmp-error"),
    );
  }

  async #send(command: string, args: object | undefined, deadlineMs: number): Promise<unknown> {
    if (this.#failure !== undefined) throw this.#failure;
    return await new Promise<unknown>((resolve, reject) => {
      const timer = setTimeout(() => {
        // Answers come in order, so after a missed one none can be matched.
        this.#fail(`no answer to ${command} within ${deadlineMs} ms`, "qmp-timeout");
      }, deadlineMs);
      this.#waiting.push({
        command,
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      this.#stream.write(`${JSON.stringify({ execute: command, ...(args && { arguments: args }) })}\n`);
    });
  }

  #take(text: string): void {
    if (this.#failure !== undefined) return;
    const [first = "", ...lines] = text.split("\n");
    this.#keep(first);
    for (const next of lines) {
      const line = this.#pieces.join("");
      this.#pieces = [];
      this.#pieceLength = 0;
      if (line.trim() !== "") this.#line(line);
      this.#keep(next);
    }
  }

  #keep(piece: string): void {
    this.#pieceLength += piece.length;
    if (this.#pieceLength > MAX_LINE_BYTES) {
      this.#pieces = [];
      this.#fail("the monitor sent a line without end");
    } else if (piece !== "") this.#pieces.push(piece);
  }

  #line(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      this.#fail("the monitor sent something that is not JSON");
      return;
    }
    if (typeof message !== "object" || message === null) return;
    if ("event" in message) {
      this.#onEvent?.({ event: String(message.event), data: "data" in message ? message.data : undefined });
    } else if ("return" in message) {
      this.#waiting.shift()?.resolve(message.return);
    } else if ("error" in message) {
      const waiter = this.#waiting.shift();
      waiter?.reject(
        new MachineError("qmp-error", `QEMU refused ${waiter.command}: ${describe(message.error)}`),
      );
    }
  }

  #fail(message: string, code = "qmp-closed"): void {
    this.#failure ??= new MachineError(code, message);
    for (const waiter of this.#waiting.splice(0)) waiter.reject(this.#failure);
  }
}

function describe(error: unknown): string {
  if (typeof error === "object" && error !== null && "desc" in error) return String(error.desc).slice(0, 500);
  return "no reason given";
}
