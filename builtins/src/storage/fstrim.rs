//! `guest-fstrim`: the filesystems give back to the host what they do not use.
//!
//! A trim may rightly take minutes and is waited for; two go on at once, so that one which hangs does not keep the others from theirs. To
//! open a mount point takes no time, unless it hangs.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use smol::Timer;
use smol::future::{or, zip};

use super::mounts::{self, Mount};
use crate::command::Command;
use crate::context::{Context, Work};
use crate::error::{Error, Result};
use crate::sys::fitrim::{Trimmed, fitrim};

/// Trims the mounted filesystems, the last mounted first.
///
/// Differs from qemu-ga: one that hangs when it is opened (for five seconds) or trimmed (for an hour) is told as failed, where qemu-ga
/// hangs; and other channels are served meanwhile.
pub(super) struct GuestFstrim;

#[derive(Debug, Deserialize)]
pub(crate) struct Args {
    /// Bytes. A negative one is what it is as an unsigned number, as with qemu-ga: more than there is.
    minimum: Option<i64>,
}

/// The schema's `GuestFilesystemTrimResponse`.
#[derive(Debug, Serialize)]
pub(crate) struct Response {
    paths: Vec<PathResult>,
}

/// The schema's `GuestFilesystemTrimResult`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct PathResult {
    path: String,
    /// Bytes that were given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    trimmed: Option<i64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl PathResult {
    fn new(mountpoint: &Path, result: Result<Trimmed>) -> Self {
        let path = mountpoint.to_string_lossy().into_owned();
        match result {
            Ok(Trimmed { length, minimum }) => Self {
                path,
                trimmed: Some(length.cast_signed()),
                minimum: Some(minimum.cast_signed()),
                error: None,
            },
            Err(Error { desc, .. }) => Self { path, trimmed: None, minimum: None, error: Some(desc) },
        }
    }
}

impl Command for GuestFstrim {
    const NAME: &'static str = "guest-fstrim";
    const AUDITED: &'static [&'static str] = &["minimum"];
    type Args = Args;
    type Return = Response;

    async fn run(cx: &Context, Args { minimum }: Args) -> Result<Response> {
        let minimum = minimum.unwrap_or(0);
        tracing::info!(minimum, "guest-fstrim");
        let mut mounts = cx.blocking(Work::Inspect, || mounts::list(Path::new("/"))).await??;
        mounts.reverse();
        Ok(Response { paths: trim_all(cx, Kernel, mounts, minimum.cast_unsigned()).await })
    }
}

/// What may hang; a test puts something else in the place of the kernel.
trait Disks: Clone + Send + 'static {
    type File: Send + 'static;

    fn limits(&self) -> Limits;
    fn open(&self, mountpoint: &Path) -> io::Result<Self::File>;
    fn trim(&self, file: &Self::File, minimum: u64) -> io::Result<Trimmed>;
}

/// When something is taken to hang.
struct Limits {
    /// How long a mount point may take to be opened.
    opening: Duration,
    /// How long a filesystem may take to be trimmed.
    trimming: Duration,
}

#[derive(Clone, Copy)]
struct Kernel;

impl Disks for Kernel {
    type File = File;

    fn limits(&self) -> Limits {
        // A trim that takes an hour is rare. It goes on, but does not hold up its channel for ever.
        Limits { opening: Duration::from_secs(5), trimming: Duration::from_secs(60 * 60) }
    }

    fn open(&self, mountpoint: &Path) -> io::Result<File> {
        // What is mounted may be a single file, even a pipe, which would wait for somebody to write.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(mountpoint, flags, Mode::empty())?.into())
    }

    fn trim(&self, file: &File, minimum: u64) -> io::Result<Trimmed> {
        fitrim(file, minimum)
    }
}

/// Trims filesystems, two at once; the results are in the order of the mounts.
async fn trim_all<D: Disks>(cx: &Context, disks: D, mounts: Vec<Mount>, minimum: u64) -> Vec<PathResult> {
    let next = AtomicUsize::new(0);
    let lane = || async {
        let mut results = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(mount) = mounts.get(number) else { break results };
            let result = trim(cx, disks.clone(), mount, minimum).await;
            results.push((number, PathResult::new(&mount.mountpoint, result)));
        }
    };
    let (mut results, others) = zip(lane(), lane()).await;
    results.extend(others);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

async fn trim<D: Disks>(cx: &Context, disks: D, mount: &Mount, minimum: u64) -> Result<Trimmed> {
    let limits = disks.limits();
    let turn = cx.agent.trims.turn(mount.device, limits.opening).await;
    let turn = turn.ok_or_else(|| failed("trim", Errno::BUSY))?;
    let opener = (disks.clone(), mount.mountpoint.clone());
    // The turn goes where the work goes, and is over when that is.
    let opening = cx.blocking(Work::Mounts, move || (opener.0.open(&opener.1), turn));
    let (file, turn) = within(limits.opening, "open", opening).await?;
    let file = file.map_err(|error| Error::io("failed to open", error))?;

    // Somebody wants to freeze: that waits for what writes, so no more is begun. Nor does a freeze begin meanwhile, even if nobody waits
    // for the trim any more.
    let writer = cx.agent.freeze.writer().map_err(|_| failed("trim", Errno::BUSY))?;
    turn.extend(limits.trimming);
    let trimming = cx.blocking_in_turn(Work::Trim, move || {
        let trimmed = disks.trim(&file, minimum);
        drop(writer);
        (trimmed, turn)
    });
    let (trimmed, _turn) = within(limits.trimming, "trim", trimming).await?;
    trimmed.map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOTTY | Errno::OPNOTSUPP) => {
            Error { source: Some(Box::new(error)), ..Error::generic("trim not supported") }
        }
        _ => Error::io("failed to trim", error),
    })
}

/// Waits for work under a limit; what has begun by then goes on.
async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let expired = async {
        Timer::after(limit).await;
        Err(failed(what, Errno::TIMEDOUT))
    };
    or(async { work.await.map_err(|error| Error::generic(format!("failed to {what}: {error}"))) }, expired)
        .await
}

fn failed(what: &str, error: Errno) -> Error {
    Error::io(format_args!("failed to {what}"), error.into())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Condvar, Mutex};

    use serde_json::json;

    use super::super::made_up::context;
    use super::super::mounts::Device;
    use super::*;

    /// Disks named by what becomes of them: `/open 2` fails to be opened, `/trim 25` to be trimmed; `/open hangs` and `/trim hangs` until
    /// all is freed, `/trim waits` until another is done.
    #[derive(Clone)]
    struct MadeUp(Arc<(Mutex<State>, Condvar)>, Duration);

    /// For cases in which nothing hangs.
    const PATIENT: Duration = Duration::from_secs(600);

    #[derive(Default)]
    struct State {
        freed: bool,
        done: usize,
        on_now: HashSet<String>,
    }

    impl MadeUp {
        fn new(limit: Duration) -> Self {
            Self(Arc::default(), limit)
        }

        fn free(&self) {
            self.0.0.lock().unwrap().freed = true;
            self.0.1.notify_all();
        }

        fn call(&self, name: &str, what: &str) -> io::Result<()> {
            let (state, changed) = &*self.0;
            match name.strip_prefix(what).map(str::trim) {
                Some("hangs") => {
                    drop(changed.wait_while(state.lock().unwrap(), |state| !state.freed).unwrap());
                }
                Some("waits") => {
                    drop(changed.wait_while(state.lock().unwrap(), |state| state.done == 0).unwrap());
                }
                Some(number) => return Err(io::Error::from_raw_os_error(number.parse().unwrap())),
                None => {}
            }
            Ok(())
        }
    }

    impl Disks for MadeUp {
        type File = String;

        fn limits(&self) -> Limits {
            Limits { opening: self.1, trimming: self.1 }
        }

        fn open(&self, mountpoint: &Path) -> io::Result<String> {
            let name = mountpoint.to_str().unwrap().to_owned();
            self.call(&name, "/open").map(|()| name)
        }

        fn trim(&self, name: &String, minimum: u64) -> io::Result<Trimmed> {
            assert!(self.0.0.lock().unwrap().on_now.insert(name.clone()), "{name}: twice at once");
            let result = self.call(name, "/trim");
            let mut state = self.0.0.lock().unwrap();
            state.on_now.remove(name);
            state.done += 1;
            self.0.1.notify_all();
            result.map(|()| Trimmed { length: 4096, minimum })
        }
    }

    fn trimmed(cx: &Context, disks: &MadeUp, names: &[&str]) -> Vec<(String, String)> {
        let mounts = names.iter().map(|&name| Mount {
            mountpoint: name.into(),
            fs_type: "ext4".into(),
            device: Device { major: 1, minor: name.bytes().map(u32::from).sum() },
            source: "/dev/x".into(),
        });
        let results = smol::block_on(trim_all(cx, disks.clone(), mounts.collect(), 512));
        results.into_iter().map(|result| (result.path, result.error.unwrap_or_default())).collect()
    }

    fn expect(told: &[(String, String)], wanted: &[(&str, &str)]) {
        assert_eq!(told.iter().map(|(path, error)| (&path[..], &error[..])).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn each_is_told_apart_in_the_order_of_the_list() {
        let names = ["/a", "/open 2", "/trim 1", "/trim 25", "/trim 95", "/b"];
        let told = trimmed(&context(), &MadeUp::new(PATIENT), &names);
        expect(
            &told,
            &[
                ("/a", ""),
                ("/open 2", "failed to open: No such file or directory"),
                ("/trim 1", "failed to trim: Operation not permitted"),
                ("/trim 25", "trim not supported"),
                ("/trim 95", "trim not supported"),
                ("/b", ""),
            ],
        );
    }

    #[test]
    fn a_result_has_only_what_is_so() {
        let result = PathResult::new(Path::new("/a"), Ok(Trimmed { length: 4096, minimum: u64::MAX }));
        assert_eq!(
            serde_json::to_value(result).unwrap(),
            json!({"path": "/a", "trimmed": 4096, "minimum": -1})
        );
        let result = PathResult::new(Path::new("/a"), Err(Error::generic("no")));
        assert_eq!(serde_json::to_value(result).unwrap(), json!({"path": "/a", "error": "no"}));
    }

    #[test]
    fn one_that_hangs_is_told_and_not_begun_again_before_it_ends() {
        let (cx, disks) = (context(), MadeUp::new(Duration::from_secs(1)));
        let names = ["/open hangs", "/a", "/trim hangs", "/b"];
        let late = "Connection timed out";
        expect(
            &trimmed(&cx, &disks, &names),
            &[
                (names[0], &format!("failed to open: {late}")),
                ("/a", ""),
                (names[2], &format!("failed to trim: {late}")),
                ("/b", ""),
            ],
        );
        let busy = "failed to trim: Device or resource busy";
        for _ in 0..20 {
            let told = trimmed(&cx, &disks, &names);
            expect(&told, &[(names[0], busy), ("/a", ""), (names[2], busy), ("/b", "")]);
        }
        disks.free();
        while trimmed(&cx, &disks, &names).iter().any(|(_, error)| !error.is_empty()) {}
    }

    #[test]
    fn one_that_takes_long_does_not_keep_the_others() {
        let told = trimmed(&context(), &MadeUp::new(PATIENT), &["/trim waits", "/a"]);
        expect(&told, &[("/trim waits", ""), ("/a", "")]);
    }

    #[test]
    fn nothing_is_begun_while_somebody_freezes() {
        let (cx, disks) = (context(), MadeUp::new(PATIENT));
        cx.agent.freeze.set_frozen(true);
        let busy = "failed to trim: Device or resource busy";
        expect(&trimmed(&cx, &disks, &["/a", "/b"]), &[("/a", busy), ("/b", busy)]);
        assert_eq!(disks.0.0.lock().unwrap().done, 0);
        cx.agent.freeze.set_frozen(false);
        expect(&trimmed(&cx, &disks, &["/a", "/b"]), &[("/a", ""), ("/b", "")]);
    }

    #[test]
    fn requests_trim_a_filesystem_one_after_another() {
        let (cx, disks) = (context(), MadeUp::new(PATIENT));
        let names = ["/a", "/b", "/c", "/d"];
        std::thread::scope(|scope| {
            let requests: Vec<_> = (0..8).map(|_| scope.spawn(|| trimmed(&cx, &disks, &names))).collect();
            for request in requests {
                expect(&request.join().unwrap(), &names.map(|name| (name, "")));
            }
        });
        assert_eq!(disks.0.0.lock().unwrap().done, 32);
    }
}
