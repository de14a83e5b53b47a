/** A promise and what settles it: `Promise.withResolvers`, which Node 20 does not have. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (reason: unknown) => void;

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // Nobody has to listen.
    this.promise.catch(() => {});
  }
}
