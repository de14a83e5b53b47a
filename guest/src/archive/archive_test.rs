use super::super::writer::Writer;
use super::*;

fn member(path: &[u8], kind: Kind) -> Member {
    Member {
        path: path.to_vec(),
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Time { seconds: 1_790_000_000, nanoseconds: 0 },
        size: 0,
        link: Vec::new(),
        device: (0, 0),
        xattrs: Vec::new(),
    }
}

/// All members, with their content.
fn read_all(archive: &[u8]) -> io::Result<Vec<(Member, Vec<u8>)>> {
    let mut reader = Reader::new(archive);
    let mut found = Vec::new();
    while let Some(member) = reader.next_member()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        found.push((member, content));
    }
    Ok(found)
}

fn written(members: &[(Member, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    for (member, content) in members {
        match member.kind {
            Kind::File => writer.add_file(member, *content).unwrap(),
            _ => writer.add(member).unwrap(),
        }
    }
    writer.finish().unwrap();
    bytes
}

fn everything() -> Vec<(Member, Vec<u8>)> {
    let long = [b"a/".repeat(120), "ü".as_bytes().to_vec()].concat();
    let full = Member {
        size: 1_025,
        uid: 3_000_000,
        gid: 4_000_000_000,
        mode: 0o6755,
        ..member(b"full", Kind::File)
    };
    let named = Member {
        mtime: Time { seconds: -2, nanoseconds: 5 },
        xattrs: vec![(b"user.a".to_vec(), b"=\n\0\xff".to_vec()), (b"user.b".to_vec(), vec![7; 3_000])],
        ..member(&long, Kind::Directory)
    };
    vec![
        (full, vec![1; 1_025]),
        (named, Vec::new()),
        (member(b"empty \xff", Kind::File), Vec::new()),
        (Member { link: long.clone(), ..member(b"s", Kind::Symlink) }, Vec::new()),
        (Member { link: b"full".to_vec(), ..member(b"h", Kind::HardLink) }, Vec::new()),
        (Member { device: (8, 1_048_575), ..member(b"b", Kind::Block) }, Vec::new()),
        (Member { device: (1, 3), ..member(b"c", Kind::Character) }, Vec::new()),
        (
            Member { mtime: Time { seconds: 1, nanoseconds: 999_999_999 }, ..member(b"f", Kind::Fifo) },
            Vec::new(),
        ),
    ]
}

#[test]
fn what_is_written_is_read() {
    let members = everything();
    let borrowed: Vec<(Member, &[u8])> =
        members.iter().map(|(member, content)| (member.clone(), content.as_slice())).collect();
    assert_eq!(read_all(&written(&borrowed)).unwrap(), members);
}

#[test]
fn a_file_that_shrinks_is_filled_up() {
    let bytes = written(&[
        (Member { size: 70_000, ..member(b"a", Kind::File) }, b"abc"),
        (member(b"b", Kind::Fifo), b""),
    ]);
    let members = read_all(&bytes).unwrap();
    assert_eq!(members[0].1, [&b"abc"[..], &[0; 69_997]].concat());
    assert_eq!(members[1].0.path, b"b");
}

#[test]
fn content_that_is_not_read_is_passed_over() {
    let bytes = written(&[
        (Member { size: 5, ..member(b"a", Kind::File) }, b"12345"),
        (member(b"b", Kind::Fifo), b""),
    ]);
    let mut reader = Reader::new(bytes.as_slice());
    assert_eq!(reader.next_member().unwrap().unwrap().path, b"a");
    reader.read_exact(&mut [0; 2]).unwrap();
    assert_eq!(reader.next_member().unwrap().unwrap().path, b"b");
    assert!(reader.next_member().unwrap().is_none() && reader.next_member().unwrap().is_none());
}

/// A header with a change made to it, and its checksum made right.
fn header(change: impl FnOnce(&mut [u8; BLOCK_BYTES])) -> Vec<u8> {
    let mut header: [u8; BLOCK_BYTES] =
        written(&[(member(b"name", Kind::File), b"")])[..BLOCK_BYTES].try_into().unwrap();
    change(&mut header);
    let sum = format!("{:06o}\0 ", checksum(&header));
    header[148..156].copy_from_slice(sum.as_bytes());
    header.to_vec()
}

fn pax(text: &[u8]) -> Vec<u8> {
    let mut bytes = header(|header| {
        header[field::TYPE] = b'x';
        header[124..136].copy_from_slice(format!("{:011o}\0", text.len()).as_bytes());
    });
    bytes.extend_from_slice(text);
    bytes.resize(bytes.len() + padding(text.len() as u64), 0);
    bytes.extend(header(|_| {}));
    bytes
}

#[test]
fn malformed_archives() {
    let set = |at: usize, bytes: &'static [u8]| {
        header(move |header| header[at..at + bytes.len()].copy_from_slice(bytes))
    };
    let damaged = {
        let mut bytes = set(0, b"n");
        bytes[0] = b'm';
        bytes
    };
    for (name, bytes, told) in [
        ("text", b"hello\n".repeat(200), "not a tar archive"),
        ("a damaged header", damaged, "checksum"),
        ("half a header", set(0, b"n")[..300].to_vec(), "in the middle"),
        ("content cut off", set(124, b"00000000007\0"), "in the middle"),
        ("a size that is none", set(124, b"x"), "size is no number"),
        (
            "a size below zero",
            set(124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            "size is no number",
        ),
        ("a mode that is none", set(100, b"9"), "mode is no number"),
        ("an owner of 64 bits", set(108, b"\x80\0\0\x01\0\0\0\0"), "owner"),
        ("an owner that means none", set(108, b"\x80\0\0\0\xff\xff\xff\xff"), "owner"),
        ("a type that nobody knows", set(156, b"Z"), "type"),
        ("a sparse file of GNU's", set(156, b"S"), "sparse"),
        ("a long name that is too long", set(156, b"L").into_iter().chain([0; 512]).collect::<Vec<u8>>(), ""),
        ("a pax header without a length", pax(b"path=x\n"), "damaged"),
        ("a pax header with too long a length", pax(b"99 path=x\n"), "damaged"),
        ("a pax header with too short a length", pax(b"2 path=x\n"), "damaged"),
        ("a pax record without an end", pax(b"10 path=xx"), "damaged"),
        ("a pax record without a value", pax(b"7 path\n"), "without a value"),
        ("a pax name with a NUL", pax(b"11 path=a\0\n"), ""),
        ("a pax size that is none", pax(b"10 size=x\n"), "size"),
        ("a pax size of 2^63", pax(b"28 size=9223372036854775808\n"), "too many"),
        ("a pax time that is none", pax(b"12 mtime=1e\n"), "mtime"),
        ("a sparse file of pax", pax(b"22 GNU.sparse.major=1\n"), "sparse"),
        ("a pax header of 2 MiB", set(124, b"00010000000\0").into_iter().collect(), "in the middle"),
    ] {
        match read_all(&bytes) {
            Ok(members) => assert!(told.is_empty(), "{name}: {members:?}"),
            Err(error) => assert!(error.to_string().contains(told), "{name}: {error}"),
        }
    }
    let huge = header(|header| {
        header[field::TYPE] = b'x';
        header[124..136].copy_from_slice(b"00010000000\0");
    });
    assert!(read_all(&huge).unwrap_err().to_string().contains("at most 1048576"));
}

#[test]
fn what_others_write() {
    let old_directory = header(|header| {
        header[field::TYPE] = 0;
        header[4] = b'/';
    });
    assert_eq!(read_all(&old_directory).unwrap()[0].0.kind, Kind::Directory);
    let prefixed = header(|header| header[345..349].copy_from_slice(b"a/b\0"));
    assert_eq!(read_all(&prefixed).unwrap()[0].0.path, b"a/b/name");
    let of_gnu = header(|header| {
        header[257..265].copy_from_slice(b"ustar  \0");
        header[345..349].copy_from_slice(b"1234");
    });
    assert_eq!(read_all(&of_gnu).unwrap()[0].0.path, b"name");
    let mut long = header(|header| {
        header[field::TYPE] = b'L';
        header[124..136].copy_from_slice(b"00000000310\0");
    });
    long.extend([[b'x'; 199].as_slice(), &[0; 313]].concat());
    long.extend(header(|_| {}));
    assert_eq!(read_all(&long).unwrap()[0].0.path, [b'x'; 199]);
    let mut global = pax(b"12 path=all\n");
    global[field::TYPE] = b'g';
    let sum = format!("{:06o}\0 ", checksum(global[..BLOCK_BYTES].try_into().unwrap()));
    global[148..156].copy_from_slice(sum.as_bytes());
    assert_eq!(read_all(&global).unwrap()[0].0.path, b"name");
    let link_with_size = header(|header| {
        header[field::TYPE] = b'1';
        header[124..136].copy_from_slice(b"00000000310\0");
    });
    assert_eq!(read_all(&link_with_size).unwrap()[0].0.size, 0);
}

/// xorshift64*: the same bytes on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % limit
    }
}

/// Damaged archives, checksums made right: members or an error, and never a panic, nor more content than there is.
#[test]
fn fuzz_archives() {
    let members = everything();
    let borrowed: Vec<(Member, &[u8])> =
        members.iter().map(|(member, content)| (member.clone(), content.as_slice())).collect();
    let seed = written(&borrowed);
    let mut random = Random(0x00f1_a3eb_0c5e_ed04);
    let (mut understood, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = seed.clone();
        for _ in 0..1 + random.below(3) {
            let block = random.below(bytes.len() / BLOCK_BYTES) * BLOCK_BYTES;
            let at = block + random.below(BLOCK_BYTES);
            match random.below(4) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes[at] = b"0123456789=\n x"[random.below(14)],
                2 => bytes[block + field::TYPE] = b"0123456xgLKS"[random.below(12)],
                _ => bytes.truncate(at.max(BLOCK_BYTES)),
            }
            if bytes.len() >= block + BLOCK_BYTES {
                let header: [u8; BLOCK_BYTES] = bytes[block..block + BLOCK_BYTES].try_into().unwrap();
                let sum = format!("{:06o}\0 ", checksum(&header));
                bytes[block + 148..block + 156].copy_from_slice(sum.as_bytes());
            }
        }
        match read_all(&bytes) {
            Ok(members) => {
                understood += 1;
                assert!(members.iter().map(|(_, content)| content.len()).sum::<usize>() <= bytes.len());
                assert!(members.iter().all(|(member, _)| !member.path.contains(&0) && member.mode <= 0o7777));
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(understood > 500 && refused > 500, "{understood} understood, {refused} refused");
}
