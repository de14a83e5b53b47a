//! config.json: what the machine adds.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::limits;
use super::review::is_empty;
use super::user::Account;

/// What the machine knows and the host does not.
#[derive(Default)]
pub struct Additions {
    pub id: String,
    pub rootfs: PathBuf,
    /// Where each is, and where the container sees it.
    pub files: Vec<(PathBuf, String)>,
    /// The same of the anonymous volumes, with whether it may only read them.
    pub volumes: Vec<(PathBuf, String, bool)>,
    /// And of the host's folders.
    pub shares: Vec<(PathBuf, String, bool)>,
    pub account: Option<Account>,
    pub home: Option<String>,
}

/// Completes config.json in place and returns the sysctls of the network, which are the machine's: the
/// container has no network namespace of its own, and libcontainer refuses them for that reason.
pub fn complete(config: &mut Value, additions: &Additions) -> Vec<(String, String)> {
    let readonly = config.pointer("/root/readonly").cloned().unwrap_or(Value::Bool(false));
    config["root"] = json!({"path": additions.rootfs, "readonly": readonly});
    complete_process(config, additions.account.as_ref(), additions.home.as_deref());
    // Before the files: what the host generates is to be seen, whatever volume it lies in.
    // A place comes before what lies below it, whichever of the two it is.
    let mut binds: Vec<_> = additions.volumes.iter().chain(&additions.shares).collect();
    binds.sort_by_key(|(_, destination, _)| destination.split('/').count());
    for (source, destination, readonly) in binds {
        let access = if *readonly { "ro" } else { "rw" };
        let mount = json!({
            "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", access],
        });
        append(&mut config["mounts"], mount);
    }
    for (source, destination) in &additions.files {
        let mount = json!({
            "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate"],
        });
        append(&mut config["mounts"], mount);
    }
    let linux = &mut config["linux"];
    if linux.get("cgroupsPath").is_none_or(is_empty) {
        linux["cgroupsPath"] = json!(format!("/flamebox/{}", additions.id));
    }
    // A path of the runtime's choice is meant, and libcontainer would look for systemd there.
    if let Some(relative) = linux["cgroupsPath"].as_str().filter(|path| !path.starts_with('/')) {
        linux["cgroupsPath"] = json!(format!("/flamebox/{relative}"));
    }
    let owns_network = linux["namespaces"]
        .as_array()
        .is_some_and(|list| list.iter().any(|namespace| namespace["type"] == "network"));
    match linux.get_mut("sysctl").and_then(Value::as_object_mut) {
        Some(sysctls) if !owns_network => take_network_sysctls(sysctls),
        _ => Vec::new(),
    }
}

/// Who the process of config.json is: user, capabilities, home; and its limits, as the kernel writes them.
pub fn complete_process(config: &mut Value, account: Option<&Account>, home: Option<&str>) {
    limits::widen(&mut config["process"]);
    if let Some(account) = account {
        let umask = config.pointer("/process/user/umask").cloned();
        let mut user = json!({"uid": account.uid, "gid": account.gid, "additionalGids": account.groups});
        if let Some(umask) = umask {
            user["umask"] = umask;
        }
        config["process"]["user"] = user;
    }
    if config.pointer("/process/user/uid").and_then(Value::as_u64).is_some_and(|uid| uid != 0) {
        drop_held_capabilities(config);
    }
    if let Some(home) = home {
        append(&mut config["process"]["env"], json!(format!("HOME={home}")));
    }
}

/// Capabilities that the host gives are root's. The exec takes them from any other user in any case; but the
/// exec itself must not find a program, or enter a directory, that only root may. Ambient ones were meant.
fn drop_held_capabilities(config: &mut Value) {
    let Some(sets) = config.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) else {
        return;
    };
    let ambient = sets.get("ambient").cloned().unwrap_or_else(|| json!([]));
    for set in ["effective", "permitted"] {
        if sets.contains_key(set) {
            sets.insert(set.to_owned(), ambient.clone());
        }
    }
}

pub fn append(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = Value::Array(vec![item]),
    }
}

fn take_network_sysctls(sysctls: &mut Map<String, Value>) -> Vec<(String, String)> {
    let names: Vec<String> =
        sysctls.keys().filter(|key| key.starts_with("net.") || key.starts_with("net/")).cloned().collect();
    names
        .into_iter()
        .filter_map(|name| {
            let value = sysctls.remove(&name)?.as_str()?.to_owned();
            Some((name, value))
        })
        .collect()
}

#[cfg(test)]
#[path = "spec_test.rs"]
mod tests;
