//! Mounts whose owners are mapped: `idmap`, `ridmap`, `uidMappings` and `gidMappings` of a bind mount.
//!
//! libcontainer refuses them. So the mapped mount is made before it, at a place of its own, and libcontainer is told
//! to bind from there: a bind mount of a mapped mount is mapped as well.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use super::review::{invalid, is_bind, is_empty};
use crate::protocol::message::Failure;
use crate::syscall::{self, child, confine};

/// The kernel's bound for the ranges of one mapping (linux/user_namespace.h).
const MAX_RANGES: usize = 340;

/// What one mount's owners become, in the form of /proc/PID/uid_map and gid_map.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    index: usize,
    recursive: bool,
    users: String,
    groups: String,
}

/// The places where mapped mounts are until libcontainer has bound from them.
#[derive(Default)]
pub struct Staged(Vec<PathBuf>);

impl Drop for Staged {
    fn drop(&mut self) {
        for place in &self.0 {
            let _ = umount2(place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
            let _ = fs::remove_dir(place).or_else(|_| fs::remove_file(place));
        }
    }
}

/// Makes the mapped mounts of config.json below `directory` and lets it name these.
pub fn stage(config: &mut Value, directory: &Path) -> Result<Staged, Failure> {
    let mut staged = Staged::default();
    for Mapping { index, recursive, users, groups } in take(config)? {
        let failed = |e: io::Error| Failure::failed(format!("mounts[{index}].uidMappings: {e}"));
        let mount = &mut config["mounts"][index];
        let source = PathBuf::from(mount["source"].as_str().unwrap_or_default());
        let place = directory.join(format!("mapped-{index}"));
        if fs::metadata(&source).map_err(failed)?.is_dir() {
            fs::create_dir(&place).map_err(failed)?;
        } else {
            File::create_new(&place).map_err(failed)?;
        }
        staged.0.push(place.clone());
        let namespace = user_namespace(&users, &groups).map_err(failed)?;
        confine::map_owners(&source, &place, namespace.as_fd(), recursive).map_err(failed)?;
        mount["source"] = json!(place);
    }
    Ok(staged)
}

/// Takes the properties out of config.json. A mount without mappings of its own has the container's.
fn take(config: &mut Value) -> Result<Vec<Mapping>, Failure> {
    let of_container = ["uidMappings", "gidMappings"].map(|name| config["linux"][name].clone());
    let mut mappings = Vec::new();
    for (index, mount) in config["mounts"].as_array_mut().into_iter().flatten().enumerate() {
        let (bound, mut asked, mut recursive) = (is_bind(mount), false, false);
        if let Some(options) = mount["options"].as_array_mut() {
            asked = options.iter().any(|option| option == "idmap" || option == "ridmap");
            recursive = options.iter().any(|option| option == "ridmap");
            options.retain(|option| option != "idmap" && option != "ridmap");
        }
        let Some(mount) = mount.as_object_mut() else { continue };
        let own = ["uidMappings", "gidMappings"].map(|name| mount.remove(name).unwrap_or(Value::Null));
        let [users, groups] = match own {
            [users, groups] if is_empty(&users) && is_empty(&groups) && !asked => continue,
            [users, groups] if is_empty(&users) && is_empty(&groups) => of_container.clone(),
            own => own,
        };
        let at = |what: &str| invalid(format!("mounts[{index}].uidMappings: {what}"));
        if !bound {
            return Err(at("only of a bind mount"));
        }
        match (ranges(&users), ranges(&groups)) {
            (Some(users), Some(groups)) => mappings.push(Mapping { index, recursive, users, groups }),
            _ => return Err(at("1 to 340 ranges, and as well gidMappings")),
        }
    }
    Ok(mappings)
}

fn ranges(mappings: &Value) -> Option<String> {
    let mappings = mappings.as_array().filter(|list| (1..=MAX_RANGES).contains(&list.len()))?;
    let line = |mapping: &Value| {
        let number = |name: &str| u32::try_from(mapping[name].as_u64()?).ok();
        Some(format!("{} {} {}\n", number("containerID")?, number("hostID")?, number("size")?))
    };
    mappings.iter().map(line).collect()
}

/// A user namespace with these maps, that nobody is in: its descriptor keeps it.
fn user_namespace(users: &str, groups: &str) -> io::Result<OwnedFd> {
    let (ready, say) = syscall::pipe()?;
    let (wait, go) = syscall::pipe()?;
    let pid = syscall::fork_to(|| {
        if unshare(CloneFlags::CLONE_NEWUSER).is_err() {
            return 1;
        }
        let _ = nix::unistd::write(&say, b"!");
        // The other end is open in this process as well; it is killed.
        let _ = nix::unistd::read(std::os::fd::AsRawFd::as_raw_fd(&wait), &mut [0]);
        0
    })?;
    drop(say);
    let made = File::from(ready).read_exact(&mut [0]).and_then(|()| {
        fs::write(format!("/proc/{pid}/uid_map"), users)?;
        fs::write(format!("/proc/{pid}/gid_map"), groups)?;
        File::open(format!("/proc/{pid}/ns/user"))
    });
    drop(go);
    let _ = syscall::kill(pid, libc::SIGKILL);
    let _ = child::wait_for(pid);
    made.map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(mount: Value) -> Value {
        let container = json!([{"containerID": 0, "hostID": 7, "size": 3}]);
        json!({"mounts": [mount], "linux": {"uidMappings": container, "gidMappings": container}})
    }

    #[test]
    fn properties_are_taken() {
        let own = json!([
            {"containerID": 0, "hostID": 1000, "size": 1},
            {"containerID": 5, "hostID": 50, "size": 2},
        ]);
        let mut config = with(
            json!({"type": "bind", "options": ["ridmap", "ro"], "uidMappings": own, "gidMappings": own}),
        );
        let text = "0 1000 1\n5 50 2\n".to_owned();
        let mapping = Mapping { index: 0, recursive: true, users: text.clone(), groups: text };
        assert_eq!(take(&mut config).unwrap(), [mapping]);
        assert_eq!(config["mounts"][0], json!({"type": "bind", "options": ["ro"]}));

        let mut config = with(json!({"options": ["bind", "idmap"]}));
        assert_eq!(take(&mut config).unwrap()[0].users, "0 7 3\n");
        let mut config = with(json!({"options": ["bind"], "uidMappings": [], "gidMappings": null}));
        assert_eq!(take(&mut config).unwrap(), []);
    }

    #[test]
    fn refuses_by_name() {
        let own = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        for (name, mount) in [
            ("of a file system", json!({"type": "tmpfs", "options": ["idmap"]})),
            ("half", json!({"type": "bind", "uidMappings": own})),
            (
                "too many",
                json!({"type": "bind", "uidMappings": vec![own[0].clone(); 341], "gidMappings": own}),
            ),
        ] {
            let failure = take(&mut with(mount)).expect_err(name);
            assert!(failure.message.starts_with("mounts[0].uidMappings: "), "{name}: {}", failure.message);
        }
        let mut config = with(json!({"options": ["bind", "idmap"]}));
        config["linux"] = json!({});
        assert!(take(&mut config).is_err());
    }
}
