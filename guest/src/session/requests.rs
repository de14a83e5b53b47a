//! The methods of the protocol.

use std::io;
use std::os::fd::AsFd;

use serde::Deserialize;
use serde_json::{Value, json};

use super::container::{Container, State};
use super::share::Relays;
use super::stdio::{Console, Stdio};
use super::{Job, Session};
use crate::files::Layers;
use crate::init::machine;
use crate::mounts::{self, Layout};
use crate::protocol::message::{
    self, ById, Code, Configure, Create, Failure, Request, Resize, Signal, Start, StreamIds,
};
use crate::runtime::work::Order;
use crate::runtime::{self, cgroup};
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
            "system.rehearse" => runtime::rehearse().map(done).map_err(|e| Failure::failed(e.to_string())),
            "system.configure" => {
                machine::configure(&message::parse::<Configure>(params)?, &mut self.network).map(done)
            }
            "container.prepare" => self.prepare(request, message::parse(params)?),
            "container.create" => self.create(request, message::parse(params)?, params),
            "container.start" => self.start(request, &message::parse(params)?),
            "container.exec" => self.exec(request, message::parse(params)?),
            "container.stat" => self.stat_file(request, message::parse(params)?),
            "container.archive" => self.archive(request, message::parse(params)?),
            "container.list" => self.list_directory(request, message::parse(params)?),
            "container.extract" => self.extract(request, message::parse(params)?),
            "container.changes" => self.tell(request, &message::parse(params)?, Order::Changes),
            "container.layer" => self.tell(request, &message::parse(params)?, Order::Layer),
            "container.processes" => self.tell(request, &message::parse(params)?, Order::Processes),
            "container.update" => self.update(request, &message::parse(params)?),
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
        let layers = Layers { upper: layout.upper(), base: order.rootfs.base.clone() };
        let disk = order.rootfs.writable.disk().map(str::to_owned);
        let shares = Relays::new(&streams, shares::mount_all(&layout, &order.shares)?);
        let (helper, ends) = runtime::create(order, console.terminal).map_err(|e| {
            let _ = mounts::dismantle(&layout);
            Failure::failed(format!("start the runtime helper: {e}"))
        })?;
        let mut container = Container::new(id, Stdio::new(ids, ends, console), shares, layers, disk);
        container.create_request = Some(request);
        let number = self.take_number();
        self.containers.insert(number, container);
        self.add_helper(helper, Job::Create(number));
        if let Err(error) = self.watch(number).and_then(|()| self.watch_shares(number)) {
            self.give_up(number, &error);
        }
        Ok(None)
    }

    /// A container whose streams cannot be waited for is not to run.
    pub(super) fn give_up(&mut self, number: u32, error: &io::Error) {
        let Some(container) = self.containers.get_mut(&number) else { return };
        if let Some(request) = container.create_request.take() {
            self.link.respond(request, Err(Failure::failed(format!("wait for the streams: {error}"))));
        }
        container.disconnect();
        self.begin_delete(number);
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
                || self.transfers.values().any(|transfer| transfer.has_stream(*stream))
        };
        if streams.len() < wanted || streams.iter().any(taken) {
            return Err(Failure::new(Code::Conflict, "stdio, shares: a stream id is used twice"));
        }
        Ok(())
    }

    fn start(&mut self, request: u32, Start { id, process }: &Start) -> Answer {
        let (_, container) = self.find(id)?;
        if container.state != State::Created {
            let state = container.state;
            return Err(Failure::new(Code::Conflict, format!("container {id:?} is {state:?}, not Created")));
        }
        let started = match &container.filling {
            Some(filling) => runtime::blank::go(filling.socket.as_fd(), process),
            None if process.args.is_empty() && process.env.is_empty() => runtime::start(id),
            None => {
                let message = format!("container {id:?} has a process already, which is not to be changed");
                return Err(Failure::new(Code::Conflict, message));
            }
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
        let disks = || {
            let names = container.disk.iter().chain([&container.layers.base.device]);
            names.filter_map(|name| mounts::find_disk(name).ok()).collect()
        };
        serde_json::to_value(cgroup::stats(cgroup, container.pid, disks))
            .map_err(|e| Failure::failed(e.to_string()))
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
        self.abandon_transfers(number);
    }

    fn shutdown(&mut self, request: u32) {
        self.shutdown_request = Some(request);
        self.shutting_down = true;
        self.discard_blank();
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
}
