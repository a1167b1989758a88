//! What the compiler may ask of the kernel no more (seccomp): whatever would reach another process or outlive it, and every socket.
//!
//! A list of what is refused and not of what is let be: what a compiler, its allocator and its threads ask for changes with each release of
//! the C library, and what is on this list it never needs. What is refused fails as if it were not permitted, so nothing is killed for it.

use std::collections::BTreeMap;
use std::process;

use nix::libc;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// A call, and the arguments with which it is refused; none: whatever they are.
type Refused = (libc::c_long, Option<SeccompCondition>);

/// Refuses them to this thread and those that it starts.
///
/// # Errors
/// The kernel, or the library for this processor, does not know how; then all is as before.
pub(super) fn refuse() -> Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let failed = |error: seccompiler::Error| error.to_string();
    let refused = refused().map_err(|error| error.to_string())?;
    for program in [filter(refused, libc::EPERM, arch), filter(unknown(), libc::ENOSYS, arch)] {
        apply_filter(&program.map_err(|error| error.to_string())?).map_err(failed)?;
    }
    Ok(())
}

fn refused() -> Result<Vec<Refused>, seccompiler::BackendError> {
    let when = |argument: u8, length: SeccompCmpArgLen, is: SeccompCmpOp, value: u64| {
        SeccompCondition::new(argument, length, is, value).map(Some)
    };
    let always = [
        // Nothing it starts, and no way out of the group in which it is killed.
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_setsid,
        libc::SYS_setpgid,
        libc::SYS_unshare,
        libc::SYS_setns,
        // Nobody is reached: a ring of requests would go past this list.
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_io_uring_setup,
        // Not the other programs of its user, where it has none of its own.
        libc::SYS_kill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_pidfd_send_signal,
        libc::SYS_pidfd_getfd,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        // Nothing stays in the kernel that was its own.
        libc::SYS_shmget,
        libc::SYS_semget,
        libc::SYS_msgget,
        libc::SYS_mq_open,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        // Parts of the kernel that are known for their faults.
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
    ];
    let mut refused: Vec<Refused> = always.into_iter().map(|call| (call, None)).collect();
    #[cfg(target_arch = "x86_64")]
    refused.extend([libc::SYS_fork, libc::SYS_vfork].map(|call| (call, None)));
    let thread = libc::CLONE_THREAD.unsigned_abs().into();
    refused.push((libc::SYS_clone, when(0, Qword, MaskedEq(thread), 0)?));
    // It ends with its parent.
    refused.push((libc::SYS_prctl, when(0, Dword, Eq, libc::PR_SET_PDEATHSIG.unsigned_abs().into())?));
    // Signals to itself are how it aborts.
    refused.push((libc::SYS_tgkill, when(0, Dword, Ne, process::id().into())?));
    #[cfg(not(target_env = "musl"))]
    refused.push((libc::SYS_tkill, None));
    Ok(refused)
}

/// What is to be taken for a call that this kernel does not have: the arguments of this one are in memory, where no filter sees them, and
/// C libraries know another one.
fn unknown() -> Vec<Refused> {
    vec![(libc::SYS_clone3, None)]
}

fn filter(
    refused: Vec<Refused>,
    errno: libc::c_int,
    arch: TargetArch,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, when) in refused {
        let rule = when.map(|condition| SeccompRule::new(vec![condition])).transpose()?;
        for call in numbers(call) {
            rules.entry(call).or_default().extend(rule.clone());
        }
    }
    let errno = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, errno, arch)?.try_into()
}

/// The numbers of a call: on x86-64 there may be a second table of them, for which some have others.
#[cfg(target_arch = "x86_64")]
fn numbers(call: libc::c_long) -> Vec<i64> {
    const X32: i64 = 1 << 30;
    let other = match call {
        libc::SYS_execve => 520,
        libc::SYS_ptrace => 521,
        libc::SYS_rt_sigqueueinfo => 524,
        libc::SYS_rt_tgsigqueueinfo => 536,
        libc::SYS_process_vm_readv => 539,
        libc::SYS_process_vm_writev => 540,
        libc::SYS_execveat => 545,
        same => same,
    };
    vec![call, X32 | other]
}

/// The number of a call.
#[cfg(not(target_arch = "x86_64"))]
#[allow(clippy::useless_conversion, reason = "not where numbers have 32 bits")]
fn numbers(call: libc::c_long) -> Vec<i64> {
    vec![call.into()]
}
