use serde_json::json;

use super::*;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("flamebox-hooks-{}-{name}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

fn taken(directory: &Path, hooks: Value) -> Result<(Hooks, Value), Failure> {
    let mut config = json!({"hooks": hooks, "annotations": {"k": "v"}});
    let hooks = Hooks::take(&mut config, "c1", directory, "/r".into())?;
    Ok((hooks, config))
}

/// startContainer hooks run where they are started, which a test can do anywhere.
fn run_here(directory: &Path, script: &str, timeout: i64) -> Result<(), String> {
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=b"], "timeout": timeout});
    let (hooks, _) = taken(directory, json!({"startContainer": [hook]})).unwrap();
    hooks.run(Moment::StartContainer, Some(1), &[])
}

#[test]
fn only_the_early_ones_are_libcontainers() {
    let place = directory("triggers");
    let hook = json!([{"path": "/x"}]);
    let all = json!({
        "prestart": hook, "createRuntime": hook, "createContainer": hook, "startContainer": hook,
        "poststart": hook, "poststop": [],
    });
    let (hooks, config) = taken(&place, all).unwrap();
    let left: Vec<&String> = config["hooks"].as_object().unwrap().keys().collect();
    assert_eq!(left, ["createContainer", "createRuntime", "prestart"]);
    assert_eq!(config["hooks"]["prestart"][0]["args"][1], "prestart");
    assert!(hooks.has(Moment::Poststart) && !hooks.has(Moment::Poststop));
    hooks.save().unwrap();
    assert!(Hooks::load(&place).has(Moment::StartContainer));
    assert_eq!(Hooks::failure(&place), None);
    fs::remove_dir_all(&place).unwrap();
    assert!(!Hooks::load(&place).has(Moment::StartContainer));
    let (none, config) = taken(&place, json!(null)).unwrap();
    assert!(config.get("hooks").is_none() && none.save().is_ok() && !place.exists());
}

#[test]
fn a_hook_is_told_the_state() {
    let place = directory("state");
    let file = place.join("said");
    run_here(&place, &format!("cat >{0}; echo >>{0}; echo $A >>{0}", file.display()), 30).unwrap();
    let said = fs::read_to_string(&file).unwrap();
    let (state, rest) = said.split_once('\n').unwrap();
    let state: Value = serde_json::from_str(state).unwrap();
    assert_eq!(
        state,
        json!({
            "ociVersion": "1.2.0", "id": "c1", "status": "created", "pid": 1, "bundle": place,
            "annotations": {"k": "v"},
        })
    );
    assert_eq!(rest, "b\n");
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn endings() {
    let place = directory("endings");
    let long = "x".repeat(MAX_STDERR_BYTES);
    for (name, script, expected) in [
        ("well", "exit 0", None),
        ("well, with words", "echo words >&2", None),
        ("a code", "exit 7", Some("exit code 7")),
        ("a code with words", "echo a >&2; echo b >&2; exit 1", Some("exit code 1: a; b")),
        ("a signal", "kill -9 $$", Some("signal 9")),
        ("too long", "sleep 60", Some("not done after 1 s")),
        ("too long, and silent", "exec 2>&-; sleep 60", Some("not done after 1 s")),
        ("a child that stays", "sleep 3 & exit 0", None),
        ("more words than a pipe holds", "yes x | head -c 300000 >&2; exit 2", Some("exit code 2: x; x;")),
        ("a flood", &format!("printf {long}yyy >&2; exit 2"), Some(&format!("exit code 2: {long}"))),
    ] {
        let begun = Instant::now();
        let failure = run_here(&place, script, 1).err();
        assert!(begun.elapsed() < Duration::from_secs(20), "{name}");
        let prefix = expected.map(|expected| format!("hooks.startContainer[0] /bin/sh: {expected}"));
        match (&failure, &prefix) {
            (Some(failure), Some(prefix)) => assert!(failure.starts_with(prefix), "{name}: {failure}"),
            _ => assert_eq!(failure, prefix, "{name}"),
        }
    }
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn refuses_by_name() {
    for (name, hook, message) in [
        ("no path", json!({}), "hooks.poststop: missing field"),
        ("a relative path", json!({"path": "x"}), "hooks.poststop[0].path"),
        ("no time", json!({"path": "/x", "timeout": 0}), "hooks.poststop[0].timeout: 0"),
        ("too much time", json!({"path": "/x", "timeout": 601}), "hooks.poststop[0].timeout: 601"),
    ] {
        let failure = taken(Path::new("/d"), json!({"poststop": [hook]})).err().expect(name);
        assert_eq!(failure.code, Code::InvalidConfig, "{name}");
        assert!(failure.message.starts_with(message), "{name}: {}", failure.message);
    }
    let many = vec![json!({"path": "/x"}); MAX_HOOKS + 1];
    let failure = taken(Path::new("/d"), json!({"prestart": many})).err().expect("too many");
    assert!(failure.message.starts_with("hooks.prestart: at most"), "{}", failure.message);
}
