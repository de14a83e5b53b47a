//! `system.configure`: what makes a machine, booted or restored, this one and no other.

use std::fs;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::network;
use crate::protocol::message::{Code, Configure, Failure};
use crate::syscall;

const MIN_ENTROPY_BYTES: usize = 32;
const PAGE_BYTES: u64 = 4_096;

/// Checks everything, then does everything: a refused request has changed nothing.
pub fn configure(wanted: &Configure, applied: &mut Option<network::Plan>) -> Result<(), Failure> {
    let invalid = |what: &str| Failure::new(Code::InvalidRequest, what);
    if let Some(entropy) = &wanted.entropy
        && !(MIN_ENTROPY_BYTES..=syscall::MAX_ENTROPY_BYTES).contains(&entropy.0.len())
    {
        return Err(invalid("entropy: 32 to 512 bytes are wanted"));
    }
    if let Some(time) = &wanted.time
        && !(0..1_000_000_000).contains(&time.nanoseconds)
    {
        return Err(invalid("time.nanoseconds: 0 to 999999999 is wanted"));
    }
    if let Some(hostname) = &wanted.hostname
        && !(1..=64).contains(&hostname.len())
    {
        return Err(invalid("hostname: 1 to 64 bytes are wanted"));
    }
    if let Some(id) = &wanted.machine_id
        && !(id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    {
        return Err(invalid("machineId: 32 lower-case hexadecimal digits are wanted"));
    }
    let network = wanted.network.as_ref().map(network::Plan::parse).transpose()?;

    // Entropy first: whatever is drawn after it differs between two machines restored from one state.
    if let Some(entropy) = &wanted.entropy {
        syscall::add_entropy(&entropy.0).map_err(|e| Failure::failed(format!("entropy: {e}")))?;
    }
    if let Some(time) = &wanted.time {
        clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(time.seconds, time.nanoseconds))
            .map_err(|e| Failure::failed(format!("time: {e}")))?;
    }
    if let Some(hostname) = &wanted.hostname {
        nix::unistd::sethostname(hostname).map_err(|e| Failure::failed(format!("hostname: {e}")))?;
    }
    if let Some(id) = &wanted.machine_id {
        fs::write("/etc/machine-id", format!("{id}\n"))
            .map_err(|e| Failure::failed(format!("machineId: {e}")))?;
    }
    let Some(plan) = network else { return Ok(()) };
    // Whatever comes of it, it is not as it was.
    let before = applied.take();
    plan.apply(before.as_ref())?;
    *applied = Some(plan);
    Ok(())
}

/// What the agent itself has in memory, in bytes; 0 when the kernel does not say.
pub fn own_memory_bytes() -> u64 {
    // proc_pid_statm(5): size resident …, in pages.
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * PAGE_BYTES
}
