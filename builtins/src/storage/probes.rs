//! Questions to devices that may be dead: put side by side, answered within a bound, and never twice to the same device at once.
//!
//! `statfs` on a filesystem whose device is gone does not return, and nothing can call it back. So a survey runs on a thread for such
//! work. When it is stuck at a question, another thread takes up at the next one; what is unanswered at the end is reported as not
//! known. The stuck thread stays, but only one: the device's question stays open, and later surveys do not put it again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use smol::Timer;
use smol::channel::{self, Sender};
use smol::future::{or, poll_once};

use super::disks::Smart;
use super::fsinfo::Usage;
use super::mounts::Device;
use crate::context::{Context, Work};
use crate::error::Result;

/// How long a survey waits for all its answers once it has its list; vdsm gives the whole command 1 s.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a survey stands still before another thread takes up at the next question.
const STALL: Duration = Duration::from_millis(20);

/// How long a question is open before later surveys take it for one that is never answered, and do not wait for it.
const OVERDUE: Duration = Duration::from_millis(250);

/// The questions that are open now, whoever put them.
#[derive(Debug, Default)]
pub struct Probes {
    /// How full a filesystem is.
    pub(super) usage: Questions<Usage>,
    /// How well a disk is.
    pub(super) smart: Questions<Smart>,
}

/// Open questions of one kind: at most one for a device, with all who wait for its answer.
#[derive(Debug)]
pub(super) struct Questions<A>(Mutex<HashMap<Device, Open<A>>>);

/// One question that a thread is asking.
#[derive(Debug)]
struct Open<A> {
    since: Instant,
    waiting: Vec<Waiting<A>>,
}

/// Who waits for an answer, and under which number.
#[derive(Debug)]
struct Waiting<A>(Sender<(usize, Option<A>)>, usize);

/// What to do about a question.
enum Turn {
    /// Ask, and hand the answer to [`Questions::close`].
    Ask,
    /// Another survey's thread is asking, and will send the answer here too.
    Wait,
    /// It was asked long ago.
    GiveUp,
}

impl<A> Default for Questions<A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<A: Clone> Questions<A> {
    fn open(&self, device: Device, waiting: Waiting<A>) -> Turn {
        match self.lock().entry(device) {
            Entry::Vacant(entry) => {
                entry.insert(Open { since: Instant::now(), waiting: vec![waiting] });
                Turn::Ask
            }
            Entry::Occupied(entry) if entry.get().since.elapsed() > OVERDUE => Turn::GiveUp,
            Entry::Occupied(mut entry) => {
                entry.get_mut().waiting.push(waiting);
                Turn::Wait
            }
        }
    }

    fn close(&self, device: Device, answer: Option<A>) {
        let waiting = self.lock().remove(&device).map(|open| open.waiting).unwrap_or_default();
        for Waiting(to, number) in waiting {
            // Who has given up meanwhile is not there to be told.
            let _ = to.try_send((number, answer.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Device, Open<A>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Things to be listed, and one question about each of them that may hang.
pub(super) trait Survey: Send + Sync + 'static {
    /// What is listed.
    type Item: Clone + Send + Sync;
    /// What is asked of each.
    type Answer: Clone + Send + 'static;

    /// Where open questions of this kind are kept.
    fn questions(probes: &Probes) -> &Questions<Self::Answer>;

    /// Makes the list; reads nothing that can hang.
    fn items(&self) -> Result<Vec<Self::Item>>;

    /// The device that hangs when asking hangs; `None` for a thing about which there is nothing to ask.
    fn device(item: &Self::Item) -> Option<Device>;

    /// Asks.
    fn ask(&self, item: &Self::Item) -> Option<Self::Answer>;
}

/// Makes the list and asks about each; an answer that does not come in time is `None`.
///
/// In the ordinary case that is one trip to a thread and back.
pub(super) async fn conduct<S: Survey>(
    cx: &Context,
    survey: S,
) -> Result<(Vec<S::Item>, Vec<Option<S::Answer>>)> {
    let (to, from) = channel::unbounded();
    let pass = Arc::new(Pass { survey, items: OnceLock::new(), next: AtomicUsize::new(0), to });
    let worker = || {
        let (pass, agent) = (pass.clone(), cx.agent.clone());
        Box::pin(cx.try_blocking(Work::Mounts, move || pass.work(S::questions(&agent.probes))))
    };

    let mut first = worker();
    let done = or(async { Some(first.as_mut().await) }, async {
        pass.stalled().await;
        None
    });
    match done.await {
        Some(Ok(listed)) => listed?,
        // So much hangs already that nothing more can be asked; the list is made all the same.
        Some(Err(_)) => {
            let items = cx.blocking(Work::Inspect, move || pass.survey.items()).await??;
            let unknown = items.iter().map(|_| None).collect();
            return Ok((items, unknown));
        }
        None => {}
    }

    let deadline = Instant::now() + PATIENCE;
    let total = pass.items.get().map(Vec::len).unwrap_or_default();
    let mut told: Vec<_> = std::iter::repeat_with(|| None).take(total).collect();
    let (mut missing, mut others) = (total, Vec::new());
    while missing > 0 && Instant::now() < deadline {
        let answer = match from.try_recv() {
            Ok(answer) => Some(answer),
            Err(_) => or(async { from.recv().await.ok() }, pause()).await,
        };
        match answer {
            Some((number, answer)) => {
                told[number] = answer;
                missing -= 1;
            }
            None if pass.next.load(Ordering::Relaxed) < total => {
                let mut other = worker();
                // Polled once it is on its way; kept, because what no thread has taken up yet is called off when dropped.
                if poll_once(other.as_mut()).await.is_none() {
                    others.push(other);
                }
            }
            None => {}
        }
    }
    drop((first, others));
    // A thread that is stuck holds on to the pass.
    let items = match Arc::try_unwrap(pass) {
        Ok(pass) => pass.items.into_inner(),
        Err(held) => held.items.get().cloned(),
    };
    Ok((items.unwrap_or_default(), told))
}

/// Waits as long as a survey may stand still.
async fn pause<T>() -> Option<T> {
    Timer::after(STALL).await;
    None
}

/// One survey under way, shared by the threads that work on it.
struct Pass<S: Survey> {
    survey: S,
    items: OnceLock<Vec<S::Item>>,
    /// The first item that no thread has taken.
    next: AtomicUsize,
    to: Sender<(usize, Option<S::Answer>)>,
}

impl<S: Survey> Pass<S> {
    /// Makes the list, unless it is there, and asks until no item is left. Each item sends exactly one message, at some time.
    fn work(&self, questions: &Questions<S::Answer>) -> Result<()> {
        let items = match self.items.get() {
            Some(items) => items,
            None => {
                let items = self.survey.items()?;
                self.items.get_or_init(|| items)
            }
        };
        while let Some((number, item)) = self.take(items) {
            let Some(device) = S::device(item) else {
                self.tell(number, None);
                continue;
            };
            match questions.open(device, Waiting(self.to.clone(), number)) {
                Turn::Ask => questions.close(device, self.survey.ask(item)),
                Turn::Wait => {}
                Turn::GiveUp => self.tell(number, None),
            }
        }
        Ok(())
    }

    fn take<'a>(&self, items: &'a [S::Item]) -> Option<(usize, &'a S::Item)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        items.get(number).map(|item| (number, item))
    }

    fn tell(&self, number: usize, answer: Option<S::Answer>) {
        // Who has given up meanwhile is not there to be told.
        let _ = self.to.try_send((number, answer));
    }

    /// Waits until the list is there and the thread that made it seems to be stuck.
    async fn stalled(&self) {
        loop {
            Timer::after(STALL).await;
            if self.items.get().is_some() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;

    use super::super::made_up::context;
    use super::*;

    /// A door that some items hang at until it is opened.
    #[derive(Default)]
    struct Door {
        is_open: Mutex<bool>,
        opened: Condvar,
        asked: Mutex<Vec<u32>>,
    }

    impl Door {
        fn open(&self) {
            *self.is_open.lock().unwrap() = true;
            self.opened.notify_all();
        }

        fn asked(&self, item: u32) -> usize {
            self.asked.lock().unwrap().iter().filter(|&&other| other == item).count()
        }
    }

    /// Numbers; an odd one cannot be asked, those from `hangs` on hang at the door.
    #[derive(Clone)]
    struct Numbers {
        items: Vec<u32>,
        hangs: u32,
        door: Arc<Door>,
    }

    impl Survey for Numbers {
        type Item = u32;
        type Answer = Usage;

        fn questions(probes: &Probes) -> &Questions<Usage> {
            &probes.usage
        }

        fn items(&self) -> Result<Vec<u32>> {
            Ok(self.items.clone())
        }

        fn device(item: &u32) -> Option<Device> {
            item.is_multiple_of(2).then_some(Device { major: 1, minor: *item })
        }

        fn ask(&self, item: &u32) -> Option<Usage> {
            self.door.asked.lock().unwrap().push(*item);
            if *item >= self.hangs {
                let is_open = self.door.is_open.lock().unwrap();
                drop(self.door.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
            }
            Some(Usage::default())
        }
    }

    fn answered(cx: &Context, survey: &Numbers) -> Vec<u32> {
        let (items, told) = smol::block_on(conduct(cx, survey.clone())).unwrap();
        assert_eq!((items.len(), &items), (told.len(), &survey.items));
        items.into_iter().zip(told).filter_map(|(item, told)| told.map(|_| item)).collect()
    }

    #[test]
    fn everything_is_listed_and_what_can_be_asked_is() {
        let survey = Numbers { items: vec![0, 1, 2, 4, 5], hangs: 100, door: Arc::default() };
        assert_eq!(answered(&context(), &survey), [0, 2, 4]);
    }

    #[test]
    fn what_hangs_is_not_told_and_is_asked_once() {
        let (cx, door) = (context(), Arc::<Door>::default());
        let survey = Numbers { items: vec![8, 0, 10, 2], hangs: 8, door: door.clone() };
        for _ in 0..3 {
            assert_eq!(answered(&cx, &survey), [0, 2]);
        }
        assert_eq!((door.asked(8), door.asked(10), door.asked(0)), (1, 1, 3));
        assert_eq!(cx.agent.probes.usage.lock().len(), 2);
        door.open();
        while !cx.agent.probes.usage.lock().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(answered(&cx, &survey), [8, 0, 10, 2]);
    }

    #[test]
    fn surveys_at_the_same_time_share_an_answer() {
        let (cx, door) = (context(), Arc::<Door>::default());
        let survey = Numbers { items: vec![8], hangs: 8, door: door.clone() };
        std::thread::scope(|scope| {
            let first = scope.spawn(|| answered(&cx, &survey));
            let second = scope.spawn(|| answered(&cx, &survey));
            while cx.agent.probes.usage.lock().values().map(|open| open.waiting.len()).sum::<usize>() < 2 {
                std::thread::yield_now();
            }
            door.open();
            assert_eq!((first.join().unwrap(), second.join().unwrap()), (vec![8], vec![8]));
        });
        assert_eq!(door.asked(8), 1);
    }

    #[test]
    fn the_list_is_made_even_when_every_thread_hangs() {
        let (cx, door) = (context(), Arc::<Door>::default());
        let stuck = Numbers { items: (10..70).step_by(2).collect(), hangs: 10, door: door.clone() };
        assert_eq!(answered(&cx, &stuck), [0; 0]);
        let sound = Numbers { items: vec![0, 2], hangs: 10, door: door.clone() };
        assert_eq!(answered(&cx, &sound), [0; 0]);
        door.open();
    }
}
