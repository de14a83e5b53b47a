//! What helpers, and a blank, do for containers, and what comes of it when they have reported.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use serde_json::json;

use super::blank::Made;
use super::container::Poststart;
use super::{FIRST, HELPER_PART, Job, PARTS, Session};
use crate::console;
use crate::protocol::message::Failure;
use crate::runtime::{self, Helper, Removal, Report};

impl Session {
    pub(super) fn add_helper(&mut self, helper: Helper, job: Job) {
        let number = self.take_number();
        let mut event = EpollEvent::new(
            EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
            FIRST + u64::from(number) * PARTS + HELPER_PART,
        );
        // A blank's socket is waited for under one number after another, each a duplicate of the same. Where the kernel
        // refuses to watch for the report, the helper's end, which is just behind it, wakes the loop.
        if let Err(Errno::EEXIST) = self.epoll.add(helper.report.as_fd(), event) {
            let _ = self.epoll.modify(helper.report.as_fd(), &mut event);
        }
        self.helpers.insert(number, (helper, job));
    }

    /// Takes the reports that are there.
    pub(super) fn poll_helpers(&mut self) -> io::Result<()> {
        let mut reported = Vec::new();
        for (number, (helper, _)) in &self.helpers {
            if let Some(report) = runtime::read_report(&helper.report) {
                reported.push((*number, report));
            }
        }
        for (number, (report, terminal)) in reported {
            let Some((_, job)) = self.helpers.remove(&number) else { continue };
            match job {
                Job::Prepare => self.prepared(report),
                Job::Ready => self.blank_is_ready(report),
                Job::Create(container) => self.created(container, report, terminal)?,
                Job::Poststart(container) => self.hooked(container, report),
                Job::Remove(container) => self.removed(container, report),
                Job::Join(exec) => self.joined(exec, report, terminal)?,
                Job::Discard => say_failures(&report),
            }
        }
        if self.helpers.is_empty() {
            self.unclaimed.clear();
        }
        Ok(())
    }

    fn created(&mut self, number: u32, report: Report, terminal: Option<OwnedFd>) -> io::Result<()> {
        let Some(container) = self.containers.get_mut(&number) else { return Ok(()) };
        let request = container.create_request.take();
        let (pid, cgroup, warnings) = match report {
            Report::Created { pid, cgroup, warnings, poststart } => {
                container.poststart = poststart.then_some(Poststart::Wanted);
                (pid, cgroup, warnings)
            }
            Report::Filled => match &container.filling {
                Some(filling) => {
                    let Made { pid, cgroup, warnings } = filling.made.clone();
                    (pid, cgroup, warnings)
                }
                None => {
                    self.never_created(number, request, Failure::failed("what was filled was no blank"));
                    return Ok(());
                }
            },
            Report::Failed(failure) => {
                self.never_created(number, request, failure);
                return Ok(());
            }
            _ => {
                self.never_created(number, request, Failure::failed("the runtime helper did another job"));
                return Ok(());
            }
        };
        container.created(pid, cgroup, terminal)?;
        container.create_request = request;
        let watched = self.watch(number);
        let Some(container) = self.containers.get_mut(&number) else { return Ok(()) };
        if watched.is_ok()
            && let Some(request) = container.create_request.take()
        {
            let mut answer = json!({"pid": pid});
            if !warnings.is_empty() {
                answer["warnings"] = json!(warnings);
            }
            if container.filling.is_some() {
                answer["prepared"] = json!(true);
            }
            self.link.respond(request, Ok(answer));
        }
        if let Some(ending) = self.unclaimed.remove(&pid) {
            container.ended(ending, &mut self.link);
        }
        if container.to_delete {
            container.kill_all();
        }
        if let Err(error) = watched {
            self.give_up(number, &error);
        }
        Ok(())
    }

    /// There is nothing to delete: the helper has cleaned up. A blank that could not be filled has not.
    fn never_created(&mut self, number: u32, request: Option<u32>, failure: Failure) {
        let Some(container) = self.containers.remove(&number) else { return };
        if let (Some(_), Some(disk)) = (&container.filling, &container.disk) {
            self.discard(disk.clone());
        }
        if let Some(request) = request {
            self.link.respond(request, Err(failure));
        }
        for request in container.delete_requests {
            self.link.respond(request, Ok(json!({})));
        }
    }

    /// Begins the removal of containers whose processes have gone.
    pub(super) fn delete_settled(&mut self) -> io::Result<()> {
        let settled: Vec<u32> = self
            .containers
            .iter()
            .filter(|(_, container)| container.to_delete && !container.removing && container.is_settled())
            .map(|(number, _)| *number)
            .filter(|number| self.execs.values().all(|exec| exec.container != *number))
            .filter(|number| self.transfers.values().all(|transfer| transfer.container != *number))
            .collect();
        for number in settled {
            let Some(container) = self.containers.get_mut(&number) else { continue };
            container.removing = true;
            let mut order = Removal {
                id: container.id.clone(),
                cgroup: container.cgroup.clone(),
                was_blank: container.filling.is_some(),
                view: container.view.take(),
                disk: container.disk.clone(),
            };
            order.disk = order.disk.filter(|disk| !self.is_in_use(disk, Some(number)));
            let helper = runtime::remove(order)?;
            self.add_helper(helper, Job::Remove(number));
        }
        Ok(())
    }

    /// Whether a container has the writable disk, other than `but`, or the blank.
    pub(super) fn is_in_use(&self, disk: &str, but: Option<u32>) -> bool {
        if self.blank.as_ref().is_some_and(|blank| blank.has_disk(disk)) {
            return true;
        }
        let mut containers = self.containers.iter();
        containers.any(|(number, container)| container.disk.as_deref() == Some(disk) && Some(*number) != but)
    }

    /// Begins the hooks of containers whose processes have just been executed.
    pub(super) fn run_poststart(&mut self) -> io::Result<()> {
        let begun: Vec<(u32, String, i32)> = self
            .containers
            .iter_mut()
            .filter(|(_, container)| container.poststart == Some(Poststart::Due))
            .map(|(number, container)| {
                container.poststart = Some(Poststart::Running);
                (*number, container.id.clone(), container.last_pid)
            })
            .collect();
        for (number, id, pid) in begun {
            let helper = runtime::poststart(&id, pid)?;
            self.add_helper(helper, Job::Poststart(number));
        }
        Ok(())
    }

    /// What fails is said, and changes nothing for the container.
    fn hooked(&mut self, number: u32, report: Report) {
        say_failures(&report);
        if let Some(container) = self.containers.get_mut(&number) {
            container.hooked(&mut self.link);
        }
    }

    fn removed(&mut self, number: u32, report: Report) {
        say_failures(&report);
        let Some(container) = self.containers.remove(&number) else { return };
        for request in container.delete_requests {
            let result = match &report {
                Report::Failed(failure) => Err(failure.clone()),
                _ => Ok(json!({})),
            };
            self.link.respond(request, result);
        }
    }
}

fn say_failures(report: &Report) {
    match report {
        Report::Hooked(failures) | Report::Removed(failures) => {
            failures.iter().for_each(|failure| console::say(failure));
        }
        Report::Failed(failure) => console::say(&failure.message),
        _ => {}
    }
}
