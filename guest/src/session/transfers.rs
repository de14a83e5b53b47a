//! The methods that a helper carries out beside the container: `container.stat` and those with a stream of their own.

use std::io;
use std::os::fd::AsFd;

use nix::sys::epoll::EpollEvent;

use super::blank::keep_config;
use super::requests::Answer;
use super::transfer::Transfer;
use super::{FIRST, PARTS, Session, edges};
use crate::protocol::message::{
    ArchiveQuery, ByIdWithStream, Code, Extract, Failure, FileQuery, ListQuery, StreamIds, Update,
};
use crate::runtime::work::{self, Order, Subject};

/// At once, of one container.
const MAX_TRANSFERS: usize = 16;

impl Session {
    pub(super) fn stat_file(&mut self, request: u32, query: FileQuery) -> Answer {
        let id = query.id.clone();
        self.begin_transfer(request, &id, None, Order::Stat(query))
    }

    pub(super) fn archive(&mut self, request: u32, query: ArchiveQuery) -> Answer {
        let (id, stream) = (query.id.clone(), query.stream);
        self.begin_transfer(request, &id, Some(stream), Order::Archive(query))
    }

    pub(super) fn list_directory(&mut self, request: u32, query: ListQuery) -> Answer {
        let (id, stream) = (query.id.clone(), query.stream);
        self.begin_transfer(request, &id, Some(stream), Order::List(query))
    }

    pub(super) fn extract(&mut self, request: u32, order: Extract) -> Answer {
        let (id, stream) = (order.id.clone(), order.stream);
        // Whether it may make devices is asked of its config.json.
        let (_, container) = self.find(&id)?;
        if let Some(config) = container.config.take() {
            keep_config(&id, &config)
                .map_err(|e| Failure::failed(format!("the container's config.json: {e}")))?;
        }
        self.begin_transfer(request, &id, Some(stream), Order::Extract(order))
    }

    pub(super) fn tell(&mut self, request: u32, wanted: &ByIdWithStream, order: Order) -> Answer {
        self.begin_transfer(request, &wanted.id, Some(wanted.stream), order)
    }

    pub(super) fn update(&mut self, request: u32, wanted: &Update) -> Answer {
        let resources = wanted.resources.get().to_owned();
        self.begin_transfer(request, &wanted.id, None, Order::Update(resources))
    }

    fn begin_transfer(&mut self, request: u32, id: &str, stream: Option<u32>, order: Order) -> Answer {
        let (number, container) = self.find(id)?;
        let subject = match (&container.view, &container.cgroup) {
            (Some(view), Some(cgroup)) if !container.to_delete => Subject {
                view: view.duplicate().map_err(|e| Failure::failed(e.to_string()))?,
                layers: container.layers.clone(),
                cgroup: cgroup.clone(),
            },
            _ => {
                let message = format!("container {id:?} is being created, or deleted");
                return Err(Failure::new(Code::Conflict, message));
            }
        };
        if self.transfers.values().filter(|transfer| transfer.container == number).count() >= MAX_TRANSFERS {
            let message = format!("container {id:?} has {MAX_TRANSFERS} of these under way");
            return Err(Failure::new(Code::Conflict, message));
        }
        self.check_streams(StreamIds { stdin: stream, ..Default::default() }, &[])?;
        let (helper, end) = work::begin(order, subject)
            .map_err(|e| Failure::failed(format!("start the runtime helper: {e}")))?;
        let transfer = Transfer::new(number, request, stream, helper, end);
        let number = self.take_number();
        let watched = self.watch_transfer(number, &transfer);
        self.transfers.insert(number, transfer);
        if let Err(error) = watched
            && let Some(transfer) = self.transfers.get_mut(&number)
        {
            transfer.abandon(&mut self.link, &format!("wait for the stream: {error}"));
        }
        Ok(None)
    }

    fn watch_transfer(&self, number: u32, transfer: &Transfer) -> io::Result<()> {
        let event = EpollEvent::new(edges(), FIRST + u64::from(number) * PARTS);
        self.epoll.add(transfer.report(), event)?;
        if let Some(pipe) = transfer.pipe() {
            self.epoll.add(pipe.as_fd(), event)?;
        }
        Ok(())
    }

    /// Whether the process was a transfer's helper.
    pub(super) fn transfer_ended(&mut self, pid: i32) -> bool {
        self.transfers.values_mut().any(|transfer| transfer.reaped(pid))
    }

    pub(super) fn abandon_transfers(&mut self, container: u32) {
        for transfer in self.transfers.values_mut().filter(|transfer| transfer.container == container) {
            transfer.abandon(&mut self.link, "the container is deleted");
        }
    }
}
