use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::sys::stat::{Mode, mknod};

use super::*;

fn list(place: &Path, mounts: &[u8]) -> Vec<String> {
    let open = |name: &str| syscall::confine::open_directory_to_read(&place.join(name)).unwrap();
    let comparison = Comparison { upper: open("upper"), lower: open("lower"), places: Places::parse(mounts) };
    let mut told = Vec::new();
    comparison
        .run(&mut |difference| {
            told.push(match difference {
                Difference::Directory { path, new, .. } => {
                    format!("{} {}/", mark(new), super::super::shown(path))
                }
                Difference::File { path, new, .. } => format!("{} {}", mark(new), super::super::shown(path)),
                Difference::Gone { path, .. } => format!("D {}", super::super::shown(path)),
            });
            Ok(())
        })
        .unwrap();
    told
}

fn mark(new: bool) -> char {
    if new { 'A' } else { 'C' }
}

/// Directories on both sides have one time, as after a copy.
fn settle(place: &Path) {
    let mut ahead = vec![place.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(&directory).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                ahead.push(entry.path());
            }
        }
        fs::File::open(&directory).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
}

#[test]
fn differences_in_order() {
    let place = std::env::temp_dir().join(format!("flamebox-upper-{}", std::process::id()));
    let _ = fs::remove_dir_all(&place);
    let make = |path: &str| {
        let path = place.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    };
    for path in [
        "lower/etc/passwd",
        "lower/etc/gone",
        "lower/deep/a/b/c",
        "lower/kind",
        "lower/same/f",
        "lower/mode/f",
    ] {
        make(path);
    }
    for path in ["upper/etc/passwd", "upper/etc/new", "upper/deep/a/b/c", "upper/new/in", "upper/kind/inner"]
    {
        make(path);
    }
    fs::create_dir_all(place.join("upper/same")).unwrap();
    fs::create_dir_all(place.join("upper/mode")).unwrap();
    // What the machine makes to mount on.
    fs::create_dir_all(place.join("upper/data/vol")).unwrap();
    fs::write(place.join("upper/etc/hosts"), b"").unwrap();
    symlink("/x", place.join("upper/z")).unwrap();
    let whiteout = |path: &str| mknod(&place.join(path), SFlag::S_IFCHR, Mode::empty(), 0);
    if whiteout("upper/etc/gone").and_then(|()| whiteout("upper/never")).is_err() {
        eprintln!("skipped: no whiteouts can be made here");
        return;
    }
    settle(&place);
    fs::set_permissions(place.join("upper/mode"), Permissions::from_mode(0o700)).unwrap();
    let mounts = b"1 1 0:1 / /etc/hosts rw - x x rw\n2 1 0:1 / /data/vol rw - x x rw\n";
    let expected = [
        "C /deep/",
        "C /deep/a/",
        "C /deep/a/b/",
        "C /deep/a/b/c",
        "C /etc/",
        "D /etc/gone",
        "A /etc/new",
        "C /etc/passwd",
        "C /kind/",
        "A /kind/inner",
        "C /mode/",
        "A /new/",
        "A /new/in",
        "A /z",
    ];
    assert_eq!(list(&place, mounts), expected);
    // Without its mounts, they are anybody's.
    let all = list(&place, b"");
    assert!(
        ["A /data/", "A /data/vol/", "A /etc/hosts"].iter().all(|line| all.iter().any(|told| told == line))
    );
    assert_eq!(all.len(), expected.len() + 3);
    // And one of them that is not empty is somebody's.
    fs::write(place.join("upper/data/vol/mine"), b"x").unwrap();
    fs::write(place.join("upper/etc/hosts"), b"x").unwrap();
    assert_eq!(list(&place, mounts).len(), expected.len() + 4);
    fs::remove_dir_all(&place).unwrap();
}
