/** A container's state as its owner keeps it: in memory, and in its folder for everybody else. */
import { messageOf } from "../../util/error.ts";
import type { ContainerState } from "./state.ts";
import { writeState } from "./state.ts";

const MAX_WARNINGS = 8;
const MAX_WARNING_LENGTH = 1_024;

export class KeptState {
  readonly #dir: string;
  readonly #onNotice: (notice: string) => void;
  #value: ContainerState;
  /** The last write; each waits for the one before it, as they share a temporary name. */
  #last: Promise<void> = Promise.resolve();
  #isUnwritable = false;

  /** @param onNotice told of every warning, as long as somebody listens */
  constructor(dir: string, value: ContainerState, onNotice: (notice: string) => void = () => {}) {
    this.#dir = dir;
    this.#value = value;
    this.#onNotice = onNotice;
  }

  get value(): ContainerState {
    return this.#value;
  }

  /** Resolves when nothing waits to be written any more. */
  get written(): Promise<void> {
    return this.#last;
  }

  /** Resolves when it is written, or cannot be. */
  async update(change: Partial<ContainerState>): Promise<void> {
    this.#value = { ...this.#value, ...change };
    this.#last = this.#last.then(async () => await this.#write());
    await this.#last;
  }

  /** A detached container's owner has nobody to tell: it is in the state until somebody looks. */
  async warn(message: string): Promise<void> {
    this.#note(message);
    await this.update({});
  }

  #note(long: string): void {
    this.#onNotice(long);
    const message = long.slice(0, MAX_WARNING_LENGTH);
    const others = (this.#value.warnings ?? []).filter((one) => one.message !== message);
    const warnings = [...others, { time: new Date().toISOString(), message }].slice(-MAX_WARNINGS);
    this.#value = { ...this.#value, warnings };
  }

  async #write(): Promise<void> {
    try {
      await writeState(this.#dir, this.#value);
      this.#isUnwritable = false;
    } catch (error) {
      // A folder that is gone was removed by force. Else it is told once, and written with the next state that can be.
      if (!this.#isUnwritable) this.#note(`the container's state cannot be written: ${messageOf(error)}`);
      this.#isUnwritable = true;
    }
  }
}
