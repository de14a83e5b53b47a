//! Where something is mounted in a container, from the kernel's own list.
//! <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>

use std::collections::BTreeSet;

/// Absolute paths, as the container sees them, the root left out.
#[derive(Default)]
pub struct Places(BTreeSet<Vec<u8>>);

impl Places {
    pub fn parse(mountinfo: &[u8]) -> Self {
        let places = mountinfo.split(|&byte| byte == b'\n').filter_map(|line| {
            let path = unescape(line.split(|&byte| byte == b' ').nth(4)?);
            (path.len() > 1 && path.starts_with(b"/")).then_some(path)
        });
        Self(places.collect())
    }

    pub fn is_one(&self, path: &[u8]) -> bool {
        self.0.contains(path)
    }

    /// Whether there is one somewhere below the directory.
    pub fn is_above_one(&self, directory: &[u8]) -> bool {
        self.first_below(directory).is_some()
    }

    /// Whether there is one right in it.
    pub fn holds_one(&self, directory: &[u8]) -> bool {
        let prefix = [directory, b"/"].concat();
        let below = self.0.range(prefix.clone()..).take_while(|path| path.starts_with(&prefix));
        below.into_iter().any(|path| !path[prefix.len()..].contains(&b'/'))
    }

    fn first_below(&self, directory: &[u8]) -> Option<&Vec<u8>> {
        let prefix = [directory, b"/"].concat();
        self.0.range(prefix.clone()..).next().filter(|path| path.starts_with(&prefix))
    }
}

/// `\040` and the like.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let octal = behind
            .first_chunk::<3>()
            .filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal {
            Some(digits) => {
                plain.push(
                    digits.iter().fold(0u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = &behind[3..];
            }
            None => {
                plain.push(byte);
                rest = behind;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"30 1 0:5 / / rw - overlay overlay rw\n31 30 0:6 / /dev rw,nosuid shared:3 - tmpfs tmpfs rw\n\
        32 30 8:1 /x /etc/hosts rw - ext4 /dev/vdb rw\n33 30 0:7 / /with\\040space/a\\134b rw - tmpfs t rw\nshort line\n\n";

    #[test]
    fn what_is_mounted_where() {
        let places = Places::parse(LIST);
        for (path, is_one, above, holds) in [
            (&b"/"[..], false, false, false),
            (b"", false, true, true),
            (b"/dev", true, false, false),
            (b"/etc", false, true, true),
            (b"/etc/hosts", true, false, false),
            (b"/etc/host", false, false, false),
            (b"/with space", false, true, true),
            (b"/with space/a\\b", true, false, false),
            (b"/et", false, false, false),
        ] {
            let found = (places.is_one(path), places.is_above_one(path), places.holds_one(path));
            assert_eq!(found, (is_one, above, holds), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn malformed_lists_are_passed_over() {
        for text in [
            &b""[..],
            b"\n\n",
            b"a b c d",
            b"a b c d relative",
            b"a b c d \\04",
            b"a b c d /",
            b"\xff\0 \xff",
        ] {
            let places = Places::parse(text);
            assert!(places.0.is_empty(), "{}", text.escape_ascii());
        }
    }
}
