//! The folder that a child starts in, where that is not the agent's.

#![allow(unsafe_code, reason = "no crate wraps posix_spawn_file_actions_addchdir_np")]

use std::ffi::{CStr, c_char, c_int};
use std::io;

use nix::libc::posix_spawn_file_actions_t;
use nix::spawn::PosixSpawnFileActions;

type AddChdir = unsafe extern "C" fn(*mut posix_spawn_file_actions_t, *const c_char) -> c_int;

/// Has a child change to a folder before its program runs. A C library older than this call (glibc 2.29) leaves it in the agent's.
pub(crate) fn add(actions: &mut PosixSpawnFileActions, folder: &CStr) -> io::Result<()> {
    let Some(add_chdir) = function() else { return Ok(()) };
    // SAFETY: PosixSpawnFileActions is a transparent wrapper of what was initialised by it, and is borrowed for this call alone; the
    // text is copied, as POSIX has it for file actions.
    match unsafe { add_chdir(std::ptr::from_mut(actions).cast(), folder.as_ptr()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Looked up, so that the agent starts where there is none.
#[cfg(target_env = "gnu")]
fn function() -> Option<AddChdir> {
    // SAFETY: the name is a C string.
    let found = unsafe {
        nix::libc::dlsym(nix::libc::RTLD_DEFAULT, c"posix_spawn_file_actions_addchdir_np".as_ptr())
    };
    // SAFETY: what the C library calls so has this signature; a null pointer becomes `None`.
    unsafe { std::mem::transmute::<*mut nix::libc::c_void, Option<AddChdir>>(found) }
}

#[cfg(not(target_env = "gnu"))]
fn function() -> Option<AddChdir> {
    unsafe extern "C" {
        fn posix_spawn_file_actions_addchdir_np(
            actions: *mut posix_spawn_file_actions_t,
            path: *const c_char,
        ) -> c_int;
    }
    Some(posix_spawn_file_actions_addchdir_np)
}
