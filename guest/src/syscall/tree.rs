//! Mounts as descriptors: made, or copied, without a place, and put somewhere later, in another mount namespace too.
//! <https://docs.kernel.org/filesystems/mount_api.html>

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::{check, owned};

// linux/mount.h
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const MOUNT_ATTR_RDONLY: libc::c_uint = 0x0000_0001;
const MOUNT_ATTR_NOATIME: libc::c_uint = 0x0000_0010;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Mounts a disk for reading only, nowhere yet.
pub fn mount_read_only(kind: &CStr, device: &Path) -> io::Result<OwnedFd> {
    // SAFETY: the name ends with a NUL.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    let configure = |command: libc::c_uint, key: Option<&CStr>, value: Option<&CStr>| {
        let text = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: both strings end with a NUL, or are absent where the command takes none.
        let result = unsafe {
            libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, text(key), text(value), 0)
        };
        check(result as libc::c_int).map(drop)
    };
    configure(FSCONFIG_SET_STRING, Some(c"source"), Some(&c_path(device)?))?;
    configure(FSCONFIG_SET_FLAG, Some(c"ro"), None)?;
    configure(FSCONFIG_CMD_CREATE, None, None)?;
    let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME;
    // SAFETY: no memory is involved.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
}

/// A second mount of what is mounted at `path`, nowhere yet.
pub fn copy(path: &Path) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    let path = c_path(path)?;
    // SAFETY: the path ends with a NUL.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// Puts a mount somewhere.
pub fn attach(tree: BorrowedFd, place: &Path) -> io::Result<()> {
    let place = c_path(place)?;
    // SAFETY: both paths end with a NUL.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            place.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    check(result as libc::c_int).map(drop)
}
