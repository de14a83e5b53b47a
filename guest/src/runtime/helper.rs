//! The jobs that helpers do. All of this runs in a forked child that reports once and ends.

use std::error::Error;
use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use nix::unistd::{Gid, Uid, fchown};
use serde_json::Value;

use super::blank;
use super::causes::{self, Causes};
use super::executor::{Exec, Last, Role};
use super::filling::Inside;
use super::hooks::{Hooks, Moment};
use super::idmap::{self, Staged};
use super::own::Own;
use super::spec::{self, Additions};
use super::user::{self, Account, Databases};
use super::{
    Removal, Report, Stdio, bound_warnings, devices, propagation, resources, review, send_report, targets,
    volumes,
};
use crate::mounts::{self, Layout, RUNTIME_ID};
use crate::protocol::message::{Code, Create, Failure, Prepare};
use crate::shares;
use crate::syscall::{self, child};

pub fn create(order: Create, stdio: Stdio, report: OwnedFd) {
    match try_create(order, stdio) {
        Ok((created, terminal)) => send_report(&report, &created, terminal.as_ref()),
        Err(failure) => send_report(&report, &Report::Failed(failure), None),
    }
}

fn try_create(order: Create, stdio: Stdio) -> Result<(Report, Option<OwnedFd>), Failure> {
    let mut warnings = Vec::new();
    let mut config: Value =
        serde_json::from_str(order.config.get()).map_err(|e| review::invalid(e.to_string()))?;
    let spec = review::review(&mut config, &mut warnings)?;
    let layout = Layout::of(&order.id);
    let own = Own::take(&mut config, &spec, &order.id, &layout, &mut warnings)?;
    let made = mounts::assemble(&layout, &order.rootfs)
        .and_then(|()| prepare(&order, &layout, &own, &mut config))
        .and_then(|staged| {
            let role = if order.init { Role::Init } else { Role::Program };
            let made = make_container(&layout, &config, own, stdio, warnings, role);
            drop(staged);
            made
        });
    if made.is_err() {
        // The first error is the one to tell.
        let _ = mounts::dismantle(&layout);
    }
    made
}

/// Looks things up in the mounted root, completes config.json and writes it where libcontainer reads it.
fn prepare(order: &Create, layout: &Layout, own: &Own, config: &mut Value) -> Result<Staged, Failure> {
    let root = syscall::open_directory(&layout.rootfs())
        .map_err(|e| Failure::failed(format!("open the root file system: {e}")))?;
    let databases = Databases::load(root.as_fd())?;
    let account = order.user.as_ref().map(|user| user::resolve(user, &databases)).transpose()?;
    let home = missing_home(config, account.as_ref(), &databases);
    make_working_directory(root.as_fd(), config)?;
    for mount in config.pointer("/mounts").and_then(Value::as_array).into_iter().flatten() {
        // libcontainer would say the same, in words that nobody understands.
        let (kind, destination) = (mount["type"].as_str(), mount["destination"].as_str().unwrap_or_default());
        if kind != Some("bind") && destination.starts_with('/') {
            targets::expect_directory(root.as_fd(), destination).map_err(|e| {
                let message = format!("{destination} of the image cannot be mounted on: {}", e.desc());
                Failure::new(Code::InvalidConfig, message)
            })?;
        }
    }
    let volumes = volumes::make(root.as_fd(), layout, &order.volumes)?;
    let mut files = mounts::write_files(layout, &order.files)?;
    for (_, path) in &mut files {
        *path = targets::locate_file(root.as_fd(), path).map_err(|e| {
            Failure::new(Code::InvalidConfig, format!("{path} cannot be put into the image: {}", e.desc()))
        })?;
    }
    let shares = shares::places(root.as_fd(), layout, &order.shares)?;
    let rootfs = layout.rootfs();
    let additions = Additions { id: order.id.clone(), rootfs, files, volumes, shares, account, home };
    for (name, value) in spec::complete(config, &additions) {
        set_network_sysctl(&name, &value)?;
    }
    own.keep_what_the_filter_needs(config);
    let staged = idmap::stage(config, &layout.directory)?;
    own.hooks.save()?;
    let text = serde_json::to_vec(config).unwrap_or_default();
    fs::write(layout.directory.join("config.json"), text)
        .map_err(|e| Failure::failed(format!("write config.json: {e}")))?;
    Ok(staged)
}

pub fn make_working_directory(root: BorrowedFd, config: &Value) -> Result<(), Failure> {
    let cwd = config.pointer("/process/cwd").and_then(Value::as_str).unwrap_or("/");
    targets::make_directory(root, cwd).map(drop).map_err(|e| {
        Failure::new(Code::InvalidConfig, format!("the working directory {cwd:?}: {}", e.desc()))
    })
}

/// A blank, waiting. What an order will say of its process is not known yet: it has all rights until then.
pub fn make_blank(order: &Prepare, stdio: Stdio, socket: OwnedFd) -> Result<Report, Failure> {
    let mut warnings = Vec::new();
    let mut config: Value =
        serde_json::from_str(order.config.get()).map_err(|e| review::invalid(e.to_string()))?;
    let spec = review::review(&mut config, &mut warnings)?;
    let layout = Layout::of(blank::ID);
    let own = Own::take(&mut config, &spec, blank::ID, &layout, &mut warnings)?;
    let made = mounts::assemble_blank(&layout, &order.rootfs.writable, &blank::PLACES, blank::FILES)
        .and_then(|scratch| {
            let inside = Inside {
                socket,
                scratch,
                filtered: own.filter.is_some(),
                kernel_mounts: blank::kernel_mounts(&config),
            };
            if let Some(process) = config["process"].as_object_mut() {
                process.remove("capabilities");
            }
            let rootfs = layout.rootfs();
            let additions = Additions { id: blank::ID.to_owned(), rootfs, ..Default::default() };
            for (name, value) in spec::complete(&mut config, &additions) {
                set_network_sysctl(&name, &value)?;
            }
            own.hooks.save()?;
            let text = serde_json::to_vec(&config).unwrap_or_default();
            fs::write(layout.directory.join("config.json"), text)
                .map_err(|e| Failure::failed(format!("write config.json: {e}")))?;
            let role = Role::Blank(Arc::new(inside));
            make_container(&layout, &config, own, stdio, warnings, role)
        });
    match made {
        Ok((Report::Created { pid, cgroup, warnings, .. }, _)) => {
            super::start(blank::ID).map_err(|e| {
                discard(pid);
                Failure::failed(format!("start the blank: {e}"))
            })?;
            Ok(Report::Prepared { pid, cgroup, warnings })
        }
        Ok(_) => Err(Failure::failed("the blank was not created")),
        Err(failure) => {
            let _ = mounts::dismantle(&layout);
            Err(failure)
        }
    }
}

/// HOME, when the environment has none.
pub fn missing_home(config: &Value, account: Option<&Account>, databases: &Databases) -> Option<String> {
    let env = config.pointer("/process/env").and_then(Value::as_array);
    let has_home = env.is_some_and(|env| {
        env.iter().any(|entry| entry.as_str().is_some_and(|entry| entry.starts_with("HOME=")))
    });
    if has_home {
        return None;
    }
    let home = match account {
        Some(account) => account.home.clone(),
        None => {
            let uid = config.pointer("/process/user/uid").and_then(Value::as_u64).unwrap_or(0);
            user::home_of(u32::try_from(uid).ok()?, databases)
        }
    };
    Some(home.unwrap_or_else(|| "/".to_owned()))
}

fn set_network_sysctl(name: &str, value: &str) -> Result<(), Failure> {
    let invalid = |what: &str| Failure::new(Code::InvalidConfig, format!("linux.sysctl {name:?}: {what}"));
    let mut path = PathBuf::from("/proc/sys");
    // A name with slashes may have dots within a part; one without has none.
    let separator = if name.contains('/') { '/' } else { '.' };
    for part in name.split(separator) {
        if part.is_empty() || part == ".." || part == "." {
            return Err(invalid("not a name"));
        }
        path.push(part);
    }
    fs::write(path, value).map_err(|e| invalid(&e.to_string()))
}

/// The cgroup with all its limits comes first, so that nothing of the container ever runs without them.
fn make_container(
    layout: &Layout,
    config: &Value,
    own: Own,
    stdio: Stdio,
    mut warnings: Vec<String>,
    role: Role,
) -> Result<(Report, Option<OwnedFd>), Failure> {
    let cgroup = config.pointer("/linux/cgroupsPath").and_then(Value::as_str).unwrap_or_default();
    let directory = resources::locate(cgroup)?;
    resources::create(&directory)?;
    let poststart = own.hooks.has(Moment::Poststart);
    let last = Last { hooks: own.hooks, filter: own.filter };
    let made = resources::limit(&directory, &own.resources, &mut warnings)
        .and_then(|()| devices::restrict(&directory, &own.devices))
        .and_then(|()| run_libcontainer(layout, config, last, stdio, role))
        .and_then(|(pid, terminal)| {
            let changed = propagation::apply(&own.changes, pid);
            changed.map(|()| (pid, terminal)).inspect_err(|_| discard(pid))
        });
    let (pid, terminal) = made.inspect_err(|_| resources::remove(&directory))?;
    let warnings = bound_warnings(warnings);
    Ok((Report::Created { pid, cgroup: cgroup.to_owned(), warnings, poststart }, terminal))
}

/// An init that is not to be the agent's.
fn discard(pid: i32) {
    let _ = syscall::kill(pid, libc::SIGKILL);
    let _ = child::wait_for(pid);
}

fn run_libcontainer(
    layout: &Layout,
    config: &Value,
    last: Last,
    stdio: Stdio,
    role: Role,
) -> Result<(i32, Option<OwnedFd>), Failure> {
    let terminal = config.pointer("/process/terminal").and_then(Value::as_bool).unwrap_or(false);
    let uid = config.pointer("/process/user/uid").and_then(Value::as_u64).unwrap_or(0);
    let uid = owner_of_streams(uid, config);
    let builder = ContainerBuilder::new(RUNTIME_ID.to_owned(), SyscallType::default())
        .with_root_path(layout.state())
        .map_err(explain)?
        .with_executor(Exec::new(stdio.exec, last, role));
    let console_path = layout.directory.join("console.sock");
    let mut console = None;
    let builder = if terminal {
        console = Some(
            UnixListener::bind(&console_path).map_err(|e| Failure::failed(format!("console socket: {e}")))?,
        );
        builder.with_console_socket(Some(console_path))
    } else {
        builder
            .with_stdin(stdio_end(stdio.stdin, uid)?)
            .with_stdout(stdio_end(stdio.stdout, uid)?)
            .with_stderr(stdio_end(stdio.stderr, uid)?)
    };
    let causes = causes::collect();
    let container =
        builder.as_init(&layout.directory).with_systemd(false).with_detach(true).build().map_err(
            |error| match Hooks::failure(&layout.directory) {
                Some(failure) => Failure::failed(failure),
                None => with_cause(explain(error), causes),
            },
        )?;
    let pid = container.pid().ok_or_else(|| Failure::failed("the container has no process"))?;
    let master = console.map(|listener| receive_terminal(&listener)).transpose()?;
    if let Some(master) = &master {
        // As with pipes below: the terminal belongs to whoever is to open it by name. Not worth a failure.
        let _ = syscall::open_terminal(master.as_fd())
            .map(|slave| fchown(slave.as_raw_fd(), Some(Uid::from_raw(uid as u32)), None::<Gid>));
    }
    Ok((pid.as_raw(), master))
}

/// The machine's number for the user of the process, who may be in a user namespace.
pub fn owner_of_streams(uid: u64, config: &Value) -> u64 {
    let number = |value: &Value, name: &str| value[name].as_u64().unwrap_or(0);
    let mappings = config.pointer("/linux/uidMappings").and_then(Value::as_array);
    let mapping = mappings.into_iter().flatten().find(|mapping| {
        (number(mapping, "containerID")..number(mapping, "containerID") + number(mapping, "size"))
            .contains(&uid)
    });
    mapping.map_or(uid, |mapping| number(mapping, "hostID") + uid - number(mapping, "containerID"))
}

/// A pipe belongs to the user who is to use it: /dev/stdout, opened by name, asks for permission again.
pub fn stdio_end(end: Option<OwnedFd>, uid: u64) -> Result<OwnedFd, Failure> {
    match end {
        Some(end) => {
            let owner = Uid::from_raw(uid as u32);
            let _ = fchown(end.as_raw_fd(), Some(owner), None::<Gid>);
            Ok(end)
        }
        None => fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map(OwnedFd::from)
            .map_err(|e| Failure::failed(format!("/dev/null: {e}"))),
    }
}

/// libcontainer has already sent the terminal's master when its build has returned.
fn receive_terminal(listener: &UnixListener) -> Result<OwnedFd, Failure> {
    let failed = |error: String| Failure::failed(format!("console socket: {error}"));
    let (stream, _) = listener.accept().map_err(|e| failed(e.to_string()))?;
    let mut text = [0; 256];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(stream.as_raw_fd(), &mut parts, Some(&mut control), flags)
        .map_err(|e| failed(e.to_string()))?;
    for part in message.cmsgs().map_err(|e| failed(e.to_string()))? {
        if let ControlMessageOwned::ScmRights(fds) = part
            && let Some(&fd) = fds.first()
        {
            // SAFETY: the kernel has just installed this descriptor for this message.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(failed("no terminal came".to_owned()))
}

/// An error with its causes: libcontainer's outer messages seldom say what was wrong.
fn explain(error: LibcontainerError) -> Failure {
    let code = match &error {
        LibcontainerError::InvalidSpec(_)
        | LibcontainerError::MissingSpec(_)
        | LibcontainerError::InvalidInput(_)
        | LibcontainerError::Spec(_) => Code::InvalidConfig,
        _ => Code::Failed,
    };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    Failure::new(code, text)
}

fn with_cause(failure: Failure, causes: Causes) -> Failure {
    match causes.first() {
        Some(cause) if !failure.message.contains(&cause) => {
            Failure::new(failure.code, format!("{}: {cause}", failure.message))
        }
        _ => failure,
    }
}

/// Runs while the container's process does; it changes nothing for the process.
pub fn poststart(id: &str, pid: i32, report: OwnedFd) {
    let failed = Hooks::load(&Layout::of(id).directory).run_all(Moment::Poststart, Some(pid));
    send_report(&report, &Report::Hooked(bound_warnings(failed)), None);
}

/// Everything of the container has been killed when this runs. Its hooks find their programs in the image, so
/// that they come before the image goes. `go` ends when the agent has let go of the mount namespace.
pub fn remove(mut order: Removal, go: OwnedFd, report: &OwnedFd) {
    let _ = std::io::copy(&mut fs::File::from(go), &mut std::io::sink());
    drop(order.view.take());
    if let Some(Ok(directory)) = order.cgroup.as_deref().map(resources::locate) {
        resources::remove(&directory);
    }
    let layout = Layout::of(&order.id);
    let failed = Hooks::load(&layout.directory).run_all(Moment::Poststop, None);
    let blank = if order.was_blank { mounts::dismantle(&Layout::of(blank::ID)) } else { Ok(()) };
    let dismantled = mounts::dismantle(&layout).and(blank);
    let result = match dismantled.and_then(|()| mounts::await_release(order.disk.as_deref())) {
        Ok(()) => Report::Removed(bound_warnings(failed)),
        Err(failure) => Report::Failed(failure),
    };
    send_report(report, &result, None);
}

/// What the agent's own mounts have of a blank.
pub fn discard_blank(disk: Option<&str>, report: &OwnedFd) {
    let done = mounts::dismantle(&Layout::of(blank::ID)).and_then(|()| mounts::await_release(disk));
    let result = match done {
        Ok(()) => Report::Removed(Vec::new()),
        Err(failure) => Report::Failed(failure),
    };
    send_report(report, &result, None);
}
