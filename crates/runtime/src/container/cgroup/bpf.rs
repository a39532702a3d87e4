//! Which devices a container may open. v1 has files for it; v2 asks an eBPF program, made here.
//!
//! The program sees (access and type, major, minor) of an attempt and answers 1 or 0
//! (BPF_PROG_TYPE_CGROUP_DEVICE). It is attached to the cgroup and goes with it.

use crate::{Error, Result, sys};
use std::fmt;
use std::os::fd::AsRawFd;
use std::path::Path;

/// What is allowed; all else is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Block instead of character devices.
    pub kind: Kind,
    /// None: any.
    pub major: Option<u32>,
    /// None: any.
    pub minor: Option<u32>,
    /// Sum of [`MKNOD`], [`READ`] and [`WRITE`].
    pub access: u32,
}

/// Block or character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Block = 1,
    Character = 2,
}

/// BPF_DEVCG_ACC_*.
pub(crate) const MKNOD: u32 = 1;
pub(crate) const READ: u32 = 2;
pub(crate) const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

const fn character(major: u32, minor: Option<u32>) -> Rule {
    Rule { kind: Kind::Character, major: Some(major), minor, access: ALL }
}

/// What every container has: making any node, and opening the harmless ones: null, zero, full,
/// random, urandom, tty, console, ptmx and terminals.
pub(crate) const DEFAULT: [Rule; 11] = [
    Rule { kind: Kind::Character, major: None, minor: None, access: MKNOD },
    Rule { kind: Kind::Block, major: None, minor: None, access: MKNOD },
    character(1, Some(3)),
    character(1, Some(5)),
    character(1, Some(7)),
    character(1, Some(8)),
    character(1, Some(9)),
    character(5, Some(0)),
    character(5, Some(1)),
    character(5, Some(2)),
    character(136, None),
];

/// As v1's devices.allow takes it: `c 1:3 rwm`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |number: Option<u32>| number.map_or("*".to_string(), |n| n.to_string());
        let kind = if self.kind == Kind::Block { 'b' } else { 'c' };
        write!(f, "{kind} {}:{} ", part(self.major), part(self.minor))?;
        for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
            if self.access & bit != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Loads the program for `rules` and attaches it to the cgroup.
pub(super) fn attach(cgroup: &Path, rules: &[Rule]) -> Result<()> {
    const PROG_LOAD: u32 = 5;
    const PROG_ATTACH: u32 = 8;
    const TYPE_CGROUP_DEVICE: u64 = 15;
    const ATTACH_CGROUP_DEVICE: u64 = 6;
    const ALLOW_MULTI: u64 = 2;
    let program = compile(rules);
    let license = c"Apache-2.0";
    let mut load = [0u64; 16];
    // struct bpf_attr: u32 prog_type, u32 insn_cnt; u64 insns; u64 license.
    load[0] = TYPE_CGROUP_DEVICE | (program.len() as u64) << 32;
    load[1] = program.as_ptr() as u64;
    load[2] = license.as_ptr() as u64;
    let failed = |what: &str, e| Error::System(format!("{what} of a device filter: {e}"));
    let loaded = sys::bpf(PROG_LOAD, &mut load).map_err(|e| failed("load", e))?;
    let loaded = sys::own(loaded);
    let folder = sys::open(cgroup, libc::O_RDONLY | libc::O_DIRECTORY, 0)
        .map_err(|e| Error::System(format!("open {}: {e}", cgroup.display())))?;
    let mut attach = [0u64; 16];
    // u32 target_fd, u32 attach_bpf_fd; u32 attach_type, u32 attach_flags.
    attach[0] = folder.as_raw_fd() as u64 | (loaded.as_raw_fd() as u64) << 32;
    attach[1] = ATTACH_CGROUP_DEVICE | ALLOW_MULTI << 32;
    sys::bpf(PROG_ATTACH, &mut attach).map_err(|e| failed("attach", e))?;
    Ok(())
}

/// One instruction is eight bytes: opcode, registers (source above target), offset, immediate.
fn compile(rules: &[Rule]) -> Vec<u64> {
    const LOAD_WORD: u8 = 0x61;
    const AND: u8 = 0x57;
    const SHIFT_RIGHT: u8 = 0x77;
    const MOVE_REGISTER: u8 = 0xbf;
    const MOVE: u8 = 0xb7;
    const JUMP_NOT_EQUAL: u8 = 0x55;
    const EXIT: u8 = 0x95;
    let code = |op: u8, to: u8, from: u8, offset: i16, value: u32| {
        u64::from(op)
            | u64::from(to | from << 4) << 8
            | u64::from(offset as u16) << 16
            | u64::from(value) << 32
    };
    // r2 = type, r3 = access, r4 = major, r5 = minor; r1 is the context.
    let mut program = vec![
        code(LOAD_WORD, 2, 1, 0, 0),
        code(MOVE_REGISTER, 3, 2, 0, 0),
        code(AND, 2, 0, 0, 0xffff),
        code(SHIFT_RIGHT, 3, 0, 0, 16),
        code(LOAD_WORD, 4, 1, 4, 0),
        code(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let mut tests = vec![(2, rule.kind as u32)];
        tests.extend(rule.major.map(|major| (4, major)));
        tests.extend(rule.minor.map(|minor| (5, minor)));
        // After the tests: copy, mask, test, answer, exit.
        let mut left = tests.len() as i16 + 4;
        for (register, value) in tests {
            program.push(code(JUMP_NOT_EQUAL, register, 0, left, value));
            left -= 1;
        }
        program.push(code(MOVE_REGISTER, 1, 3, 0, 0));
        program.push(code(AND, 1, 0, 0, !rule.access & 0xffff));
        program.push(code(JUMP_NOT_EQUAL, 1, 0, 2, 0));
        program.push(code(MOVE, 0, 0, 0, 1));
        program.push(code(EXIT, 0, 0, 0, 0));
    }
    program.push(code(MOVE, 0, 0, 0, 0));
    program.push(code(EXIT, 0, 0, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_as_v1_writes_them() {
        let all: Vec<_> = DEFAULT.iter().map(ToString::to_string).collect();
        expect_test::expect![[
            "c *:* m,b *:* m,c 1:3 rwm,c 1:5 rwm,c 1:7 rwm,c 1:8 rwm,c 1:9 rwm,c 5:0 rwm,c 5:1 rwm,\
             c 5:2 rwm,c 136:* rwm"
        ]]
        .assert_eq(&all.join(","));
    }

    /// Walks a program as the kernel would.
    fn run(program: &[u64], context: [u32; 3]) -> u64 {
        let (mut at, mut r) = (0usize, [0u64; 6]);
        loop {
            let word = program[at];
            let (to, from) = ((word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (offset, value) = ((word >> 16) as u16, word >> 32);
            at += 1;
            match word & 0xff {
                0x61 => r[to] = u64::from(context[offset as usize / 4]),
                0x57 => r[to] &= value,
                0x77 => r[to] >>= value,
                0xbf => r[to] = r[from],
                0xb7 => r[to] = value,
                0x55 if r[to] != value => at += offset as usize,
                0x55 => {}
                0x95 => return r[0],
                other => panic!("unknown opcode {other:x}"),
            }
        }
    }

    #[test]
    fn the_program_decides_by_the_rules() {
        let program = compile(&DEFAULT);
        let ask = |kind: Kind, access: u32, major, minor| {
            run(&program, [access << 16 | kind as u32, major, minor])
        };
        assert_eq!(ask(Kind::Character, READ | WRITE, 1, 3), 1);
        assert_eq!(ask(Kind::Character, READ, 1, 1), 0, "/dev/mem");
        assert_eq!(ask(Kind::Character, MKNOD, 1, 1), 1);
        assert_eq!(ask(Kind::Character, MKNOD | READ, 1, 1), 0);
        assert_eq!(ask(Kind::Block, READ, 1, 3), 0);
        assert_eq!(ask(Kind::Block, MKNOD, 8, 0), 1);
        assert_eq!(ask(Kind::Character, READ | WRITE, 136, 77), 1);
    }

    /// The kernel's verifier has the last word: load and attach for real where a v2 tree is
    /// mounted.
    #[test]
    fn the_kernel_takes_it() {
        let unified = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .map(Path::new)
            .into_iter()
            .find(|path| path.join("cgroup.controllers").exists())
            .expect("a v2 tree is mounted");
        let mine = unified.join(format!("skiff-bpf-{}", std::process::id()));
        std::fs::create_dir(&mine).expect("mkdir");
        let result = attach(&mine, &DEFAULT);
        std::fs::remove_dir(&mine).expect("clean up");
        result.expect("loads and attaches");
    }
}
