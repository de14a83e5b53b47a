//! `linux.resources.devices`: which device nodes a container may make, read and write.
//!
//! cgroup v2 has no file for it. The kernel asks a small eBPF program, attached to the cgroup, each time; this
//! is the compiler for that program.
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html#device-controller>
//!
//! The rules are a list in which a later one overrides an earlier one, for each of the accesses that it names.
//! So the program goes through them backwards: an allowing rule that matches takes its accesses off those still
//! asked for, a forbidding one that names any of these ends it, and nothing left to ask for is a yes.

use std::os::fd::AsFd;
use std::path::Path;

use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::protocol::message::{Code, Failure};
use crate::syscall::confine::{self, BpfInstruction};

/// Most rules of a container. The kernel's verifier takes far more.
const MAX_RULES: usize = 1_024;

/// linux/bpf.h: BPF_DEVCG_ACC_*
pub const MKNOD: u32 = 1;
pub const READ: u32 = 2;
pub const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

/// linux/bpf.h: BPF_DEVCG_DEV_*
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

/// Absent parts match everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub allow: bool,
    pub kind: Option<u32>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: u32,
}

const fn character(major: u32, minor: Option<u32>) -> Rule {
    Rule { allow: true, kind: Some(CHARACTER), major: Some(major), minor, access: ALL }
}

const fn any_node(kind: u32) -> Rule {
    Rule { allow: true, kind: Some(kind), major: None, minor: None, access: MKNOD }
}

/// What runc adds behind the rules of every container. Making a node gives no access to it.
const ALWAYS: &[Rule] = &[
    any_node(CHARACTER),
    any_node(BLOCK),
    character(1, Some(3)), // null
    character(1, Some(5)), // zero
    character(1, Some(7)), // full
    character(1, Some(8)), // random
    character(1, Some(9)), // urandom
    character(5, Some(0)), // tty
    character(5, Some(1)), // console
    character(5, Some(2)), // ptmx
    character(136, None),  // pts
];

/// The rules of config.json, with those that every container has behind them.
pub fn rules(given: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, Failure> {
    if given.len() > MAX_RULES {
        return Err(invalid(format!(": at most {MAX_RULES}")));
    }
    let given: Result<Vec<Rule>, Failure> = given
        .iter()
        .enumerate()
        .map(|(index, rule)| parse(rule).map_err(|what| invalid(format!("[{index}]: {what}"))))
        .collect();
    Ok(given?.into_iter().chain(ALWAYS.iter().copied()).collect())
}

fn invalid(what: String) -> Failure {
    Failure::new(Code::InvalidConfig, format!("linux.resources.devices{what}"))
}

fn parse(rule: &LinuxDeviceCgroup) -> Result<Rule, String> {
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(BLOCK),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
        Some(LinuxDeviceType::P) => return Err("a named pipe is no device".into()),
    };
    let number = |what: &str, number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number).map(Some).map_err(|_| format!("{what} {number} is no number")),
    };
    let access = match rule.access().as_deref() {
        None | Some("") => ALL,
        Some(letters) => letters.chars().try_fold(0, |access, letter| match letter {
            'r' => Ok(access | READ),
            'w' => Ok(access | WRITE),
            'm' => Ok(access | MKNOD),
            _ => Err(format!("access {letters:?} is not of r, w and m")),
        })?,
    };
    let (major, minor) = (number("major", rule.major())?, number("minor", rule.minor())?);
    Ok(Rule { allow: rule.allow(), kind, major, minor, access })
}

/// Restricts the processes of the cgroup in `directory`, and of those below it, from now on.
pub fn restrict(directory: &Path, rules: &[Rule]) -> Result<(), Failure> {
    let failed = |what: &str, error: std::io::Error| {
        Failure::failed(format!("linux.resources.devices: {what}: {error}"))
    };
    let cgroup = confine::open_directory_to_read(directory).map_err(|e| failed("open the cgroup", e))?;
    confine::restrict_devices(cgroup.as_fd(), &compile(rules)).map_err(|e| failed("eBPF", e))
}

// The registers of the program.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// The accesses that are still asked for.
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

// linux/bpf.h; 32-bit operations, with a constant.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const IF_EQUAL: u8 = 0x16;
const IF_NOT_EQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

fn compile(rules: &[Rule]) -> Vec<BpfInstruction> {
    // struct bpf_cgroup_dev_ctx { u32 access_type /* access << 16 | type */; u32 major; u32 minor; }
    let mut program = vec![
        load(KIND, 0),
        from_register(ASKED, KIND),
        instruction(AND, KIND, 0, 0xffff),
        instruction(SHIFT_RIGHT, ASKED, 0, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
        // Asking for nothing, as stat(2) does in effect, is no access.
        instruction(IF_NOT_EQUAL, ASKED, 2, 0),
    ];
    program.extend(answer(true));
    for rule in rules.iter().rev() {
        let conditions: Vec<(u8, u32)> = [(KIND, rule.kind), (MAJOR, rule.major), (MINOR, rule.minor)]
            .into_iter()
            .filter_map(|(register, value)| Some((register, value?)))
            .collect();
        let body = body(rule);
        for (index, (register, value)) in conditions.iter().enumerate() {
            let distance = conditions.len() - index - 1 + body.len();
            program.push(instruction(IF_NOT_EQUAL, *register, distance as i16, *value));
        }
        program.extend(body);
        // The verifier refuses what can never be reached.
        if conditions.is_empty() && rule.access == ALL {
            return program;
        }
    }
    program.extend(answer(false));
    program
}

fn body(rule: &Rule) -> Vec<BpfInstruction> {
    let mut body = Vec::new();
    match (rule.allow, rule.access) {
        (_, ALL) => {}
        (true, access) => {
            body.push(instruction(AND, ASKED, 0, ALL & !access));
            body.push(instruction(IF_NOT_EQUAL, ASKED, 2, 0));
        }
        (false, access) => {
            body.push(from_register(SCRATCH, ASKED));
            body.push(instruction(AND, SCRATCH, 0, access));
            body.push(instruction(IF_EQUAL, SCRATCH, 2, 0));
        }
    }
    body.extend(answer(rule.allow));
    body
}

fn answer(yes: bool) -> [BpfInstruction; 2] {
    [instruction(MOVE, ANSWER, 0, u32::from(yes)), instruction(EXIT, 0, 0, 0)]
}

fn load(register: u8, offset: i16) -> BpfInstruction {
    BpfInstruction { code: LOAD_WORD, registers: CONTEXT << 4 | register, offset, value: 0 }
}

fn from_register(to: u8, from: u8) -> BpfInstruction {
    BpfInstruction { code: MOVE_REGISTER, registers: from << 4 | to, offset: 0, value: 0 }
}

fn instruction(code: u8, register: u8, offset: i16, value: u32) -> BpfInstruction {
    BpfInstruction { code, registers: register, offset, value }
}

#[cfg(test)]
#[path = "devices_test.rs"]
mod tests;
