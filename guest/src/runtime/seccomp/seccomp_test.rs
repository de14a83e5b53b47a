use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NATIVE: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

const fn errno(number: u32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number
}

/// What the kernel does with a filter. Panics where it would refuse it.
fn interpret(program: &[sock_filter], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = [0; 64];
    data[..4].copy_from_slice(&number.to_le_bytes());
    data[4..8].copy_from_slice(&arch.to_le_bytes());
    for (index, arg) in args.iter().enumerate() {
        data[16 + 8 * index..24 + 8 * index].copy_from_slice(&arg.to_le_bytes());
    }
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let skip = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => {
                let bytes = data[k as usize..k as usize + 4].try_into().unwrap();
                accumulator = u32::from_le_bytes(bytes);
            }
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += skip(accumulator == k),
            0x25 => at += skip(accumulator > k),
            0x35 => at += skip(accumulator >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn compiled(profile: Value) -> (Filter, Vec<String>) {
    let mut warnings = Vec::new();
    let filter = compile(&serde_json::from_value(profile).unwrap(), &mut warnings).unwrap();
    (filter, warnings)
}

fn refusal(profile: Value) -> String {
    match serde_json::from_value(profile) {
        Ok(profile) => compile(&profile, &mut Vec::new()).err().map_or(String::new(), |e| e.message),
        Err(error) => error.to_string(),
    }
}

fn random(state: &mut u64, below: usize) -> usize {
    // Knuth's MMIX generator; the upper bits are the good ones.
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % below
}

const VALUES: [u64; 8] =
    [0, 1, 7, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0007, 0xffff_ffff_ffff_ffff];
const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
const NAMES: [&str; 6] = ["read", "openat", "mkdir", "clone", "bpf", "clone3"];
const NUMBERS: [u32; 6] = [0, 257, 83, 56, 321, 435];

fn holds(arg: &Value, args: [u64; 6]) -> bool {
    let given = args[arg["index"].as_u64().unwrap() as usize];
    let (value, two) = (arg["value"].as_u64().unwrap(), arg["valueTwo"].as_u64().unwrap());
    match arg["op"].as_str().unwrap().trim_start_matches("SCMP_CMP_") {
        "NE" => given != value,
        "LT" => given < value,
        "LE" => given <= value,
        "EQ" => given == value,
        "GE" => given >= value,
        "GT" => given > value,
        "MASKED_EQ" => given & value == two,
        other => panic!("{other}"),
    }
}

/// Rules with conditions in their order, then the one without, then the default.
fn expected(rules: &[Value], name: &str, args: [u64; 6], default: u32) -> u32 {
    let mine = || rules.iter().filter(|rule| rule["names"][0] == name);
    let verdict = |rule: &Value| errno(rule["errnoRet"].as_u64().unwrap() as u32);
    for rule in mine() {
        let Some(tests) = rule["args"].as_array().filter(|tests| !tests.is_empty()) else { continue };
        let indices: BTreeMap<u64, ()> =
            tests.iter().map(|test| (test["index"].as_u64().unwrap(), ())).collect();
        let applies = if indices.len() < tests.len() {
            tests.iter().any(|test| holds(test, args))
        } else {
            tests.iter().all(|test| holds(test, args))
        };
        if applies {
            return verdict(rule);
        }
    }
    mine().find(|rule| rule["args"].as_array().is_none_or(Vec::is_empty)).map_or(default, verdict)
}

#[test]
fn the_filter_says_what_the_profile_says() {
    let state = &mut 11;
    for _ in 0..2_000 {
        let mut rules: Vec<Value> = Vec::new();
        for _ in 0..random(state, 8) {
            let name = NAMES[random(state, 6)];
            let args: Vec<Value> = (0..random(state, 4))
                .map(|_| {
                    json!({
                        "index": random(state, 3), "value": VALUES[random(state, 8)],
                        "valueTwo": VALUES[random(state, 8)],
                        "op": format!("SCMP_CMP_{}", OPERATORS[random(state, 7)]),
                    })
                })
                .collect();
            let always = |rule: &Value| rule["names"][0] == name && rule["args"] == json!([]);
            if args.is_empty() && rules.iter().any(always) {
                continue;
            }
            let errno = 1 + random(state, 90);
            rules.push(json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args}));
        }
        let (filter, _) = compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
        for _ in 0..40 {
            let which = random(state, 6);
            let mut args = [0; 6];
            args.fill_with(|| VALUES[random(state, 8)]);
            let answer = interpret(&filter.program, NATIVE, NUMBERS[which], args);
            let expected = expected(&rules, NAMES[which], args, ALLOW);
            assert_eq!(answer, expected, "{rules:?} {} {args:x?}", NAMES[which]);
            assert_eq!(interpret(&filter.program, NATIVE, NUMBERS[which] + 1, args), ALLOW);
        }
    }
}

#[test]
fn verdicts() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": ["read", "write", "openat", "socket"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["rmdir"], "action": "SCMP_ACT_KILL"},
            {"names": ["chmod"], "action": "SCMP_ACT_TRAP"},
            {"names": ["chown"], "action": "SCMP_ACT_LOG"},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["ptrace"], "action": "SCMP_ACT_TRACE", "errnoRet": 9},
        ],
    });
    let (filter, warnings) = compiled(profile.clone());
    assert!(warnings.is_empty(), "{warnings:?}");
    let x32 = 0x4000_0000;
    for (name, arch, number, verdict) in [
        ("allowed", NATIVE, 0, ALLOW),
        ("the last of a row", NATIVE, 1, ALLOW),
        ("default", NATIVE, 2, errno(13)),
        ("between the known", NATIVE, 434, errno(13)),
        ("the newest known", NATIVE, 435, errno(38)),
        ("newer", NATIVE, 436, errno(38)),
        ("much newer", NATIVE, 9_999, errno(38)),
        ("kill the process", NATIVE, 83, libc::SECCOMP_RET_KILL_PROCESS),
        ("kill the thread", NATIVE, 84, libc::SECCOMP_RET_KILL_THREAD),
        ("trap", NATIVE, 90, libc::SECCOMP_RET_TRAP),
        ("log", NATIVE, 92, libc::SECCOMP_RET_LOG),
        ("trace", NATIVE, 101, libc::SECCOMP_RET_TRACE | 9),
        ("i386", I386, 3, ALLOW),
        ("i386 by its own number", I386, 39, libc::SECCOMP_RET_KILL_PROCESS),
        ("i386 socket", I386, 359, ALLOW),
        ("x32", NATIVE, x32, ALLOW),
        ("x32 mkdir", NATIVE, x32 | 83, libc::SECCOMP_RET_KILL_PROCESS),
        ("x32's own numbers", NATIVE, x32 | 521, libc::SECCOMP_RET_TRACE | 9),
        ("another processor", 0xc000_00b7, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ] {
        assert_eq!(interpret(&filter.program, arch, number, [0; 6]), verdict, "{name}");
    }
    // Inside socketcall: 1 is socket, which is allowed; 2 is bind, which is not.
    assert_eq!(interpret(&filter.program, I386, 102, [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(interpret(&filter.program, I386, 102, [2, 0, 0, 0, 0, 0]), errno(13));

    let mut native_only = profile;
    native_only["architectures"] = json!(["SCMP_ARCH_AARCH64"]);
    let (filter, warnings) = compiled(native_only);
    assert_eq!(warnings, ["linux.seccomp.architectures: SCMP_ARCH_AARCH64 is not of this machine"]);
    assert_eq!(interpret(&filter.program, NATIVE, 0, [0; 6]), ALLOW);
    assert_eq!(interpret(&filter.program, I386, 3, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    assert_eq!(interpret(&filter.program, NATIVE, x32, [0; 6]), errno(38));
}

/// A profile that forbids must not be got round through the calls that carry others inside.
#[test]
fn calls_inside_others() {
    let args = json!([{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]);
    let rule = |action: &str| json!([{"names": ["socket", "shmget"], "action": action, "args": args}]);
    let both = json!(["SCMP_ARCH_X86"]);
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": both, "syscalls": rule("SCMP_ACT_ERRNO"),
    });
    let (filter, _) = compiled(profile);
    assert_eq!(interpret(&filter.program, I386, 102, [1, 0, 0, 0, 0, 0]), errno(1));
    assert_eq!(interpret(&filter.program, I386, 102, [3, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(interpret(&filter.program, I386, 117, [0x1_0017, 0, 0, 0, 0, 0]), errno(1));
    // Who allows the carrier has decided about what it carries, but for what is forbidden altogether.
    let mut rules = rule("SCMP_ACT_ERRNO");
    let carriers = json!({"names": ["socketcall", "ipc"], "action": "SCMP_ACT_ALLOW"});
    let never = json!({"names": ["bind"], "action": "SCMP_ACT_ERRNO"});
    rules.as_array_mut().unwrap().extend([carriers, never]);
    let (filter, _) = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": both, "syscalls": rules,
    }));
    assert_eq!(interpret(&filter.program, I386, 102, [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(interpret(&filter.program, I386, 102, [2, 0, 0, 0, 0, 0]), errno(1));
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": both, "syscalls": rule("SCMP_ACT_ALLOW"),
    });
    let (filter, _) = compiled(profile);
    assert_eq!(interpret(&filter.program, I386, 102, [1, 0, 0, 0, 0, 0]), errno(1));
}

#[test]
fn newer_calls_are_the_profiles_when_it_is_permissive() {
    for (action, verdict) in [("SCMP_ACT_ALLOW", ALLOW), ("SCMP_ACT_LOG", libc::SECCOMP_RET_LOG)] {
        let rules = json!([{"names": ["read"], "action": "SCMP_ACT_ERRNO"}]);
        let (filter, _) = compiled(json!({"defaultAction": action, "syscalls": rules}));
        assert_eq!(interpret(&filter.program, NATIVE, 9_999, [0; 6]), verdict, "{action}");
    }
}

#[test]
fn refuses_by_name() {
    let with = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    for (name, profile, message) in [
        (
            "a listener",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}),
            "linux.seccomp.listenerPath",
        ),
        (
            "notify",
            json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY",
        ),
        (
            "errno of an action without",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
            "linux.seccomp.defaultAction: SCMP_ACT_ALLOW takes no errnoRet",
        ),
        (
            "a large errno",
            with(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4_096})),
            "linux.seccomp.syscalls[0]: errno 4096",
        ),
        (
            "a seventh argument",
            with(json!({
                "names": ["read"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}],
            })),
            "linux.seccomp.syscalls[0]: args.index 6",
        ),
        (
            "two actions",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ERRNO"}, {"names": ["read"], "action": "SCMP_ACT_KILL"},
            ]}),
            "linux.seccomp.syscalls[1]: read has two actions",
        ),
        ("an unknown action", with(json!({"names": ["read"], "action": "SCMP_ACT_X"})), "unknown variant"),
        (
            "too many names",
            with(json!({"names": vec!["read"; MAX_RULES + 1], "action": "SCMP_ACT_ERRNO"})),
            "linux.seccomp.syscalls: at most",
        ),
        (
            "too many conditions",
            with(json!({
                "names": ["read"], "action": "SCMP_ACT_ERRNO",
                "args": vec![json!({"index": 1, "value": 5, "op": "SCMP_CMP_EQ"}); 2_000],
            })),
            "linux.seccomp.syscalls: 1",
        ),
    ] {
        let error = refusal(profile);
        assert!(error.starts_with(message), "{name}: {error}");
    }
}

#[test]
fn a_profile_of_all_calls_fits() {
    let names: Vec<&str> =
        include_str!("syscalls.tbl").lines().skip(2).flat_map(|line| line.split("; ")).collect();
    let names: Vec<&str> = names.iter().filter_map(|row| row.split(' ').next()).collect();
    assert!(names.len() > 450);
    // Every second one, so that hardly two of a row are treated alike.
    let names: Vec<&str> = names.into_iter().step_by(2).collect();
    let (filter, warnings) = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    }));
    assert!(warnings.is_empty());
    assert!(filter.program.len() < MAX_INSTRUCTIONS, "{}", filter.program.len());
    for name in names {
        if let Some(number) = table::find(name).and_then(|numbers| numbers.of(Abi::X86_64)) {
            assert_eq!(interpret(&filter.program, NATIVE, number, [0; 6]), ALLOW, "{name}");
        }
    }
}

/// The table against the C library's numbers, for each kind of row.
#[test]
fn numbers() {
    for (name, native, i386, x32) in [
        ("read", Some(libc::SYS_read), Some(3), Some(0)),
        ("execve", Some(libc::SYS_execve), Some(11), Some(520)),
        ("openat2", Some(libc::SYS_openat2), Some(437), Some(437)),
        ("seccomp", Some(libc::SYS_seccomp), Some(354), Some(317)),
        ("mseal", Some(libc::SYS_mseal), Some(462), Some(462)),
        ("socketcall", None, Some(102), None),
        ("time", Some(libc::SYS_time), Some(13), Some(201)),
        // The first and the last of the table.
        ("_llseek", None, Some(140), None),
        ("writev", Some(libc::SYS_writev), Some(146), Some(516)),
    ] {
        let numbers = table::find(name).expect(name);
        assert_eq!(numbers.of(Abi::X86_64).map(i64::from), native, "{name}");
        assert_eq!(numbers.of(Abi::X86), i386, "{name}");
        assert_eq!(numbers.of(Abi::X32), x32.map(|number| number | X32_BIT), "{name}");
    }
    assert!(table::find("rea").is_none());
    assert!(table::find("").is_none());
    assert!(table::find("#").is_none());
}
