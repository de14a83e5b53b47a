use std::io::Cursor;

use super::*;

/// A UDP datagram from 10.0.2.15:1000 to 10.0.2.2:2000 with `data`, its checksum left to hardware; and where its
/// UDP header begins.
fn datagram(data: &[u8]) -> (Vec<u8>, Vec<u8>, usize) {
    let length = (8 + data.len()) as u16;
    let mut frame = vec![0; 14 + 20];
    let start = frame.len();
    frame.extend([1000u16.to_be_bytes(), 2000u16.to_be_bytes(), length.to_be_bytes()].concat());
    let pseudo: u32 = 0x0a00 + 0x020f + 0x0a00 + 0x0202 + 17 + u32::from(length);
    frame.extend((pseudo as u16).to_be_bytes());
    frame.extend(data);
    let mut header = vec![0; VNET_HEADER_BYTES];
    header[0] = 1;
    header[6..8].copy_from_slice(&(start as u16).to_ne_bytes());
    header[8..10].copy_from_slice(&6u16.to_ne_bytes());
    (header, frame, start)
}

/// What a receiver adds up: 0xffff is a good checksum.
fn receivers_sum(frame: &[u8], start: usize) -> u16 {
    let mut sum: u32 = 0x0a00 + 0x020f + 0x0a00 + 0x0202 + 17 + (frame.len() - start) as u32;
    for pair in frame[start..].chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn checksums_that_were_left_to_hardware_are_finished() {
    for data in [&b""[..], b"x", b"even", b"odd length", &[0xff; 1_400]] {
        let (header, mut frame, start) = datagram(data);
        finish_checksum(&header, &mut frame);
        assert_eq!(receivers_sum(&frame, start), 0xffff, "{} bytes", data.len());
    }
}

#[test]
fn frames_are_left_alone_when_nothing_is_to_be_done_or_the_header_is_wrong() {
    for (change, what) in [
        (vec![(0, 0)], "no checksum wanted"),
        (vec![(6, 0xff), (7, 0xff)], "a start behind the end"),
        (vec![(8, 0xff), (9, 0xff)], "a field behind the end"),
    ] {
        let (mut header, mut frame, _) = datagram(b"data");
        change.iter().for_each(|&(at, byte)| header[at] = byte);
        let before = frame.clone();
        finish_checksum(&header, &mut frame);
        assert_eq!(frame, before, "{what}");
    }
}

#[test]
fn a_length_that_no_frame_has_ends_the_relay() {
    let packets = OwnedFd::from(File::open("/dev/null").unwrap());
    for (bytes, ends_well) in [
        (vec![], true),
        (vec![0, 0], true),
        (vec![0xff, 0xff, 0xff, 0xff, 1, 2, 3], false),
        (vec![0, 0, 0, 9, 1, 2], false),
        (vec![0, 0, 0, 2, 1, 2], true),
    ] {
        let result = to_guest(&packets, &mut Cursor::new(bytes.clone()));
        assert_eq!(result.is_ok(), ends_well, "{bytes:?}");
    }
}
