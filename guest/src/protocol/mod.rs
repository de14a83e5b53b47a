//! The agent protocol, as `protocol/PROTOCOL.md` defines it.
//!
//! ```text
//! bytes ─► frame::Decoder ─► Frame ─► message (JSON payloads)        and back: frame::encode
//! ```
//!
//! Parsing never does I/O, and no length is believed before it was compared with its row of the table.

pub mod base64;
pub mod frame;
pub mod json;
pub mod message;

/// The highest generation this agent knows.
pub const GENERATION: u32 = 5;
