//! From a profile to classic BPF: one binary search over call numbers per architecture.
//!
//! The number space is cut where the decision changes. A decision is either plain (one return) or
//! conditional (a few 64-bit comparisons on halves of arguments, then returns). The kernel caches
//! plain "allow" results per number by itself, so most calls cost nothing.

use super::profile::{Action, Argument, Compare, Profile};
use std::collections::BTreeMap;

/// Programs longer than this are refused by the kernel (BPF_MAXINSNS).
const MAX_INSTRUCTIONS: usize = 4096;
/// Offsets into seccomp_data.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const NATIVE: (u32, &str) = (0xc000_003e, include_str!("x86_64.txt"));
#[cfg(target_arch = "x86_64")]
const COMPAT: Option<(u32, &str)> = Some((0x4000_0003, include_str!("i386.txt")));
#[cfg(target_arch = "aarch64")]
const NATIVE: (u32, &str) = (0xc000_00b7, include_str!("aarch64.txt"));
#[cfg(target_arch = "aarch64")]
const COMPAT: Option<(u32, &str)> = None;

/// One sock_filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    value: u32,
}

/// What is decided for one call number: conditional rules in order, then a plain action.
type Decision<'a> = (Vec<(&'a [Argument], Action)>, Action);

/// The program, eight bytes per instruction.
pub(super) fn compile(profile: &Profile) -> Result<Vec<u8>, String> {
    let mut program = vec![load(ARCH)];
    let native = architecture(profile, NATIVE.1)?;
    program.push(jump_equal(NATIVE.0, 1, 0));
    program.push(jump(native.len()));
    program.extend(native);
    if let Some((arch, table)) = COMPAT.filter(|_| profile.compat) {
        let compat = architecture(profile, table)?;
        program.push(jump_equal(arch, 1, 0));
        program.push(jump(compat.len()));
        program.extend(compat);
    }
    // Numbers of an architecture that the profile does not speak of mean something else.
    program.push(give(Action::Errno(libc::ENOSYS as u16)));
    if program.len() > MAX_INSTRUCTIONS {
        return Err(format!("the profile needs {} instructions, over 4096", program.len()));
    }
    Ok(program.iter().flat_map(bytes).collect())
}

fn bytes(instruction: &Instruction) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&instruction.code.to_ne_bytes());
    (bytes[2], bytes[3]) = (instruction.yes, instruction.no);
    bytes[4..].copy_from_slice(&instruction.value.to_ne_bytes());
    bytes
}

fn architecture(profile: &Profile, table: &str) -> Result<Vec<Instruction>, String> {
    let numbers = numbers(table);
    let mut decisions: BTreeMap<u32, Decision<'_>> = BTreeMap::new();
    let mut settled = std::collections::BTreeSet::new();
    for rule in &profile.rules {
        for name in &rule.names {
            // A call that this architecture (or this list) does not have cannot be made by name.
            let Some(&number) = numbers.get(name.as_str()) else { continue };
            if settled.contains(&number) {
                continue;
            }
            let decision = decisions.entry(number).or_insert((Vec::new(), profile.default));
            if rule.arguments.is_empty() {
                decision.1 = rule.action;
                settled.insert(number);
            } else {
                decision.0.push((&rule.arguments, rule.action));
            }
        }
    }
    let segments = segments(&decisions, profile.default);
    let mut code = vec![load(NUMBER)];
    code.extend(search(&segments)?);
    Ok(code)
}

fn numbers(table: &str) -> BTreeMap<&str, u32> {
    table
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, number)| (name, number.parse().expect("our table has numbers there")))
        .collect()
}

/// Cuts all numbers into runs with one decision each: (first number, decision).
fn segments<'a>(
    decisions: &BTreeMap<u32, Decision<'a>>,
    default: Action,
) -> Vec<(u32, Decision<'a>)> {
    let plain = (Vec::new(), default);
    let mut cut: Vec<(u32, Decision<'_>)> = vec![(0, plain.clone())];
    let mut put = |start: u32, decision: &Decision<'a>| {
        let last = cut.last_mut().expect("starts with one");
        if last.0 == start {
            last.1 = decision.clone();
        } else if last.1 != *decision || !decision.0.is_empty() {
            cut.push((start, decision.clone()));
        }
    };
    let mut next = 0;
    for (number, decision) in decisions {
        if *number > next {
            put(next, &plain);
        }
        put(*number, decision);
        next = number + 1;
    }
    put(next, &plain);
    cut
}

fn search(segments: &[(u32, Decision<'_>)]) -> Result<Vec<Instruction>, String> {
    if let [(_, decision)] = segments {
        return decide(decision);
    }
    let middle = segments.len() / 2;
    let (left, right) = (search(&segments[..middle])?, search(&segments[middle..])?);
    let start = segments[middle].0;
    let mut code = match u8::try_from(left.len()) {
        Ok(length) => vec![jump_at_least(start, length, 0)],
        Err(_) => vec![jump_at_least(start, 0, 1), jump(left.len())],
    };
    code.extend(left);
    code.extend(right);
    Ok(code)
}

fn decide(decision: &Decision<'_>) -> Result<Vec<Instruction>, String> {
    let mut code = Vec::new();
    for (arguments, action) in &decision.0 {
        let mut rule = vec![give(*action)];
        for argument in arguments.iter().rev() {
            let mut test = condition(argument, rule.len())?;
            test.extend(rule);
            rule = test;
        }
        code.extend(rule);
    }
    code.push(give(decision.1));
    Ok(code)
}

/// A test that falls through where it holds, and jumps over `rest` more instructions where not.
fn condition(argument: &Argument, rest: usize) -> Result<Vec<Instruction>, String> {
    let low = ARGUMENTS + argument.index * 8;
    let high = low + 4;
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    // Distances are written from the end of the test: `over` skips the rest of the rule.
    let over = |after: usize| {
        u8::try_from(rest + after).map_err(|_| "too many conditions in one rule".to_string())
    };
    Ok(match argument.compare {
        Compare::Equal(value) => {
            let (h, l) = halves(value);
            vec![load(high), jump_equal(h, 0, over(2)?), load(low), jump_equal(l, 0, over(0)?)]
        }
        Compare::NotEqual(value) => {
            let (h, l) = halves(value);
            vec![load(high), jump_equal(h, 0, 2), load(low), jump_equal(l, over(0)?, 0)]
        }
        Compare::Masked(mask, value) => {
            let ((mh, ml), (h, l)) = (halves(mask), halves(value & mask));
            vec![
                load(high),
                and(mh),
                jump_equal(h, 0, over(3)?),
                load(low),
                and(ml),
                jump_equal(l, 0, over(0)?),
            ]
        }
        Compare::Greater(value) => above(value, (high, low), jump_above, over(2)?, over(0)?),
        Compare::GreaterOrEqual(value) => {
            above(value, (high, low), jump_at_least, over(2)?, over(0)?)
        }
        Compare::Less(value) => below(value, (high, low), jump_at_least, over(3)?, over(0)?),
        Compare::LessOrEqual(value) => below(value, (high, low), jump_above, over(3)?, over(0)?),
    })
}

type Jump = fn(u32, u8, u8) -> Instruction;

/// Holds where the high half is greater, or equal and `low_test` holds for the low one.
fn above(value: u64, at: (u32, u32), low_test: Jump, far: u8, near: u8) -> Vec<Instruction> {
    let (h, l) = ((value >> 32) as u32, value as u32);
    vec![load(at.0), jump_above(h, 3, 0), jump_equal(h, 0, far), load(at.1), low_test(l, 0, near)]
}

/// Holds where the opposite of `low_test` does.
fn below(value: u64, at: (u32, u32), low_test: Jump, far: u8, near: u8) -> Vec<Instruction> {
    let (h, l) = ((value >> 32) as u32, value as u32);
    vec![load(at.0), jump_above(h, far, 0), jump_equal(h, 0, 2), load(at.1), low_test(l, near, 0)]
}

fn instruction(code: u32, yes: u8, no: u8, value: u32) -> Instruction {
    Instruction { code: code as u16, yes, no, value }
}

fn load(offset: u32) -> Instruction {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

fn and(mask: u32) -> Instruction {
    instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask)
}

fn jump(distance: usize) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, distance as u32)
}

fn jump_equal(value: u32, yes: u8, no: u8) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value)
}

fn jump_above(value: u32, yes: u8, no: u8) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, yes, no, value)
}

fn jump_at_least(value: u32, yes: u8, no: u8) -> Instruction {
    instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, yes, no, value)
}

fn give(action: Action) -> Instruction {
    let value = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Trace(errno) => libc::SECCOMP_RET_TRACE | u32::from(errno),
    };
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, value)
}

#[cfg(test)]
mod tests {
    use super::super::profile::Rule;
    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &[u8], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [0u8; 64];
        data[..4].copy_from_slice(&number.to_ne_bytes());
        data[4..8].copy_from_slice(&arch.to_ne_bytes());
        for (i, argument) in arguments.iter().enumerate() {
            data[16 + i * 8..24 + i * 8].copy_from_slice(&argument.to_ne_bytes());
        }
        let (mut at, mut a) = (0, 0u32);
        loop {
            let raw: [u8; 8] = program[at * 8..at * 8 + 8].try_into().expect("eight");
            let code = u32::from(u16::from_ne_bytes([raw[0], raw[1]]));
            let k = u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]);
            let mut branch = |yes: bool| at += usize::from(if yes { raw[2] } else { raw[3] });
            match code {
                0x20 => {
                    let k = k as usize;
                    a = u32::from_ne_bytes(data[k..k + 4].try_into().expect("four"));
                }
                0x54 => a &= k,
                0x05 => at += k as usize,
                0x15 => branch(a == k),
                0x25 => branch(a > k),
                0x35 => branch(a >= k),
                0x06 => return k,
                other => panic!("unknown code {other:x}"),
            }
            at += 1;
        }
    }

    fn truth(compare: Compare, x: u64) -> bool {
        match compare {
            Compare::Equal(v) => x == v,
            Compare::NotEqual(v) => x != v,
            Compare::Less(v) => x < v,
            Compare::LessOrEqual(v) => x <= v,
            Compare::Greater(v) => x > v,
            Compare::GreaterOrEqual(v) => x >= v,
            Compare::Masked(mask, v) => x & mask == v & mask,
        }
    }

    #[test]
    fn every_comparison_decides_as_arithmetic_does() {
        let values = [0, 1, 7, u32::MAX as u64, 1 << 32, (1 << 32) + 7, u64::MAX];
        for v in values {
            for compare in [
                Compare::Equal(v),
                Compare::NotEqual(v),
                Compare::Less(v),
                Compare::LessOrEqual(v),
                Compare::Greater(v),
                Compare::GreaterOrEqual(v),
                Compare::Masked(0x1_0000_0006, v),
            ] {
                let argument = Argument { index: 1, compare };
                let rule = Rule {
                    names: vec!["read".into()],
                    action: Action::Allow,
                    arguments: vec![Argument { index: 0, compare: Compare::Equal(3) }, argument],
                };
                let profile =
                    Profile { default: Action::Errno(1), rules: vec![rule], compat: false };
                let program = compile(&profile).expect("compiles");
                let read = libc::SYS_read as u32;
                for x in values {
                    let got = run(&program, NATIVE.0, read, [3, x, 0, 0, 0, 0]);
                    let allowed = got == libc::SECCOMP_RET_ALLOW;
                    assert_eq!(allowed, truth(compare, x), "{compare:?} of {x:x}");
                    let got = run(&program, NATIVE.0, read, [4, x, 0, 0, 0, 0]);
                    assert_eq!(got, libc::SECCOMP_RET_ERRNO | 1);
                }
            }
        }
    }

    #[test]
    fn each_number_gets_its_own_decision() {
        let numbers = numbers(NATIVE.1);
        let profile = super::super::default::profile(0);
        let program = compile(&profile).expect("compiles");
        for number in 0..600 {
            let names: Vec<_> =
                numbers.iter().filter(|(_, n)| **n == number).map(|(name, _)| *name).collect();
            let rule = profile.rules.iter().find(|rule| {
                rule.arguments.is_empty() && names.iter().any(|n| rule.names.iter().any(|r| r == n))
            });
            let conditional = profile.rules.iter().any(|rule| {
                !rule.arguments.is_empty()
                    && names.iter().any(|n| rule.names.iter().any(|r| r == n))
            });
            if conditional {
                continue;
            }
            let want = give(rule.map_or(profile.default, |rule| rule.action)).value;
            assert_eq!(run(&program, NATIVE.0, number, [0; 6]), want, "{number} {names:?}");
        }
        // An unknown architecture, and x32 numbers.
        let nosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        assert_eq!(run(&program, 1, 0, [0; 6]), nosys);
        let denied = libc::SECCOMP_RET_ERRNO | 1;
        assert_eq!(run(&program, NATIVE.0, 0x4000_0000, [0; 6]), denied);
        assert!(program.len() / 8 < 500, "{} instructions", program.len() / 8);
    }

    #[test]
    fn clone_is_allowed_without_new_namespaces() {
        let clone = libc::SYS_clone as u32;
        let with = |capabilities: u64, flags: u64| {
            let profile = super::super::default::profile(capabilities);
            run(&compile(&profile).expect("compiles"), NATIVE.0, clone, [flags, 0, 0, 0, 0, 0])
        };
        let newns = libc::CLONE_NEWNS as u64;
        assert_eq!(with(0, 0x11), libc::SECCOMP_RET_ALLOW);
        assert_eq!(with(0, newns), libc::SECCOMP_RET_ERRNO | 1);
        assert_eq!(with(1 << 21, newns), libc::SECCOMP_RET_ALLOW);
    }

    /// The kernel drops the upper half of an argument that it takes as 32 bits.
    #[test]
    fn other_machines_are_out_of_reach_however_it_is_asked() {
        let program = compile(&super::super::default::profile(0)).expect("compiles");
        let denied = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        let (socket, upper) = (libc::SYS_socket as u32, 1 << 32);
        let asked = |arch, number, first| run(&program, arch, number, [first, 0, 0, 0, 0, 0]);
        for family in [40, 40 | upper, 40 | 0xffff_ffff << 32] {
            assert_eq!(asked(NATIVE.0, socket, family), denied, "{family:x}");
        }
        for family in [0, 1, 2, 10, 16, 39, 41, 2 | upper] {
            assert_eq!(asked(NATIVE.0, socket, family), libc::SECCOMP_RET_ALLOW, "{family:x}");
        }
        let Some((compat, table)) = COMPAT else { return };
        let numbers = numbers(table);
        assert_eq!(asked(compat, numbers["socket"], 40), denied);
        assert_eq!(asked(compat, numbers["socketcall"], 1), denied);
        assert_eq!(asked(compat, numbers["socketcall"], 3), libc::SECCOMP_RET_ALLOW);
    }
}
