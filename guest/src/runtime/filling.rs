//! A blank's own side of the hand-over: what process 1 of a container does that is told late what it is to be.
//!
//! It waits inside its own namespaces and its own cgroup, puts the image below what it has, makes that its root, and
//! becomes whom the order names. `blank` is the agent's side.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Process;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use nix::unistd::{Gid, Uid, chdir, dup2, fchown, pivot_root, sethostname};
use serde_json::Value;

use super::blank::{BASE, ID, MAX_ORDER_BYTES, ROOT, SCRATCH};
use super::executor::Exec;
use super::user::{self, Databases};
use super::{Report, helper, join, own, send_report, spec, targets};
use crate::mounts;
use crate::protocol::message::{self, Code, Create, Failure, GeneratedFile, Override};
use crate::syscall::{self, tree};

/// What the blank's process holds.
pub struct Inside {
    pub socket: OwnedFd,
    /// The writable disk, mounted nowhere yet.
    pub scratch: OwnedFd,
    /// Whether there is a filter to be loaded before the exec.
    pub filtered: bool,
    /// Where the kernel's file systems are mounted, those below another left out.
    pub kernel_mounts: Vec<String>,
}

struct Filled {
    args: Vec<String>,
    env: Vec<String>,
}

impl Inside {
    /// The life of a blank, as process 1 of its container. Returns only when it failed, after that was told.
    pub fn serve(&self, exec: &Exec) -> Failure {
        match self.wait_for_order() {
            Ok(mut filled) => {
                send_report(&self.socket, &Report::Filled, None);
                let Some(process) = self.wait_for_go() else { return Failure::failed("the agent has gone") };
                filled.change(process);
                exec.run(&filled.args, &filled.env)
            }
            Err(failure) => {
                send_report(&self.socket, &Report::Failed(failure.clone()), None);
                failure
            }
        }
    }

    fn wait_for_order(&self) -> Result<Filled, Failure> {
        tree::attach(self.scratch.as_fd(), Path::new(SCRATCH)).map_err(failed("the writable disk"))?;
        send_report(&self.socket, &Report::Ready, None);
        let (text, base) = self.receive()?;
        let order: Create = message::parse(&text)?;
        let mut config: Value = serde_json::from_str(order.config.get())
            .map_err(|e| Failure::new(Code::InvalidConfig, e.to_string()))?;
        assemble(&base, &order.id)?;
        drop(base);
        let process = self.fit_root(&order, &mut config)?;
        if let Some(hostname) = config["hostname"].as_str() {
            sethostname(hostname).map_err(|e| failed("hostname")(e.into()))?;
        }
        connect(&order, process.user().uid())?;
        join::assume(&process)?;
        let args = process.args().clone().unwrap_or_default();
        Ok(Filled { args, env: process.env().clone().unwrap_or_default() })
    }

    fn receive(&self) -> Result<(Vec<u8>, OwnedFd), Failure> {
        let mut text = vec![0; MAX_ORDER_BYTES];
        let mut control = nix::cmsg_space!([RawFd; 1]);
        let (length, base) = {
            let mut parts = [io::IoSliceMut::new(&mut text)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<UnixAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags)
                .map_err(|e| failed("the order")(e.into()))?;
            let mut base = None;
            for part in message.cmsgs().map_err(|e| failed("the order")(e.into()))? {
                if let ControlMessageOwned::ScmRights(fds) = part {
                    // SAFETY: the kernel has just installed these descriptors for this message.
                    base = fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).next();
                }
            }
            (message.bytes, base)
        };
        text.truncate(length);
        base.map(|base| (text, base)).ok_or_else(|| Failure::failed("no order came"))
    }

    /// Puts into the root what belongs there, makes it the root, and says what the process is to be.
    fn fit_root(&self, order: &Create, config: &mut Value) -> Result<Process, Failure> {
        let root = syscall::open_directory(Path::new(ROOT)).map_err(failed("the root file system"))?;
        let databases = Databases::load(root.as_fd())?;
        let account = order.user.as_ref().map(|user| user::resolve(user, &databases)).transpose()?;
        let home = helper::missing_home(config, account.as_ref(), &databases);
        spec::complete_process(config, account.as_ref(), home.as_deref());
        if self.filtered {
            own::keep_what_the_filter_needs(config);
        }
        helper::make_working_directory(root.as_fd(), config)?;
        for (index, file) in order.files.iter().enumerate() {
            place_file(root.as_fd(), &order.id, index, file)?;
        }
        for place in &self.kernel_mounts {
            move_into(root.as_fd(), place)?;
        }
        drop(root);
        enter_root().map_err(|e| failed("pivot_root")(e.into()))?;
        serde_json::from_value(config["process"].take())
            .map_err(|e| Failure::new(Code::InvalidConfig, format!("process: {e}")))
    }

    fn wait_for_go(&self) -> Option<Override> {
        let mut text = vec![0; MAX_ORDER_BYTES];
        let length = File::from(syscall::duplicate(&self.socket).ok()?).read(&mut text).ok()?;
        serde_json::from_slice(&text[..length]).ok()
    }
}

impl Filled {
    fn change(&mut self, Override { args, env }: Override) {
        if !args.is_empty() {
            self.args = args;
        }
        for entry in env {
            let name = entry.split_inclusive('=').next().unwrap_or_default();
            match self.env.iter_mut().find(|before| before.starts_with(name)) {
                Some(before) => *before = entry,
                None => self.env.push(entry),
            }
        }
    }
}

fn failed(what: &str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::failed(format!("{what}: {error}"))
}

fn scratch(id: &str, part: &str) -> PathBuf {
    Path::new(SCRATCH).join(id).join(part)
}

/// The image below, the writable disk above, where the container's files are from now on as those of any other.
fn assemble(base: &OwnedFd, id: &str) -> Result<(), Failure> {
    tree::attach(base.as_fd(), Path::new(BASE)).map_err(failed("the image"))?;
    let own = Path::new(SCRATCH);
    fs::rename(own.join(ID), own.join(id)).map_err(failed("the writable disk"))?;
    let (upper, work) = (scratch(id, "upper"), scratch(id, "work"));
    mounts::copy_attributes(Path::new(BASE), &upper).map_err(failed("attributes of the root directory"))?;
    mounts::overlay(Path::new(BASE), &upper, &work, Path::new(ROOT))
}

fn place_file(root: BorrowedFd, id: &str, index: usize, file: &GeneratedFile) -> Result<(), Failure> {
    let source = scratch(id, "files").join(index.to_string());
    let at = |error: &dyn std::fmt::Display| {
        Failure::new(Code::InvalidConfig, format!("{} cannot be put into the image: {error}", file.path))
    };
    fs::write(&source, &file.data.0)
        .and_then(|()| match file.mode & 0o777 {
            // What it was made with.
            0o644 => Ok(()),
            mode => fs::set_permissions(&source, Permissions::from_mode(mode)),
        })
        .map_err(|e| Failure::failed(format!("file {:?}: {e}", file.path)))?;
    let place = targets::make_file(root, &file.path).map_err(|e| at(&e.desc()))?;
    mount(Some(&source), &below_root(&place), None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|e| at(&e.desc()))
}

/// `place` has no links left in it.
fn below_root(place: &str) -> PathBuf {
    Path::new(ROOT).join(place.trim_start_matches('/'))
}

fn move_into(root: BorrowedFd, place: &str) -> Result<(), Failure> {
    let unfit = |error: Errno| {
        Failure::new(
            Code::InvalidConfig,
            format!("{place} of the image cannot be mounted on: {}", error.desc()),
        )
    };
    targets::expect_directory(root, place).map_err(unfit)?;
    let target = targets::make_directory(root, place).map_err(unfit)?;
    // As libcontainer has it: a link could lead to where the image has made something ready.
    if matches!(place, "/proc" | "/sys") && target != Path::new(place) {
        let message = format!("{place} must be mounted on ordinary directory, and is a link in the image");
        return Err(Failure::new(Code::InvalidConfig, message));
    }
    let target = below_root(&target.to_string_lossy());
    mount(Some(place), &target, None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(unfit)
}

/// The root that a blank had goes, with whatever was mounted in it and was not moved.
fn enter_root() -> nix::Result<()> {
    chdir(ROOT)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")
}

/// The streams are there; those that were not asked for become /dev/null, and the others their user's.
fn connect(order: &Create, uid: u32) -> Result<(), Failure> {
    let wanted = [order.stdio.stdin, order.stdio.stdout, order.stdio.stderr];
    for (stream, target) in wanted.into_iter().zip(0..) {
        if stream.is_none() {
            let null = nix::fcntl::open(
                "/dev/null",
                OFlag::O_RDWR | OFlag::O_CLOEXEC,
                nix::sys::stat::Mode::empty(),
            )
            .map_err(|e| failed("/dev/null")(e.into()))?;
            dup2(null, target).map_err(|e| failed("streams")(e.into()))?;
        } else if uid != 0 {
            let _ = fchown(target, Some(Uid::from_raw(uid)), None::<Gid>);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_command_takes_the_place_of_the_first() {
        let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut filled = Filled { args: strings(&["a"]), env: strings(&["A=1", "AB=2", "C"]) };
        filled.change(Override::default());
        assert_eq!((&filled.args, &filled.env), (&strings(&["a"]), &strings(&["A=1", "AB=2", "C"])));
        filled.change(Override { args: strings(&["b", "c"]), env: strings(&["A=3", "D=4", "C"]) });
        assert_eq!((filled.args, filled.env), (strings(&["b", "c"]), strings(&["A=3", "AB=2", "C", "D=4"])));
    }
}
