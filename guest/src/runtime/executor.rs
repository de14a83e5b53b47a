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

use libcontainer::capabilities;
use libcontainer::oci_spec::runtime::{Capabilities, Process, Spec};
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, execve};

use super::filling::Inside;
use super::hooks::{Hooks, Moment};
use super::init;
use super::seccomp::Filter;
use crate::protocol::message::{Code, Failure};

/// Written just before the exec, or before why there is none. Without it, the end of the pipe means that init ended early.
const ATTEMPT: u8 = b'!';

const MAX_REPORT_BYTES: usize = 32_768;

/// As the search path of a shell without one.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What no filter says.
const NOT_A_PROGRAM: &str = "not a program for this machine's architecture, nor a script with #!";
const A_DIRECTORY: &str = "it is a directory";

/// What is still to be done when everything else is: the hooks of the start, then the filter.
#[derive(Default)]
pub struct Last {
    pub hooks: Hooks,
    pub filter: Option<Filter>,
}

impl Last {
    fn run(&self, env: &[String]) -> Result<(), Failure> {
        let pid = i32::try_from(std::process::id()).ok();
        self.hooks.run(Moment::StartContainer, pid, env).map_err(Failure::failed)?;
        match &self.filter {
            Some(filter) => filter.load().map_err(|e| Failure::failed(format!("linux.seccomp: {e}"))),
            None => Ok(()),
        }
    }
}

#[derive(Clone)]
pub struct Exec {
    /// Shared, because libcontainer clones executors; closed on exec.
    report: Arc<File>,
    last: Arc<Last>,
    role: Role,
}

/// What the container's process 1 is to be.
#[derive(Clone)]
pub enum Role {
    Program,
    /// The program is the child of an init.
    Init,
    /// Whatever it is told to be.
    Blank(Arc<Inside>),
}

impl Exec {
    pub fn new(report: OwnedFd, last: Last, role: Role) -> Self {
        Self { report: Arc::new(File::from(report)), last: Arc::new(last), role }
    }

    /// Becomes the program `args[0]`. Returns only when that failed, after it was told.
    pub fn run(&self, args: &[String], env: &[String]) -> Failure {
        let failure = match Program::of(args, env) {
            Ok(program) => self.confine(&program, env).err().unwrap_or_else(|| self.execute(&program)),
            Err(failure) => failure,
        };
        self.refuse(&failure);
        failure
    }

    /// As `run`, in a child of this process, which is bound by the same filter and has no more capabilities than the
    /// child: the exec that would take from it what loading the filter needed never comes.
    fn run_below_init(&self, process: &Process, args: &[String], env: &[String]) -> Failure {
        let confined = Program::of(args, env).and_then(|program| {
            self.confine(&program, env)?;
            give_up_capabilities(process)?;
            Ok(program)
        });
        match confined {
            Ok(program) => init::become_init(|| {
                let failure = self.execute(&program);
                self.refuse(&failure);
                failure
            }),
            Err(failure) => {
                self.refuse(&failure);
                failure
            }
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }

    /// Tells why there will be no exec. When one was attempted, that was told before.
    pub fn refuse(&self, failure: &Failure) {
        let mut text = vec![ATTEMPT];
        text.extend(serde_json::to_vec(failure).unwrap_or_default());
        let _ = (&*self.report).write_all(&text);
    }

    /// What is still to be done before the exec. A filter may forbid to tell what went wrong, so that what can be
    /// known before it is there is.
    fn confine(&self, program: &Program, env: &[String]) -> Result<(), Failure> {
        if self.last.filter.is_some() {
            find(program.name, &program.env)?;
        }
        self.last.run(env)
    }

    /// Returns only when nothing could be executed.
    fn execute(&self, program: &Program) -> Failure {
        let _ = (&*self.report).write_all(&[ATTEMPT]);
        let failure = execute(program.name, &program.args, &program.env);
        let explained = [NOT_A_PROGRAM, A_DIRECTORY].iter().any(|reason| failure.message.ends_with(reason));
        if self.last.filter.is_some() && failure.code == Code::CommandNotExecutable && !explained {
            return Failure::new(failure.code, format!("{} (linux.seccomp may forbid it)", failure.message));
        }
        failure
    }
}

struct Program<'a> {
    name: &'a str,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl<'a> Program<'a> {
    fn of(args: &'a [String], env: &[String]) -> Result<Self, Failure> {
        let name = args.first().map_or("", String::as_str);
        Ok(Self { name, args: c_strings("process.args", args)?, env: c_strings("process.env", env)? })
    }
}

fn give_up_capabilities(process: &Process) -> Result<(), Failure> {
    let Some(sets) = process.capabilities() else { return Ok(()) };
    let bounding = sets.bounding().clone().unwrap_or_default();
    let within = |set: &Option<Capabilities>| {
        set.as_ref().map(|set| set.intersection(&bounding).copied().collect::<Capabilities>())
    };
    let mut reduced = sets.clone();
    reduced.set_effective(within(sets.effective())).set_permitted(within(sets.permitted()));
    let syscall = SyscallType::default().create_syscall();
    capabilities::drop_privileges(&reduced, &*syscall)
        .map_err(|e| Failure::failed(format!("process.capabilities of the init: {e}")))
}

impl Executor for Exec {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let args = process.args().as_deref().unwrap_or_default();
        if args.is_empty() {
            return Err(ExecutorError::InvalidArg);
        }
        let env = process.env().as_deref().unwrap_or_default();
        let failure = match &self.role {
            Role::Program => self.run(args, env),
            Role::Init => self.run_below_init(process, args, env),
            Role::Blank(blank) => blank.serve(self),
        };
        Err(ExecutorError::Other(failure.message))
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

pub fn c_strings(what: &str, strings: &[String]) -> Result<Vec<CString>, Failure> {
    let refused = |_| Failure::new(Code::InvalidConfig, format!("{what}: a string contains a NUL"));
    strings.iter().map(|text| CString::new(text.as_str()).map_err(refused)).collect()
}

/// The places where a name may be: itself, or in each directory of PATH.
fn candidates<'a>(name: &'a str, env: &'a [CString]) -> impl Iterator<Item = String> + 'a {
    let path = env
        .iter()
        .filter_map(|entry| entry.to_str().ok()?.strip_prefix("PATH="))
        .next_back()
        .unwrap_or(DEFAULT_PATH);
    path.split(':').map(move |directory| {
        let directory = if directory.is_empty() { "." } else { directory };
        format!("{directory}/{name}")
    })
}

/// Whether there is something to execute; why not, in the same words as after an attempt.
fn find(name: &str, env: &[CString]) -> Result<(), Failure> {
    let check = |path: &str| access(path, AccessFlags::X_OK);
    if name.contains('/') {
        return check(name).map_err(|error| explain(name, error, true));
    }
    let errors: Vec<Errno> = candidates(name, env).map_while(|candidate| check(&candidate).err()).collect();
    if errors.len() < candidates(name, env).count() {
        return Ok(());
    }
    let denied = errors.iter().position(|error| *error == Errno::EACCES);
    match denied.and_then(|index| candidates(name, env).nth(index)) {
        Some(candidate) => Err(explain(&candidate, Errno::EACCES, true)),
        None => Err(explain(name, Errno::ENOENT, false)),
    }
}

/// Returns only when nothing could be executed. Searches as execvp(3) does: a permission problem does not end
/// the search, but is what is told when nothing else is found.
fn execute(name: &str, args: &[CString], env: &[CString]) -> Failure {
    if name.contains('/') {
        return explain(name, attempt(name, args, env), true);
    }
    let mut denied: Option<(String, Errno)> = None;
    for candidate in candidates(name, env) {
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
        Errno::ENOEXEC => NOT_A_PROGRAM.to_owned(),
        Errno::EACCES if Path::new(name).is_dir() => A_DIRECTORY.to_owned(),
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
        [ATTEMPT, ATTEMPT, failure @ ..] | [ATTEMPT, failure @ ..] => ExecReport::Failed(
            serde_json::from_slice(failure)
                .unwrap_or_else(|e| Failure::failed(format!("the exec pipe: {e}"))),
        ),
        _ => ExecReport::Failed(Failure::failed("the container's process ended before it was executed")),
    }
}
