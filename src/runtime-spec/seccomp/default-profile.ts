/**
 * The filter of a container that asks for no other. Which system calls a container may make, and with which
 * capability which more, are the facts of Docker's default profile (github.com/moby/profiles, seccomp/default.json).
 *
 * One thing is different: the default answer is ENOSYS, "this kernel does not have that", and calls that are
 * known and refused are listed and give EPERM as with Docker. So a program that tries a call which is newer than
 * this list falls back to an older one, as it would on an older kernel, instead of giving up.
 */
import type { ProfileRule, SeccompProfile } from "./profile.ts";

const EPERM = 1;
const ENOSYS = 38;

function names(text: string): string[] {
  return text.trim().split(/\s+/);
}

const ALWAYS = names(`
  accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
  clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
  clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
  eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
  fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
  flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
  ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list
  get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32
  getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
  getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
  getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
  io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get
  ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32
  lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek
  lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir
  mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open
  mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl
  msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect
  open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll
  ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv
  process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink
  readlinkat readv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat
  rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
  rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
  rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
  sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
  sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
  semtimedop_time64 sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area
  set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer
  setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
  setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown
  sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs
  statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time
  timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
  timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
  truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
  vmsplice wait4 waitid waitpid write writev`);

/** For nobody, whatever the capabilities. io_uring is among them since it has been the way out too often. */
const NEVER = names(`
  _sysctl add_key afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle
  io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl lock migrate_pages
  move_pages mpx nfsservctl nice oldfstat oldlstat oldolduname oldstat olduname pivot_root prof profil
  putpmsg query_module readdir request_key security sgetmask sigaction signal sigpending sigsuspend ssetmask
  stty swapoff swapon sysfs tuxcall ulimit uselib userfaultfd ustat vm86 vm86old vserver`);

/** What a capability brings with it. A call that is in two rows is there with either. */
const WITH_CAPABILITY: readonly (readonly [capability: string, calls: readonly string[]])[] = [
  ["CAP_DAC_READ_SEARCH", names("open_by_handle_at")],
  [
    "CAP_SYS_ADMIN",
    names(`
      bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
      lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
      quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare`),
  ],
  ["CAP_SYS_BOOT", names("reboot")],
  ["CAP_SYS_CHROOT", names("chroot")],
  ["CAP_SYS_MODULE", names("delete_module init_module finit_module")],
  ["CAP_SYS_PACCT", names("acct")],
  ["CAP_SYS_PTRACE", names("kcmp pidfd_getfd process_madvise")],
  ["CAP_SYS_RAWIO", names("iopl ioperm")],
  ["CAP_SYS_TIME", names("settimeofday stime clock_settime clock_settime64")],
  ["CAP_SYS_TTY_CONFIG", names("vhangup")],
  ["CAP_SYS_NICE", names("get_mempolicy mbind set_mempolicy set_mempolicy_home_node")],
  ["CAP_SYSLOG", names("syslog")],
  ["CAP_BPF", names("bpf")],
  ["CAP_PERFMON", names("perf_event_open")],
];

/** Calls whose arguments decide, below. */
const CONDITIONAL = new Set(["clone", "clone3"]);

/** One row of `WITH_CAPABILITY` and one refusal for every call, of those who have none of its capabilities. */
function capabilityRules(): ProfileRule[] {
  const granted = WITH_CAPABILITY.map(([capability, calls]): ProfileRule => {
    return { names: [...calls], action: "SCMP_ACT_ALLOW", includes: { caps: [capability] } };
  });
  const capabilitiesFor = (name: string): string[] =>
    WITH_CAPABILITY.filter(([, list]) => list.includes(name)).map(([capability]) => capability);
  const calls = new Set(WITH_CAPABILITY.flatMap(([, list]) => list).filter((name) => !CONDITIONAL.has(name)));
  const refused = [...calls].map((name): ProfileRule => {
    return {
      names: [name],
      action: "SCMP_ACT_ERRNO",
      errnoRet: EPERM,
      excludes: { caps: capabilitiesFor(name) },
    };
  });
  return [...granted, ...refused];
}

/**
 * The CLONE_NEW… flags, which make namespaces: in all of clone's flags, and each. A filter cannot look into the
 * memory that clone3's point to; it is "not there", and C libraries then use clone. CLONE_NEWTIME is clone3's only.
 * https://man7.org/linux/man-pages/man2/clone.2.html
 */
const NAMESPACE_FLAGS = [
  0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000,
];
const ALL_NAMESPACE_FLAGS = NAMESPACE_FLAGS.reduce((sum, flag) => sum + flag, 0);

/** Without CAP_SYS_ADMIN: processes and threads, but no namespaces. */
function cloneRules(): ProfileRule[] {
  const excludes = { caps: ["CAP_SYS_ADMIN"] };
  const masked = (mask: number, valueTwo: number): ProfileRule["args"] => [
    { index: 0, value: mask, valueTwo, op: "SCMP_CMP_MASKED_EQ" },
  ];
  return [
    { names: ["clone"], action: "SCMP_ACT_ALLOW", args: masked(ALL_NAMESPACE_FLAGS, 0), excludes },
    ...NAMESPACE_FLAGS.map((flag): ProfileRule => {
      return {
        names: ["clone"],
        action: "SCMP_ACT_ERRNO",
        errnoRet: EPERM,
        args: masked(flag, flag),
        excludes,
      };
    }),
  ];
}

const AF_ALG = 38;
const AF_VSOCK = 40;

/** All families but two: the kernel's crypto interface, and the way from a guest to its VMM. */
function socketRules(): ProfileRule[] {
  const allowed = [
    { value: AF_ALG, op: "SCMP_CMP_LT" },
    { value: 39, op: "SCMP_CMP_EQ" },
    { value: AF_VSOCK, op: "SCMP_CMP_GT" },
  ] as const;
  return [
    ...allowed.map((condition): ProfileRule => {
      return { names: ["socket"], action: "SCMP_ACT_ALLOW", args: [{ index: 0, ...condition }] };
    }),
    ...[AF_ALG, AF_VSOCK].map((value): ProfileRule => {
      const args = [{ index: 0, value, op: "SCMP_CMP_EQ" as const }];
      return { names: ["socket"], action: "SCMP_ACT_ERRNO", errnoRet: EPERM, args };
    }),
  ];
}

/** Linux, Linux on 32 bits, both with UNAME26, and the question which one it is. */
const PERSONALITIES = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

export const DEFAULT_PROFILE: SeccompProfile = {
  defaultAction: "SCMP_ACT_ERRNO",
  defaultErrnoRet: ENOSYS,
  archMap: [
    { architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
    { architecture: "SCMP_ARCH_AARCH64", subArchitectures: ["SCMP_ARCH_ARM"] },
  ],
  syscalls: [
    { names: ALWAYS, action: "SCMP_ACT_ALLOW" },
    { names: names("arch_prctl modify_ldt"), action: "SCMP_ACT_ALLOW", includes: { arches: ["amd64"] } },
    {
      names: names(
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush recv send set_tls",
      ),
      action: "SCMP_ACT_ALLOW",
      includes: { arches: ["arm64"] },
    },
    ...PERSONALITIES.map((value): ProfileRule => {
      const args = [{ index: 0, value, op: "SCMP_CMP_EQ" as const }];
      return { names: ["personality"], action: "SCMP_ACT_ALLOW", args };
    }),
    ...socketRules(),
    ...cloneRules(),
    ...capabilityRules(),
    { names: NEVER, action: "SCMP_ACT_ERRNO", errnoRet: EPERM },
  ],
};
