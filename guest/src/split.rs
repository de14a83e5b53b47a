//! One large frame as the frames that go over a wire: what segmentation offload leaves for hardware to do, done here.
//!
//! ```text
//! struct virtio_net_hdr { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset }
//!
//! Ethernet, IP, TCP or UDP, a payload of many times gso_size  ─►  each part behind headers of its own
//! ```
//!
//! A program beside the machine takes any frame; an interface of the host's takes none that is larger than its MTU, and
//! so does the guest behind one.

use std::net::Ipv6Addr;

use crate::syscall::tap::VNET_HEADER_BYTES;

const ETHERNET_BYTES: usize = 14;
const IPV6_BYTES: usize = 40;
/// linux/virtio_net.h; the highest bit only says that congestion is signalled.
const KIND_MASK: u8 = 0x7f;
const TCP_V4: u8 = 1;
const TCP_V6: u8 = 4;
const UDP: u8 = 5;
/// Below what TCP ever sends (`TCP_MIN_MSS`): a guest that asks for less wants to make many frames of one.
const LEAST_PART_BYTES: usize = 48;
const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// Whether the kernel says that the frame behind this header is several.
pub fn is_many(header: &[u8]) -> bool {
    header[1] & KIND_MASK != 0
}

/// Puts each part into `out`, behind its length (u32be). What cannot be cut apart is dropped: false.
pub fn split(header: &[u8; VNET_HEADER_BYTES], frame: &[u8], out: &mut Vec<u8>) -> bool {
    parts(header, frame, out).is_some()
}

fn parts(header: &[u8; VNET_HEADER_BYTES], frame: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let size = usize::from(u16::from_ne_bytes([header[4], header[5]]));
    let transport = usize::from(u16::from_ne_bytes([header[6], header[7]]));
    let ethertype = u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
    let is_v4 = match ethertype {
        0x0800 => true,
        0x86dd => false,
        _ => return None,
    };
    let least = ETHERNET_BYTES + if is_v4 { 20 } else { IPV6_BYTES };
    let is_tcp = match header[1] & KIND_MASK {
        TCP_V4 if is_v4 => true,
        TCP_V6 if !is_v4 => true,
        UDP => false,
        _ => return None,
    };
    if size < LEAST_PART_BYTES || transport < least || frame.len() < transport {
        return None;
    }
    if is_v4 && ipv4_header_bytes(frame) != transport - ETHERNET_BYTES {
        return None;
    }
    let transport_bytes = if is_tcp { usize::from(frame.get(transport + 12)? >> 4) * 4 } else { 8 };
    if transport_bytes < if is_tcp { 20 } else { 8 } {
        return None;
    }
    let (head, payload) = frame.split_at_checked(transport + transport_bytes)?;
    let last = payload.len().div_ceil(size).checked_sub(1)?;
    for (index, part) in payload.chunks(size).enumerate() {
        let length = head.len() + part.len();
        out.extend_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        let start = out.len();
        out.extend_from_slice(head);
        out.extend_from_slice(part);
        let one = &mut out[start..];
        if is_tcp {
            number_segment(&mut one[transport..], index, size, index == last)?;
        } else {
            one[transport + 4..transport + 6].copy_from_slice(&u16_of(8 + part.len())?.to_be_bytes());
        }
        if is_v4 {
            finish_v4(one, index)?
        } else {
            finish_v6(one)?
        };
        finish_transport(one, transport, is_v4, is_tcp)?;
    }
    Some(())
}

fn ipv4_header_bytes(frame: &[u8]) -> usize {
    usize::from(frame[ETHERNET_BYTES] & 0x0f) * 4
}

fn u16_of(length: usize) -> Option<u16> {
    u16::try_from(length).ok()
}

/// The sequence goes on, the end is at the end, and a reduced window is said once.
fn number_segment(segment: &mut [u8], index: usize, size: usize, is_last: bool) -> Option<()> {
    let first = u32::from_be_bytes(segment[4..8].try_into().ok()?);
    let sequence = first.wrapping_add(u32::try_from(index * size).ok()?);
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    if !is_last {
        segment[13] &= !FIN_AND_PSH;
    }
    if index > 0 {
        segment[13] &= !CWR;
    }
    Some(())
}

fn finish_v4(frame: &mut [u8], index: usize) -> Option<()> {
    let total = u16_of(frame.len() - ETHERNET_BYTES)?;
    let end = ETHERNET_BYTES + ipv4_header_bytes(frame);
    let ip = &mut frame[ETHERNET_BYTES..end];
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(index as u16);
    ip[4..6].copy_from_slice(&id.to_be_bytes());
    ip[10..12].fill(0);
    let checksum = !folded(sum(ip));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

fn finish_v6(frame: &mut [u8]) -> Option<()> {
    let payload = u16_of(frame.len() - ETHERNET_BYTES - IPV6_BYTES)?;
    frame[ETHERNET_BYTES + 4..ETHERNET_BYTES + 6].copy_from_slice(&payload.to_be_bytes());
    Some(())
}

fn finish_transport(frame: &mut [u8], transport: usize, is_v4: bool, is_tcp: bool) -> Option<()> {
    let (head, segment) = frame.split_at_mut(transport);
    let (field, protocol) = if is_tcp { (16, 6) } else { (6, 17) };
    segment[field..field + 2].fill(0);
    let ends = if is_v4 {
        &head[ETHERNET_BYTES + 12..ETHERNET_BYTES + 20]
    } else {
        let bytes = 2 * size_of::<Ipv6Addr>();
        &head[ETHERNET_BYTES + 8..ETHERNET_BYTES + 8 + bytes]
    };
    let pseudo = sum(ends) + protocol + u64::from(u16_of(segment.len())?);
    // UDP has no checksum of zero; all ones are the same number.
    let checksum = match !folded(pseudo + sum(segment)) {
        0 => 0xffff,
        other => other,
    };
    segment[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// https://www.rfc-editor.org/rfc/rfc1071
pub fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum()
}

pub fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
#[path = "split_test.rs"]
mod tests;
