//! `container.exec`, and what becomes of the processes that it starts.

use std::io;
use std::os::fd::OwnedFd;

use super::blank::keep_config;
use super::container::State;
use super::exec::{Exec, Order};
use super::requests::{Answer, Process};
use super::stdio::Stdio;
use super::{Job, Session};
use crate::protocol::message::{self, Code, Failure};
use crate::runtime::{self, Report};
use crate::syscall::{self, Ending};

/// At once in one container, and in the machine, whose agent has some descriptors for each.
const MAX_EXECS: usize = 64;
const MAX_ALL_EXECS: usize = 128;

impl Session {
    pub(super) fn exec(&mut self, request: u32, order: message::Exec) -> Answer {
        let (number, container) = self.find(&order.id)?;
        let (State::Running, Some(pid), Some(cgroup)) =
            (container.state, container.pid, container.cgroup.clone())
        else {
            let message = format!("container {:?} is {:?}, not Running", order.id, container.state);
            return Err(Failure::new(Code::Conflict, message));
        };
        let (oom_kills, relayed) = (container.oom_kills(), container.shares.any());
        self.check_exec(number, &order)?;
        if let Some(config) = self.containers.get_mut(&number).and_then(|container| container.config.take()) {
            keep_config(&order.id, &config)
                .map_err(|e| Failure::failed(format!("the container's config.json: {e}")))?;
        }
        let process: Process = serde_json::from_str(order.process.get())
            .map_err(|e| Failure::new(Code::InvalidConfig, format!("process: {e}")))?;
        let console = process.console(order.stdio)?;
        // Not reaped yet, so the number is still this process's; in the helper it need not be any more.
        let init = syscall::process::open(pid).map_err(|e| Failure::failed(format!("the container: {e}")))?;
        let target = runtime::Target { pid, init, cgroup };
        let (container_id, id, ids) = (order.id.clone(), order.exec.clone(), order.stdio);
        let (helper, ends) = runtime::exec(order, console.terminal, target, relayed)
            .map_err(|e| Failure::failed(format!("start the runtime helper: {e}")))?;
        let order = Order { container: number, container_id, id, request, helper: helper.pid, oom_kills };
        let exec = Exec::new(order, Stdio::new(ids, ends, console));
        let number = self.take_number();
        self.execs.insert(number, exec);
        self.add_helper(helper, Job::Join(number));
        self.watch_exec(number);
        Ok(None)
    }

    /// A process whose streams cannot be waited for is not to run.
    fn watch_exec(&mut self, number: u32) {
        if let Err(error) = self.watch(number)
            && let Some(exec) = self.execs.get_mut(&number)
        {
            exec.give_up(Failure::failed(format!("wait for the streams: {error}")), &mut self.link);
        }
    }

    fn check_exec(&self, container: u32, order: &message::Exec) -> Result<(), Failure> {
        if !message::is_id(&order.exec) {
            let what = "exec: 1 to 128 of A-Z a-z 0-9 _ . -, the first a letter or digit";
            return Err(Failure::new(Code::InvalidRequest, what));
        }
        let conflict = |what: String| Err(Failure::new(Code::Conflict, what));
        if self.execs.values().any(|exec| exec.is(container, &order.exec)) {
            return conflict(format!("exec {:?} exists", order.exec));
        }
        if self.execs.values().filter(|exec| exec.container == container).count() >= MAX_EXECS {
            return conflict(format!("container {:?} has {MAX_EXECS} execs already", order.id));
        }
        if self.execs.len() >= MAX_ALL_EXECS {
            return conflict("the machine takes no more execs".to_owned());
        }
        self.check_streams(order.stdio, &[])
    }

    pub(super) fn find_exec(&mut self, container: u32, id: &str) -> Result<&mut Exec, Failure> {
        self.execs
            .values_mut()
            .find(|exec| exec.is(container, id))
            .ok_or_else(|| Failure::new(Code::NotFound, format!("no exec {id:?}")))
    }

    pub(super) fn signal_exec(&mut self, container: u32, id: &str, signal: i32) -> Result<(), Failure> {
        match self.find_exec(container, id)?.signal(signal) {
            Some(result) => result.map_err(|e| Failure::failed(format!("signal: {e}"))),
            None => Err(Failure::new(Code::NotFound, format!("exec {id:?} has no process"))),
        }
    }

    pub(super) fn joined(
        &mut self,
        number: u32,
        report: Report,
        terminal: Option<OwnedFd>,
    ) -> io::Result<()> {
        let Some(exec) = self.execs.get_mut(&number) else { return Ok(()) };
        let failure = match report {
            Report::Joined { pid } => {
                exec.joined(pid, terminal)?;
                if let Some(ending) = self.unclaimed.remove(&pid) {
                    self.exec_ended(pid, ending);
                }
                self.watch_exec(number);
                return Ok(());
            }
            Report::Failed(failure) => failure,
            _ => Failure::failed("the runtime helper did another job"),
        };
        exec.never_joined(failure, &mut self.link);
        Ok(())
    }

    /// Whether the process was an exec's, or the helper of one.
    pub(super) fn exec_ended(&mut self, pid: i32, ending: Ending) -> bool {
        if let Some(exec) = self.execs.values_mut().find(|exec| exec.helper == Some(pid)) {
            exec.helper = None;
            return true;
        }
        let Some(exec) = self.execs.values_mut().find(|exec| exec.pid == Some(pid)) else { return false };
        let oom_kills = self.containers.get(&exec.container).map_or(0, |container| container.oom_kills());
        exec.ended(ending, oom_kills, &mut self.link);
        true
    }

    /// The container's first process has ended, and the kernel has ended all others in its pid namespace; whoever
    /// was on the way into it is not there yet.
    pub(super) fn kill_execs(&mut self, container: u32) {
        self.execs.values_mut().filter(|exec| exec.container == container).for_each(Exec::kill);
    }

    pub(super) fn abandon_execs(&mut self, container: u32) {
        for exec in self.execs.values_mut().filter(|exec| exec.container == container) {
            exec.kill();
            exec.stdio.abandon_outputs(&mut self.link);
        }
    }
}
