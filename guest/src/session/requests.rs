//! The methods of the protocol, and what becomes of the helpers that they start.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use serde::Deserialize;
use serde_json::{Value, json};

use super::blank::Made;
use super::container::{Container, Poststart, State};
use super::share::Relays;
use super::stdio::{Console, Stdio};
use super::{FIRST, HELPER_PART, Job, PARTS, Session};
use crate::console;
use crate::init::machine;
use crate::mounts::{self, Layout};
use crate::protocol::message::{
    self, ById, Code, Configure, Create, Failure, Request, Resize, Signal, StreamIds,
};
use crate::runtime::{self, Helper, Report, cgroup};
use crate::{shares, syscall};

/// An answer now, or later.
pub(super) type Answer = Result<Option<Value>, Failure>;

const MAX_CONTAINERS: usize = 64;
const MAX_FILES: usize = 64;
const MAX_FILES_BYTES: usize = 1 << 20;
const MAX_VOLUMES: usize = 64;
const MAX_SHARES: usize = 32;

/// The part of config.json that the agent itself has to know; all else is the helper's.
#[derive(Deserialize)]
struct Config {
    process: Option<Process>,
}

/// The same of a process.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    terminal: Option<bool>,
    console_size: Option<ConsoleSize>,
}

#[derive(Deserialize)]
struct ConsoleSize {
    height: u64,
    width: u64,
}

impl Process {
    pub(super) fn console(&self, stdio: StreamIds) -> Result<Console, Failure> {
        let terminal = self.terminal.unwrap_or(false);
        if terminal && stdio.stderr.is_some() {
            return Err(Failure::new(Code::InvalidRequest, "a terminal has no stderr"));
        }
        let clamp = |length: u64| u16::try_from(length).unwrap_or(u16::MAX);
        let size = self.console_size.as_ref().map(|size| (clamp(size.width), clamp(size.height)));
        Ok(Console { terminal, size })
    }
}

impl Session {
    pub(super) fn handle_request(&mut self, id: u32, payload: &[u8]) {
        let answer = message::parse::<Request>(payload).and_then(|request| {
            let params = request.params.map_or("{}", |params| params.get()).as_bytes();
            self.dispatch(id, &request.method, params)
        });
        match answer {
            Ok(None) => {}
            Ok(Some(result)) => self.link.respond(id, Ok(result)),
            Err(failure) => self.link.respond(id, Err(failure)),
        }
    }

    fn dispatch(&mut self, request: u32, method: &str, params: &[u8]) -> Answer {
        let done = |()| Some(json!({}));
        match method {
            "system.ping" => Ok(Some(json!({"rssBytes": machine::own_memory_bytes()}))),
            "system.configure" => {
                machine::configure(&message::parse::<Configure>(params)?, &mut self.network).map(done)
            }
            "container.prepare" => self.prepare(request, message::parse(params)?),
            "container.create" => self.create(request, message::parse(params)?, params),
            "container.start" => self.start(request, &message::parse::<ById>(params)?.id),
            "container.exec" => self.exec(request, message::parse(params)?),
            "container.stats" => self.stats(&message::parse::<ById>(params)?.id).map(Some),
            "container.signal" => self.signal(&message::parse(params)?).map(done),
            "container.resize" => self.resize(&message::parse(params)?).map(done),
            "container.delete" => self.delete(request, &message::parse::<ById>(params)?.id),
            "system.shutdown" => {
                self.shutdown(request);
                Ok(None)
            }
            _ => Err(Failure::new(Code::UnknownMethod, format!("{method:?}: no such method"))),
        }
    }

    pub(super) fn find(&mut self, id: &str) -> Result<(u32, &mut Container), Failure> {
        self.containers
            .iter_mut()
            .find(|(_, container)| container.id == id)
            .map(|(number, container)| (*number, container))
            .ok_or_else(|| Failure::new(Code::NotFound, format!("no container {id:?}")))
    }

    fn create(&mut self, request: u32, order: Create, text: &[u8]) -> Answer {
        self.check(&order)?;
        if let Some(answer) = self.fill_blank(request, &order, text) {
            return answer;
        }
        let config: Config = serde_json::from_str(order.config.get())
            .map_err(|e| Failure::new(Code::InvalidConfig, e.to_string()))?;
        let console = config.process.unwrap_or_default().console(order.stdio)?;
        let (id, ids) = (order.id.clone(), order.stdio);
        let streams: Vec<_> = order.shares.iter().map(|share| (share.requests, share.replies)).collect();
        let layout = Layout::of(&id);
        let shares = Relays::new(&streams, shares::mount_all(&layout, &order.shares)?);
        let (helper, ends) = runtime::create(order, console.terminal).map_err(|e| {
            let _ = mounts::dismantle(&layout);
            Failure::failed(format!("start the runtime helper: {e}"))
        })?;
        let mut container = Container::new(id, Stdio::new(ids, ends, console), shares);
        container.create_request = Some(request);
        let number = self.take_number();
        self.containers.insert(number, container);
        self.add_helper(helper, Job::Create(number))?;
        self.watch(number).map_err(|e| Failure::failed(e.to_string()))?;
        self.watch_shares(number).map_err(|e| Failure::failed(e.to_string()))?;
        Ok(None)
    }

    fn check(&mut self, order: &Create) -> Result<(), Failure> {
        let invalid = |what: &str| Err(Failure::new(Code::InvalidRequest, what));
        if !message::is_id(&order.id) {
            return invalid("id: 1 to 128 of A-Z a-z 0-9 _ . -, the first a letter or digit");
        }
        if self.find(&order.id).is_ok() {
            return Err(Failure::new(Code::Conflict, format!("container {:?} exists", order.id)));
        }
        if self.shutting_down || self.containers.len() >= MAX_CONTAINERS {
            return Err(Failure::new(Code::Conflict, "the machine takes no more containers"));
        }
        let bytes: usize = order.files.iter().map(|file| file.data.0.len()).sum();
        if order.files.len() > MAX_FILES || bytes > MAX_FILES_BYTES {
            return invalid("files: at most 64, together at most 1 MiB");
        }
        if order.files.iter().any(|file| !file.path.starts_with('/')) {
            return invalid("files: each path begins with /");
        }
        if order.volumes.len() > MAX_VOLUMES
            || order.volumes.iter().any(|volume| !volume.path.starts_with('/'))
        {
            return invalid("volumes: at most 64, and each path begins with /");
        }
        if order.shares.len() > MAX_SHARES || order.shares.iter().any(|share| !share.path.starts_with('/')) {
            return invalid("shares: at most 32, and each path begins with /");
        }
        let shares: Vec<u32> =
            order.shares.iter().flat_map(|share| [share.requests, share.replies]).collect();
        self.check_streams(order.stdio, &shares)
    }

    pub(super) fn check_streams(&self, ids: StreamIds, shares: &[u32]) -> Result<(), Failure> {
        let stdio = [ids.stdin, ids.stdout, ids.stderr].into_iter().flatten();
        let mut streams: Vec<u32> = stdio.chain(shares.iter().copied()).collect();
        let wanted = streams.len();
        streams.sort_unstable();
        streams.dedup();
        let taken = |stream: &u32| {
            self.stdios().any(|stdio| stdio.has_stream(*stream))
                || self.containers.values().any(|container| container.shares.has_stream(*stream))
        };
        if streams.len() < wanted || streams.iter().any(taken) {
            return Err(Failure::new(Code::Conflict, "stdio, shares: a stream id is used twice"));
        }
        Ok(())
    }

    fn start(&mut self, request: u32, id: &str) -> Answer {
        let (_, container) = self.find(id)?;
        if container.state != State::Created {
            let state = container.state;
            return Err(Failure::new(Code::Conflict, format!("container {id:?} is {state:?}, not Created")));
        }
        let started = match &container.filling {
            Some(filling) => runtime::blank::go(filling.socket.as_fd()),
            None => runtime::start(id),
        };
        started.map_err(|e| Failure::failed(format!("start container {id:?}: {e}")))?;
        container.state = State::Starting;
        container.start_request = Some(request);
        Ok(None)
    }

    fn signal(&mut self, wanted: &Signal) -> Result<(), Failure> {
        if !(1..=64).contains(&wanted.signal) {
            return Err(Failure::new(Code::InvalidRequest, "signal: 1 to 64"));
        }
        let (number, container) = self.find(&wanted.id)?;
        if let Some(exec) = &wanted.exec {
            return self.signal_exec(number, exec, wanted.signal);
        }
        let Some(pid) = container.pid else {
            return Err(Failure::new(Code::NotFound, format!("container {:?} has no process", wanted.id)));
        };
        // Not reaped yet, so the number is still this process's, dead or alive.
        syscall::kill(pid, wanted.signal).map_err(|e| Failure::failed(format!("signal: {e}")))
    }

    fn resize(&mut self, wanted: &Resize) -> Result<(), Failure> {
        let (number, container) = self.find(&wanted.id)?;
        match &wanted.exec {
            Some(exec) => self.find_exec(number, exec)?.stdio.resize(wanted.columns, wanted.rows),
            None => container.stdio.resize(wanted.columns, wanted.rows),
        }
    }

    fn stats(&mut self, id: &str) -> Result<Value, Failure> {
        let (_, container) = self.find(id)?;
        let Some(cgroup) = &container.cgroup else {
            return Err(Failure::new(Code::Conflict, format!("container {id:?} is being created")));
        };
        serde_json::to_value(cgroup::stats(cgroup)).map_err(|e| Failure::failed(e.to_string()))
    }

    fn delete(&mut self, request: u32, id: &str) -> Answer {
        let Ok((number, container)) = self.find(id) else { return Ok(Some(json!({}))) };
        container.delete_requests.push(request);
        self.begin_delete(number);
        Ok(None)
    }

    fn begin_delete(&mut self, number: u32) {
        let Some(container) = self.containers.get_mut(&number) else { return };
        container.to_delete = true;
        container.kill_all();
        container.stdio.abandon_outputs(&mut self.link);
        container.shares.begin_end();
        self.abandon_execs(number);
    }

    fn shutdown(&mut self, request: u32) {
        self.shutdown_request = Some(request);
        self.shutting_down = true;
        let numbers: Vec<u32> = self.containers.keys().copied().collect();
        for number in numbers {
            self.begin_delete(number);
        }
    }

    pub(super) fn take_number(&mut self) -> u32 {
        let number = self.next;
        self.next += 1;
        number
    }

    pub(super) fn add_helper(&mut self, helper: Helper, job: Job) -> Result<(), Failure> {
        let number = self.take_number();
        let mut event = EpollEvent::new(
            EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
            FIRST + u64::from(number) * PARTS + HELPER_PART,
        );
        let added = match self.epoll.add(helper.report.as_fd(), event) {
            // A blank's socket is waited for under one number after another, each a duplicate of the same.
            Err(Errno::EEXIST) => self.epoll.modify(helper.report.as_fd(), &mut event),
            other => other,
        };
        added.map_err(|e| Failure::failed(e.to_string()))?;
        self.helpers.insert(number, (helper, job));
        Ok(())
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
            }
        }
        if self.helpers.is_empty() {
            self.unclaimed.clear();
        }
        Ok(())
    }

    fn created(
        &mut self,
        number: u32,
        report: Report,
        terminal: Option<std::os::fd::OwnedFd>,
    ) -> io::Result<()> {
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
        if let Some(request) = request {
            let mut answer = json!({"pid": pid});
            if !warnings.is_empty() {
                answer["warnings"] = json!(warnings);
            }
            self.link.respond(request, Ok(answer));
        }
        if let Some(ending) = self.unclaimed.remove(&pid) {
            container.ended(ending, &mut self.link);
        }
        if container.to_delete {
            container.kill_all();
        }
        self.watch(number)
    }

    /// There is nothing to delete: the helper has cleaned up.
    fn never_created(&mut self, number: u32, request: Option<u32>, failure: Failure) {
        let Some(container) = self.containers.remove(&number) else { return };
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
            .collect();
        for number in settled {
            let Some(container) = self.containers.get_mut(&number) else { continue };
            container.removing = true;
            let was_blank = container.filling.is_some();
            let helper = runtime::remove(container.id.clone(), container.cgroup.clone(), was_blank)?;
            self.add_helper(helper, Job::Remove(number)).map_err(|e| io::Error::other(e.message))?;
        }
        Ok(())
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
            self.add_helper(helper, Job::Poststart(number)).map_err(|e| io::Error::other(e.message))?;
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
