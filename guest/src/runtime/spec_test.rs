use super::*;

fn plain() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {"user": {"uid": 0, "gid": 0, "umask": 18}, "args": ["true"], "cwd": "/"},
        "root": {"path": "elsewhere", "readonly": true},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
    })
}

fn additions() -> Additions {
    Additions {
        id: "c1".to_owned(),
        rootfs: "/r".into(),
        files: Vec::new(),
        volumes: Vec::new(),
        shares: Vec::new(),
        account: None,
        home: None,
    }
}

#[test]
fn completes_what_the_host_cannot_know() {
    let mut config = plain();
    let mut additions = additions();
    additions.account = Some(Account { uid: 33, gid: 34, groups: vec![34], home: None });
    additions.home = Some("/var/www".to_owned());
    additions.files = vec![("/f/0".into(), "/etc/hosts".to_owned())];
    additions.volumes = vec![("/v/0".into(), "/src/deep/cache".to_owned(), false)];
    additions.shares =
        vec![("/s/0".into(), "/src".to_owned(), false), ("/s/1".into(), "/etc".to_owned(), true)];
    assert!(complete(&mut config, &additions).is_empty());
    assert_eq!(config["root"], json!({"path": "/r", "readonly": true}));
    assert_eq!(config["process"]["user"], json!({"uid": 33, "gid": 34, "additionalGids": [34], "umask": 18}));
    assert_eq!(config["process"]["env"], json!(["HOME=/var/www"]));
    let mounts = &config["mounts"];
    let destinations: Vec<_> = (1..5).map(|index| mounts[index]["destination"].as_str().unwrap()).collect();
    assert_eq!(destinations, ["/src", "/etc", "/src/deep/cache", "/etc/hosts"]);
    assert_eq!(mounts[2]["options"], json!(["rbind", "rprivate", "ro"]));
    assert_eq!(config["linux"]["cgroupsPath"], "/flamebox/c1");
}

#[test]
fn network_sysctls_go_to_whoever_owns_the_network() {
    let sysctls = json!({"net.ipv4.ip_forward": "1", "net/core/somaxconn": "5", "kernel.msgmax": "7"});
    let mut config = plain();
    config["linux"]["sysctl"] = sysctls.clone();
    let mut taken = complete(&mut config, &additions());
    taken.sort();
    let expected = [("net.ipv4.ip_forward", "1"), ("net/core/somaxconn", "5")];
    assert_eq!(taken, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(config["linux"]["sysctl"], json!({"kernel.msgmax": "7"}));

    let mut config = plain();
    config["linux"]["sysctl"] = sysctls.clone();
    config["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "mount"}, {"type": "network"}]);
    assert!(complete(&mut config, &additions()).is_empty());
    assert_eq!(config["linux"]["sysctl"], sysctls);
}

#[test]
fn only_root_holds_capabilities_before_the_exec() {
    let sets = json!({"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]});
    let ambient = json!({"ambient": ["CAP_KILL"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]});
    let kept = json!({"ambient": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]});
    for (name, uid, given, left) in [
        ("root", 0, sets.clone(), sets.clone()),
        ("another user", 33, sets, json!({"bounding": ["CAP_CHOWN"], "effective": [], "permitted": []})),
        ("another user with ambient ones", 33, ambient, kept),
    ] {
        let mut config = plain();
        config["process"]["capabilities"] = given;
        let mut additions = additions();
        additions.account = Some(Account { uid, gid: 0, groups: vec![], home: None });
        complete(&mut config, &additions);
        assert_eq!(config["process"]["capabilities"], left, "{name}");
    }
}
