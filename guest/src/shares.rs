//! Host folders in the machine: each is a FUSE file system whose server is the host.
//!
//! ```text
//! /run/flamebox/<id>/shares/0     mounted here; config.json binds it to where the container is to see it
//!        │
//!   /dev/fuse ◄─► session::share ◄─► the streams `requests` and `replies` ◄─► the host
//! ```
//!
//! The mounts are the agent's own work, not a helper's: a descriptor of /dev/fuse can only be waited for once it
//! is mounted, and neither opening nor mounting asks the server anything. Whatever walks into such a file system
//! waits for the host, so the agent, who has to carry the answer, never does.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::mounts::Layout;
use crate::protocol::message::{Code, Failure, Share, ShareKind};
use crate::runtime::targets;

fn directory(layout: &Layout) -> PathBuf {
    layout.directory.join("shares")
}

/// Mounts all, and returns the kernel's end of each, in order. Nothing is left behind when one fails.
pub fn mount_all(layout: &Layout, shares: &[Share]) -> Result<Vec<File>, Failure> {
    let mounted: Result<Vec<File>, Failure> = shares
        .iter()
        .enumerate()
        .map(|(index, share)| {
            let point = directory(layout).join(index.to_string());
            mount_one(&point, share)
                .map_err(|error| Failure::failed(format!("share {:?}: {error}", share.path)))
        })
        .collect();
    if mounted.is_err() {
        let _ = unmount_all(layout);
        let _ = fs::remove_dir(&layout.directory);
    }
    mounted
}

fn mount_one(point: &Path, share: &Share) -> io::Result<File> {
    // A directory can only be mounted on a directory, and a file on a file.
    let root_mode = match share.kind {
        ShareKind::Directory => {
            fs::create_dir_all(point)?;
            libc::S_IFDIR
        }
        ShareKind::File => {
            fs::create_dir_all(point.parent().unwrap_or(point))?;
            File::create(point)?;
            libc::S_IFREG
        }
    };
    let connection = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/fuse")?;
    // Set-user-id bits and device nodes of a host folder were not made for this machine.
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if share.readonly {
        flags |= MsFlags::MS_RDONLY;
    }
    let options = format!(
        "fd={},rootmode={root_mode:o},user_id=0,group_id=0,default_permissions,allow_other",
        connection.as_raw_fd()
    );
    mount(Some("flamebox"), point, Some("fuse"), flags, Some(options.as_str()))?;
    Ok(connection)
}

/// Where each share is, where the container sees it, and whether it may only read it. `root` is the container's, not yet changed by any mount.
pub fn places(
    root: BorrowedFd,
    layout: &Layout,
    shares: &[Share],
) -> Result<Vec<(PathBuf, String, bool)>, Failure> {
    let invalid = |path: &str, why: &str| {
        Failure::new(Code::InvalidConfig, format!("{path} of the image cannot be mounted on: {why}"))
    };
    shares
        .iter()
        .enumerate()
        .map(|(index, share)| {
            let located = match share.kind {
                ShareKind::Directory => targets::locate_directory(root, &share.path),
                ShareKind::File => targets::locate_file(root, &share.path),
            };
            let destination = located.map_err(|error| invalid(&share.path, error.desc()))?;
            if destination == "/" {
                return Err(invalid(&share.path, "it is the root directory"));
            }
            let source = directory(layout).join(index.to_string());
            Ok((source, destination, share.readonly))
        })
        .collect()
}

/// Undoes `mount_all`, whatever of it was done. What cannot be unmounted now is detached.
pub fn unmount_all(layout: &Layout) -> Result<(), Failure> {
    let Ok(points) = fs::read_dir(directory(layout)) else { return Ok(()) };
    for point in points.flatten() {
        let path = point.path();
        match umount2(&path, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(_) => umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
                .map_err(|e| Failure::failed(format!("unmount {}: {e}", path.display())))?,
        }
        // Neither goes into a directory: should the host's files still be there, they must stay.
        if fs::remove_dir(&path).is_err() {
            fs::remove_file(&path).map_err(|e| Failure::failed(format!("remove {}: {e}", path.display())))?;
        }
    }
    let _ = fs::remove_dir(directory(layout));
    Ok(())
}
