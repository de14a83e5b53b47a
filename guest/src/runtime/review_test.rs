use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::mounts::Layout;
use crate::runtime::own::Own;
use crate::runtime::resources;

/// docs/oci-runtime-spec.md is what people are told; here it is held against what happens.
const DOCUMENT: &str = include_str!("../../../docs/oci-runtime-spec.md");

fn plain() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {"user": {"uid": 0, "gid": 0, "umask": 18}, "args": ["true"], "cwd": "/"},
        "root": {"path": "elsewhere", "readonly": true},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
    })
}

/// The document's rows: property to status.
fn rows() -> BTreeMap<&'static str, &'static str> {
    DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| {
            let (property, rest) = row.split_once("` | ")?;
            Some((property, rest.split(" |").next()?))
        })
        .collect()
}

/// All properties there are. Those of other systems are the document's, but nobody's to go into.
fn everything() -> Value {
    serde_json::from_str(include_str!("everything.json")).unwrap()
}

/// The paths of all leaves, as far as the document goes into them.
fn leaves(value: &Value, path: &str, rows: &BTreeMap<&str, &str>, found: &mut BTreeSet<String>) {
    let list = format!("{path}[]");
    let map = format!("{path}{{}}");
    let goes_into_members = rows.keys().any(|row| row.starts_with(&format!("{map}.")));
    match value {
        _ if rows.contains_key(path) => drop(found.insert(path.to_owned())),
        Value::Array(_) if rows.contains_key(&*list) => drop(found.insert(list)),
        Value::Object(_) if rows.contains_key(&*map) => drop(found.insert(map)),
        Value::Object(members) if goes_into_members => {
            members.values().for_each(|member| leaves(member, &map, rows, found));
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(item, &list, rows, found)),
        Value::Object(members) if !members.is_empty() => members.iter().for_each(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            leaves(value, &path, rows, found);
        }),
        _ => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn the_document_has_every_property_and_no_other() {
    let rows = rows();
    let mut found = BTreeSet::new();
    leaves(&everything(), "", &rows, &mut found);
    let documented: BTreeSet<String> = rows.keys().map(|&row| row.to_owned()).collect();
    assert_eq!(found, documented);
    for (property, status) in rows {
        assert!(["done", "refused", "warned", "none"].contains(&status), "{property}: {status}");
    }
}

/// The runtime's types must know all of it, lest something be refused as unknown.
#[test]
fn every_property_is_known() {
    let mut config = everything();
    for system in ["freebsd", "solaris", "vm", "windows", "zos"] {
        config.as_object_mut().unwrap().remove(system);
    }
    let spec: Spec = serde_json::from_value(config.clone()).unwrap();
    let unknown = find_unknown(&config, &serde_json::to_value(&spec).unwrap(), String::new());
    assert_eq!(unknown, None);
}

/// What happens to a config: refused with a message, or let through with warnings.
fn verdict(mut config: Value) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    let spec = review(&mut config, &mut warnings)?;
    let own = Own::take(&mut config, &spec, "c1", &Layout::of("c1"), &mut warnings)?;
    // A place without the files of any controller: what has one is refused there, what has none is told.
    let _ = resources::limit(std::path::Path::new("/proc/self/fdinfo/none"), &own.resources, &mut warnings);
    Ok(warnings)
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut config = plain();
    let mut place = &mut config;
    let mut parts = pointer[1..].split('/').peekable();
    while let Some(part) = parts.next() {
        place = match part.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[part],
        };
        if parts.peek().is_none() {
            *place = value;
            break;
        }
    }
    config
}

#[test]
fn the_document_says_what_is_refused_and_warned_of() {
    let device = |key: &str| json!([{"major": 8, "minor": 0, key: 10}]);
    let seccomp = |key: &str| json!({"defaultAction": "SCMP_ACT_ALLOW", key: "x"});
    let cases = [
        ("freebsd", "/freebsd", json!({"jail": {"parent": "x"}})),
        ("solaris", "/solaris", json!({"milestone": "x"})),
        ("vm", "/vm", json!({"hypervisor": {"path": "/x"}})),
        ("windows", "/windows", json!({"layerFolders": ["x"]})),
        ("zos", "/zos", json!({"namespaces": [{"type": "pid"}]})),
        ("process.commandLine", "/process/commandLine", json!("x")),
        ("process.apparmorProfile", "/process/apparmorProfile", json!("x")),
        ("process.selinuxLabel", "/process/selinuxLabel", json!("x")),
        ("process.user.username", "/process/user/username", json!("x")),
        ("process.execCPUAffinity.initial", "/process/execCPUAffinity/initial", json!("0")),
        ("process.execCPUAffinity.final", "/process/execCPUAffinity/final", json!("0")),
        ("linux.mountLabel", "/linux/mountLabel", json!("x")),
        ("linux.personality.flags[]", "/linux/personality", json!({"domain": "LINUX", "flags": ["x"]})),
        ("linux.intelRdt.closID", "/linux/intelRdt/closID", json!("x")),
        ("linux.intelRdt.schemata[]", "/linux/intelRdt/schemata", json!(["x"])),
        ("linux.intelRdt.l3CacheSchema", "/linux/intelRdt/l3CacheSchema", json!("x")),
        ("linux.intelRdt.memBwSchema", "/linux/intelRdt/memBwSchema", json!("x")),
        ("linux.intelRdt.enableMonitoring", "/linux/intelRdt/enableMonitoring", json!(true)),
        ("linux.netDevices{}.name", "/linux/netDevices", json!({"eth0": {"name": "eth1"}})),
        ("linux.seccomp.listenerPath", "/linux/seccomp", seccomp("listenerPath")),
        ("linux.seccomp.listenerMetadata", "/linux/seccomp", seccomp("listenerMetadata")),
        ("linux.resources.memory.kernel", "/linux/resources/memory/kernel", json!(1)),
        ("linux.resources.memory.kernelTCP", "/linux/resources/memory/kernelTCP", json!(1)),
        ("linux.resources.memory.swappiness", "/linux/resources/memory/swappiness", json!(1)),
        ("linux.resources.memory.disableOOMKiller", "/linux/resources/memory/disableOOMKiller", json!(true)),
        ("linux.resources.cpu.realtimeRuntime", "/linux/resources/cpu/realtimeRuntime", json!(1)),
        ("linux.resources.cpu.realtimePeriod", "/linux/resources/cpu/realtimePeriod", json!(1)),
        ("linux.resources.blockIO.leafWeight", "/linux/resources/blockIO/leafWeight", json!(10)),
        (
            "linux.resources.blockIO.weightDevice[].leafWeight",
            "/linux/resources/blockIO/weightDevice",
            device("leafWeight"),
        ),
        ("linux.resources.network.classID", "/linux/resources/network/classID", json!(1)),
        (
            "linux.resources.network.priorities[].name",
            "/linux/resources/network/priorities",
            json!([{"name": "eth0"}]),
        ),
        (
            "linux.resources.network.priorities[].priority",
            "/linux/resources/network/priorities",
            json!([{"priority": 1}]),
        ),
        ("linux.resources.rdma{}.hcaHandles", "/linux/resources/rdma", json!({"x": {"hcaHandles": 1}})),
        ("linux.resources.rdma{}.hcaObjects", "/linux/resources/rdma", json!({"x": {"hcaObjects": 1}})),
    ];
    let rows = rows();
    for (property, pointer, value) in &cases {
        let name = property.trim_end_matches("[]").trim_end_matches("{}");
        // Some are refused, or told, as a whole.
        let groups = name.match_indices('.').map(|(end, _)| name[..end].replace("[]", "").replace("{}", ""));
        let groups: Vec<String> = groups.filter(|group| group.contains('.')).collect();
        let named = |text: &str| {
            let text = text.replace("[0]", "[]");
            let begins = |what: &str| text.starts_with(&format!("{what}: "));
            begins(name) || groups.iter().any(|group| begins(group))
        };
        match verdict(changed(pointer, value.clone())) {
            Err(failure) => {
                assert_eq!(failure.code, Code::InvalidConfig, "{property}");
                assert!(named(&failure.message), "{property}: {}", failure.message);
                assert_eq!(rows.get(property), Some(&"refused"), "{property}: {}", failure.message);
            }
            Ok(warnings) => {
                assert!(warnings.iter().any(|warning| named(warning)), "{property}: {warnings:?}");
                assert_eq!(rows.get(property), Some(&"warned"), "{property}: {warnings:?}");
            }
        }
    }
    let shown: BTreeSet<&str> = cases.iter().map(|(property, ..)| *property).collect();
    let told: BTreeSet<&str> = rows
        .iter()
        .filter(|(_, status)| ["refused", "warned"].contains(status))
        .map(|(property, _)| *property)
        .collect();
    assert_eq!(shown, told);
}

#[test]
fn refuses_by_name() {
    let limit = |soft: u64| json!({"type": "RLIMIT_CORE", "soft": soft, "hard": 1});
    for (name, pointer, value, message) in [
        ("unknown at the top", "/foo", json!(1), "foo: unknown property"),
        ("unknown below", "/linux/foo", json!({"a": 1}), "linux.foo: unknown property"),
        ("unknown in a list", "/mounts/0/foo", json!(true), "mounts[0].foo: unknown property"),
        ("no arguments", "/process/args", json!([]), "process.args: at least one is needed"),
        ("an argument that is no text", "/process/args", json!([1]), ""),
        ("a relative directory", "/process/cwd", json!("a"), "process.cwd: a is not absolute"),
        ("a limit twice", "/process/rlimits", json!([limit(0), limit(1)]), "process.rlimits: RLIMIT_CORE is"),
        ("soft above hard", "/process/rlimits", json!([limit(2)]), "process.rlimits: RLIMIT_CORE: soft"),
        (
            "more files than there may be",
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": u64::MAX}]),
            "process.rlimits: RLIMIT_NOFILE: the kernel allows",
        ),
        ("a score", "/process/oomScoreAdj", json!(1_001), "process.oomScoreAdj: 1001"),
        ("a relative mount", "/mounts/0/destination", json!("a"), "mounts[0].destination: not absolute"),
        ("remount", "/mounts/0/options", json!(["remount"]), "mounts[0].options: remount"),
        ("an option of a bind mount", "/mounts/0/options", json!(["bind", "x"]), "mounts[0].options: \"x\""),
        (
            "the agent's mounts",
            "/linux/namespaces",
            json!([{"type": "pid"}]),
            "linux.namespaces: pid and mount",
        ),
        (
            "the agent's processes",
            "/linux/namespaces/0/path",
            json!("/proc/self/ns/pid"),
            "linux.namespaces: pid: the agent",
        ),
        (
            "a namespace twice",
            "/linux/namespaces",
            json!([{"type": "pid"}, {"type": "mount"}, {"type": "pid"}]),
            "linux.namespaces: pid is there twice",
        ),
        (
            "no hierarchy",
            "/linux/resources/memory/useHierarchy",
            json!(false),
            "linux.resources.memory.useHierarchy",
        ),
        (
            "a hook's time",
            "/hooks/poststop",
            json!([{"path": "/x", "timeout": 0}]),
            "hooks.poststop[0].timeout: 0",
        ),
    ] {
        let failure = verdict(changed(pointer, value)).expect_err(name);
        assert_eq!(failure.code, Code::InvalidConfig, "{name}");
        assert!(failure.message.starts_with(message), "{name}: {}", failure.message);
    }
}

#[test]
fn absent_and_empty_are_the_same() {
    for (pointer, value) in [
        ("/linux/seccomp", json!(null)),
        ("/hooks", json!({"poststop": []})),
        ("/annotations", json!({"any": "thing"})),
        ("/linux/resources", json!({"network": {}})),
        ("/linux/resources", json!({"memory": {"kernel": 0}, "cpu": {"realtimeRuntime": 0}})),
    ] {
        assert_eq!(verdict(changed(pointer, value)).ok(), Some(vec![]), "{pointer}");
    }
}

#[test]
fn malformed() {
    for (name, config) in [
        ("a list", json!([])),
        ("a text", json!("x")),
        ("an empty object", json!({})),
        ("a process that is none", json!({"ociVersion": "1.0.0", "process": 7})),
        ("nothing of Linux", json!({"ociVersion": "1.0.0", "process": plain()["process"]})),
        ("mounts that are none", changed("/mounts", json!(3))),
        ("capabilities that are none", changed("/process/capabilities", json!({"bounding": 3}))),
    ] {
        assert_eq!(verdict(config).expect_err(name).code, Code::InvalidConfig, "{name}");
    }
}

#[test]
fn warnings_of_parts() {
    for (pointer, value, warning) in [
        ("/process/capabilities", json!({"bounding": ["CAP_X"]}), "process.capabilities.bounding: \"CAP_X\""),
        ("/mounts/0/options", json!(["sync"]), "mounts[0].options: sync"),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MIPS"]}),
            "linux.seccomp.architectures: SCMP_ARCH_MIPS",
        ),
    ] {
        let warnings = verdict(changed(pointer, value)).unwrap();
        assert!(warnings[0].starts_with(warning), "{warnings:?}");
    }
}
