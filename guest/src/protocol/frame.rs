//! Frames: a 12-byte header and a bounded payload.

use std::fmt;

pub const HEADER_BYTES: usize = 12;
/// The largest payload of a DATA frame.
pub const MAX_DATA_BYTES: usize = 65_536;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hello = 1,
    Request = 2,
    Response = 3,
    Event = 4,
    Data = 5,
    Credit = 6,
    Eof = 7,
    Reset = 8,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Request,
            3 => Self::Response,
            4 => Self::Event,
            5 => Self::Data,
            6 => Self::Credit,
            7 => Self::Eof,
            8 => Self::Reset,
            _ => return None,
        })
    }

    /// The least and the largest payload, in bytes.
    fn bounds(self) -> (u32, u32) {
        match self {
            Self::Hello | Self::Event => (2, 65_536),
            Self::Request | Self::Response => (2, 4 << 20),
            Self::Data => (1, MAX_DATA_BYTES as u32),
            Self::Credit => (4, 4),
            Self::Eof => (0, 0),
            Self::Reset => (0, 1_024),
        }
    }

    fn has_id(self) -> bool {
        !matches!(self, Self::Hello | Self::Event)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub id: u32,
    pub payload: Vec<u8>,
}

/// What makes a connection unusable. The text goes to the console only.
#[derive(Debug, PartialEq, Eq)]
pub enum ProtocolError {
    UnknownType(u8),
    Flags(u8),
    Reserved(u16),
    Id { kind: Kind, id: u32 },
    Length { kind: Kind, length: u32 },
    Rule(&'static str),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType(byte) => write!(f, "unknown frame type {byte}"),
            Self::Flags(flags) => write!(f, "flags are {flags}, not 0"),
            Self::Reserved(reserved) => write!(f, "reserved is {reserved}, not 0"),
            Self::Id { kind, id } => write!(f, "{kind:?} with id {id}, not 0"),
            Self::Length { kind, length } => write!(f, "{kind:?} with a payload of {length} bytes"),
            Self::Rule(rule) => f.write_str(rule),
        }
    }
}

/// Appends one frame to `out`. The caller keeps to the bounds of the frame's row.
pub fn encode(out: &mut Vec<u8>, kind: Kind, id: u32, payload: &[u8]) {
    let (least, most) = kind.bounds();
    debug_assert!(payload.len() >= least as usize && payload.len() <= most as usize);
    out.reserve(HEADER_BYTES + payload.len());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[kind as u8, 0, 0, 0]);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Turns bytes, in pieces of any size, into frames. A header is judged as soon as it is complete, so that an
/// absurd length is refused before one byte of its payload is kept.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > MAX_DATA_BYTES {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` when more bytes are needed. After an error the decoder is spent.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ProtocolError> {
        let rest = &self.buffer[self.start..];
        let Some((header, body)) = rest.split_at_checked(HEADER_BYTES) else { return Ok(None) };
        let (length, kind, id) = decode_header(header)?;
        let Some(payload) = body.get(..length) else { return Ok(None) };
        let frame = Frame { kind, id, payload: payload.to_vec() };
        self.start += HEADER_BYTES + length;
        Ok(Some(frame))
    }
}

fn decode_header(header: &[u8]) -> Result<(usize, Kind, u32), ProtocolError> {
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = u32_at(0);
    let kind = Kind::from_byte(header[4]).ok_or(ProtocolError::UnknownType(header[4]))?;
    if header[5] != 0 {
        return Err(ProtocolError::Flags(header[5]));
    }
    let reserved = u16::from_le_bytes([header[6], header[7]]);
    if reserved != 0 {
        return Err(ProtocolError::Reserved(reserved));
    }
    let id = u32_at(8);
    if id != 0 && !kind.has_id() {
        return Err(ProtocolError::Id { kind, id });
    }
    let (least, most) = kind.bounds();
    if length < least || length > most {
        return Err(ProtocolError::Length { kind, length });
    }
    Ok((length as usize, kind, id))
}

#[cfg(test)]
#[path = "frame_test.rs"]
mod tests;
