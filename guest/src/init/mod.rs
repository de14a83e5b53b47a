//! What PID 1 does before anybody talks to it: modules, a root that is not the initramfs, file systems.
//!
//! Nothing here opens a disk, so that a machine saved after this can be restored with other disks.

pub mod interface;
mod limits;
pub mod machine;
pub mod network;

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};

use crate::console;
use crate::syscall::process;

/// Module files to load, one absolute path a line, in order. Written by whoever made the initramfs.
const MODULE_LIST: &str = "/etc/flamebox/modules";

pub fn boot() -> io::Result<()> {
    load_modules();
    leave_initramfs()?;
    mount_kernel_file_systems()?;
    // The machine is lost without its agent; a container's processes go first (their score is 0).
    fs::write("/proc/self/oom_score_adj", "-1000")?;
    process::set_niceness(-20)?;
    limits::reserve();
    network::raise_loopback()
}

/// A machine with a module less may still do its job, so nothing here ends the boot.
fn load_modules() {
    let Ok(list) = fs::read_to_string(MODULE_LIST) else { return };
    let no_parameters = CString::default();
    for path in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let result = match File::open(path) {
            Ok(file) => finit_module(&file, &no_parameters, ModuleInitFlags::empty()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                console::say(&format!("{path}: {error}"));
                continue;
            }
        };
        match result {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => console::say(&format!("{path}: {error}")),
        }
    }
}

/// `pivot_root`, which every container needs, refuses to work while the root is the initramfs. So the root
/// becomes a small tmpfs, moved over the initramfs, whose files are removed first to give their memory back.
/// The agent's own pages stay: a running program is pinned.
fn leave_initramfs() -> io::Result<()> {
    for path in ["/lib", "/etc", "/init", "/modules"] {
        let path = Path::new(path);
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
    fs::create_dir_all("/root")?;
    let options = "size=16m,nr_inodes=4096,mode=0755";
    mount(Some("tmpfs"), "/root", Some("tmpfs"), MsFlags::MS_NOATIME, Some(options))?;
    nix::unistd::chdir("/root")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    nix::unistd::chroot(".")?;
    nix::unistd::chdir("/")?;
    for directory in ["/proc", "/sys", "/dev", "/etc", "/run", "/tmp"] {
        fs::create_dir(directory)?;
    }
    Ok(())
}

fn mount_kernel_file_systems() -> io::Result<()> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    mount(Some("proc"), "/proc", Some("proc"), plain, None::<&str>)?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), plain, None::<&str>)?;
    let devices = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devtmpfs"), "/dev", Some("devtmpfs"), devices, Some("mode=0755"))?;
    fs::create_dir_all("/dev/pts")?;
    mount(Some("devpts"), "/dev/pts", Some("devpts"), devices, Some("mode=0620,ptmxmode=0666"))?;
    mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), plain, Some("nsdelegate"))?;
    limits::enable_controllers("/sys/fs/cgroup");
    Ok(())
}
