//! Classic BPF for seccomp: decisions about a system call become a program.
//!
//! ```text
//! arch? ─► number: binary search over ranges that are treated alike ─► verdict
//!                                                                  └─► argument tests, one rule after the other
//! ```
//!
//! Rules sharing one range cost nothing, so that a profile of hundreds of names is a few hundred instructions,
//! and every call takes about ten of them.

use libc::sock_filter;

use super::table::{Abi, X32_BIT};

/// linux/seccomp.h, struct seccomp_data: nr, arch, instruction_pointer, args[6].
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// linux/audit.h
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;

/// linux/bpf_common.h
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// Of the argument's bits in this mask.
    MaskedEqual(u64),
}

/// What one argument has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// 0 to 5.
    pub argument: u32,
    pub comparison: Comparison,
    pub value: u64,
}

/// How one system call is treated: the first rule whose tests all hold decides, else `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub rules: Vec<(Vec<Test>, u32)>,
    pub otherwise: u32,
}

impl Decision {
    pub fn always(verdict: u32) -> Self {
        Self { rules: Vec::new(), otherwise: verdict }
    }
}

/// The calls of one set of numbers: ascending, from 0, each up to the next.
pub struct Table {
    pub abi: Abi,
    pub ranges: Vec<(u32, Decision)>,
}

/// The program. An i386 call that has no table ends the process, as libseccomp has it: nothing that a 32-bit
/// program does would work. An x32 one is answered as by a kernel without x32.
pub fn assemble(tables: &[Table]) -> Vec<sock_filter> {
    let of = |abi| tables.iter().find(|table| table.abi == abi);
    let mut program = vec![load(ARCHITECTURE)];
    let native = native(of(Abi::X86_64), of(Abi::X32));
    program.extend(unless(IF_EQUAL, AUDIT_ARCH_X86_64, &native));
    program.extend(native);
    if let Some(table) = of(Abi::X86) {
        let body = numbered(table);
        program.extend(unless(IF_EQUAL, AUDIT_ARCH_I386, &body));
        program.extend(body);
    }
    program.push(statement(RETURN, libc::SECCOMP_RET_KILL_PROCESS));
    program
}

fn native(plain: Option<&Table>, x32: Option<&Table>) -> Vec<sock_filter> {
    let absent = vec![statement(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32)];
    let block = |table: Option<&Table>| match table {
        Some(table) => search(&table.ranges, table.abi),
        None => absent.clone(),
    };
    let (plain, x32) = (block(plain), block(x32));
    let mut program = vec![load(NUMBER)];
    program.extend(unless(IF_GREATER_OR_EQUAL, X32_BIT, &x32));
    program.extend(x32);
    program.extend(plain);
    program
}

fn numbered(table: &Table) -> Vec<sock_filter> {
    let mut program = vec![load(NUMBER)];
    program.extend(search(&table.ranges, table.abi));
    program
}

/// Skips `body` unless the condition holds. Conditional jumps reach 255 instructions, plain ones all.
fn unless(condition: u16, value: u32, body: &[sock_filter]) -> [sock_filter; 2] {
    [jump(condition, value, 1, 0), statement(JUMP, body.len() as u32)]
}

/// The number is in the accumulator.
fn search(ranges: &[(u32, Decision)], abi: Abi) -> Vec<sock_filter> {
    match ranges {
        [] => Vec::new(),
        [(_, decision)] => decide(decision, abi),
        _ => {
            let (below, above) = ranges.split_at(ranges.len() / 2);
            let above_body = search(above, abi);
            let mut program = unless(IF_GREATER_OR_EQUAL, above[0].0, &above_body).to_vec();
            program.extend(above_body);
            program.extend(search(below, abi));
            program
        }
    }
}

fn decide(decision: &Decision, abi: Abi) -> Vec<sock_filter> {
    let mut program = Vec::new();
    for (tests, verdict) in &decision.rules {
        program.extend(rule(tests, *verdict, abi));
    }
    program.push(statement(RETURN, decision.otherwise));
    program
}

/// Where a test leads to when it is decided before its end.
#[derive(Clone, Copy)]
enum To {
    Next,
    /// This test holds.
    Holds,
    /// The rule does not apply.
    Fails,
}

fn rule(tests: &[Test], verdict: u32, abi: Abi) -> Vec<sock_filter> {
    let bodies: Vec<Vec<(sock_filter, To, To)>> = tests.iter().map(|test| steps(test, abi)).collect();
    let total: usize = bodies.iter().map(Vec::len).sum::<usize>() + 1;
    let mut program = Vec::with_capacity(total);
    for body in bodies {
        let holds = program.len() + body.len();
        for (mut step, yes, no) in body {
            // At most six tests of six instructions: the distances fit.
            let distance = |to: To| match to {
                To::Next => 0,
                To::Holds => (holds - program.len() - 1) as u8,
                To::Fails => (total - program.len() - 1) as u8,
            };
            (step.jt, step.jf) = (distance(yes), distance(no));
            program.push(step);
        }
    }
    program.push(statement(RETURN, verdict));
    program
}

/// Arguments are 64 bits, compared in halves; those of i386 are 32.
fn steps(test: &Test, abi: Abi) -> Vec<(sock_filter, To, To)> {
    use To::{Fails, Holds, Next};
    let low_at = ARGUMENTS + 8 * test.argument;
    let (high, low) = ((test.value >> 32) as u32, test.value as u32);
    let branch = |condition, value, yes, no| (jump(condition, value, 0, 0), yes, no);
    let plain = |step| (step, Next, Next);
    let mut steps = Vec::new();
    if abi != Abi::X86 {
        steps.push(plain(load(low_at + 4)));
        match test.comparison {
            Comparison::Equal => steps.push(branch(IF_EQUAL, high, Next, Fails)),
            Comparison::NotEqual => steps.push(branch(IF_EQUAL, high, Next, Holds)),
            Comparison::MaskedEqual(mask) => {
                steps.push(plain(statement(AND, (mask >> 32) as u32)));
                steps.push(branch(IF_EQUAL, high, Next, Fails));
            }
            Comparison::Greater | Comparison::GreaterOrEqual => {
                steps.push(branch(IF_GREATER, high, Holds, Next));
                steps.push(branch(IF_EQUAL, high, Next, Fails));
            }
            Comparison::Less | Comparison::LessOrEqual => {
                steps.push(branch(IF_GREATER, high, Fails, Next));
                steps.push(branch(IF_EQUAL, high, Next, Holds));
            }
        }
    }
    steps.push(plain(load(low_at)));
    if let Comparison::MaskedEqual(mask) = test.comparison {
        steps.push(plain(statement(AND, mask as u32)));
    }
    steps.push(match test.comparison {
        Comparison::Equal | Comparison::MaskedEqual(_) => branch(IF_EQUAL, low, Next, Fails),
        Comparison::NotEqual => branch(IF_EQUAL, low, Fails, Next),
        Comparison::Greater => branch(IF_GREATER, low, Next, Fails),
        Comparison::GreaterOrEqual => branch(IF_GREATER_OR_EQUAL, low, Next, Fails),
        Comparison::Less => branch(IF_GREATER_OR_EQUAL, low, Fails, Next),
        Comparison::LessOrEqual => branch(IF_GREATER, low, Fails, Next),
    });
    steps
}

fn load(offset: u32) -> sock_filter {
    statement(LOAD, offset)
}

fn statement(code: u16, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
