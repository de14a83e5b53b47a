//! `linux.seccomp` as a filter of our own.
//!
//! ```text
//! profile ─► per set of numbers (x86-64, i386, x32): ranges of calls and what becomes of them ─► classic BPF
//! ```
//!
//! It is compiled before the container is made and loaded as the very last thing before the exec: of what this
//! runtime does itself, only the exec has to be allowed by the profile. Decision 0008 says why libseccomp is
//! not used.

mod bpf;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use libc::sock_filter;
use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
    LinuxSyscall,
};

use self::bpf::{Comparison, Decision, Table, Test};
use self::table::{Abi, X32_BIT};
use crate::protocol::message::{Code, Failure};
use crate::syscall::confine;

/// The kernel's own bound for a filter, in instructions (linux/bpf_common.h).
const MAX_INSTRUCTIONS: usize = 4_096;

/// Most rules (names of all entries) that a profile may have.
const MAX_RULES: usize = 8_192;

/// Most warnings about unknown names that are told one by one.
const MAX_NAMED: usize = 16;

/// Largest errno that a filter can return (linux/err.h).
const MAX_ERRNO: u32 = 4_095;

/// A filter that is ready to be loaded.
pub struct Filter {
    program: Vec<sock_filter>,
    flags: u64,
}

impl Filter {
    /// From here on the calling thread, and what it executes, is bound by the profile. Without
    /// `no_new_privs` this needs CAP_SYS_ADMIN.
    pub fn load(&self) -> std::io::Result<()> {
        confine::load_seccomp_filter(&self.program, self.flags)
    }
}

fn invalid(message: impl std::fmt::Display) -> Failure {
    Failure::new(Code::InvalidConfig, format!("linux.seccomp{message}"))
}

/// Compiles a profile. What it names that this machine does not know becomes a warning.
pub fn compile(profile: &LinuxSeccomp, warnings: &mut Vec<String>) -> Result<Filter, Failure> {
    for (name, given) in [
        ("listenerPath", profile.listener_path().is_some()),
        ("listenerMetadata", profile.listener_metadata().is_some()),
    ] {
        if given {
            return Err(invalid(format!(
                ".{name}: not supported: no listener of the host's is in the machine"
            )));
        }
    }
    let rules = profile.syscalls().as_deref().unwrap_or_default();
    if rules.iter().map(|rule| rule.names().len()).sum::<usize>() > MAX_RULES {
        return Err(invalid(format!(".syscalls: at most {MAX_RULES} names")));
    }
    let default = verdict(profile.default_action(), profile.default_errno_ret())
        .map_err(|what| invalid(format!(".defaultAction: {what}")))?;
    warn_of_unknown(rules, warnings);
    let beyond = beyond_the_known(profile, default);
    let mut tables = Vec::new();
    for abi in abis(profile, warnings) {
        tables.push(Table { abi, ranges: ranges(rules, abi, default, beyond)? });
    }
    let program = bpf::assemble(&tables);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(invalid(format!(
            ".syscalls: {} instructions, and the kernel takes {MAX_INSTRUCTIONS}",
            program.len()
        )));
    }
    Ok(Filter { program, flags: flags(profile, warnings) })
}

fn warn_of_unknown(rules: &[LinuxSyscall], warnings: &mut Vec<String>) {
    let mut unknown: Vec<&str> = rules
        .iter()
        .flat_map(|rule| rule.names())
        .map(String::as_str)
        .filter(|name| table::find(name).is_none())
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    let more = unknown.len().saturating_sub(MAX_NAMED);
    unknown.truncate(MAX_NAMED);
    if !unknown.is_empty() {
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        warnings
            .push(format!("linux.seccomp: unknown system calls are skipped: {}{more}", unknown.join(", ")));
    }
}

/// The native set is always there. Sets of processors that this machine has not cannot be used in it.
fn abis(profile: &LinuxSeccomp, warnings: &mut Vec<String>) -> Vec<Abi> {
    let mut abis = vec![Abi::X86_64];
    for arch in profile.architectures().iter().flatten() {
        let abi = match arch {
            Arch::ScmpArchNative | Arch::ScmpArchX86_64 => Abi::X86_64,
            Arch::ScmpArchX86 => Abi::X86,
            Arch::ScmpArchX32 => Abi::X32,
            other => {
                warnings.push(format!("linux.seccomp.architectures: {other} is not of this machine"));
                continue;
            }
        };
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    abis
}

fn flags(profile: &LinuxSeccomp, warnings: &mut Vec<String>) -> u64 {
    profile.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                    warnings.push(format!("linux.seccomp.flags: {flag} means nothing without a listener"));
                    0
                }
            }
    })
}

/// An action as the kernel's return value.
/// <https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config-linux.md#seccomp>
fn verdict(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, String> {
    use LinuxSeccompAction as Action;
    let number = errno.unwrap_or(libc::EPERM as u32);
    match action {
        Action::ScmpActErrno if number > MAX_ERRNO => Err(format!("errno {number} is above {MAX_ERRNO}")),
        Action::ScmpActTrace if number > 0xffff => Err(format!("errnoRet {number} is above 65535")),
        Action::ScmpActErrno => Ok(libc::SECCOMP_RET_ERRNO | number),
        Action::ScmpActTrace => Ok(libc::SECCOMP_RET_TRACE | number),
        _ if errno.is_some() => Err(format!("{action} takes no errnoRet")),
        Action::ScmpActKill | Action::ScmpActKillThread => Ok(libc::SECCOMP_RET_KILL_THREAD),
        Action::ScmpActKillProcess => Ok(libc::SECCOMP_RET_KILL_PROCESS),
        Action::ScmpActTrap => Ok(libc::SECCOMP_RET_TRAP),
        Action::ScmpActLog => Ok(libc::SECCOMP_RET_LOG),
        Action::ScmpActAllow => Ok(libc::SECCOMP_RET_ALLOW),
        Action::ScmpActNotify => {
            Err("SCMP_ACT_NOTIFY is not supported: no listener is in the machine".into())
        }
    }
}

/// What calls get that are newer than all that the profile names. Its author cannot have meant them, and
/// programs know what to do without them when they hear ENOSYS, but not when they hear EPERM.
fn beyond_the_known(profile: &LinuxSeccomp, default: u32) -> u32 {
    use LinuxSeccompAction as Action;
    match profile.default_action() {
        Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace => default,
        _ => libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
    }
}

/// The rules of one set of numbers, by number; then ranges of numbers that are treated alike.
fn ranges(
    rules: &[LinuxSyscall],
    abi: Abi,
    default: u32,
    beyond: u32,
) -> Result<Vec<(u32, Decision)>, Failure> {
    let first = if abi == Abi::X32 { X32_BIT } else { 0 };
    let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
    let named: BTreeSet<&str> = rules.iter().flat_map(|rule| rule.names()).map(String::as_str).collect();
    for (index, rule) in rules.iter().enumerate() {
        let at = |what: String| invalid(format!(".syscalls[{index}]: {what}"));
        let action = verdict(rule.action(), rule.errno_ret()).map_err(at)?;
        let alternatives = alternatives(rule.args().as_deref().unwrap_or_default()).map_err(at)?;
        for name in rule.names() {
            let Some(numbers) = table::find(name) else { continue };
            if let Some(number) = numbers.of(abi) {
                let call = calls.entry(number).or_default();
                call.add(&alternatives, action).map_err(|()| at(format!("{name} has two actions")))?;
            }
            if abi == Abi::X86
                && let Some((carrier, number, mask, value)) = table::inside_of(name)
            {
                let inside = (named.contains(carrier), number, mask, value);
                add_inside(&mut calls, inside, &alternatives, action);
            }
        }
    }
    let newest = calls.keys().next_back().copied();
    let mut starts = BTreeMap::from([(first, Decision::always(default))]);
    for (number, call) in calls {
        starts.insert(number, call.decision(default));
        starts.insert(number + 1, Decision::always(default));
    }
    if let Some(newest) = newest {
        starts.insert(newest + 1, Decision::always(beyond));
    }
    let mut ranges: Vec<(u32, Decision)> = starts.into_iter().collect();
    ranges.dedup_by(|later, before| later.1 == before.1);
    Ok(ranges)
}

/// What a profile says about one call.
#[derive(Default)]
struct Call {
    conditional: Vec<(Vec<Test>, u32)>,
    always: Option<u32>,
}

impl Call {
    /// Two different actions for all uses of one call mean a mistake, and not both can be carried out.
    fn add(&mut self, alternatives: &[Vec<Test>], action: u32) -> Result<(), ()> {
        if !alternatives.is_empty() {
            self.conditional.extend(alternatives.iter().map(|tests| (tests.clone(), action)));
            return Ok(());
        }
        if self.always.is_some_and(|before| before != action) {
            return Err(());
        }
        self.always = Some(action);
        Ok(())
    }

    fn decision(self, default: u32) -> Decision {
        let otherwise = self.always.unwrap_or(default);
        let mut rules = self.conditional;
        while rules.last().is_some_and(|(_, action)| *action == otherwise) {
            rules.pop();
        }
        Decision { rules, otherwise }
    }
}

/// A call that hides in another one. Its arguments are in memory there, where a filter cannot look: a rule with
/// conditions then allows nothing, and forbids always, unless the profile speaks of the `carrier` itself.
fn add_inside(
    calls: &mut BTreeMap<u32, Call>,
    (carrier, number, mask, value): (bool, u32, u64, u64),
    alternatives: &[Vec<Test>],
    action: u32,
) {
    if !alternatives.is_empty() && (carrier || action == libc::SECCOMP_RET_ALLOW) {
        return;
    }
    let test = Test { argument: 0, comparison: Comparison::MaskedEqual(mask), value };
    calls.entry(number).or_default().conditional.push((vec![test], action));
}

/// The conditions of a rule: one of these lists has to hold. Two conditions on the same argument are
/// alternatives, as runc has it, and so are then all; otherwise all have to hold.
fn alternatives(args: &[LinuxSeccompArg]) -> Result<Vec<Vec<Test>>, String> {
    let tests = args.iter().map(test).collect::<Result<Vec<Test>, String>>()?;
    let repeated = tests
        .iter()
        .enumerate()
        .any(|(index, test)| tests[..index].iter().any(|before| before.argument == test.argument));
    match tests.len() {
        0 => Ok(Vec::new()),
        _ if repeated => Ok(tests.into_iter().map(|test| vec![test]).collect()),
        _ => Ok(vec![tests]),
    }
}

fn test(arg: &LinuxSeccompArg) -> Result<Test, String> {
    let argument = u32::try_from(arg.index()).ok().filter(|index| *index < 6);
    let argument = argument.ok_or_else(|| format!("args.index {} is above 5", arg.index()))?;
    let (comparison, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (Comparison::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (Comparison::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (Comparison::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (Comparison::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (Comparison::GreaterOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (Comparison::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (Comparison::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0))
        }
    };
    Ok(Test { argument, comparison, value })
}

#[cfg(test)]
#[path = "seccomp_test.rs"]
mod tests;
