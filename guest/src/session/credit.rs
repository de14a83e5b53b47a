//! Credit windows: how much a sender may have under way.

/// What a sender may send before it is given credit, in bytes.
pub const WINDOW_BYTES: u32 = 262_144;
/// The most credit that a sender may hold, in bytes.
const MAX_BYTES: u32 = 16 << 20;

/// Credit is given back in portions, so that small reads do not make a frame each. A quarter of the window: the
/// sender always has the other three quarters, so neither side waits for the other.
const PORTION_BYTES: u32 = WINDOW_BYTES / 4;

/// The sender's account.
pub struct Allowance(u32);

impl Default for Allowance {
    fn default() -> Self {
        Self(WINDOW_BYTES)
    }
}

impl Allowance {
    pub fn available(&self) -> u32 {
        self.0
    }

    /// `bytes` is at most what is available.
    pub fn spend(&mut self, bytes: u32) {
        self.0 -= bytes;
    }

    /// False when the credit would rise above what the protocol allows.
    #[must_use]
    pub fn raise(&mut self, bytes: u32) -> bool {
        match self.0.checked_add(bytes) {
            Some(sum) if sum <= MAX_BYTES => {
                self.0 = sum;
                true
            }
            _ => false,
        }
    }
}

/// The receiver's account.
pub struct Window {
    /// What the sender may still send.
    open: u32,
    /// Taken by the consumer and not yet given back.
    taken: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { open: WINDOW_BYTES, taken: 0 }
    }
}

impl Window {
    /// False when the sender had no credit for so much.
    #[must_use]
    pub fn receive(&mut self, bytes: u32) -> bool {
        match self.open.checked_sub(bytes) {
            Some(rest) => {
                self.open = rest;
                true
            }
            None => false,
        }
    }

    /// The consumer has taken `bytes`; the credit to send for it now, if any.
    pub fn take(&mut self, bytes: u32) -> Option<u32> {
        self.taken += bytes;
        if self.taken < PORTION_BYTES {
            return None;
        }
        let portion = std::mem::take(&mut self.taken);
        self.open += portion;
        Some(portion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_may_send_the_window_and_no_more() {
        let mut window = Window::default();
        assert!(window.receive(WINDOW_BYTES));
        assert!(!window.receive(1));
        assert_eq!(window.take(WINDOW_BYTES), Some(WINDOW_BYTES));
        assert!(window.receive(WINDOW_BYTES));
    }

    #[test]
    fn credit_comes_in_portions_and_none_is_lost() {
        let mut window = Window::default();
        let mut given = 0;
        for _ in 0..WINDOW_BYTES {
            assert!(window.receive(1));
            given += window.take(1).unwrap_or(0);
        }
        assert_eq!(given, WINDOW_BYTES);
    }

    #[test]
    fn neither_side_can_wait_for_the_other() {
        // Whatever is not yet given back is less than what the sender still holds.
        let mut window = Window::default();
        let mut allowance = Allowance::default();
        for step in [1, 65_535, 7, 65_536, 30_000].into_iter().cycle().take(1_000) {
            assert!(allowance.available() >= step);
            allowance.spend(step);
            assert!(window.receive(step));
            if let Some(credit) = window.take(step) {
                assert!(allowance.raise(credit));
            }
            assert!(allowance.available() > WINDOW_BYTES - PORTION_BYTES);
        }
    }

    #[test]
    fn credit_has_a_ceiling() {
        let mut allowance = Allowance::default();
        assert!(allowance.raise(MAX_BYTES - WINDOW_BYTES));
        assert!(!allowance.raise(1));
        assert!(!allowance.raise(u32::MAX));
        assert_eq!(allowance.available(), MAX_BYTES);
        assert!(allowance.raise(0));
    }
}
