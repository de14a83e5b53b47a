//! Extended attributes of what is open.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{check, size};

/// Largest list of names and largest value of extended attributes, in bytes: the kernel's own limits.
const MAX_XATTR_BYTES: usize = 65_536;

/// Calls `take` for each attribute whose name is `wanted`, with its value.
pub fn for_each(
    file: BorrowedFd,
    wanted: impl Fn(&[u8]) -> bool,
    mut take: impl FnMut(&CStr, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let fd = file.as_raw_fd();
    // Few files have any, and buffers for the most that there could be cost more than the question.
    // SAFETY: no memory is involved.
    let any = size(unsafe { libc::flistxattr(fd, std::ptr::null_mut(), 0) })?;
    if any == 0 {
        return Ok(());
    }
    let mut names = vec![0u8; MAX_XATTR_BYTES];
    let mut value = vec![0u8; MAX_XATTR_BYTES];
    // SAFETY: the kernel writes at most as many bytes as it is told the buffer has.
    let length = size(unsafe { libc::flistxattr(fd, names.as_mut_ptr().cast(), names.len()) })?;
    for name in names[..length].split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if !wanted(name.to_bytes()) {
            continue;
        }
        // SAFETY: as above; `name` ends with a NUL.
        let length =
            size(unsafe { libc::fgetxattr(fd, name.as_ptr(), value.as_mut_ptr().cast(), value.len()) })?;
        take(name, &value[..length])?;
    }
    Ok(())
}

/// Gives `to` the extended attributes of `from`, but those that `skip` names.
pub fn copy(from: BorrowedFd, to: BorrowedFd, skip: impl Fn(&[u8]) -> bool) -> io::Result<()> {
    for_each(from, |name| !skip(name), |name, value| set_named(to, name, value))
}

/// The beginning of an attribute's value, as much as `most` bytes have room for; None without one.
pub fn get(file: BorrowedFd, name: &CStr, most: usize) -> Option<Vec<u8>> {
    let mut value = vec![0; most];
    // SAFETY: the kernel writes at most as many bytes as it is told the buffer has.
    let length = size(unsafe {
        libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    });
    value.truncate(length.ok()?);
    Some(value)
}

pub fn set(file: BorrowedFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    set_named(file, &name, value)
}

fn set_named(file: BorrowedFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: `name` ends with a NUL, and `value` is as long as it says.
    let result =
        unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    check(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn attributes_are_copied_but_those_that_are_skipped() {
        let place = std::env::temp_dir().join(format!("flamebox-xattr-{}", std::process::id()));
        let [from, to] = ["from", "to"].map(|name| {
            std::fs::create_dir_all(place.join(name)).unwrap();
            File::open(place.join(name)).unwrap()
        });
        let (from, to) = (from.as_fd(), to.as_fd());
        if set(from, b"user.empty", b"").is_err_and(|e| e.raw_os_error() == Some(libc::ENOTSUP)) {
            eprintln!("skipped: the temporary directory's file system has no user attributes");
            return;
        }
        set(from, b"user.bytes", b"\0\xff").unwrap();
        set(from, b"user.mark.x", b"1").unwrap();
        copy(from, to, |name| name.starts_with(b"user.mark.")).unwrap();
        let _ = std::fs::remove_dir_all(&place);
        assert_eq!(get(to, c"user.empty", 256).as_deref(), Some(&b""[..]));
        assert_eq!(get(to, c"user.bytes", 256).as_deref(), Some(&b"\0\xff"[..]));
        assert_eq!(get(to, c"user.mark.x", 256), None);
    }
}
