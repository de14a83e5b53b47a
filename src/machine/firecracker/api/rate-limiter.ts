/** Maps to the API's `RateLimiter`: two token buckets, of which either may be absent. */
export interface RateLimiter {
  readonly bandwidth?: TokenBucket | undefined;
  readonly ops?: TokenBucket | undefined;
}

/** `size` tokens (bytes or operations) come back within `refill_time` milliseconds. */
export interface TokenBucket {
  readonly size: number;
  readonly refill_time: number;
  /** Spent first, and never refilled. */
  readonly one_time_burst?: number | undefined;
}
