//! Kernel calls that bind a container: filters of system calls and of devices, attributes of mounts.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::{c_path, check, owned};

/// A directory for calls that want more than a path: unlike `open_directory`, it can be read.
pub fn open_directory_to_read(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open(path, flags, Mode::empty())?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds the calling thread to a filter of its system calls. `flags`: SECCOMP_FILTER_FLAG_*
pub fn load_seccomp_filter(program: &[libc::sock_filter], flags: u64) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // The kernel copies the program and does not write to it.
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the structure describes the slice, which lives until the call is over.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    check(result as libc::c_int).map(drop)
}

/// struct bpf_insn of linux/bpf.h; `registers` has the destination in its lower half, the source in its upper.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfInstruction {
    pub code: u8,
    pub registers: u8,
    pub offset: i16,
    pub value: u32,
}

// linux/bpf.h
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Cgroups below may have programs of their own; all of them have to agree.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Loads a device program and attaches it to a cgroup, which then owns it.
pub fn restrict_devices(cgroup: BorrowedFd, program: &[BpfInstruction]) -> io::Result<()> {
    /// The beginning of union bpf_attr for BPF_PROG_LOAD; the kernel takes what is absent for zero.
    #[repr(C)]
    struct Load {
        kind: u32,
        length: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
    }
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    let mut load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        length: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: the structure has the form of its command, and its pointers live until the call is over.
    let program = owned(unsafe { bpf(BPF_PROG_LOAD, &raw mut load) }.into())?;
    let mut attach = Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: as above.
    check(unsafe { bpf(BPF_PROG_ATTACH, &raw mut attach) }).map(drop)
}

/// # Safety
/// `attributes` has the form that `command` wants.
unsafe fn bpf<T>(command: libc::c_int, attributes: *mut T) -> libc::c_int {
    // SAFETY: the caller's.
    unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) as libc::c_int }
}

/// Makes a mount whose symbolic links nobody follows.
pub fn follow_no_links(path: &Path) -> nix::Result<()> {
    // linux/mount.h
    const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;
    let attributes =
        libc::mount_attr { attr_set: MOUNT_ATTR_NOSYMFOLLOW, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let path = c_path(path).map_err(|_| nix::errno::Errno::EINVAL)?;
    // SAFETY: `path` ends with a NUL, and the structure is as long as it says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            0,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    nix::errno::Errno::result(result).map(drop)
}

/// Mounts `source` at `place` with its owners mapped by a user namespace, and with `recursive` all below it.
pub fn map_owners(source: &Path, place: &Path, namespace: BorrowedFd, recursive: bool) -> io::Result<()> {
    // linux/mount.h
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let source = c_path(source)?;
    let below = if recursive { libc::AT_RECURSIVE as libc::c_uint } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
    // SAFETY: `source` ends with a NUL.
    let tree = owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, source.as_ptr(), flags) })?;
    let attributes = libc::mount_attr {
        attr_set: MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.as_raw_fd() as u64,
    };
    // SAFETY: the path ends with a NUL, and the structure is as long as it says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH as libc::c_uint | below,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result as libc::c_int)?;
    super::tree::attach(tree.as_fd(), place)
}
