/**
 * What has to be undone, in reverse order. The standard's AsyncDisposableStack, as far as it is needed here;
 * Node 20 has none.
 */
export class CleanupStack implements AsyncDisposable {
  #steps: (() => Promise<unknown>)[] = [];

  /** Takes ownership: `resource` is disposed with the stack. */
  use<T extends AsyncDisposable>(resource: T): T {
    this.#steps.push(async () => await resource[Symbol.asyncDispose]());
    return resource;
  }

  defer(step: () => Promise<unknown>): void {
    this.#steps.push(step);
  }

  /** Hands everything over to a new stack; this one is empty then, so leaving the scope undoes nothing. */
  move(): CleanupStack {
    const moved = new CleanupStack();
    moved.#steps = this.#steps;
    this.#steps = [];
    return moved;
  }

  /** Runs every step, even when some fail; the first failure is thrown at the end. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}
