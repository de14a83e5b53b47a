//! The JSON payloads: requests in, results and events out.
//!
//! Members that this generation does not know are ignored, because a later one may add some.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{base64, json as shape};
use crate::syscall::Ending;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    InvalidRequest,
    UnknownMethod,
    NotFound,
    Conflict,
    UserNotFound,
    CommandNotFound,
    CommandNotExecutable,
    InvalidConfig,
    Failed,
    PathNotFound,
    NotADirectory,
}

/// Longest error text, in bytes.
const MAX_MESSAGE_BYTES: usize = 4_096;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: Code,
    pub message: String,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        let mut end = message.len().min(MAX_MESSAGE_BYTES);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        Self { code, message }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::Failed, message)
    }
}

#[derive(Deserialize)]
pub struct Hello {
    pub generation: u32,
}

#[derive(Deserialize)]
pub struct Request<'a> {
    pub method: String,
    #[serde(borrow)]
    pub params: Option<&'a RawValue>,
}

/// A payload as `T`, or why it is none.
pub fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Failure> {
    if !shape::is_shallow(payload) {
        return Err(Failure::new(Code::InvalidRequest, "the JSON nests too deep"));
    }
    serde_json::from_slice(payload).map_err(|error| Failure::new(Code::InvalidRequest, error.to_string()))
}

#[derive(Deserialize)]
pub struct Configure {
    pub time: Option<Time>,
    pub entropy: Option<Base64>,
    pub hostname: Option<String>,
    #[serde(rename = "machineId")]
    pub machine_id: Option<String>,
    pub network: Option<Network>,
}

#[derive(Deserialize)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: i64,
}

#[derive(Deserialize)]
pub struct Network {
    pub mac: Option<String>,
    pub mtu: Option<u32>,
    #[serde(default)]
    pub addresses: Vec<String>,
    #[serde(default)]
    pub gateways: Vec<String>,
}

/// Bytes that travel as base64.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct Base64(pub Vec<u8>);

impl TryFrom<String> for Base64 {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        base64::decode(&text).map(Self).ok_or("not base64")
    }
}

#[derive(Deserialize)]
pub struct Create {
    pub id: String,
    pub rootfs: Rootfs,
    #[serde(default)]
    pub files: Vec<GeneratedFile>,
    pub user: Option<User>,
    pub config: Box<RawValue>,
    #[serde(default)]
    pub stdio: StreamIds,
    #[serde(default)]
    pub init: bool,
    #[serde(default)]
    pub volumes: Vec<Volume>,
    #[serde(default)]
    pub shares: Vec<Share>,
}

/// `container.prepare`
#[derive(Deserialize)]
pub struct Prepare {
    pub rootfs: Rootfs,
    pub config: Box<RawValue>,
}

/// A folder or file of the host's.
#[derive(Deserialize)]
pub struct Share {
    pub path: String,
    pub kind: ShareKind,
    #[serde(default)]
    pub readonly: bool,
    /// Stream of FUSE requests, to the host.
    pub requests: u32,
    /// Stream of FUSE replies, from the host.
    pub replies: u32,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ShareKind {
    Directory,
    File,
}

#[derive(Deserialize)]
pub struct Volume {
    pub path: String,
    #[serde(default)]
    pub readonly: bool,
    #[serde(default)]
    pub seed: bool,
}

/// `container.exec`
#[derive(Deserialize)]
pub struct Exec {
    pub id: String,
    pub exec: String,
    pub process: Box<RawValue>,
    pub user: Option<User>,
    #[serde(default)]
    pub stdio: StreamIds,
}

#[derive(Deserialize)]
pub struct Rootfs {
    pub base: Disk,
    pub writable: Writable,
}

#[derive(Deserialize, Clone)]
pub struct Disk {
    pub device: String,
    #[serde(rename = "type")]
    pub kind: DiskType,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DiskType {
    Erofs,
    Ext4,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Writable {
    Ext4 {
        device: String,
    },
    Tmpfs {
        #[serde(rename = "sizeBytes")]
        size_bytes: u64,
    },
}

impl Writable {
    /// By its serial number, or its name.
    pub fn disk(&self) -> Option<&str> {
        match self {
            Self::Ext4 { device } => Some(device),
            Self::Tmpfs { .. } => None,
        }
    }
}

#[derive(Deserialize)]
pub struct GeneratedFile {
    pub path: String,
    pub mode: u32,
    pub data: Base64,
}

#[derive(Deserialize)]
pub struct User {
    #[serde(default)]
    pub user: String,
    #[serde(default)]
    pub groups: Vec<String>,
}

#[derive(Deserialize, Default, Clone, Copy)]
pub struct StreamIds {
    pub stdin: Option<u32>,
    pub stdout: Option<u32>,
    pub stderr: Option<u32>,
}

#[derive(Deserialize)]
pub struct ById {
    pub id: String,
}

/// `container.changes`, `container.layer` and `container.processes`
#[derive(Deserialize)]
pub struct ByIdWithStream {
    pub id: String,
    pub stream: u32,
}

/// `container.stat`
#[derive(Deserialize)]
pub struct FileQuery {
    pub id: String,
    pub path: String,
    #[serde(default)]
    pub follow: bool,
}

/// `container.archive`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveQuery {
    pub id: String,
    pub path: String,
    pub stream: u32,
    #[serde(default)]
    pub follow: bool,
    #[serde(default)]
    pub one_file_system: bool,
}

/// `container.list`
#[derive(Deserialize)]
pub struct ListQuery {
    pub id: String,
    pub path: String,
    pub stream: u32,
    #[serde(default)]
    pub follow: bool,
}

/// `container.extract`
#[derive(Deserialize)]
pub struct Extract {
    pub id: String,
    pub path: String,
    pub stream: u32,
    pub owner: Option<Owner>,
}

#[derive(Deserialize, Clone, Copy)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// `container.update`
#[derive(Deserialize)]
pub struct Update {
    pub id: String,
    pub resources: Box<RawValue>,
}

#[derive(Deserialize)]
pub struct Start {
    pub id: String,
    #[serde(flatten)]
    pub process: Override,
}

/// What a blank's process is to be, when that is another than what it was filled for.
#[derive(Deserialize, Serialize, Default)]
pub struct Override {
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub env: Vec<String>,
}

#[derive(Deserialize)]
pub struct Signal {
    pub id: String,
    pub exec: Option<String>,
    pub signal: i32,
}

#[derive(Deserialize)]
pub struct Resize {
    pub id: String,
    pub exec: Option<String>,
    pub columns: u16,
    pub rows: u16,
}

/// The event that tells how a container's first process ended, or one that was executed into it.
pub fn exit_event(container: &str, exec: Option<&str>, ending: Ending, oom_killed: bool) -> Value {
    let mut event = match exec {
        Some(exec) => json!({"event": "container.exec.exit", "id": container, "exec": exec}),
        None => json!({"event": "container.exit", "id": container}),
    };
    match ending {
        Ending::Exited(code) => event["exitCode"] = json!(code),
        Ending::Killed(signal) => event["signal"] = json!(signal),
    }
    event["oomKilled"] = json!(oom_killed);
    event
}

/// Of a container or an exec. `[A-Za-z0-9_.-]`, 1 to 128 characters, the first alphanumeric: so an id is also a
/// safe file name.
pub fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.as_bytes()[0].is_ascii_alphanumeric()
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
#[path = "message_test.rs"]
mod tests;
