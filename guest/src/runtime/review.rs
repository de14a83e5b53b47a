//! What config.json may say, property by property: refused, warned of, or left to be carried out.
//!
//! docs/oci-runtime-spec.md has the table; `review_test.rs` compares its rows with what happens here. What
//! libcontainer would pass over in silence is refused or told, so that nobody believes to be protected by a
//! property that nothing enforces.

use libcontainer::oci_spec::runtime::{Capability, LinuxNamespaceType, PosixRlimitType, Spec};
use serde_json::Value;

use crate::protocol::message::{Code, Failure};

/// Properties that nothing here carries out.
const NOT_CARRIED_OUT: &[&str] = &[
    "/freebsd",
    "/linux/intelRdt",
    "/linux/mountLabel",
    "/linux/netDevices",
    "/linux/personality/flags",
    "/linux/resources/network",
    "/linux/resources/rdma",
    "/process/apparmorProfile",
    "/process/commandLine",
    "/process/selinuxLabel",
    "/process/user/username",
    "/solaris",
    "/vm",
    "/windows",
    "/zos",
];

const CAPABILITY_SETS: [&str; 5] = ["bounding", "effective", "inheritable", "permitted", "ambient"];

/// Largest and smallest score (linux/oom.h).
const MAX_OOM_SCORE: i64 = 1_000;

pub fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidConfig, message)
}

/// Refuses what nothing here carries out; what can be left out is left out, with a warning. A property that the
/// runtime's own types do not know is found by comparing with what they give back.
pub fn review(config: &mut Value, warnings: &mut Vec<String>) -> Result<Spec, Failure> {
    for pointer in NOT_CARRIED_OUT {
        if config.pointer(pointer).is_some_and(|value| !is_empty(value)) {
            return Err(invalid(format!("{}: not supported", pointer[1..].replace('/', "."))));
        }
    }
    complete_capabilities(config, warnings);
    let spec: Spec = serde_json::from_value(config.clone()).map_err(|e| invalid(e.to_string()))?;
    let known = serde_json::to_value(&spec).map_err(|e| invalid(e.to_string()))?;
    if let Some(path) = find_unknown(config, &known, String::new()) {
        return Err(invalid(format!("{path}: unknown property")));
    }
    review_process(&spec, warnings)?;
    review_namespaces(&spec)?;
    review_mounts(config, warnings)?;
    Ok(spec)
}

pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        _ => false,
    }
}

/// The path of the first member of `given` that `known` has not.
pub fn find_unknown(given: &Value, known: &Value, path: String) -> Option<String> {
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

/// An absent set is an empty one. A name that no kernel knows is told and left out, as the specification wants.
/// <https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md#linux-process>
fn complete_capabilities(config: &mut Value, warnings: &mut Vec<String>) {
    let Some(sets) = config.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) else {
        return;
    };
    for name in CAPABILITY_SETS {
        let set = sets.entry(name).or_insert(Value::Null);
        if set.is_null() {
            *set = Value::Array(Vec::new());
        }
        let Some(set) = set.as_array_mut() else { continue };
        set.retain(|capability| {
            let known = serde_json::from_value::<Capability>(capability.clone()).is_ok();
            if !known && capability.is_string() {
                warnings.push(format!("process.capabilities.{name}: {capability} is unknown and left out"));
            }
            known || !capability.is_string()
        });
    }
}

fn review_process(spec: &Spec, warnings: &mut Vec<String>) -> Result<(), Failure> {
    let Some(process) = spec.process() else { return Err(invalid("process: is needed")) };
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return Err(invalid("process.args: at least one is needed"));
    }
    if !process.cwd().is_absolute() {
        return Err(invalid(format!("process.cwd: {} is not absolute", process.cwd().display())));
    }
    let rlimits = process.rlimits().as_deref().unwrap_or_default();
    for (index, rlimit) in rlimits.iter().enumerate() {
        let name = rlimit.typ();
        if rlimits[..index].iter().any(|before| before.typ() == name) {
            return Err(invalid(format!("process.rlimits: {name} is there twice")));
        }
        if rlimit.soft() > rlimit.hard() {
            return Err(invalid(format!("process.rlimits: {name}: soft is above hard")));
        }
        if name == PosixRlimitType::RlimitNofile && rlimit.hard() > most_open_files() {
            let most = most_open_files();
            return Err(invalid(format!("process.rlimits: {name}: the kernel allows at most {most}")));
        }
    }
    let score = i64::from(process.oom_score_adj().unwrap_or(0));
    if !(-MAX_OOM_SCORE..=MAX_OOM_SCORE).contains(&score) {
        return Err(invalid(format!("process.oomScoreAdj: {score} is not from -1000 to 1000")));
    }
    if process.exec_cpu_affinity().is_some() {
        warnings.push("process.execCPUAffinity: processes executed later are not bound to CPUs".to_owned());
    }
    Ok(())
}

fn most_open_files() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    text.trim().parse().unwrap_or(u64::MAX)
}

fn review_namespaces(spec: &Spec) -> Result<(), Failure> {
    use LinuxNamespaceType as Type;
    let Some(linux) = spec.linux() else { return Err(invalid("linux: is needed")) };
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    for wanted in [Type::Pid, Type::Mount] {
        if !namespaces.iter().any(|namespace| namespace.typ() == wanted) {
            return Err(invalid("linux.namespaces: pid and mount are needed: the agent shares neither"));
        }
    }
    for (index, namespace) in namespaces.iter().enumerate() {
        let name = namespace.typ();
        if namespaces[..index].iter().any(|before| before.typ() == name) {
            return Err(invalid(format!("linux.namespaces: {name} is there twice")));
        }
        let Some(path) = namespace.path() else { continue };
        if matches!(name, Type::Pid | Type::Mount) && is_the_agents(name, path) {
            return Err(invalid(format!("linux.namespaces: {name}: the agent shares it with nobody")));
        }
    }
    Ok(())
}

/// Whether the path leads to a namespace of this process. One that leads nowhere is libcontainer's to tell.
fn is_the_agents(name: LinuxNamespaceType, path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = if name == LinuxNamespaceType::Pid { "/proc/self/ns/pid" } else { "/proc/self/ns/mnt" };
    let identity = |path: &std::path::Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let given = identity(path);
    given.is_some() && given == identity(own.as_ref())
}

/// Options of a bind mount that libcontainer or this runtime carries out, or that say what is so in any case.
const BIND_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "idmap",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "unbindable",
];

fn review_mounts(config: &mut Value, warnings: &mut Vec<String>) -> Result<(), Failure> {
    for (index, mount) in config["mounts"].as_array_mut().into_iter().flatten().enumerate() {
        let at = |what: &str| format!("mounts[{index}].{what}");
        if !mount["destination"].as_str().is_some_and(|path| path.starts_with('/')) {
            return Err(invalid(at("destination: not absolute")));
        }
        let bound = is_bind(mount);
        let Some(options) = mount["options"].as_array_mut() else { continue };
        for option in options.iter().filter_map(Value::as_str) {
            match option {
                "remount" => {
                    return Err(invalid(at("options: remount: nothing is there to be mounted again")));
                }
                "sync" | "dirsync" | "mand" => {
                    warnings.push(at(&format!("options: {option} has no effect in the machine")));
                }
                _ if bound && !BIND_OPTIONS.contains(&option) => {
                    return Err(invalid(at(&format!("options: {option:?} is not one of a bind mount"))));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

pub fn is_bind(mount: &Value) -> bool {
    let options = mount["options"].as_array();
    mount["type"] == "bind"
        || options.is_some_and(|options| options.iter().any(|option| option == "bind" || option == "rbind"))
}

#[cfg(test)]
#[path = "review_test.rs"]
mod tests;
