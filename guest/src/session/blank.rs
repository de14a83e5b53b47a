//! The machine's blank: made by `container.prepare`, and what a `container.create` becomes that fits it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::container::Container;
use super::requests::Answer;
use super::share::Relays;
use super::stdio::Stdio;
use super::{Job, Session};
use crate::files::Layers;
use crate::mounts::{self, Layout};
use crate::protocol::message::{Code, Create, Disk, DiskType, Failure, Prepare, StreamIds, Writable};
use crate::runtime::{self, Ends, Helper, Report, blank};
use crate::syscall;

pub struct Blank {
    /// Of the connection that asked for it.
    request: Option<u32>,
    /// What it was prepared for.
    config: Value,
    base: Base,
    writable: String,
    ends: Ends,
    socket: OwnedFd,
    made: Option<Made>,
    ready: bool,
}

struct Base {
    serial: String,
    kind: DiskType,
    device: PathBuf,
}

/// What is known of it once it exists.
#[derive(Clone)]
pub struct Made {
    pub pid: i32,
    pub cgroup: String,
    pub warnings: Vec<String>,
}

/// What a container that was a blank still needs.
pub struct Filling {
    pub socket: OwnedFd,
    pub made: Made,
}

impl Session {
    pub(super) fn prepare(&mut self, request: u32, order: Prepare) -> Answer {
        if self.blank.is_some() || !self.containers.is_empty() || self.shutting_down {
            return Err(Failure::new(Code::Conflict, "the machine has containers already"));
        }
        let config = serde_json::from_str(order.config.get())
            .map_err(|e| Failure::new(Code::InvalidConfig, e.to_string()))?;
        let Writable::Ext4 { device: writable } = &order.rootfs.writable else {
            return Err(Failure::new(Code::InvalidRequest, "rootfs.writable: a disk is wanted"));
        };
        let writable = writable.clone();
        let Disk { device: serial, kind } = &order.rootfs.base;
        let base = Base { serial: serial.clone(), kind: *kind, device: mounts::find_disk(serial)? };
        let (helper, outside) =
            runtime::prepare(order).map_err(|e| Failure::failed(format!("start the runtime helper: {e}")))?;
        let runtime::Outside { ends, socket } = outside;
        let request = Some(request);
        self.blank = Some(Blank { request, config, base, writable, ends, socket, made: None, ready: false });
        self.add_helper(helper, Job::Prepare);
        Ok(None)
    }

    /// The helper has made it, and it is about to say so itself; or there will be none.
    pub(super) fn prepared(&mut self, report: Report) {
        let followed = match report {
            Report::Prepared { pid, cgroup, warnings } => self.follow_blank(Made { pid, cgroup, warnings }),
            Report::Failed(failure) => Err(failure),
            _ => Err(Failure::failed("the runtime helper did another job")),
        };
        if let Err(failure) = followed {
            self.end_preparation(Err(failure));
        }
    }

    fn follow_blank(&mut self, made: Made) -> Result<(), Failure> {
        let Some(blank) = &mut self.blank else { return Ok(()) };
        let pid = made.pid;
        blank.made = Some(made);
        let report = syscall::duplicate(&blank.socket).map_err(|e| Failure::failed(e.to_string()))?;
        self.add_helper(Helper { pid, report }, Job::Ready);
        Ok(())
    }

    pub(super) fn blank_is_ready(&mut self, report: Report) {
        self.end_preparation(match report {
            Report::Ready => Ok(()),
            Report::Failed(failure) => Err(failure),
            _ => Err(Failure::failed("the blank did another job")),
        });
    }

    fn end_preparation(&mut self, result: Result<(), Failure>) {
        let Some(blank) = &mut self.blank else { return };
        blank.ready = result.is_ok();
        if let Some(request) = blank.request.take() {
            self.link.respond(request, result.map(|()| json!({})));
        }
        if !self.blank.as_ref().is_some_and(|blank| blank.ready) {
            self.blank = None;
        }
    }

    pub(super) fn forget_preparation(&mut self) {
        if let Some(blank) = &mut self.blank {
            blank.request = None;
        }
    }

    /// The container that the blank becomes; None when it has to be made in the ordinary way. `text` is the order
    /// as it came.
    pub(super) fn fill_blank(&mut self, request: u32, order: &Create, text: &[u8]) -> Option<Answer> {
        let wanted = self.blank.as_ref()?.fitting(order)?;
        let mut blank = self.blank.take()?;
        let made = blank.made.take()?;
        // Whatever goes wrong, the ordinary way meets it too, and knows what to say. The blank is used up.
        match blank.take_order(made, &wanted, text) {
            Ok(made) => Some(self.become_container(request, order, blank, made)),
            Err(pid) => {
                let _ = syscall::kill(pid, libc::SIGKILL);
                self.discard(blank.writable);
                None
            }
        }
    }

    /// As long as it is there, so is its disk.
    pub(super) fn discard_blank(&mut self) {
        if self.blank.as_ref().is_some_and(|blank| blank.ready)
            && let Some(Blank { made: Some(made), writable, .. }) = self.blank.take()
        {
            let _ = syscall::kill(made.pid, libc::SIGKILL);
            self.discard(writable);
        }
    }

    /// What the agent's own mounts have of a blank that is of no use, and has ended or is about to.
    pub(super) fn discard(&mut self, disk: String) {
        if let Ok(helper) = runtime::discard(Some(disk).filter(|disk| !self.is_in_use(disk, None))) {
            self.add_helper(helper, Job::Discard);
        }
    }

    fn become_container(&mut self, request: u32, order: &Create, blank: Blank, made: Made) -> Answer {
        let report = syscall::duplicate(&blank.socket).map_err(|e| Failure::failed(e.to_string()))?;
        let pid = made.pid;
        let stdio = Stdio::new(order.stdio, wanted(blank.ends, order.stdio), Default::default());
        let layers = Layers { upper: blank::upper(&order.id), base: order.rootfs.base.clone() };
        let disk = Some(blank.writable);
        let mut container = Container::new(order.id.clone(), stdio, Relays::default(), layers, disk);
        container.create_request = Some(request);
        container.filling = Some(Filling { socket: blank.socket, made });
        container.config = Some(order.config.get().to_owned());
        let number = self.take_number();
        self.containers.insert(number, container);
        self.add_helper(Helper { pid, report }, Job::Create(number));
        if let Err(error) = self.watch(number) {
            self.give_up(number, &error);
        }
        Ok(None)
    }
}

impl Blank {
    pub fn has_disk(&self, disk: &str) -> bool {
        self.writable == disk
    }

    /// The order's config.json, if the blank can become that container.
    fn fitting(&self, order: &Create) -> Option<Value> {
        let Writable::Ext4 { device } = &order.rootfs.writable else { return None };
        let Disk { device: base, kind } = &order.rootfs.base;
        let disks = *device == self.writable && *base == self.base.serial && *kind == self.base.kind;
        let plain = !order.init && order.volumes.is_empty() && order.shares.is_empty();
        if !(self.ready && disks && plain && order.files.len() <= blank::FILES) {
            return None;
        }
        let config = serde_json::from_str(order.config.get()).ok()?;
        blank::is_for(&self.config, &config).then_some(config)
    }

    /// What is known of it then, or the process that has become useless.
    fn take_order(&self, mut made: Made, config: &Value, text: &[u8]) -> Result<Made, i32> {
        let warnings = blank::limit(&made.cgroup, &self.config, config).map_err(|_| made.pid)?;
        let given = mounts::mount_image(self.base.kind, &self.base.device)
            .and_then(|base| blank::give(self.socket.as_fd(), text, base.as_fd()));
        made.warnings.extend(warnings);
        if matches!(given, Ok(true)) { Ok(made) } else { Err(made.pid) }
    }
}

/// The agent's ends of the streams that are wanted; the others are closed.
fn wanted(ends: Ends, ids: StreamIds) -> Ends {
    Ends {
        stdin: ends.stdin.filter(|_| ids.stdin.is_some()),
        stdout: ends.stdout.filter(|_| ids.stdout.is_some()),
        stderr: ends.stderr.filter(|_| ids.stderr.is_some()),
        ..ends
    }
}

/// Whoever joins the container looks for its config.json, which nobody needs before.
pub fn keep_config(id: &str, config: &str) -> std::io::Result<()> {
    let directory = Layout::of(id).directory;
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("config.json"), config)
}
