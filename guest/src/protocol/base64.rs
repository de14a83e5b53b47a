//! Base64 (RFC 4648, section 4): strict, padded, no line breaks.

/// The bytes, or `None` for anything that an encoder would not have written.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let groups = text.len() / 4;
    for (index, group) in text.chunks_exact(4).enumerate() {
        let padding = match (group[2], group[3]) {
            (b'=', b'=') => 2,
            (_, b'=') => 1,
            _ => 0,
        };
        if padding > 0 && index + 1 != groups {
            return None;
        }
        let mut value = 0u32;
        for &symbol in &group[..4 - padding] {
            value = value << 6 | sextet(symbol)?;
        }
        value <<= 6 * padding;
        let [_, decoded @ ..] = value.to_be_bytes();
        // RFC 4648, section 3.5: the bits that padding leaves over are zero.
        if decoded[3 - padding..].iter().any(|&byte| byte != 0) {
            return None;
        }
        bytes.extend_from_slice(&decoded[..3 - padding]);
    }
    Some(bytes)
}

fn sextet(symbol: u8) -> Option<u32> {
    Some(u32::from(match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn decodes_what_encoders_write() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYmFy", b"foobar"),
            ("//79+A==", b"\xff\xfe\xfd\xf8"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for (name, text) in [
            ("no padding", "Zg"),
            ("three symbols", "Zm9"),
            ("padding in the middle", "Zg==Zg=="),
            ("only padding", "===="),
            ("three pads", "Z==="),
            ("pad before symbol", "Zg=A"),
            ("left-over bits", "Zh=="),
            ("left-over bits of two", "Zm9="),
            ("line break", "Zm9v\n"),
            ("url alphabet", "__79"),
            ("not ASCII", "Zm9é"),
        ] {
            assert_eq!(decode(text), None, "{name}");
        }
    }
}
