//! Hooks: programs that run at certain moments of a container's life.
//! <https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#posix-platform-hooks>
//!
//! ```text
//! create: prestart, createRuntime    in the machine   ┐ libcontainer knows the moment, and starts this program
//!         createContainer            in the container ┘ once more as a trigger, which reads hooks.json
//! start:  startContainer             in the container, by its init just before the exec
//!         poststart                  in the machine, by a helper; a failure is told and changes nothing
//! delete: poststop                   in the machine, by the helper that removes; likewise
//! ```
//!
//! A machine has no programs but the image's. So wherever the specification looks for a hook's program in the
//! runtime's own files, it is looked for in the image, with the machine's /proc, /sys and /dev in it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libcontainer::oci_spec::runtime::Hook;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot, execve, setsid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::executor::c_strings;
use crate::protocol::message::{Code, Failure};
use crate::syscall::{self, child, process};

/// How long a hook may take that does not say it, in seconds, and at most.
const DEFAULT_TIMEOUT_S: i64 = 30;
const MAX_TIMEOUT_S: i64 = 600;

/// Most hooks for one moment.
const MAX_HOOKS: usize = 64;

/// How much of what a failing hook writes to stderr is told, in bytes.
const MAX_STDERR_BYTES: usize = 512;

/// What this program is called when libcontainer starts it as a trigger.
const TRIGGER: &str = "flamebox-hooks";

const FILE: &str = "hooks.json";
const FAILURE_FILE: &str = "hook-failure";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

const MOMENTS: [(Moment, &str); 6] = [
    (Moment::Prestart, "prestart"),
    (Moment::CreateRuntime, "createRuntime"),
    (Moment::CreateContainer, "createContainer"),
    (Moment::StartContainer, "startContainer"),
    (Moment::Poststart, "poststart"),
    (Moment::Poststop, "poststop"),
];

/// The moments that libcontainer has to tell of.
const TRIGGERED: [Moment; 3] = [Moment::Prestart, Moment::CreateRuntime, Moment::CreateContainer];

impl Moment {
    fn name(self) -> &'static str {
        MOMENTS.iter().find(|(moment, _)| *moment == self).map_or("", |(_, name)| name)
    }

    fn of(name: &str) -> Option<Self> {
        MOMENTS.iter().find(|(_, known)| *known == name).map(|(moment, _)| *moment)
    }

    /// The container's state, as the hook is told.
    fn status(self) -> &'static str {
        match self {
            Self::Prestart | Self::CreateRuntime | Self::CreateContainer => "creating",
            Self::StartContainer => "created",
            Self::Poststart => "running",
            Self::Poststop => "stopped",
        }
    }
}

/// All hooks of a container, with what they are told. Kept beside config.json for the later moments.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Hooks {
    id: String,
    bundle: PathBuf,
    rootfs: PathBuf,
    annotations: Value,
    hooks: HashMap<String, Vec<Hook>>,
}

impl Hooks {
    /// Takes the hooks out of config.json and leaves triggers for those that libcontainer is to tell of.
    pub fn take(config: &mut Value, id: &str, directory: &Path, rootfs: PathBuf) -> Result<Self, Failure> {
        let given = config.as_object_mut().and_then(|config| config.remove("hooks")).unwrap_or(Value::Null);
        let mut hooks = HashMap::new();
        for (moment, name) in MOMENTS {
            let list: Vec<Hook> = match given.get(name) {
                None | Some(Value::Null) => continue,
                Some(list) => serde_json::from_value(list.clone())
                    .map_err(|e| Failure::new(Code::InvalidConfig, format!("hooks.{name}: {e}")))?,
            };
            check(name, &list)?;
            if list.is_empty() {
                continue;
            }
            if TRIGGERED.contains(&moment) {
                let args = [TRIGGER, name, &directory.to_string_lossy()];
                config["hooks"][name] = json!([{"path": "/proc/self/exe", "args": args}]);
            }
            hooks.insert(name.to_owned(), list);
        }
        let annotations = config.get("annotations").cloned().unwrap_or_else(|| json!({}));
        Ok(Self { id: id.to_owned(), bundle: directory.to_owned(), rootfs, annotations, hooks })
    }

    pub fn has(&self, moment: Moment) -> bool {
        self.hooks.contains_key(moment.name())
    }

    /// Keeps them for the later moments, and a place for a trigger to say what went wrong: one that is in a
    /// user namespace may write to nothing else.
    pub fn save(&self) -> Result<(), Failure> {
        if self.hooks.is_empty() {
            return Ok(());
        }
        let failed = |e: std::io::Error| Failure::failed(format!("keep the hooks: {e}"));
        fs::write(self.bundle.join(FILE), serde_json::to_vec(self).unwrap_or_default()).map_err(failed)?;
        let place = self.bundle.join(FAILURE_FILE);
        fs::write(&place, "").map_err(failed)?;
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o666)).map_err(failed)
    }

    /// Those of a container that was created; none when it has none.
    pub fn load(directory: &Path) -> Self {
        let text = fs::read(directory.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// What the hook that made the create fail has to say.
    pub fn failure(directory: &Path) -> Option<String> {
        fs::read_to_string(directory.join(FAILURE_FILE)).ok().filter(|text| !text.is_empty())
    }

    /// Runs the hooks of a moment in order, up to the first that fails; returns why.
    pub fn run(&self, moment: Moment, pid: Option<i32>, env: &[String]) -> Result<(), String> {
        self.each(moment, pid, env).find_map(Result::err).map_or(Ok(()), Err)
    }

    /// Runs all of them, whatever they do; returns what failed.
    pub fn run_all(&self, moment: Moment, pid: Option<i32>) -> Vec<String> {
        self.each(moment, pid, &[]).filter_map(Result::err).collect()
    }

    fn each(
        &self,
        moment: Moment,
        pid: Option<i32>,
        env: &[String],
    ) -> impl Iterator<Item = Result<(), String>> {
        let hooks = self.hooks.get(moment.name()).map(Vec::as_slice).unwrap_or_default();
        let mut state = json!({
            "ociVersion": "1.2.0", "id": self.id, "status": moment.status(), "bundle": self.bundle,
            "annotations": self.annotations,
        });
        if let Some(pid) = pid {
            state["pid"] = json!(pid);
        }
        hooks.iter().enumerate().map(move |(index, hook)| {
            run(hook, &state, env, || self.enter(moment))
                .map_err(|what| format!("hooks.{}[{index}] {}: {what}", moment.name(), hook.path().display()))
        })
    }

    /// Where a hook finds its program; in the hook's process.
    fn enter(&self, moment: Moment) -> nix::Result<()> {
        match moment {
            Moment::StartContainer => return Ok(()),
            Moment::CreateContainer => {}
            _ => self.bring_kernel_file_systems()?,
        }
        chroot(&self.rootfs)?;
        chdir("/")
    }

    fn bring_kernel_file_systems(&self) -> nix::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        let root = syscall::open_directory(&self.rootfs).map_err(|_| nix::errno::Errno::ENOENT)?;
        for name in ["proc", "sys", "dev"] {
            // An image's own symbolic link is not followed, and an image without the directory does without.
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let Ok(target) = syscall::open_in_root(root.as_fd(), Path::new(name), flags) else { continue };
            let target = format!("/proc/self/fd/{}", target.as_raw_fd());
            let source = format!("/{name}");
            mount(Some(&*source), &*target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
        }
        Ok(())
    }
}

fn check(name: &str, hooks: &[Hook]) -> Result<(), Failure> {
    let refuse = |what: String| Err(Failure::new(Code::InvalidConfig, format!("hooks.{name}{what}")));
    if hooks.len() > MAX_HOOKS {
        return refuse(format!(": at most {MAX_HOOKS}"));
    }
    for (index, hook) in hooks.iter().enumerate() {
        if !hook.path().is_absolute() {
            return refuse(format!("[{index}].path: {} is not absolute", hook.path().display()));
        }
        if let Some(timeout) = hook.timeout()
            && !(1..=MAX_TIMEOUT_S).contains(&timeout)
        {
            return refuse(format!("[{index}].timeout: {timeout} is not from 1 to {MAX_TIMEOUT_S} seconds"));
        }
    }
    Ok(())
}

/// Runs one hook to its end: the state on stdin, its stderr for the error message.
fn run(
    hook: &Hook,
    state: &Value,
    env: &[String],
    enter: impl FnOnce() -> nix::Result<()>,
) -> Result<(), String> {
    let said = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let path = hook.path().to_string_lossy().into_owned();
    let args = hook.args().clone().filter(|args| !args.is_empty()).unwrap_or_else(|| vec![path.clone()]);
    let path = c_strings("path", &[path]).map_err(|failure| failure.message)?.remove(0);
    let args = c_strings("args", &args).map_err(|failure| failure.message)?;
    let env = c_strings("env", hook.env().as_deref().unwrap_or(env)).map_err(|failure| failure.message)?;
    // A file rather than a pipe: a hook that does not read holds nobody up.
    let mut stdin = child::memory_file(c"state").map_err(|e| said("stdin", &e))?;
    stdin
        .write_all(state.to_string().as_bytes())
        .and_then(|()| stdin.rewind())
        .map_err(|e| said("stdin", &e))?;
    let nothing = File::options().write(true).open("/dev/null").map_err(|e| said("/dev/null", &e))?;
    let (stderr, stderr_end) = syscall::pipe().map_err(|e| said("stderr", &e))?;
    let pid = syscall::fork_to(|| {
        let _ = setsid();
        let say = |text: &str| {
            let _ = nix::unistd::write(&stderr_end, text.as_bytes());
            125
        };
        if let Err(error) = enter() {
            return say(&format!("enter the image: {}", error.desc()));
        }
        let streams = [(stdin.as_raw_fd(), 0), (nothing.as_raw_fd(), 1), (stderr_end.as_raw_fd(), 2)];
        for (from, to) in streams {
            if nix::unistd::dup2(from, to).is_err() {
                return say("dup2");
            }
        }
        let error = execve(&path, &args, &env).err().unwrap_or(nix::errno::Errno::EIO);
        say(error.desc())
    })
    .map_err(|e| said("fork", &e))?;
    drop(stderr_end);
    let timeout = hook.timeout().unwrap_or(DEFAULT_TIMEOUT_S);
    let text = wait(pid, File::from(stderr), Duration::from_secs(timeout.unsigned_abs()))?;
    if text.is_empty() { Ok(()) } else { Err(text) }
}

/// Waits for a hook, which is killed when its time is over; what is wrong with how it ended, or nothing.
fn wait(pid: i32, mut stderr: File, timeout: Duration) -> Result<String, String> {
    let _ = syscall::set_nonblocking(stderr.as_fd());
    let deadline = Instant::now() + timeout;
    let handle = process::open(pid).map_err(|e| format!("pidfd_open: {e}"))?;
    let mut text = Vec::new();
    let late = loop {
        let ended = child::wait_readable(&[handle.as_fd(), stderr.as_fd()], deadline);
        drain(&mut stderr, &mut text);
        match ended {
            Ok([true, _]) => break false,
            _ if Instant::now() >= deadline => break true,
            // Its stderr may be closed long before it ends.
            Ok([_, true]) => std::thread::sleep(Duration::from_millis(5)),
            _ => {}
        }
    };
    if late {
        let _ = syscall::kill(-pid, libc::SIGKILL);
        let _ = syscall::kill(pid, libc::SIGKILL);
    }
    let ending = child::wait_for(pid).map_err(|e| format!("wait: {e}"))?;
    drain(&mut stderr, &mut text);
    let said = String::from_utf8_lossy(&text).trim().replace('\n', "; ");
    let said = if said.is_empty() { said } else { format!(": {said}") };
    Ok(match ending {
        _ if late => format!("not done after {} s{said}", timeout.as_secs()),
        syscall::Ending::Exited(0) => String::new(),
        syscall::Ending::Exited(code) => format!("exit code {code}{said}"),
        syscall::Ending::Killed(signal) => format!("signal {signal}{said}"),
    })
}

/// Takes what is there and keeps the beginning.
fn drain(stderr: &mut File, text: &mut Vec<u8>) {
    let mut buffer = [0; 4_096];
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        let room = MAX_STDERR_BYTES.saturating_sub(text.len());
        text.extend_from_slice(&buffer[..length.min(room)]);
    }
}

/// Whether this process is a trigger: then the hooks have run, and this is the exit code.
pub fn trigger() -> Option<u8> {
    let mut args = std::env::args();
    if args.next()? != TRIGGER {
        return None;
    }
    let moment = Moment::of(&args.next()?)?;
    let directory = PathBuf::from(args.next()?);
    let hooks = Hooks::load(&directory);
    let mut state = String::new();
    let _ = std::io::stdin().take(1 << 20).read_to_string(&mut state);
    let state: Value = serde_json::from_str(&state).unwrap_or(Value::Null);
    let pid = state["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    match hooks.run(moment, pid, &[]) {
        Ok(()) => Some(0),
        Err(failure) => {
            let _ = File::options()
                .write(true)
                .open(directory.join(FAILURE_FILE))
                .and_then(|mut file| file.write_all(failure.as_bytes()));
            Some(1)
        }
    }
}

#[cfg(test)]
#[path = "hooks_test.rs"]
mod tests;
