use std::fs;
use std::path::PathBuf;

use super::*;
use crate::archive::writer::Writer;

/// A directory of its own, with another beside it that nothing may reach.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flamebox-extract-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("into")).unwrap();
        fs::create_dir_all(path.join("beside")).unwrap();
        fs::write(path.join("beside/file"), "untouched").unwrap();
        Self(path)
    }

    fn extract(&self, members: &[(Member, &[u8])]) -> Result<(u64, u64), Failure> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        for (member, content) in members {
            writer.add_file(member, *content).unwrap();
        }
        writer.finish().unwrap();
        let owner = Some(Owner { uid: Uid::current().as_raw(), gid: Gid::current().as_raw() });
        let order = Order { path: "/", owner, devices: false };
        let target = syscall::confine::open_directory_to_read(&self.0.join("into")).unwrap();
        let mut extraction = Extraction::new(&order, target);
        let outcome = extraction.run(Reader::new(bytes.as_slice()));
        extraction.set_times();
        outcome.map(|()| (extraction.entries, extraction.bytes))
    }

    fn is_untouched(&self) -> bool {
        let names: Vec<_> = fs::read_dir(self.0.join("beside")).unwrap().flatten().collect();
        names.len() == 1 && fs::read(self.0.join("beside/file")).unwrap() == b"untouched"
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn member(path: &str, kind: Kind, link: &str) -> Member {
    Member {
        path: path.into(),
        kind,
        mode: 0o640,
        uid: 1,
        gid: 1,
        mtime: Time { seconds: 1_000_000_000, nanoseconds: 5 },
        size: 0,
        link: link.into(),
        device: (0, 0),
        xattrs: Vec::new(),
    }
}

fn file(path: &str, content: &'static str) -> (Member, &'static [u8]) {
    (Member { size: content.len() as u64, ..member(path, Kind::File, "") }, content.as_bytes())
}

fn other(path: &str, kind: Kind, link: &str) -> (Member, &'static [u8]) {
    (member(path, kind, link), b"")
}

#[test]
fn names() {
    for (name, clean_name) in [
        ("a/b", Ok("a/b")),
        ("/a//./b/", Ok("a/b")),
        ("./", Ok("")),
        ("", Ok("")),
        ("..", Err(())),
        ("a/../b", Err(())),
        ("..a/b..", Ok("..a/b..")),
        ("a\0b", Err(())),
    ] {
        let found = clean(name.as_bytes()).map(|path| String::from_utf8(path).unwrap()).map_err(|_| ());
        assert_eq!(found.as_deref(), clean_name.as_ref().copied(), "{name:?}");
    }
    assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
    assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
}

#[test]
fn what_is_extracted_is_as_it_was() {
    let place = Place::new("whole");
    let extracted = place.extract(&[
        other("d/", Kind::Directory, ""),
        file("d/f", "content"),
        other("d/h", Kind::HardLink, "d/f"),
        other("d/s", Kind::Symlink, "../../beside"),
        file("made/for/it", "x"),
        file("d/f2", "old"),
        file("d/f2", "new"),
        other("d/s2", Kind::Symlink, "f"),
        file("d/s2", "no link any more"),
        other("d/p", Kind::Fifo, ""),
    ]);
    assert_eq!(extracted.unwrap(), (10, 7 + 1 + 3 + 3 + 16));
    let at = |path: &str| fs::symlink_metadata(place.0.join("into").join(path)).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((at("d/f").nlink(), at("d/f").mode() & 0o7777, at("d/f").mtime_nsec()), (2, 0o640, 5));
    assert_eq!((at("d").mtime(), at("d").mode() & 0o7777), (1_000_000_000, 0o640));
    assert!(at("d/s").file_type().is_symlink() && at("d/s").mtime() == 1_000_000_000);
    assert!(at("d/s2").is_file() && at("made/for").is_dir());
    assert_eq!(fs::read(place.0.join("into/d/f2")).unwrap(), b"new");
    assert!(place.is_untouched());
}

#[test]
fn nothing_leads_out() {
    let beside = std::env::temp_dir().join(format!("flamebox-extract-out-{}/beside", std::process::id()));
    let beside = beside.to_str().unwrap();
    type Case<'a> = (&'a str, &'a [(Member, &'a [u8])]);
    let cases: &[Case] = &[
        ("up", &[file("../beside/x", "x")]),
        ("up, behind something", &[file("a/../../beside/x", "x")]),
        ("a link of its own", &[other("l", Kind::Symlink, "../beside"), file("l/x", "x")]),
        ("an absolute link of its own", &[other("l", Kind::Symlink, beside), file("l/x", "x")]),
        (
            "a link to a link",
            &[other("a", Kind::Symlink, "b"), other("b", Kind::Symlink, "../beside"), file("a/x", "x")],
        ),
        (
            "a directory over its link",
            &[other("l", Kind::Symlink, "../beside"), other("l/", Kind::Directory, "")],
        ),
        ("a hard link up", &[other("h", Kind::HardLink, "../beside/file"), file("h", "x")]),
        (
            "a hard link through a link",
            &[other("l", Kind::Symlink, "../beside"), other("h", Kind::HardLink, "l/file")],
        ),
        ("a device", &[other("c", Kind::Character, "")]),
        ("something in a file", &[file("f", "x"), file("f/x", "x")]),
        ("a file over a directory", &[other("d", Kind::Directory, ""), file("d", "x")]),
        ("no name", &[file("./.", "x")]),
    ];
    for (name, members) in cases {
        let place = Place::new("out");
        let refused = place.extract(members).unwrap_err();
        let last = String::from_utf8_lossy(&members.last().unwrap().0.path).into_owned();
        assert!(name == &"a hard link up" || refused.message.contains(&last), "{name}: {}", refused.message);
        assert!(place.is_untouched(), "{name}");
    }
    // A hard link to a link is one to the link itself.
    let place = Place::new("link");
    place
        .extract(&[
            other("l", Kind::Symlink, "../beside/file"),
            other("h", Kind::HardLink, "l"),
            file("h", "x"),
        ])
        .unwrap();
    assert!(place.is_untouched());
}
