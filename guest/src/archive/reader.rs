//! Members in: whatever a host's tar writes. What is against the format, or longer than anybody needs, is an error.

use std::io::{self, ErrorKind, Read};

use super::{BLOCK_BYTES, Kind, Member, Time, XATTR_PREFIX, checksum, field, numbers, padding};

/// Longest pax header, in bytes: an extended attribute may have 64 KiB.
const MAX_PAX_BYTES: u64 = 1 << 20;
/// Longest name or link, in bytes.
const MAX_NAME_BYTES: u64 = 65_536;

pub struct Reader<R: Read> {
    from: R,
    /// Of the last member's content, and what fills its last block.
    left: u64,
    padding: usize,
    ended: bool,
}

/// What headers in front of a member say of it.
#[derive(Default)]
struct Extra {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Time>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

impl<R: Read> Reader<R> {
    pub fn new(from: R) -> Self {
        Self { from, left: 0, padding: 0, ended: false }
    }

    /// The next member; what was not read of the one before is passed over. None at the end of the archive.
    pub fn next_member(&mut self) -> io::Result<Option<Member>> {
        let mut extra = Extra::default();
        loop {
            self.skip_content()?;
            let Some(header) = self.block()? else { return Ok(None) };
            let size = size_of(&header)?;
            match header[field::TYPE] {
                b'x' => extra.take_records(&self.text(size, MAX_PAX_BYTES, "a pax header")?)?,
                // What is true of all members, as git has it with its commit, is of nobody's file here.
                b'g' => drop(self.text(size, MAX_PAX_BYTES, "a pax header")?),
                b'L' => extra.path = Some(until_nul(&self.text(size, MAX_NAME_BYTES, "a name")?).to_vec()),
                b'K' => extra.link = Some(until_nul(&self.text(size, MAX_NAME_BYTES, "a link")?).to_vec()),
                kind => {
                    let member = member_of(&header, kind, size, extra)?;
                    self.left = member.size;
                    self.padding = padding(member.size);
                    return Ok(Some(member));
                }
            }
        }
    }

    fn skip_content(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.left) + std::mem::take(&mut self.padding) as u64;
        if io::copy(&mut (&mut self.from).take(rest), &mut io::sink())? < rest {
            return Err(cut_off());
        }
        Ok(())
    }

    /// The next header; None for the zeros at the end, or when there is nothing more.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK_BYTES]>> {
        if self.ended {
            return Ok(None);
        }
        let mut header = [0; BLOCK_BYTES];
        let mut have = 0;
        while have < BLOCK_BYTES {
            match self.from.read(&mut header[have..]) {
                Ok(0) if have == 0 => break,
                Ok(0) => return Err(cut_off()),
                Ok(length) => have += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if header.iter().all(|&byte| byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        let (start, length) = field::CHECKSUM;
        let told = numbers::parse(&header[start..start + length]);
        if told.and_then(|told| u64::try_from(told).ok()) != Some(checksum(&header)) {
            return Err(invalid("not a tar archive, or a damaged one: a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    /// The content of a header's own member.
    fn text(&mut self, size: u64, most: u64, what: &str) -> io::Result<Vec<u8>> {
        if size > most {
            return Err(invalid(format!("{what} of {size} bytes, at most {most} are taken")));
        }
        let mut text = Vec::new();
        (&mut self.from).take(size).read_to_end(&mut text)?;
        self.padding = padding(size);
        if (text.len() as u64) < size { Err(cut_off()) } else { Ok(text) }
    }
}

/// The content of the member that was read last.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        match self.from.read(&mut buffer[..most])? {
            0 => Err(cut_off()),
            length => {
                self.left -= length as u64;
                Ok(length)
            }
        }
    }
}

fn cut_off() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the archive ends in the middle")
}

fn until_nul(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    &text[..end]
}

fn part(header: &[u8; BLOCK_BYTES], (start, length): (usize, usize)) -> &[u8] {
    &header[start..start + length]
}

fn number(header: &[u8; BLOCK_BYTES], place: (usize, usize), name: &str) -> io::Result<u64> {
    numbers::parse(part(header, place))
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| invalid(format!("a header's {name} is no number")))
}

fn size_of(header: &[u8; BLOCK_BYTES]) -> io::Result<u64> {
    number(header, field::SIZE, "size")
}

fn name_of(header: &[u8; BLOCK_BYTES]) -> Vec<u8> {
    let name = until_nul(part(header, field::NAME));
    // GNU's headers have other things in the prefix' place.
    let is_posix = part(header, field::MAGIC).starts_with(b"ustar\0");
    let prefix = if is_posix { until_nul(part(header, field::PREFIX)) } else { b"" };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

fn member_of(header: &[u8; BLOCK_BYTES], kind: u8, size: u64, extra: Extra) -> io::Result<Member> {
    let path = extra.path.unwrap_or_else(|| name_of(header));
    let link = extra.link.unwrap_or_else(|| until_nul(part(header, field::LINK)).to_vec());
    let named = path.escape_ascii().to_string();
    if path.contains(&0) || link.contains(&0) {
        return Err(invalid(format!("{named}: a name with a NUL in it")));
    }
    let kind = match kind {
        // As it was before there was a type for directories.
        b'0' | b'7' | 0 if path.ends_with(b"/") => Kind::Directory,
        b'0' | b'7' | 0 => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character,
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => return Err(sparse(&named)),
        other => {
            let kind = other.escape_ascii();
            return Err(invalid(format!(
                "{named}: a member of the type \"{kind}\", which nobody here knows"
            )));
        }
    };
    let owner = |given: Option<u64>, place, name| match given {
        Some(number) => Ok(number),
        None => number(header, place, name),
    };
    let (uid, gid) = (owner(extra.uid, field::UID, "uid")?, owner(extra.gid, field::GID, "gid")?);
    // -1 means "leave it" to chown(2).
    let is_owner = |id: u64| u32::try_from(id).ok().filter(|&id| id != u32::MAX);
    let (Some(uid), Some(gid)) = (is_owner(uid), is_owner(gid)) else {
        return Err(invalid(format!("{named}: the owner {uid}:{gid} is none")));
    };
    let mtime = match extra.mtime {
        Some(time) => time,
        None => Time {
            seconds: numbers::parse(part(header, field::MTIME))
                .ok_or_else(|| invalid(format!("{named}: its time is no number")))?,
            nanoseconds: 0,
        },
    };
    let is_device = matches!(kind, Kind::Character | Kind::Block);
    let device = if is_device {
        let part = |place, name| {
            number(header, place, name)
                .and_then(|n| u32::try_from(n).map_err(|_| invalid("a device's number")))
        };
        (part(field::MAJOR, "device")?, part(field::MINOR, "device")?)
    } else {
        (0, 0)
    };
    let size = extra.size.unwrap_or(size);
    if i64::try_from(size).is_err() {
        return Err(invalid(format!("{named}: {size} bytes are too many")));
    }
    Ok(Member {
        kind,
        mode: number(header, field::MODE, "mode")? as u32 & 0o7777,
        uid,
        gid,
        mtime,
        // A directory's says how much is to be reserved for it, and a link's how large the file is: nothing follows.
        size: if kind == Kind::File { size } else { 0 },
        link,
        device,
        xattrs: extra.xattrs,
        path,
    })
}

fn sparse(name: &str) -> io::Error {
    invalid(format!("{name}: a sparse file; have tar write it without holes"))
}

impl Extra {
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_03>
    fn take_records(&mut self, text: &[u8]) -> io::Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let (record, behind) = split_record(rest).ok_or_else(|| invalid("a pax header is damaged"))?;
            rest = behind;
            let equals = record.iter().position(|&byte| byte == b'=');
            let equals = equals.ok_or_else(|| invalid("a pax header has a record without a value"))?;
            self.take(&record[..equals], &record[equals + 1..])?;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let wrong = || {
            invalid(format!(
                "a pax header's {} is {:?}",
                key.escape_ascii(),
                value.escape_ascii().to_string()
            ))
        };
        let number = || numbers::parse_decimal(value).ok_or_else(wrong);
        match key {
            b"path" | b"linkpath" if value.len() as u64 > MAX_NAME_BYTES => {
                return Err(invalid(format!("a name of {} bytes", value.len())));
            }
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => self.mtime = Some(numbers::parse_time(value).ok_or_else(wrong)?),
            _ if key.starts_with(b"GNU.sparse.") => return Err(sparse("a member")),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// What stands in the first record behind its length, and what is behind it.
fn split_record(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(numbers::parse_decimal(&text[..space])?).ok()?;
    if length <= space + 1 || length > text.len() || text[length - 1] != b'\n' {
        return None;
    }
    Some((&text[space + 1..length - 1], &text[length..]))
}

#[cfg(test)]
#[path = "archive_test.rs"]
mod tests;
