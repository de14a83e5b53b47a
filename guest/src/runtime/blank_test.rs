use serde_json::{Value, json};

use super::*;

fn config() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "hostname": "one",
        "process": {
            "args": ["true"], "cwd": "/", "env": ["A=1"], "user": {"uid": 0, "gid": 0}, "terminal": false,
            "capabilities": {"bounding": ["CAP_CHOWN"]}, "rlimits": [],
        },
        "mounts": [{"destination": "/proc", "type": "proc"}],
        "linux": {
            "cgroupsPath": "/flamebox/one", "maskedPaths": ["/proc/kcore"],
            "resources": {"memory": {"limit": 1}, "devices": []},
        },
    })
}

fn with(path: &str, value: Value) -> Value {
    let mut changed = config();
    let (parent, name) = path.rsplit_once('/').unwrap();
    changed.pointer_mut(parent).unwrap()[name] = value;
    changed
}

fn without(path: &str) -> Value {
    let mut changed = config();
    let (parent, name) = path.rsplit_once('/').unwrap();
    changed.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    changed
}

#[test]
fn what_can_be_given_late_may_differ() {
    assert!(is_for(&config(), &config()));
    for (path, value) in [
        ("/hostname", json!("another")),
        ("/annotations", json!({"a": "b"})),
        ("/linux/cgroupsPath", json!("/flamebox/another")),
        ("/linux/resources/memory", json!({"limit": 2})),
        ("/linux/resources/cpu", json!({"quota": 1})),
        ("/linux/resources/pids", json!({"limit": 5})),
        ("/process/args", json!(["sh", "-c", "x"])),
        ("/process/env", json!([])),
        ("/process/cwd", json!("/srv")),
        ("/process/user", json!({"uid": 7, "gid": 8, "umask": 18, "additionalGids": [9]})),
        ("/process/noNewPrivileges", json!(true)),
    ] {
        assert!(is_for(&config(), &with(path, value)), "{path}");
    }
    assert!(is_for(&config(), &without("/process/env")));
}

#[test]
fn everything_else_has_to_be_the_same() {
    for (path, value) in [
        ("/ociVersion", json!("1.0.0")),
        ("/domainname", json!("example")),
        ("/hooks", json!({})),
        ("/mounts", json!([])),
        ("/process/terminal", json!(true)),
        ("/process/capabilities", json!({"bounding": []})),
        ("/process/oomScoreAdj", json!(1)),
        ("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])),
        ("/process/unknown", json!(1)),
        ("/linux/resources/devices", json!([{"allow": true}])),
        ("/linux/resources/unified", json!({"memory.high": "1"})),
        ("/linux/resources", json!(null)),
        ("/linux/maskedPaths", json!([])),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"})),
        ("/linux/unknown", json!(null)),
    ] {
        assert!(!is_for(&config(), &with(path, value)), "{path}");
    }
    for path in ["/mounts", "/linux/maskedPaths", "/process/capabilities", "/process/rlimits"] {
        assert!(!is_for(&config(), &without(path)), "{path}");
    }
}

#[test]
fn what_is_wrong_is_left_to_the_ordinary_way() {
    for (path, value) in [
        ("/hostname", json!(1)),
        ("/annotations", json!({"a": 1})),
        ("/linux/cgroupsPath", json!(["x"])),
        ("/process/args", json!([])),
        ("/process/args", json!("true")),
        ("/process/args", json!([1])),
        ("/process/env", json!({})),
        ("/process/cwd", json!("srv")),
        ("/process/user", json!({"uid": 0, "gid": 0, "username": "root"})),
        ("/process/user", json!([])),
        ("/process/noNewPrivileges", json!("yes")),
        ("/process", json!([])),
        ("/linux", json!(null)),
    ] {
        assert!(!is_for(&config(), &with(path, value)), "{path}");
    }
    for path in ["/hostname", "/process", "/linux", "/process/args", "/process/cwd", "/process/user"] {
        assert!(!is_for(&config(), &without(path)), "{path}");
    }
}

#[test]
fn mounts_within_others_move_along() {
    let config = json!({"mounts": [
        {"destination": "/proc"}, {"destination": "/dev"}, {"destination": "/dev/pts"},
        {"destination": "/device"}, {"destination": "/sys/fs/cgroup"}, {"destination": "/sys"},
    ]});
    assert_eq!(kernel_mounts(&config), ["/proc", "/dev", "/device", "/sys"]);
    assert!(kernel_mounts(&json!({})).is_empty());
}
