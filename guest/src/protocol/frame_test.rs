use serde::Deserialize;

use super::*;

/// One row of protocol/vectors/frames.json.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    hex: String,
    frames: Option<Vec<Expected>>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expected {
    #[serde(rename = "type")]
    kind: String,
    id: u32,
    payload_text: Option<String>,
    payload_hex: Option<String>,
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn rows() -> Vec<Row> {
    serde_json::from_str(include_str!("../../../protocol/vectors/frames.json")).unwrap()
}

/// All frames of `bytes`, given to the decoder in pieces of `step`.
fn decode(bytes: &[u8], step: usize) -> Result<Vec<Frame>, ProtocolError> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in bytes.chunks(step) {
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

fn error_name(error: &ProtocolError) -> &'static str {
    match error {
        ProtocolError::UnknownType(_) => "unknown-type",
        ProtocolError::Flags(_) => "flags",
        ProtocolError::Reserved(_) => "reserved",
        ProtocolError::Id { .. } => "id",
        ProtocolError::Length { .. } => "length",
        ProtocolError::Rule(_) => "rule",
    }
}

#[test]
fn vectors_decode() {
    for row in rows() {
        let bytes = unhex(&row.hex);
        for step in [1, 5, 12, 13, usize::MAX] {
            let result = decode(&bytes, step);
            let Some(expected) = &row.frames else {
                let error = result.expect_err(&row.name);
                assert_eq!(Some(error_name(&error)), row.error.as_deref(), "{}", row.name);
                continue;
            };
            let frames = result.unwrap_or_else(|error| panic!("{}: {error}", row.name));
            assert_eq!(frames.len(), expected.len(), "{}", row.name);
            for (frame, expected) in frames.iter().zip(expected) {
                let payload = match (&expected.payload_text, &expected.payload_hex) {
                    (Some(text), None) => text.clone().into_bytes(),
                    (None, Some(hex)) => unhex(hex),
                    _ => panic!("{}: one payload is wanted", row.name),
                };
                let kind = format!("{:?}", frame.kind).to_uppercase();
                assert_eq!((kind, frame.id, &frame.payload), (expected.kind.clone(), expected.id, &payload));
            }
        }
    }
}

#[test]
fn vectors_encode_to_the_same_bytes() {
    for row in rows().iter().filter(|row| row.frames.is_some()) {
        let bytes = unhex(&row.hex);
        let mut encoded = Vec::new();
        for frame in decode(&bytes, usize::MAX).unwrap() {
            encode(&mut encoded, frame.kind, frame.id, &frame.payload);
        }
        assert_eq!(encoded, bytes, "{}", row.name);
    }
}

#[test]
fn an_absurd_length_is_refused_by_its_header_alone() {
    let mut decoder = Decoder::default();
    decoder.push(&[0xff, 0xff, 0xff, 0xff, Kind::Data as u8, 0, 0, 0, 1, 0, 0]);
    assert_eq!(decoder.next_frame(), Ok(None));
    decoder.push(&[0]);
    assert!(matches!(decoder.next_frame(), Err(ProtocolError::Length { length: u32::MAX, .. })));
}

/// xorshift64*: the same bytes on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[test]
fn fuzz_whatever_comes_in_any_pieces() {
    let seeds: Vec<Vec<u8>> = rows().iter().map(|row| unhex(&row.hex)).collect();
    let mut random = Random(0x00f1_a3eb_0c5e_ed01);
    for _ in 0..20_000 {
        let mut bytes = seeds[random.below(seeds.len() as u64) as usize].clone();
        bytes.truncate(4_096);
        for _ in 0..random.below(6) {
            match (random.below(3), bytes.len() as u64) {
                (0, length) if length > 0 => bytes[random.below(length) as usize] = random.next() as u8,
                (1, length) if length > 0 => bytes.truncate(random.below(length) as usize),
                _ => bytes.extend_from_slice(&seeds[random.below(seeds.len() as u64) as usize]),
            }
        }
        // How the bytes are cut must not change what comes out of them.
        let whole = decode(&bytes, usize::MAX);
        let cut = decode(&bytes, 1 + random.below(40) as usize);
        match (whole, cut) {
            (Ok(whole), Ok(cut)) => {
                assert_eq!(whole, cut);
                let mut again = Vec::new();
                for frame in &whole {
                    encode(&mut again, frame.kind, frame.id, &frame.payload);
                }
                assert_eq!(again, bytes[..again.len()]);
            }
            (Err(whole), Err(cut)) => assert_eq!(whole, cut),
            (whole, cut) => panic!("{whole:?} whole, {cut:?} cut, of {bytes:?}"),
        }
    }
}

/// What the decoder keeps is what it was given and has not handed out, and never more than the largest frame and one
/// piece: a header that promises more is refused before a byte of its payload is kept.
#[test]
fn fuzz_random_bytes_are_bounded() {
    let mut random = Random(0x00f1_a3eb_0c5e_ed03);
    for _ in 0..2_000 {
        let mut decoder = Decoder::default();
        for _ in 0..random.below(30) {
            // Now and then a header that passes, so that the decoder waits for a payload.
            let mut piece: Vec<u8> = (0..random.below(300)).map(|_| random.next() as u8).collect();
            if random.below(2) == 0 {
                let kind = 1 + random.below(8) as u8;
                let length = (random.next() as u32) >> random.below(32);
                let id = u32::from(!matches!(kind, 1 | 4));
                piece.splice(0..0, [&length.to_le_bytes()[..], &[kind, 0, 0, 0], &id.to_le_bytes()].concat());
            }
            decoder.push(&piece);
            let mut over = false;
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => assert!(frame.payload.len() <= frame.kind.bounds().1 as usize),
                    Ok(None) => break,
                    Err(_) => {
                        over = true;
                        break;
                    }
                }
            }
            assert!(decoder.buffer.len() - decoder.start <= HEADER_BYTES + (4 << 20) + 512);
            if over {
                break;
            }
        }
    }
}

/// Cut in two at every point, and byte by byte, good frames come out as they went in.
#[test]
fn frames_survive_every_cut() {
    let mut bytes = Vec::new();
    for (kind, id, payload) in [
        (Kind::Hello, 0, &b"{}"[..]),
        (Kind::Data, 7, b"\0\x01\xff"),
        (Kind::Eof, 7, b""),
        (Kind::Credit, 9, &[0, 0, 1, 0]),
        (Kind::Reset, 9, b"why"),
    ] {
        encode(&mut bytes, kind, id, payload);
    }
    let whole = decode(&bytes, usize::MAX).unwrap();
    assert_eq!(whole.len(), 5);
    for at in 0..=bytes.len() {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for piece in [&bytes[..at], &bytes[at..]] {
            decoder.push(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(frames, whole, "cut at {at}");
    }
    assert_eq!(decode(&bytes, 1).unwrap(), whole);
}

/// The decoder's memory follows what is waiting: after megabytes it is not larger than before.
#[test]
fn a_long_stream_needs_no_more_than_a_short_one() {
    let mut bytes = Vec::new();
    encode(&mut bytes, Kind::Data, 1, &vec![7; MAX_DATA_BYTES]);
    let mut decoder = Decoder::default();
    let mut count = 0;
    for chunk in bytes.repeat(200).chunks(10_007) {
        decoder.push(chunk);
        while decoder.next_frame().unwrap().is_some() {
            count += 1;
        }
        assert!(decoder.buffer.len() <= 4 * MAX_DATA_BYTES);
    }
    assert_eq!(count, 200);
    assert!(decoder.buffer.capacity() <= 8 * MAX_DATA_BYTES);
}
