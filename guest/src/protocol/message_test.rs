use super::*;

#[test]
fn ids() {
    for (id, valid) in [
        ("a", true),
        ("b2f1-c_0.d", true),
        ("", false),
        (".", false),
        ("..", false),
        ("-a", false),
        ("a/b", false),
        ("a\0", false),
        ("é", false),
    ] {
        assert_eq!(is_id(id), valid, "{id:?}");
    }
    assert!(is_id(&"a".repeat(128)));
    assert!(!is_id(&"a".repeat(129)));
}

#[test]
fn malformed_requests() {
    for (name, payload) in [
        ("not UTF-8", &b"{\"method\":\"\xff\"}"[..]),
        ("an array", b"[]"),
        ("no method", b"{}"),
        ("a number as method", b"{\"method\":1}"),
        ("trailing text", b"{\"method\":\"a\"} x"),
        ("half", b"{\"method\":"),
        ("the method twice", b"{\"method\":\"a\",\"method\":\"b\"}"),
    ] {
        assert!(parse::<Request>(payload).is_err(), "{name}");
    }
    let deep = format!("{{\"method\":\"a\",\"params\":{}{}}}", "[".repeat(64), "]".repeat(64));
    assert!(parse::<Request>(deep.as_bytes()).is_err());
}

#[test]
fn messages_are_cut_at_a_character() {
    let failure = Failure::failed("é".repeat(4_000));
    assert_eq!(failure.message.len(), 4_096);
    assert_eq!(Failure::failed(format!("a{}", "é".repeat(4_000))).message.len(), 4_095);
}

/// protocol/vectors/messages.json, which the host's side is tested against as well.
fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../protocol/vectors/messages.json")).unwrap()
}

fn params<T: for<'a> Deserialize<'a>>(row: &Value) -> T {
    let text = row["params"].to_string();
    parse(text.as_bytes()).unwrap_or_else(|failure| panic!("{}: {}", row["name"], failure.message))
}

#[test]
fn vectors_of_requests() {
    for row in vectors().iter().filter(|row| row["request"].is_string()) {
        let (wanted, exec) = (&row["params"], row["params"]["exec"].as_str());
        match row["request"].as_str().unwrap() {
            "system.ping" | "system.rehearse" => {}
            "container.prepare" => {
                let order: Prepare = params(row);
                let Writable::Ext4 { device } = &order.rootfs.writable else { panic!("a disk is wanted") };
                assert_eq!((order.rootfs.base.device.as_str(), device.as_str()), ("base", "scratch"));
                assert_eq!(order.config.get(), wanted["config"].to_string());
            }
            "container.start" => {
                let start: Start = params(row);
                assert_eq!(
                    (start.id.as_str(), start.process.env.as_slice()),
                    ("c1", &["A=b".to_owned()][..])
                );
                assert_eq!(start.process.args, ["sh", "-c", "true"]);
            }
            "container.stat" => {
                let query: FileQuery = params(row);
                assert_eq!((query.id.as_str(), query.path.as_str()), ("c1", "/etc/hosts"));
                assert_eq!(query.follow, wanted["follow"] == true);
            }
            "container.archive" => {
                let query: ArchiveQuery = params(row);
                assert_eq!((query.id.as_str(), query.stream, &json!(query.path)), ("c1", 1, &wanted["path"]));
                let flags = (query.follow, query.one_file_system);
                assert_eq!(flags, (wanted["follow"] == true, wanted["oneFileSystem"] == true));
            }
            "container.list" => {
                let query: ListQuery = params(row);
                assert_eq!((query.id.as_str(), query.path.as_str(), query.stream), ("c1", "/srv", 1));
                assert_eq!(query.follow, wanted["follow"] == true);
            }
            "container.extract" => {
                let order: Extract = params(row);
                assert_eq!((order.id.as_str(), order.path.as_str(), order.stream), ("c1", "/srv", 1));
                let owner = order.owner.map(|Owner { uid, gid }| json!({"uid": uid, "gid": gid}));
                assert_eq!(owner.unwrap_or_default(), wanted["owner"]);
            }
            "container.changes" | "container.layer" | "container.processes" => {
                let order: ByIdWithStream = params(row);
                assert_eq!((order.id.as_str(), order.stream), ("c1", 1));
            }
            "container.update" => {
                let update: Update = params(row);
                assert_eq!(
                    (update.id.as_str(), update.resources.get()),
                    ("c1", wanted["resources"].to_string().as_str())
                );
            }
            "container.stats" => assert_eq!(params::<ById>(row).id, wanted["id"]),
            "container.signal" => {
                let signal: Signal = params(row);
                assert_eq!((signal.exec.as_deref(), signal.signal), (exec, 15), "{}", row["name"]);
            }
            "container.resize" => {
                let resize: Resize = params(row);
                assert_eq!((resize.exec.as_deref(), resize.columns, resize.rows), (exec, 91, 17));
            }
            "container.exec" => {
                let order: Exec = params(row);
                assert_eq!(Some(order.exec.as_str()), exec);
                let process: Value = serde_json::from_str(order.process.get()).unwrap();
                assert_eq!(process, wanted["process"]);
                assert_eq!(order.user.map(|user| user.user).as_deref(), wanted["user"]["user"].as_str());
                let streams = [order.stdio.stdin, order.stdio.stdout, order.stdio.stderr];
                let names = ["stdin", "stdout", "stderr"];
                let named = names.map(|name| wanted["stdio"][name].as_u64().map(|id| id as u32));
                assert_eq!(streams, named, "{}", row["name"]);
            }
            "container.create" if wanted["shares"].is_array() => {
                let order: Create = params(row);
                let shares = order.shares.iter().map(|share| {
                    let is_file = share.kind == ShareKind::File;
                    (share.path.as_str(), is_file, share.readonly, share.requests, share.replies)
                });
                let expected = [("/src", false, false, 3, 4), ("/etc/a file", true, true, 5, 6)];
                assert_eq!(shares.collect::<Vec<_>>(), expected);
            }
            "container.create" => {
                let order: Create = params(row);
                assert!(order.init);
                let volumes = order.volumes.iter();
                let volumes = volumes.map(|volume| (volume.path.as_str(), volume.readonly, volume.seed));
                assert_eq!(volumes.collect::<Vec<_>>(), [("/data", false, true), ("/data/ro", true, false)]);
            }
            other => panic!("{other}: not tested"),
        }
    }
}

#[test]
fn vectors_of_events() {
    let events: Vec<Value> = vectors().into_iter().filter(|row| row["event"].is_object()).collect();
    assert!(events.len() > 5);
    for row in events.iter().filter(|row| row["malformed"].is_null()) {
        let event = &row["event"];
        let ending = match (event["exitCode"].as_u64(), event["signal"].as_i64()) {
            (Some(code), None) => Ending::Exited(code as u8),
            (None, Some(signal)) => Ending::Killed(signal as i32),
            _ => panic!("{}: one ending is wanted", row["name"]),
        };
        let (id, exec) = (event["id"].as_str().unwrap(), event["exec"].as_str());
        assert_eq!(&exit_event(id, exec, ending, event["oomKilled"] == true), event, "{}", row["name"]);
    }
}

#[test]
fn what_generation_1_sends_is_still_understood() {
    let create = r#"{"id": "a", "rootfs": {"base": {"device": "b", "type": "erofs"}, "writable": {"type": "tmpfs",
        "sizeBytes": 1}}, "config": {}}"#;
    let order: Create = parse(create.as_bytes()).unwrap();
    assert!(
        !order.init && order.volumes.is_empty() && order.shares.is_empty() && order.stdio.stdin.is_none()
    );
    assert_eq!(parse::<Signal>(br#"{"id": "a", "signal": 1}"#).unwrap().exec, None);
}

/// xorshift64*: the same bytes on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % limit
    }
}

/// Every type, on whatever was made of good payloads: an answer, and never a panic.
#[test]
fn fuzz_payloads() {
    let seeds: Vec<Vec<u8>> = vectors()
        .iter()
        .map(|row| match row["params"].is_object() {
            true => json!({"method": row["request"], "params": row["params"]}).to_string().into_bytes(),
            false => row.to_string().into_bytes(),
        })
        .collect();
    let words: &[&[u8]] =
        &[b"{", b"}", b"[", b"]", b"\"", b"null", b"-1", b"1e999", b"\\ud800", b"\xff", b"\0", b","];
    let mut random = Random(0x00f1_a3eb_0c5e_ed02);
    let mut understood = 0;
    for _ in 0..30_000 {
        let mut payload = seeds[random.below(seeds.len())].clone();
        for _ in 0..random.below(5) {
            let at = random.below(payload.len().max(1));
            match random.below(4) {
                0 if !payload.is_empty() => payload[at] = random.below(256) as u8,
                1 => payload.truncate(at),
                2 => drop(payload.splice(at..at, words[random.below(words.len())].iter().copied())),
                _ => {
                    let other = &seeds[random.below(seeds.len())];
                    payload.extend_from_slice(&other[random.below(other.len())..]);
                }
            }
        }
        if let Ok(request) = parse::<Request>(&payload) {
            understood += 1;
            let params = request.params.map_or("{}", |params| params.get()).as_bytes();
            let (_, _, _) = (parse::<Create>(params), parse::<Exec>(params), parse::<ById>(params));
            let (_, _, _) = (parse::<Signal>(params), parse::<Resize>(params), parse::<Configure>(params));
            let (_, _) = (parse::<FileQuery>(params), parse::<ArchiveQuery>(params));
            let _ = parse::<ListQuery>(params);
            let (_, _, _) =
                (parse::<Extract>(params), parse::<ByIdWithStream>(params), parse::<Update>(params));
        }
        if let Err(failure) = parse::<Value>(&payload) {
            assert!(failure.message.len() <= MAX_MESSAGE_BYTES);
        }
    }
    assert!(understood > 1_000, "the fuzzer makes nothing that is understood: {understood}");
}
