use super::*;

/// The specification in one sentence: each access is decided by the last rule that matches and names it.
fn allowed(rules: &[Rule], kind: u32, major: u32, minor: u32, asked: u32) -> bool {
    let matches = |rule: &&Rule| {
        rule.kind.is_none_or(|wanted| wanted == kind)
            && rule.major.is_none_or(|wanted| wanted == major)
            && rule.minor.is_none_or(|wanted| wanted == minor)
    };
    [MKNOD, READ, WRITE].into_iter().filter(|access| asked & access != 0).all(|access| {
        rules.iter().filter(matches).rfind(|rule| rule.access & access != 0).is_some_and(|rule| rule.allow)
    })
}

/// What the kernel does with the program. Panics where its verifier would refuse.
fn interpret(program: &[BpfInstruction], context: [u32; 3]) -> bool {
    let mut registers = [None; 7];
    let mut at = 0;
    for _ in 0..program.len() {
        let BpfInstruction { code, registers: pair, offset, value } = program[at];
        let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
        at += 1;
        match code {
            LOAD_WORD => {
                assert_eq!((from, offset % 4), (usize::from(CONTEXT), 0));
                registers[to] = Some(context[offset as usize / 4]);
            }
            MOVE => registers[to] = Some(value),
            MOVE_REGISTER => registers[to] = Some(registers[from].expect("set before")),
            AND => registers[to] = Some(registers[to].expect("set before") & value),
            SHIFT_RIGHT => registers[to] = Some(registers[to].expect("set before") >> value),
            IF_EQUAL | IF_NOT_EQUAL => {
                assert!(offset >= 0, "a loop");
                if (registers[to].expect("set before") == value) == (code == IF_EQUAL) {
                    at += offset as usize;
                }
            }
            EXIT => return registers[0].expect("an answer") == 1,
            other => panic!("instruction {other:#x}"),
        }
    }
    panic!("no end");
}

fn random(state: &mut u64, below: u64) -> u64 {
    // Knuth's MMIX generator; the upper bits are the good ones.
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

#[test]
fn the_program_says_what_the_rules_say() {
    let state = &mut 7;
    for _ in 0..3_000 {
        let count = random(state, 9);
        let rules: Vec<Rule> = (0..count)
            .map(|_| Rule {
                allow: random(state, 2) == 0,
                kind: [None, Some(BLOCK), Some(CHARACTER)][random(state, 3) as usize],
                major: (random(state, 2) == 0).then(|| random(state, 3) as u32),
                minor: (random(state, 2) == 0).then(|| random(state, 3) as u32),
                access: 1 + random(state, 7) as u32,
            })
            .collect();
        let program = compile(&rules);
        for question in 0..2 * 3 * 3 * 8 {
            let (kind, major) = (1 + question % 2, question / 2 % 3);
            let (minor, asked) = (question / 6 % 3, question / 18);
            let answer = interpret(&program, [asked << 16 | kind, major, minor]);
            let expected = allowed(&rules, kind, major, minor, asked);
            assert_eq!(answer, expected, "{rules:?}: {kind} {major}:{minor} {asked}");
        }
    }
}

/// The verifier refuses programs with instructions that nothing leads to.
#[test]
fn every_instruction_can_be_reached() {
    let all = Rule { allow: true, kind: None, major: None, minor: None, access: ALL };
    for (name, rules) in [
        ("none", vec![]),
        ("all", vec![all]),
        ("all last", vec![character(1, Some(3)), all]),
        ("all first", vec![all, character(1, Some(3))]),
        ("usual", super::rules(&[]).unwrap()),
    ] {
        let program = compile(&rules);
        let mut reached = vec![false; program.len()];
        let mut ahead = vec![0];
        while let Some(at) = ahead.pop() {
            if std::mem::replace(&mut reached[at], true) {
                continue;
            }
            match program[at].code {
                EXIT => {}
                IF_EQUAL | IF_NOT_EQUAL => ahead.extend([at + 1, at + 1 + program[at].offset as usize]),
                _ => ahead.push(at + 1),
            }
        }
        assert!(reached.iter().all(|reached| *reached), "{name}");
    }
}

fn parsed(json: serde_json::Value) -> Result<Vec<Rule>, String> {
    let given: Vec<LinuxDeviceCgroup> = serde_json::from_value(json).map_err(|e| e.to_string())?;
    super::rules(&given).map_err(|failure| failure.message)
}

#[test]
fn rules_of_config_json() {
    use serde_json::json;
    let rules = parsed(json!([
        {"allow": false},
        {"allow": true, "type": "c", "major": 10, "minor": -1, "access": "rm"},
    ]))
    .unwrap();
    assert_eq!(rules[0], Rule { allow: false, kind: None, major: None, minor: None, access: ALL });
    let second =
        Rule { allow: true, kind: Some(CHARACTER), major: Some(10), minor: None, access: READ | MKNOD };
    assert_eq!(rules[1], second);
    assert_eq!(&rules[2..], ALWAYS);
    for (name, json, message) in [
        ("access", json!([{"allow": true, "access": "rx"}]), "linux.resources.devices[0]: access \"rx\""),
        ("a pipe", json!([{"allow": true, "type": "p"}]), "linux.resources.devices[0]: a named pipe"),
        ("major", json!([{"allow": true, "major": -2}]), "linux.resources.devices[0]: major -2"),
        ("minor", json!([{"allow": true, "minor": 1_u64 << 32}]), "linux.resources.devices[0]: minor"),
        ("too many", json!(vec![json!({"allow": true}); MAX_RULES + 1]), "linux.resources.devices: at most"),
    ] {
        let error = parsed(json).expect_err(name);
        assert!(error.starts_with(message), "{name}: {error}");
    }
}
