//! A container's root file system inside the machine.
//!
//! ```text
//! /run/flamebox/<id>/base     the image: read-only, found by its disk's serial number
//!                    rw       the writable disk (ext4), or a tmpfs
//!                      <id>/upper work files volumes
//!                    rootfs   the overlay of both
//!                    shares/  host folders: see `shares`
//!                    config.json, state/        what libcontainer reads and writes
//! ```
//!
//! A disk is opened here and nowhere earlier. Files that the host generates live on the writable disk, where a
//! container that appends to them for ever pays with its own space.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::protocol::message::{Code, Disk, DiskType, Failure, GeneratedFile, Rootfs, Writable};
use crate::syscall::tree;
use crate::{shares, syscall};

const CONTAINERS: &str = "/run/flamebox";

/// Nothing happens on the writable disk that nobody asked for: a machine may be saved, and restored with a copy of the
/// disk, only when its own file system is at rest. That also spares each container the work.
const EXT4_OPTIONS: &str = "noinit_itable,no_prefetch_block_bitmaps";

/// What libcontainer calls the container: there is one in each state folder.
pub const RUNTIME_ID: &str = "container";

/// An id may have 128 characters, and a socket below this folder has to fit into a `sockaddr_un`: 64 bits of
/// FNV-1a stand for it. The host chooses the ids and gains nothing from two that collide.
fn short_name(id: &str) -> String {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Where the parts of one container are.
pub struct Layout {
    pub directory: PathBuf,
    id: String,
}

impl Layout {
    /// `id` was checked to be a container id, and so a file name.
    pub fn of(id: &str) -> Self {
        Self { directory: Path::new(CONTAINERS).join(short_name(id)), id: id.to_owned() }
    }

    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// The parent of libcontainer's folder for this container.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    pub fn notify_socket(&self) -> PathBuf {
        self.state().join(RUNTIME_ID).join("notify.sock")
    }

    /// The anonymous volume of this number, on the writable disk and outside of the overlay.
    pub fn volume(&self, number: usize) -> PathBuf {
        self.own("volumes").join(number.to_string())
    }

    fn base(&self) -> PathBuf {
        self.directory.join("base")
    }

    fn rw(&self) -> PathBuf {
        self.directory.join("rw")
    }

    /// The writable layer.
    pub fn upper(&self) -> PathBuf {
        self.own("upper")
    }

    fn own(&self, part: &str) -> PathBuf {
        self.part_of(&self.id, part)
    }

    /// What is another's on this one's writable disk.
    pub fn part_of(&self, id: &str, part: &str) -> PathBuf {
        self.rw().join(id).join(part)
    }
}

/// Mounts base, writable part and overlay.
pub fn assemble(layout: &Layout, wanted: &Rootfs) -> Result<(), Failure> {
    let at = |what: &str, path: &Path| format!("{what} {}", path.display());
    for path in [layout.base(), layout.rw(), layout.rootfs(), layout.state()] {
        fs::create_dir_all(&path).map_err(|e| Failure::failed(format!("{}: {e}", at("create", &path))))?;
    }
    mount_base(&wanted.base, &layout.base())?;
    mount_writable(&wanted.writable, &layout.rw())?;
    for part in ["work", "files"] {
        let path = layout.own(part);
        fs::create_dir_all(&path).map_err(|e| Failure::failed(format!("{}: {e}", at("create", &path))))?;
    }
    make_upper(layout)?;
    overlay(&layout.base(), &layout.own("upper"), &layout.own("work"), &layout.rootfs())
}

/// The writable layer, unless a container with this id has left one: then it is there with all its attributes.
fn make_upper(layout: &Layout) -> Result<(), Failure> {
    let upper = layout.upper();
    if upper.exists() {
        return Ok(());
    }
    // Complete before it has its name: a machine may end at any time.
    let unfinished = layout.own("upper.new");
    fs::create_dir_all(&unfinished)
        .and_then(|()| copy_attributes(&layout.base(), &unfinished))
        .and_then(|()| fs::rename(&unfinished, &upper))
        .map_err(|e| Failure::failed(format!("attributes of the root directory: {e}")))
}

/// Mounts `upper` over `base` at `place`. The root directory shows the attributes of the upper one. Every file of the
/// upper one is whole, and every directory is where its name says: what is read there by itself means what it seems to.
pub fn overlay(base: &Path, upper: &Path, work: &Path, place: &Path) -> Result<(), Failure> {
    let options = format!(
        "lowerdir={},upperdir={},workdir={},index=off,xino=off,metacopy=off,redirect_dir=off",
        base.display(),
        upper.display(),
        work.display(),
    );
    mount(Some("overlay"), place, Some("overlay"), MsFlags::MS_NOATIME, Some(options.as_str()))
        .map_err(|e| Failure::failed(format!("overlay: {e}")))
}

/// The root of a container that has no image yet: empty, but for some directories. Its writable disk is mounted, with
/// all that the container will want of it there, and comes back as a mount of its own.
pub fn assemble_blank(
    layout: &Layout,
    writable: &Writable,
    places: &[&str],
    files: usize,
) -> Result<OwnedFd, Failure> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Failure::failed(format!("{what}: {error}"))
    };
    for path in [layout.rw(), layout.rootfs(), layout.state()] {
        fs::create_dir_all(&path).map_err(failed("create a blank's directories"))?;
    }
    let options = Some("size=1m,nr_inodes=256,mode=0755");
    mount(Some("tmpfs"), &layout.rootfs(), Some("tmpfs"), MsFlags::MS_NOATIME, options)
        .map_err(|e| failed("a blank's root")(e.into()))?;
    for place in places {
        fs::create_dir(layout.rootfs().join(place.trim_start_matches('/')))
            .map_err(failed("a blank's root"))?;
    }
    mount_writable(writable, &layout.rw())?;
    for part in ["upper", "work", "files"] {
        fs::create_dir_all(layout.own(part)).map_err(failed("a blank's writable disk"))?;
    }
    for index in 0..files {
        let file = layout.own("files").join(index.to_string());
        fs::write(&file, b"")
            .and_then(|()| fs::set_permissions(&file, Permissions::from_mode(0o644)))
            .map_err(failed("a blank's files"))?;
    }
    // The machine may be saved now, and its disk apart from it: everything has to be on it.
    let disk = fs::File::open(layout.rw()).map_err(failed("a blank's writable disk"))?;
    syscall::sync_file_system(disk.as_fd()).map_err(failed("a blank's writable disk"))?;
    tree::copy(&layout.rw()).map_err(failed("a blank's writable disk"))
}

/// Mounts an image's disk nowhere yet. `device` is a node.
pub fn mount_image(kind: DiskType, device: &Path) -> io::Result<OwnedFd> {
    tree::mount_read_only(if kind == DiskType::Erofs { c"erofs" } else { c"ext4" }, device)
}

fn mount_base(disk: &Disk, target: &Path) -> Result<(), Failure> {
    let device = find_disk(&disk.device)?;
    let kind = match disk.kind {
        DiskType::Erofs => "erofs",
        DiskType::Ext4 => "ext4",
    };
    mount(Some(&device), target, Some(kind), MsFlags::MS_RDONLY | MsFlags::MS_NOATIME, None::<&str>)
        .map_err(|e| Failure::failed(format!("mount disk {:?} as {kind}: {e}", disk.device)))
}

fn mount_writable(wanted: &Writable, target: &Path) -> Result<(), Failure> {
    let flags = MsFlags::MS_NOATIME;
    match wanted {
        Writable::Ext4 { device } => {
            let path = find_disk(device)?;
            mount(Some(&path), target, Some("ext4"), flags, Some(EXT4_OPTIONS))
                .map_err(|e| Failure::failed(format!("mount disk {device:?} as ext4: {e}")))
        }
        Writable::Tmpfs { size_bytes } => {
            let options = format!("size={size_bytes},mode=0755");
            mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options.as_str()))
                .map_err(|e| Failure::failed(format!("tmpfs of {size_bytes} bytes: {e}")))
        }
    }
}

/// The device node of the disk with this serial number, or with this name where a VMM gives numbers of its own making.
/// Reads sysfs only; the disk stays closed.
pub fn find_disk(serial: &str) -> Result<PathBuf, Failure> {
    let disks = fs::read_dir("/sys/block").map_err(|e| Failure::failed(format!("/sys/block: {e}")))?;
    for disk in disks.flatten() {
        if let Ok(text) = fs::read_to_string(disk.path().join("serial"))
            && text.trim_end() == serial
        {
            return Ok(Path::new("/dev").join(disk.file_name()));
        }
    }
    if !serial.contains('/') && Path::new("/sys/block").join(serial).join("device").exists() {
        return Ok(Path::new("/dev").join(serial));
    }
    Err(Failure::new(Code::NotFound, format!("no disk has the serial number or the name {serial:?}")))
}

pub fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::metadata(from)?;
    std::os::unix::fs::chown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    fs::set_permissions(to, Permissions::from_mode(metadata.mode() & 0o7777))?;
    let target = fs::File::open(to)?;
    // The overlay's own marks mean something on this layer only.
    let is_mark = |name: &[u8]| name.starts_with(b"trusted.overlay.");
    syscall::xattrs::copy(fs::File::open(from)?.as_fd(), target.as_fd(), is_mark)?;
    target.set_modified(metadata.modified()?)
}

/// Writes the host's files onto the writable disk and returns, for each, where it is and where the container
/// is to see it.
pub fn write_files(layout: &Layout, files: &[GeneratedFile]) -> Result<Vec<(PathBuf, String)>, Failure> {
    files
        .iter()
        .enumerate()
        .map(|(index, file)| {
            let path = layout.own("files").join(index.to_string());
            fs::write(&path, &file.data.0)
                .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(file.mode & 0o777)))
                .map_err(|e| Failure::failed(format!("file {:?}: {e}", file.path)))?;
            Ok((path, file.path.clone()))
        })
        .collect()
}

/// How long a disk may take to come to rest when everybody has let go of it.
const RELEASE: Duration = Duration::from_secs(10);

/// Waits until the disk is mounted nowhere any more, which is when it is at rest.
pub fn await_release(disk: Option<&str>) -> Result<(), Failure> {
    let Some(disk) = disk else { return Ok(()) };
    let device = find_disk(disk)?;
    let deadline = Instant::now() + RELEASE;
    loop {
        // Whoever has it mounted has it for himself.
        match fs::File::options().read(true).custom_flags(libc::O_EXCL).open(&device) {
            Ok(_) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => {
                return Err(Failure::failed(format!("the writable disk {disk:?} is not at rest: {error}")));
            }
        }
    }
}

/// Undoes `assemble`, whatever of it was done. What cannot be unmounted now is detached.
pub fn dismantle(layout: &Layout) -> Result<(), Failure> {
    shares::unmount_all(layout)?;
    // Should something keep it from being unmounted, everything is on it all the same.
    let synced = fs::File::open(layout.rw()).map_or(Ok(()), |rw| syscall::sync_file_system(rw.as_fd()));
    for path in [layout.rootfs(), layout.rw(), layout.base()] {
        match umount2(&path, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(_) => umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
                .map_err(|e| Failure::failed(format!("unmount {}: {e}", path.display())))?,
        }
        // Not recursive: should a file system still be there, its files must survive the sweep below.
        match fs::remove_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::failed(format!("remove {}: {error}", path.display())));
            }
            _ => {}
        }
    }
    match fs::remove_dir_all(&layout.directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::failed(format!("remove {}: {error}", layout.directory.display())))
        }
        _ => synced.map_err(|e| Failure::failed(format!("the writable disk: {e}"))),
    }
}
