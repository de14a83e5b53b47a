//! The last step: the container's init becomes the user's program.
//!
//! libcontainer calls this inside the container, after everything else is done. Why an exec failed goes to the
//! agent as JSON through a pipe that a successful exec closes; so "not found" and "not executable" are the
//! kernel's verdict and not a guess made from a message.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::errno::Errno;
use nix::unistd::execve;

use super::init;
use crate::protocol::message::{Code, Failure};

/// Written just before the exec, or before why there is none. Without it, the end of the pipe means that init ended early.
const ATTEMPT: u8 = b'!';

const MAX_REPORT_BYTES: usize = 32_768;

/// As the search path of a shell without one.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Clone)]
pub struct Exec {
    /// Shared, because libcontainer clones executors; closed on exec.
    report: Arc<File>,
    /// Whether the process is to be the child of an init.
    init: bool,
}

impl Exec {
    pub fn new(report: OwnedFd, init: bool) -> Self {
        Self { report: Arc::new(File::from(report)), init }
    }

    /// Becomes the program `args[0]`. Returns only when that failed, after it was told.
    pub fn run(&self, args: &[String], env: &[String]) -> Failure {
        let name = args.first().map_or("", String::as_str);
        let (args, env) = (c_strings("process.args", args), c_strings("process.env", env));
        let _ = (&*self.report).write_all(&[ATTEMPT]);
        let failure = match (args, env) {
            (Ok(args), Ok(env)) => execute(name, &args, &env),
            (Err(failure), _) | (_, Err(failure)) => failure,
        };
        let _ = (&*self.report).write_all(&serde_json::to_vec(&failure).unwrap_or_default());
        failure
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }

    /// Tells why there will be no exec.
    pub fn refuse(&self, failure: &Failure) {
        let mut text = vec![ATTEMPT];
        text.extend(serde_json::to_vec(failure).unwrap_or_default());
        let _ = (&*self.report).write_all(&text);
    }
}

impl Executor for Exec {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let args = process.args().as_deref().unwrap_or_default();
        if args.is_empty() {
            return Err(ExecutorError::InvalidArg);
        }
        let env = process.env().as_deref().unwrap_or_default();
        if self.init {
            init::become_init(|| self.run(args, env));
        }
        Err(ExecutorError::Other(self.run(args, env).message))
    }

    /// The search has to happen at the exec anyway, where it cannot race.
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    /// The environment is handed to the exec as it stands in config.json, in its order.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

fn c_strings(what: &str, strings: &[String]) -> Result<Vec<CString>, Failure> {
    let refused = |_| Failure::new(Code::InvalidConfig, format!("{what}: a string contains a NUL"));
    strings.iter().map(|text| CString::new(text.as_str()).map_err(refused)).collect()
}

/// Returns only when nothing could be executed. Searches as execvp(3) does: a permission problem does not end
/// the search, but is what is told when nothing else is found.
fn execute(name: &str, args: &[CString], env: &[CString]) -> Failure {
    if name.contains('/') {
        return explain(name, attempt(name, args, env), true);
    }
    let path = env
        .iter()
        .filter_map(|entry| entry.to_str().ok()?.strip_prefix("PATH="))
        .next_back()
        .unwrap_or(DEFAULT_PATH);
    let mut denied: Option<(String, Errno)> = None;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{directory}/{name}");
        match attempt(&candidate, args, env) {
            Errno::EACCES => denied = Some((candidate, Errno::EACCES)),
            // The file is there, and its interpreter is not: another directory may have a better one.
            Errno::ENOENT if Path::new(&candidate).is_file() => {
                denied = denied.or(Some((candidate, Errno::ENOENT)));
            }
            Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT => {}
            other => return explain(&candidate, other, true),
        }
    }
    match denied {
        Some((candidate, error)) => explain(&candidate, error, true),
        None => explain(name, Errno::ENOENT, false),
    }
}

fn attempt(path: &str, args: &[CString], env: &[CString]) -> Errno {
    match CString::new(path) {
        Ok(path) => execve(&path, args, env).err().unwrap_or(Errno::EIO),
        Err(_) => Errno::ENOENT,
    }
}

fn explain(name: &str, error: Errno, found: bool) -> Failure {
    let text = match error {
        Errno::ENOENT if !found => "not found in PATH".to_owned(),
        Errno::ENOENT if Path::new(name).exists() => "the interpreter it names does not exist".to_owned(),
        Errno::ENOENT => "no such file or directory".to_owned(),
        Errno::ENOEXEC => "not a program for this machine's architecture, nor a script with #!".to_owned(),
        Errno::EACCES => "permission denied".to_owned(),
        other => other.desc().to_owned(),
    };
    let code = match error {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG => Code::CommandNotFound,
        Errno::E2BIG | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::EAGAIN => Code::Failed,
        _ => Code::CommandNotExecutable,
    };
    Failure::new(code, format!("exec: {name:?}: {text}"))
}

/// What the exec pipe has told so far.
pub enum ExecReport {
    Pending,
    Executed,
    Failed(Failure),
}

/// The agent's end of the exec pipe.
pub struct ExecPipe {
    file: File,
    text: Vec<u8>,
}

impl ExecPipe {
    /// `file` does not block.
    pub fn new(file: File) -> Self {
        Self { file, text: Vec::new() }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn read(&mut self) -> ExecReport {
        let room = MAX_REPORT_BYTES.saturating_sub(self.text.len());
        match (&self.file).take(room as u64).read_to_end(&mut self.text) {
            Ok(_) => conclude(&self.text),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ExecReport::Pending,
            Err(error) => ExecReport::Failed(Failure::failed(format!("the exec pipe: {error}"))),
        }
    }
}

fn conclude(text: &[u8]) -> ExecReport {
    match text {
        [ATTEMPT] => ExecReport::Executed,
        [ATTEMPT, failure @ ..] => ExecReport::Failed(
            serde_json::from_slice(failure)
                .unwrap_or_else(|e| Failure::failed(format!("the exec pipe: {e}"))),
        ),
        _ => ExecReport::Failed(Failure::failed("the container's process ended before it was executed")),
    }
}
