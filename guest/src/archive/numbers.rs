//! Numbers of tar headers (octal, or GNU's base 256) and of pax records (decimal).

use super::Time;

const NANOSECONDS: u32 = 1_000_000_000;

/// Octal digits, with spaces or NULs around; or, with the highest bit set, big-endian two's complement.
pub fn parse(field: &[u8]) -> Option<i64> {
    match field.first()? {
        first if first & 0x80 != 0 => parse_base_256(field),
        _ => parse_octal(field),
    }
}

fn parse_octal(field: &[u8]) -> Option<i64> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    if !digits[end..].iter().all(is_blank) {
        return None;
    }
    digits[..end].iter().try_fold(0i64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn parse_base_256(field: &[u8]) -> Option<i64> {
    // The first bit only says what this is; the second is the sign.
    let negative = field[0] & 0x40 != 0;
    let first = if negative { field[0] | 0x80 } else { field[0] & 0x7f };
    let mut sum: i128 = if negative { -1 } else { 0 };
    for (at, byte) in field.iter().enumerate() {
        sum = (sum << 8) | i128::from(if at == 0 { first } else { *byte });
        i64::try_from(sum).ok()?;
    }
    i64::try_from(sum).ok()
}

/// The number as octal digits that fill a field but for its last byte; false when it does not fit.
pub fn write_octal(field: &mut [u8], number: u64) -> bool {
    let (last, digits) = match field.split_last_mut() {
        Some(parts) => parts,
        None => return false,
    };
    *last = 0;
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    rest == 0
}

pub fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds since the epoch, with a fraction perhaps, of which nine digits count.
pub fn parse_time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let whole = i64::try_from(parse_decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds: whole, nanoseconds },
        (true, 0) => Time { seconds: -whole, nanoseconds },
        (true, _) => Time { seconds: -whole - 1, nanoseconds: NANOSECONDS - nanoseconds },
    })
}

pub fn format_time(time: Time) -> String {
    let Time { seconds, nanoseconds } = time;
    match nanoseconds {
        0 => seconds.to_string(),
        _ if seconds >= 0 => format!("{seconds}.{nanoseconds:09}"),
        _ => format!("-{}.{:09}", (seconds + 1).unsigned_abs(), NANOSECONDS - nanoseconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_headers() {
        for (name, field, number) in [
            ("octal", &b"0000644\0"[..], Some(0o644)),
            ("octal in spaces", b"   644 \0", Some(0o644)),
            ("nothing", b"\0\0\0\0\0\0\0\0", Some(0)),
            ("no field", b"", None),
            ("full of digits", b"77777777", Some(0o77_777_777)),
            ("a digit too large", b"0000648\0", None),
            ("digits behind the end", b"644\0 1\0\0", None),
            ("a sign", b"-0000644", None),
            ("base 256", b"\x80\0\0\0\0\0\x01\x02", Some(258)),
            ("base 256, negative", b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            ("base 256, too large", b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(parse(field), number, "{name}");
        }
        let mut field = [b'x'; 8];
        assert!(write_octal(&mut field, 0o7_777_777) && &field == b"7777777\0");
        assert!(!write_octal(&mut field, 0o10_000_000));
    }

    #[test]
    fn times_there_and_back() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("5.000000001", 5, 1),
            ("-1", -1, 0),
            ("-1.500000000", -2, 500_000_000),
            ("-0.250000000", -1, 750_000_000),
        ] {
            let time = Time { seconds, nanoseconds };
            assert_eq!(parse_time(text.as_bytes()), Some(time), "{text}");
            assert_eq!(format_time(time), text);
        }
        assert_eq!(parse_time(b"1.5"), Some(Time { seconds: 1, nanoseconds: 500_000_000 }));
        assert_eq!(parse_time(b"1.1234567899"), Some(Time { seconds: 1, nanoseconds: 123_456_789 }));
        for text in [&b""[..], b"-", b".5", b"1.x", b"1e3", b"+1", b" 1", b"99999999999999999999"] {
            assert_eq!(parse_time(text), None, "{}", text.escape_ascii());
        }
    }
}
