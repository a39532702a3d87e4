//! RuntimeDefault: what ordinary programs need, and nothing that reaches for the machine.
//!
//! What is missing from the list is the point of it: modules, keys, kexec, mounts, namespaces, bpf,
//! clock setting, reboot, userfaultfd, io_uring and obsolete doors. Some of these open with the
//! capability that they belong to. Refused calls answer EPERM; clone3 answers ENOSYS, so that C
//! libraries fall back to clone, whose flags a filter can see.

use super::profile::{Action, Argument, Compare, Profile, Rule};
use crate::container::caps;

/// Allowed to everybody.
const ALWAYS: &str = "
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2
dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat
fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64
fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64
futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd
getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32
getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock
mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget
msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect
open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease
pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv
recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename
renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select
semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto
set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid
setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid
setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32
setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
sigprocmask sigreturn socketpair splice stat stat64 statfs statfs64 statmount statx
symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64
utimes vfork vmsplice wait4 waitid waitpid write writev arch_prctl modify_ldt
process_vm_readv process_vm_writev ptrace
";

/// Allowed with a capability.
const WITH: [(&str, &str); 12] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie \
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount \
         open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname \
         setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module init_module finit_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("SYS_RAWIO", "iopl ioperm"),
    ("SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
];

/// Further capabilities that open one or two calls.
const ALSO: [(&str, &str); 2] = [("BPF", "bpf"), ("PERFMON", "perf_event_open")];

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// The personalities that mean "as usual", "16-byte UNAME26", and the query.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// AF_VSOCK reaches the hypervisor's other machines. The kernel takes a family of 32 bits and drops
/// what a caller puts above them.
const AF_VSOCK: Compare = Compare::Masked(0xffff_ffff, 40);
/// SYS_SOCKET of socketcall(2), by which 32-bit programs call socket(2) with arguments that a filter
/// cannot see. They have the call itself since Linux 4.3.
const SYS_SOCKET: Compare = Compare::Masked(0xffff_ffff, 1);

/// The profile for a container with these capabilities.
pub(super) fn profile(capabilities: u64) -> Profile {
    let rule = |names: &str, action: Action, arguments: Vec<Argument>| Rule {
        names: names.split_whitespace().map(String::from).collect(),
        action,
        arguments,
    };
    let allow = |names: &str, arguments| rule(names, Action::Allow, arguments);
    let first = |compare| vec![Argument { index: 0, compare }];
    let refuse = Action::Errno(libc::EPERM as u16);
    let mut rules = vec![allow(ALWAYS, Vec::new())];
    rules.push(rule("socket", refuse, first(AF_VSOCK)));
    rules.push(rule("socketcall", refuse, first(SYS_SOCKET)));
    rules.push(allow("socket socketcall", Vec::new()));
    for value in PERSONALITIES {
        rules.push(allow("personality", first(Compare::Equal(value))));
    }
    for (capability, names) in WITH.iter().chain(&ALSO) {
        if caps::has(capabilities, capability) {
            rules.push(allow(names, Vec::new()));
        }
    }
    if !caps::has(capabilities, "SYS_ADMIN") {
        rules.push(allow("clone", first(Compare::Masked(NEW_NAMESPACES, 0))));
        rules.push(rule("clone3", Action::Errno(libc::ENOSYS as u16), Vec::new()));
    }
    Profile { default: refuse, rules, compat: true }
}
