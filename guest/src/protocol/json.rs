//! The bound on JSON that a parser with recursion needs: how deep it nests.

/// Levels of nesting that PROTOCOL.md allows.
const MAX_DEPTH: u32 = 64;

/// Whether no array or object lies deeper than the protocol allows. Looks at brackets outside strings only;
/// whether the text is JSON at all is for the parser to say.
pub fn is_shallow(text: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0u32, false, false);
    for &byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::is_shallow;

    #[test]
    fn counts_brackets_outside_strings() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for (name, text, shallow) in [
            ("64 levels", nested(64), true),
            ("65 levels", nested(65), false),
            ("brackets in a string", format!("\"{}\"", "[".repeat(100)), true),
            ("an escaped quote", format!("\"\\\"{}\"", "{".repeat(100)), true),
            ("an escaped backslash", format!("\"\\\\\"{}", nested(65)), false),
            ("wide, not deep", "[]".repeat(1000), true),
            ("closing too much", "]]]]".to_owned(), true),
        ] {
            assert_eq!(is_shallow(text.as_bytes()), shallow, "{name}");
        }
    }
}
