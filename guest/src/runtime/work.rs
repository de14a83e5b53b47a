//! What a helper does about a container's files, processes and limits: one order, an answer, and perhaps a stream.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use libcontainer::oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};

use super::{
    Helper, Report, bound_warnings, cgroup, exec, help, own_end, processes, resources, review, send_report,
};
use crate::files::{self, Layers, View};
use crate::protocol::message::{ArchiveQuery, Code, Extract, Failure, FileQuery, ListQuery};
use crate::syscall;

pub enum Order {
    Stat(FileQuery),
    Archive(ArchiveQuery),
    List(ListQuery),
    Extract(Extract),
    Changes,
    Layer,
    Processes,
    /// `linux.resources` of a config.json.
    Update(String),
}

/// Of which container.
pub struct Subject {
    pub view: View,
    pub layers: Layers,
    pub cgroup: String,
}

/// The agent's end of the stream.
pub enum End {
    None,
    /// The helper writes.
    Output(File),
    /// The helper reads.
    Input(File),
}

pub fn begin(order: Order, subject: Subject) -> std::io::Result<(Helper, End)> {
    let (theirs, end) = match order {
        Order::Stat(_) | Order::Update(_) => (None, End::None),
        Order::Archive(_) | Order::List(_) | Order::Changes | Order::Layer | Order::Processes => {
            let (read, write) = syscall::pipe()?;
            (Some(write), End::Output(own_end(read)?))
        }
        Order::Extract(_) => {
            let (read, write) = syscall::pipe()?;
            (Some(read), End::Input(own_end(write)?))
        }
    };
    let mut keep: Vec<RawFd> = theirs.iter().map(AsRawFd::as_raw_fd).collect();
    keep.push(subject.view.fd().as_raw_fd());
    let helper = help(&keep, move |report| {
        let outcome = carry_out(&order, &subject, theirs, &report);
        let last = match outcome {
            Ok(answer) => Report::Done(answer),
            Err(failure) => Report::Failed(failure),
        };
        send_report(&report, &last, None);
    })?;
    Ok((helper, end))
}

fn carry_out(
    order: &Order,
    subject: &Subject,
    stream: Option<OwnedFd>,
    report: &OwnedFd,
) -> Result<Value, Failure> {
    files::begin()?;
    let Subject { view, layers, cgroup } = subject;
    let answer = |value: Value| send_report(report, &Report::Begun(value), None);
    let stream = || stream.map(File::from).ok_or_else(|| Failure::failed("no stream"));
    match order {
        Order::Stat(query) => return files::stat(query, view),
        Order::Update(text) => return update(text, cgroup),
        Order::Extract(order) => return extract(order, view, stream()?),
        Order::Archive(query) => files::archive(query, view, stream()?, answer)?,
        Order::List(query) => files::list(query, view, stream()?, answer)?,
        Order::Processes => processes::processes(cgroup, view, stream()?, || answer(json!({})))?,
        Order::Changes => {
            let comparison = layers.open(view)?;
            answer(json!({}));
            files::changes(comparison, stream()?)?;
        }
        Order::Layer => {
            let comparison = layers.open(view)?;
            answer(json!({}));
            files::layer(comparison, stream()?)?;
        }
    }
    Ok(json!({}))
}

fn extract(order: &Extract, view: &View, from: File) -> Result<Value, Failure> {
    let config = exec::read_config(&order.id)?;
    let bounding = config.pointer("/process/capabilities/bounding").and_then(Value::as_array);
    let devices = bounding.is_some_and(|set| set.iter().any(|name| name == "CAP_MKNOD"));
    files::extract(&files::Order { path: &order.path, owner: order.owner, devices }, view, from)
}

fn update(text: &str, cgroup: &str) -> Result<Value, Failure> {
    let given: Value = serde_json::from_str(text).map_err(|e| review::invalid(e.to_string()))?;
    let members = given.as_object().ok_or_else(|| review::invalid("resources: not an object"))?;
    if let Some(name) = members.keys().find(|name| !matches!(name.as_str(), "memory" | "cpu" | "pids")) {
        return Err(review::invalid(format!(
            "resources.{name}: not to be changed in a container that there is"
        )));
    }
    let wanted: LinuxResources =
        serde_json::from_value(given.clone()).map_err(|e| review::invalid(format!("resources: {e}")))?;
    let known = serde_json::to_value(&wanted).map_err(|e| review::invalid(e.to_string()))?;
    if let Some(path) = review::find_unknown(&given, &known, "resources".to_owned()) {
        return Err(review::invalid(format!("{path}: unknown property")));
    }
    resources::check(&wanted)?;
    let limit = wanted.memory().and_then(|memory| memory.limit()).filter(|limit| *limit > 0);
    if let Some(limit) = limit.and_then(|limit| u64::try_from(limit).ok()) {
        let held = cgroup::held_bytes(cgroup);
        if held > limit {
            let message = format!(
                "the container holds {held} bytes of memory, more than the {limit} that it is to have"
            );
            return Err(Failure::new(Code::Conflict, message));
        }
    }
    let mut warnings = Vec::new();
    resources::limit(&resources::locate(cgroup)?, &wanted, &mut warnings)?;
    let warnings = bound_warnings(warnings);
    Ok(if warnings.is_empty() { json!({}) } else { json!({"warnings": warnings}) })
}
