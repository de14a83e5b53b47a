/** At most `concurrency` of the given jobs run at once; waiting jobs start in the order they were given. */
export type Limit = <T>(job: () => Promise<T>) => Promise<T>;

export function limit(concurrency: number): Limit {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (job) => {
    if (running >= concurrency) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      return await job();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}
