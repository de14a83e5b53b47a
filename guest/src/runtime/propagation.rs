//! What becomes of mounts after they were made: propagation, and symbolic links that are not to be followed.
//!
//! libcontainer makes the mounts and drops these options. They are set from a child of the helper that enters
//! the container's mount namespace, where every path means what it means to the container.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use crate::protocol::message::Failure;
use crate::syscall::{self, child, confine};

/// A change of one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub destination: String,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Propagation(MsFlags),
    NoSymbolicLinks,
}

fn what(option: &str) -> Option<What> {
    let (kind, recursive) = match option.strip_prefix('r') {
        Some(kind) => (kind, MsFlags::MS_REC),
        None => (option, MsFlags::empty()),
    };
    let kind = match kind {
        "shared" => MsFlags::MS_SHARED,
        "slave" => MsFlags::MS_SLAVE,
        "private" => MsFlags::MS_PRIVATE,
        "unbindable" => MsFlags::MS_UNBINDABLE,
        "nosymfollow" if recursive.is_empty() => return Some(What::NoSymbolicLinks),
        _ => return None,
    };
    Some(What::Propagation(kind | recursive))
}

/// Takes the options out of config.json, in their order.
pub fn take(config: &mut Value) -> Vec<Change> {
    let mut changes = Vec::new();
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        let destination = mount["destination"].as_str().unwrap_or_default().to_owned();
        let Some(options) = mount["options"].as_array_mut() else { continue };
        options.retain(|option| match option.as_str().and_then(what) {
            Some(what) => {
                changes.push(Change { destination: destination.clone(), what });
                false
            }
            None => true,
        });
    }
    changes
}

/// Makes the changes in the mount namespace of `pid`.
pub fn apply(changes: &[Change], pid: i32) -> Result<(), Failure> {
    if changes.is_empty() {
        return Ok(());
    }
    let failed =
        |what: &str, error: &dyn std::fmt::Display| Failure::failed(format!("mounts: {what}: {error}"));
    let namespace = File::open(format!("/proc/{pid}/ns/mnt")).map_err(|e| failed("mount namespace", &e))?;
    let pid = syscall::fork_to(|| {
        if setns(namespace.as_fd(), CloneFlags::CLONE_NEWNS).is_err() {
            return 255;
        }
        match changes.iter().position(|change| make(change).is_err()) {
            Some(index) => i32::try_from(index + 1).unwrap_or(254).min(254),
            None => 0,
        }
    })
    .map_err(|e| failed("fork", &e))?;
    match child::wait_for(pid).map_err(|e| failed("wait", &e))? {
        syscall::Ending::Exited(0) => Ok(()),
        syscall::Ending::Exited(index @ 1..=254) => {
            let change = changes.get(usize::from(index) - 1);
            let destination = change.map_or("?", |change| change.destination.as_str());
            Err(failed(destination, &"the kernel refuses its propagation"))
        }
        _ => Err(failed("mount namespace", &"cannot be entered")),
    }
}

fn make(change: &Change) -> nix::Result<()> {
    let path = Path::new(&change.destination);
    match change.what {
        What::Propagation(flags) => mount(None::<&str>, path, None::<&str>, flags, None::<&str>),
        What::NoSymbolicLinks => confine::follow_no_links(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_taken_in_their_order() {
        let options = ["ro", "rslave", "nosuid", "shared", "nosymfollow", "rro", "relatime", "rprivate"];
        let mut config =
            json!({"mounts": [{"destination": "/a", "options": options}, {"destination": "/b"}]});
        let changes: Vec<What> = take(&mut config).into_iter().map(|change| change.what).collect();
        let recursive = |flag| What::Propagation(flag | MsFlags::MS_REC);
        let expected = vec![
            recursive(MsFlags::MS_SLAVE),
            What::Propagation(MsFlags::MS_SHARED),
            What::NoSymbolicLinks,
            recursive(MsFlags::MS_PRIVATE),
        ];
        assert_eq!(changes, expected);
        assert_eq!(config["mounts"][0]["options"], json!(["ro", "nosuid", "rro", "relatime"]));
    }
}
