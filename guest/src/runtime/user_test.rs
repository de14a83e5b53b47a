use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
    # a comment\n\
    broken\n\
    nouid:x:abc:5::/x:/bin/sh\n\
    huge:x:99999999999:5::/x:/bin/sh\n\
    minus:x:4294967295:5::/x:/bin/sh\n\
    :x:7:7::/empty:/bin/sh\n\
    www:x:33:34::/var/www:/bin/sh\n\
    www:x:99:99::/second:/bin/sh\n\
    short:x:44:45:gecos:/home/short\n\
    relative:x:46:46::home:/bin/sh\n\
    nul:x:61:62::/h\0ome:/bin/sh\n\
    b\xffd:x:55:56::/h\xffme:/bin/sh\n";

const GROUP: &[u8] =
    b"root:x:0:\nadm:x:4:www,short\nwww:x:34:\naudio:x:29:www\nbad:x:no:www\nlate:x:60:wwwx,www\n";

fn databases() -> Databases {
    Databases { passwd: PASSWD.to_vec(), group: GROUP.to_vec() }
}

fn wanted(user: &str, groups: &[&str]) -> User {
    User { user: user.to_owned(), groups: groups.iter().map(|group| (*group).to_owned()).collect() }
}

#[test]
fn resolves() {
    for (user, groups, uid, gid, all, home) in [
        ("", &[][..], 0, 0, &[0][..], Some("/root")),
        ("root", &[], 0, 0, &[0], Some("/root")),
        ("www", &[], 33, 34, &[4, 29, 34, 60], Some("/var/www")),
        ("33", &[], 33, 34, &[4, 29, 34, 60], Some("/var/www")),
        ("www:adm", &[], 33, 4, &[4], Some("/var/www")),
        ("www:", &[], 33, 34, &[4, 29, 34, 60], Some("/var/www")),
        ("www:77", &["audio", "5", "5"], 33, 77, &[5, 29, 77], Some("/var/www")),
        ("1000", &[], 1000, 0, &[0], None),
        ("1000:1001", &[], 1000, 1001, &[1001], None),
        (":adm", &[], 0, 4, &[4], Some("/root")),
        ("4294967294", &[], 4_294_967_294, 0, &[0], None),
        ("short", &[], 44, 45, &[4, 45], Some("/home/short")),
        ("relative", &[], 46, 46, &[46], None),
        ("55", &[], 55, 56, &[56], None),
        ("nul", &[], 61, 62, &[62], None),
    ] {
        let account =
            resolve(&wanted(user, groups), &databases()).unwrap_or_else(|e| panic!("{user}: {e:?}"));
        let expected = Account { uid, gid, groups: all.to_vec(), home: home.map(str::to_owned) };
        assert_eq!(account, expected, "{user:?} {groups:?}");
    }
}

#[test]
fn refuses() {
    for (name, user, groups) in [
        ("an unknown user", "bob", &[][..]),
        ("an unknown group", "www:bob", &[]),
        ("an unknown further group", "www", &["bob"]),
        ("-1", "4294967295", &[]),
        ("-1 as a group", "www:4294967295", &[]),
        ("more than 32 bits", "4294967296", &[]),
        ("a sign", "+5", &[]),
        ("a negative number", "-5", &[]),
        ("a user of a broken line", "broken", &[]),
        ("a user whose uid is no number", "nouid", &[]),
        ("a user whose uid is too large", "huge", &[]),
        ("a user whose uid is -1", "minus", &[]),
        ("a group whose gid is no number", "www:bad", &[]),
        ("two colons", "www:adm:x", &[]),
        ("a line feed", "www\n", &[]),
    ] {
        let failure = resolve(&wanted(user, groups), &databases()).expect_err(name);
        assert_eq!(failure.code, Code::UserNotFound, "{name}");
    }
}

#[test]
fn empty_files_know_numbers_only() {
    let none = Databases { passwd: Vec::new(), group: Vec::new() };
    assert!(resolve(&wanted("root", &[]), &none).is_err());
    assert_eq!(resolve(&wanted("", &[]), &none).unwrap().uid, 0);
}

#[test]
fn fuzz_lines() {
    // xorshift32; the property is that nothing panics and nothing is -1.
    let mut state = 0x1234_5678u32;
    let alphabet = b":,\n0129ax\xff- ";
    for _ in 0..5_000 {
        let mut bytes = Vec::new();
        for _ in 0..60 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            bytes.push(alphabet[state as usize % alphabet.len()]);
        }
        let databases = Databases { passwd: bytes.clone(), group: bytes };
        for user in ["a", "0", "x:a", "9:2"] {
            if let Ok(account) = resolve(&wanted(user, &[]), &databases) {
                assert!(account.uid != NO_ID && account.gid != NO_ID && !account.groups.contains(&NO_ID));
            }
        }
    }
}

/// A folder that stands for a container's root, removed at the end.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flamebox-guest-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("etc")).unwrap();
        Self(path)
    }

    fn load(&self) -> Result<Databases, Failure> {
        Databases::load(syscall::open_directory(&self.0).unwrap().as_fd())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn reads_the_images_own_files() {
    let root = Root::new("plain");
    assert!(root.load().unwrap().passwd.is_empty());
    fs::write(root.0.join("etc/passwd"), PASSWD).unwrap();
    assert_eq!(root.load().unwrap().passwd, PASSWD);
}

#[test]
fn a_link_out_of_the_image_leads_back_into_it() {
    let root = Root::new("link");
    symlink("/../../../../etc/hostname", root.0.join("etc/group")).unwrap();
    symlink("/real", root.0.join("etc/passwd")).unwrap();
    fs::write(root.0.join("real"), "inside").unwrap();
    let databases = root.load().unwrap();
    assert_eq!(databases.passwd, b"inside");
    assert!(databases.group.is_empty());
}

#[test]
fn what_is_no_plain_file_is_no_database() {
    let root = Root::new("special");
    fs::create_dir(root.0.join("etc/passwd")).unwrap();
    symlink("group", root.0.join("etc/group")).unwrap();
    let databases = root.load().unwrap();
    assert!(databases.passwd.is_empty() && databases.group.is_empty());
    fs::remove_dir(root.0.join("etc/passwd")).unwrap();
    // A FIFO without a writer must not hold anybody up.
    nix::unistd::mkfifo(&root.0.join("etc/passwd"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(root.load().unwrap().passwd.is_empty());
}

#[test]
fn a_file_without_end_is_refused() {
    let root = Root::new("large");
    fs::File::create(root.0.join("etc/passwd")).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    assert!(root.load().is_err());
    fs::File::create(root.0.join("etc/passwd")).unwrap().set_len(MAX_FILE_BYTES).unwrap();
    assert!(root.load().is_ok());
}
