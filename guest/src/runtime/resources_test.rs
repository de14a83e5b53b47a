use serde_json::{Value, json};

use super::*;

/// A directory with the files of a cgroup, as far as a row needs to find them.
fn limited(name: &str, files: &[&str], resources: Value) -> (PathBuf, Result<Vec<String>, Failure>) {
    let directory = std::env::temp_dir().join(format!("flamebox-cgroup-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    for file in files {
        fs::write(directory.join(file), "").unwrap();
    }
    let mut warnings = Vec::new();
    let resources: LinuxResources = serde_json::from_value(resources).unwrap();
    let result = check(&resources).and_then(|()| limit(&directory, &resources, &mut warnings));
    (directory, result.map(|()| warnings))
}

#[test]
fn values() {
    const MIB: i64 = 1 << 20;
    let throttle = json!([{"major": 8, "minor": 16, "rate": 5}]);
    for (name, resources, file, value) in [
        ("memory", json!({"memory": {"limit": MIB}}), "memory.max", "1048576"),
        ("no limit", json!({"memory": {"limit": -1}}), "memory.max", "max"),
        ("no limit, no swap", json!({"memory": {"limit": -1}}), "memory.swap.max", "max"),
        ("equal swap", json!({"memory": {"limit": MIB, "swap": MIB}}), "memory.swap.max", "0"),
        ("more swap", json!({"memory": {"limit": MIB, "swap": MIB + 7}}), "memory.swap.max", "7"),
        ("all swap", json!({"memory": {"limit": MIB, "swap": -1}}), "memory.swap.max", "max"),
        ("reservation", json!({"memory": {"reservation": 5}}), "memory.low", "5"),
        ("usual shares", json!({"cpu": {"shares": 1_024}}), "cpu.weight", "100"),
        ("fewest shares", json!({"cpu": {"shares": 2}}), "cpu.weight", "1"),
        ("most shares", json!({"cpu": {"shares": 262_144}}), "cpu.weight", "10000"),
        ("half the shares", json!({"cpu": {"shares": 512}}), "cpu.weight", "59"),
        ("quota", json!({"cpu": {"quota": 5}}), "cpu.max", "5 100000"),
        ("quota and period", json!({"cpu": {"quota": 5, "period": 9}}), "cpu.max", "5 9"),
        ("no quota", json!({"cpu": {"quota": -1, "period": 9}}), "cpu.max", "max 9"),
        ("pids", json!({"pids": {"limit": 9}}), "pids.max", "9"),
        ("all pids", json!({"pids": {"limit": -1}}), "pids.max", "max"),
        ("least weight", json!({"blockIO": {"weight": 10}}), "io.weight", "1"),
        ("most weight", json!({"blockIO": {"weight": 1_000}}), "io.weight", "10000"),
        ("throttle", json!({"blockIO": {"throttleWriteIOPSDevice": throttle}}), "io.max", "8:16 wiops=5"),
        ("huge pages", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 3}]}), "hugetlb.2MB.max", "3"),
        ("unified", json!({"unified": {"memory.high": "4"}}), "memory.high", "4"),
    ] {
        let (directory, result) =
            limited(&name.replace(' ', "-"), &["memory.swap.max", "io.weight"], resources);
        assert_eq!(result.ok(), Some(vec![]), "{name}");
        assert_eq!(fs::read_to_string(directory.join(file)).unwrap(), value, "{name}");
        fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn what_is_left_alone() {
    for (name, resources, file) in [
        ("zero-pids", json!({"pids": {"limit": 0}}), "pids.max"),
        ("zero-memory", json!({"memory": {"limit": 0}}), "memory.max"),
        ("no-swap-file", json!({"memory": {"limit": 5, "swap": 5}}), "memory.swap.max"),
        ("zero-shares", json!({"cpu": {"shares": 0}}), "cpu.weight"),
    ] {
        let (directory, result) = limited(name, &[], resources);
        assert_eq!(result.ok(), Some(vec![]), "{name}");
        assert!(!directory.join(file).exists(), "{name}");
        fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn refuses_by_name() {
    for (name, resources, message) in [
        ("swap-below", json!({"memory": {"limit": 5, "swap": 4}}), "linux.resources.memory.swap: 4 is below"),
        ("swap-alone", json!({"memory": {"swap": 4}}), "linux.resources.memory.swap: needs a limit"),
        ("unified-path", json!({"unified": {"a/../memory.max": "1"}}), "linux.resources.unified"),
        ("unified-kill", json!({"unified": {"cgroup.kill": "1"}}), "linux.resources.unified"),
        ("unified-procs", json!({"unified": {"cgroup.procs": "1"}}), "linux.resources.unified"),
        ("unified-plain", json!({"unified": {"memory": "1"}}), "linux.resources.unified"),
        (
            "page-size",
            json!({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}),
            "linux.resources.hugepageLimits",
        ),
    ] {
        let (directory, result) = limited(name, &["memory.swap.max"], resources);
        let failure = result.expect_err(name);
        assert_eq!(failure.code, Code::InvalidConfig, "{name}");
        assert!(failure.message.starts_with(message), "{name}: {}", failure.message);
        fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn places() {
    assert_eq!(locate("/a/b").unwrap(), Path::new("/sys/fs/cgroup/a/b"));
    for path in ["", "/", "/a/../..", "..", "/./x/.."] {
        let failure = locate(path).expect_err(path);
        assert!(failure.message.starts_with("linux.cgroupsPath"), "{path}");
    }
}
