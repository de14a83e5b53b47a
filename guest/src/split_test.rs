use super::*;

const SIZE: usize = 100;

fn header(kind: u8, transport: usize) -> [u8; VNET_HEADER_BYTES] {
    let mut header = [0; VNET_HEADER_BYTES];
    header[0] = 1;
    header[1] = kind;
    header[4..6].copy_from_slice(&(SIZE as u16).to_ne_bytes());
    header[6..8].copy_from_slice(&(transport as u16).to_ne_bytes());
    header
}

/// A frame of TCP or UDP with `payload`, and where its transport's header begins.
fn large(is_v4: bool, is_tcp: bool, payload: &[u8]) -> (Vec<u8>, usize) {
    let mut frame = vec![2; 12];
    if is_v4 {
        frame.extend([0x08, 0x00]);
        let mut ip = vec![0x45, 0, 0xff, 0xff, 0xff, 0xfe, 0x40, 0, 64, if is_tcp { 6 } else { 17 }, 1, 2];
        ip.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(ip);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, if is_tcp { 6 } else { 17 }, 64]);
        frame.extend([[0xfd, 1], [0xfd, 2]].concat().iter().flat_map(|byte| [*byte; 8]));
    }
    let transport = frame.len();
    if is_tcp {
        // Ports, sequence, acknowledgement, twenty bytes of header, CWR and ACK and PSH and FIN, window, checksum.
        frame.extend([0, 80, 0, 81, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 1, 0x50, 0x99, 1, 0, 3, 4, 0, 0]);
    } else {
        frame.extend([0, 80, 0, 81, 9, 9, 3, 4]);
    }
    frame.extend(payload);
    (frame, transport)
}

fn frames(out: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut all) = (out, Vec::new());
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let (one, others) = more.split_at(u32::from_be_bytes(*length) as usize);
        all.push(one);
        rest = others;
    }
    all
}

fn checksum_is_good(frame: &[u8], transport: usize, is_v4: bool, is_tcp: bool) -> bool {
    let ends = if is_v4 { &frame[26..34] } else { &frame[22..54] };
    let segment = &frame[transport..];
    let protocol = if is_tcp { 6 } else { 17 };
    folded(sum(ends) + protocol + segment.len() as u64 + sum(segment)) == 0xffff
}

#[test]
fn parts_have_the_whole_payload_and_headers_of_their_own() {
    for (is_v4, is_tcp, kind) in
        [(true, true, TCP_V4), (false, true, TCP_V6), (true, false, UDP), (false, false, UDP)]
    {
        for length in [1, SIZE, SIZE + 1, 3 * SIZE - 1, 600 * SIZE] {
            let payload: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let (frame, transport) = large(is_v4, is_tcp, &payload);
            let mut out = Vec::new();
            assert!(split(&header(kind, transport), &frame, &mut out));
            let all = frames(&out);
            assert_eq!(all.len(), length.div_ceil(SIZE));
            let body = transport + if is_tcp { 20 } else { 8 };
            assert_eq!(all.iter().flat_map(|one| &one[body..]).copied().collect::<Vec<_>>(), payload);
            for (index, one) in all.iter().enumerate() {
                assert!(checksum_is_good(one, transport, is_v4, is_tcp));
                if is_v4 {
                    assert_eq!(folded(sum(&one[14..34])), 0xffff);
                    assert_eq!(usize::from(u16::from_be_bytes([one[16], one[17]])), one.len() - 14);
                    assert_eq!(u16::from_be_bytes([one[18], one[19]]), 0xfffe_u16.wrapping_add(index as u16));
                } else {
                    assert_eq!(usize::from(u16::from_be_bytes([one[18], one[19]])), one.len() - 54);
                }
                if is_tcp {
                    let at = &one[transport..];
                    let expected = 0xffff_fff0_u32.wrapping_add((index * SIZE) as u32);
                    assert_eq!(u32::from_be_bytes(at[4..8].try_into().unwrap()), expected);
                    let end = if index + 1 == all.len() { 0x09 } else { 0 };
                    assert_eq!(at[13], 0x10 | end | if index == 0 { 0x80 } else { 0 });
                }
            }
        }
    }
}

#[test]
fn what_makes_no_sense_is_dropped() {
    let (frame, transport) = large(true, true, &[7; 300]);
    let good = header(TCP_V4, transport);
    let changed = |at: usize, byte: u8| {
        let mut header = good;
        header[at] = byte;
        header
    };
    let cases: [(&str, [u8; VNET_HEADER_BYTES], &[u8]); 8] = [
        ("no such kind", changed(1, 3), &frame),
        ("the other version", changed(1, TCP_V6), &frame),
        ("parts of nothing", changed(4, 0), &frame),
        ("a header in the middle of another", changed(6, 20), &frame),
        ("a header behind the end", changed(7, 0xff), &frame),
        ("cut short in its headers", good, &frame[..transport + 5]),
        ("without a payload", good, &frame[..transport + 20]),
        ("nothing", good, &[]),
    ];
    for (what, header, frame) in cases {
        assert!(!split(&header, frame, &mut Vec::new()), "{what}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let (mut frame, transport) = large(random() & 1 == 0, random() & 1 == 0, &[1; 250]);
        let mut header = header((random() % 6) as u8, transport);
        for _ in 0..random() % 4 {
            let at = random() as usize % frame.len();
            frame[at] = random() as u8;
            header[random() as usize % VNET_HEADER_BYTES] = random() as u8;
        }
        frame.truncate(random() as usize % (frame.len() + 1));
        let mut out = Vec::new();
        split(&header, &frame, &mut out);
        assert!(out.len() <= 250 * (frame.len() + 4));
    }
}
