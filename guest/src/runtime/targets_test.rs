use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use super::{expect_directory, locate_directory, locate_file, make_directory};
use crate::syscall;

/// A root in a temporary directory, beside which nothing may appear.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = std::env::temp_dir().join(format!("flamebox-targets-{}-{number}", std::process::id()));
        fs::create_dir_all(place.join("root/etc")).unwrap();
        Self(place)
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.root().join(path)).unwrap();
    }

    fn file(&self, path: &str) -> nix::Result<String> {
        locate_file(syscall::open_directory(&self.root()).unwrap().as_fd(), path)
    }

    fn directory(&self, path: &str) -> nix::Result<()> {
        make_directory(syscall::open_directory(&self.root()).unwrap().as_fd(), path).map(drop)
    }

    fn has_only_the_root(&self) -> bool {
        fs::read_dir(&self.0).unwrap().count() == 1
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_are_where_links_lead() {
    for (name, links, path, made) in [
        ("plain", &[][..], "/etc/hosts", "/etc/hosts"),
        ("in a missing directory", &[], "/a/b/hosts", "/a/b/hosts"),
        ("a relative link to nothing", &[("etc/r", "../run/x/r")], "/etc/r", "/run/x/r"),
        ("an absolute link to nothing", &[("etc/r", "/run/r")], "/etc/r", "/run/r"),
        ("a link out of the root", &[("etc/r", "../../../../out/r")], "/etc/r", "/out/r"),
        ("links in a row", &[("etc/r", "s"), ("etc/s", "/t/r")], "/etc/r", "/t/r"),
        ("a directory that is a link to nothing", &[("var", "/data")], "/var/r", "/data/r"),
        ("dots after a link", &[("l", "/a/b")], "/l/../r", "/a/r"),
    ] {
        let place = Place::new();
        links.iter().for_each(|(path, target)| place.link(path, target));
        assert_eq!(place.file(path).as_deref(), Ok(made), "{name}");
    }
}

#[test]
fn directories_are_made_where_links_lead() {
    let place = Place::new();
    place.link("app", "/data/app");
    place.link("up", "../../..");
    for (path, made) in [("/", "."), ("/app/x", "data/app/x"), ("/up/y", "y"), ("/../../z", "z")] {
        assert_eq!(place.directory(path), Ok(()), "{path}");
        assert!(place.root().join(made).is_dir(), "{path}");
    }
    assert!(place.has_only_the_root());
}

#[test]
fn what_cannot_be_is_an_error() {
    let place = Place::new();
    place.link("etc/self", "self");
    place.link("etc/a", "b");
    place.link("etc/b", "/etc/a");
    fs::write(place.root().join("file"), "as it was").unwrap();
    for (path, error) in [
        ("etc/hosts", Errno::EINVAL),
        ("/etc/self", Errno::ELOOP),
        ("/etc/a", Errno::ELOOP),
        ("/etc", Errno::EISDIR),
        ("/", Errno::EISDIR),
        ("/file/hosts", Errno::ENOTDIR),
    ] {
        assert_eq!(place.file(path), Err(error), "{path}");
    }
    for (path, error) in [("x", Errno::EINVAL), ("/file", Errno::ENOTDIR), ("/etc/a/b", Errno::ELOOP)] {
        assert_eq!(place.directory(path), Err(error), "{path}");
    }
    let root = syscall::open_directory(&place.root()).unwrap();
    for (path, result) in [
        ("/etc", Ok(())),
        ("/none/at/all", Ok(())),
        ("/file", Err(Errno::ENOTDIR)),
        ("/file/below", Err(Errno::ENOTDIR)),
        ("/etc/a", Err(Errno::ELOOP)),
    ] {
        assert_eq!(expect_directory(root.as_fd(), path), result, "{path}");
    }
    assert_eq!(fs::read(place.root().join("file")).unwrap(), b"as it was");
}

#[test]
fn mount_points_are_paths_without_links() {
    let place = Place::new();
    place.link("app", "/data/app");
    fs::write(place.root().join("file"), "").unwrap();
    let root = syscall::open_directory(&place.root()).unwrap();
    for (path, result) in [
        ("/app/src", Ok("/data/app/src")),
        ("/../etc/./x", Ok("/etc/x")),
        ("/", Ok("/")),
        ("/file", Err(Errno::ENOTDIR)),
        ("src", Err(Errno::EINVAL)),
    ] {
        assert_eq!(locate_directory(root.as_fd(), path).as_deref(), result.as_ref().copied(), "{path}");
    }
}
