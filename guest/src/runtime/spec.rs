//! config.json: what is carried out, what is refused, and what the machine adds.
//!
//! libcontainer carries out most of it. What it would pass over in silence is refused here by name, so that
//! nobody believes to be protected by a property that nothing enforces.

use std::path::PathBuf;

use libcontainer::oci_spec::runtime::Spec;
use serde_json::{Map, Value, json};

use super::limits;
use super::user::Account;
use crate::protocol::message::{Code, Failure};

/// Properties that libcontainer, as it is built here, ignores.
const NOT_CARRIED_OUT: &[&str] = &[
    "/linux/seccomp",
    "/linux/intelRdt",
    "/linux/mountLabel",
    "/linux/netDevices",
    "/linux/resources/devices",
    "/linux/resources/network",
    "/linux/resources/rdma",
    "/process/apparmorProfile",
    "/process/selinuxLabel",
    "/hooks/poststart",
    "/hooks/poststop",
    "/solaris",
    "/vm",
    "/windows",
    "/zos",
];

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidConfig, message)
}

/// Parses config.json, refusing what nothing here carries out. A property that the runtime's own types do not
/// know is found by comparing with what they give back.
pub fn parse(text: &str) -> Result<Value, Failure> {
    let config: Value = serde_json::from_str(text).map_err(|e| invalid(e.to_string()))?;
    for pointer in NOT_CARRIED_OUT {
        if config.pointer(pointer).is_some_and(|value| !is_empty(value)) {
            return Err(invalid(format!("{}: not supported", pointer[1..].replace('/', "."))));
        }
    }
    let spec: Spec = serde_json::from_str(text).map_err(|e| invalid(e.to_string()))?;
    let known = serde_json::to_value(&spec).map_err(|e| invalid(e.to_string()))?;
    if let Some(path) = find_unknown(&config, &known, String::new()) {
        return Err(invalid(format!("{path}: unknown property")));
    }
    let args = config.pointer("/process/args").and_then(Value::as_array);
    if args.is_none_or(Vec::is_empty) {
        return Err(invalid("process.args: at least one is needed"));
    }
    if config.pointer("/linux/namespaces").and_then(Value::as_array).is_none_or(|list| {
        !["pid", "mount"].iter().all(|wanted| list.iter().any(|namespace| namespace["type"] == *wanted))
    }) {
        return Err(invalid("linux.namespaces: pid and mount are needed: the agent shares neither"));
    }
    Ok(config)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        _ => false,
    }
}

/// The path of the first member of `given` that `known` has not.
fn find_unknown(given: &Value, known: &Value, path: String) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match known.get(key) {
                Some(known) => find_unknown(value, known, path),
                None if is_empty(value) => None,
                None => Some(path),
            }
        }),
        (Value::Array(given), Value::Array(known)) if given.len() == known.len() => given
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(index, (given, known))| find_unknown(given, known, format!("{path}[{index}]"))),
        _ => None,
    }
}

/// What the machine knows and the host does not.
pub struct Additions {
    pub id: String,
    pub rootfs: PathBuf,
    pub files: Vec<(PathBuf, String)>,
    pub account: Option<Account>,
    pub home: Option<String>,
}

/// Completes config.json in place and returns the sysctls of the network, which are the machine's: the
/// container has no network namespace of its own, and libcontainer refuses them for that reason.
pub fn complete(config: &mut Value, additions: &Additions) -> Vec<(String, String)> {
    let readonly = config.pointer("/root/readonly").cloned().unwrap_or(Value::Bool(false));
    config["root"] = json!({"path": additions.rootfs, "readonly": readonly});
    if let Some(account) = &additions.account {
        let umask = config.pointer("/process/user/umask").cloned();
        let mut user = json!({"uid": account.uid, "gid": account.gid, "additionalGids": account.groups});
        if let Some(umask) = umask {
            user["umask"] = umask;
        }
        config["process"]["user"] = user;
        if account.uid != 0 {
            drop_held_capabilities(config);
        }
    }
    if let Some(home) = &additions.home {
        append(&mut config["process"]["env"], json!(format!("HOME={home}")));
    }
    limits::widen(&mut config["process"]);
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
    let owns_network = linux["namespaces"]
        .as_array()
        .is_some_and(|list| list.iter().any(|namespace| namespace["type"] == "network"));
    match linux.get_mut("sysctl").and_then(Value::as_object_mut) {
        Some(sysctls) if !owns_network => take_network_sysctls(sysctls),
        _ => Vec::new(),
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

fn append(list: &mut Value, item: Value) {
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
