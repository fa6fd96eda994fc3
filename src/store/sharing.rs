//! How the writer leaves room for the applications that write too.
//!
//! SQLite lets whoever waits for the lock try again after 1 to 25 ms, not at once: a writer that takes it back without a
//! pause would starve every application. While others write, the lock is free for longer than it is held; while the
//! writer seems to be alone, it pauses now and then for whoever may be waiting.

use std::time::{Duration, Instant};

/// While others write, the lock is free for this many times as long as it was held.
const FREE_SHARE: u32 = 2;
/// SQLite's waiters try again within this time, however long the commit itself had to wait for the lock.
const MAX_PAUSE: Duration = Duration::from_millis(50);
/// Others write as long as one of them has committed within this time.
const SHARED_FOR: Duration = Duration::from_secs(5);
/// Alone, the writer works so long without a pause, counting as work what is closer together than [`APART`].
const ALONE_WORK: Duration = Duration::from_millis(100);
const ALONE_PAUSE: Duration = Duration::from_millis(3);
/// Commits this far apart leave room by themselves.
const APART: Duration = Duration::from_millis(5);
/// So do commits that hold the lock for no more than this part of the time.
const BUSY_SHARE: f64 = 0.75;
/// How often the writer asks SQLite whether others have committed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long to leave the lock alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// Not at all.
    None,
    /// Others write: until it was free for longer than it was held.
    Shared(Duration),
    /// A break in work that goes on alone: time for what needs no lock, too.
    Break(Duration),
}

/// Who else writes, and since when the writer works without a pause.
pub(super) struct Sharing {
    data_version: Option<i64>,
    looked: Instant,
    others_wrote: Option<Instant>,
    busy_since: Instant,
    held_since: Duration,
    last_commit: Instant,
}

impl Sharing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            data_version: None,
            looked: now,
            others_wrote: None,
            busy_since: now,
            held_since: Duration::ZERO,
            last_commit: now,
        }
    }

    /// Whether it is time to ask for `PRAGMA data_version`.
    pub(super) fn wants_look(&self, now: Instant) -> bool {
        now.duration_since(self.looked) >= LOOK_EVERY
    }

    /// `PRAGMA data_version` of the writer's connection: it changes when another connection has committed.
    pub(super) fn looked(&mut self, now: Instant, data_version: i64) {
        self.looked = now;
        if self.data_version.replace(data_version).is_some_and(|before| before != data_version) {
            self.others_wrote = Some(now);
        }
    }

    /// How long to leave the lock alone after a commit that held it for `held`.
    pub(super) fn pause_after(&mut self, now: Instant, held: Duration) -> Pause {
        let since_last = now.duration_since(self.last_commit).saturating_sub(held);
        self.last_commit = now;
        self.held_since += held;
        if since_last >= APART {
            self.begin(now);
        }
        if self.others_wrote.is_some_and(|at| now.duration_since(at) < SHARED_FOR) {
            return Pause::Shared((held * FREE_SHARE).min(MAX_PAUSE));
        }
        let worked = now.duration_since(self.busy_since);
        if worked < ALONE_WORK {
            return Pause::None;
        }
        let busy = self.held_since > worked.mul_f64(BUSY_SHARE);
        self.begin(if busy { now + ALONE_PAUSE } else { now });
        if busy { Pause::Break(ALONE_PAUSE) } else { Pause::None }
    }

    fn begin(&mut self, at: Instant) {
        self.busy_since = at;
        self.held_since = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Duration = Duration::from_millis(1);

    /// Pauses of back-to-back commits over `time`, as a share of it.
    fn paused(sharing: &mut Sharing, start: Instant, time: Duration) -> f64 {
        let (mut now, mut paused) = (start, Duration::ZERO);
        while now < start + time {
            now += HELD;
            let pause = match sharing.pause_after(now, HELD) {
                Pause::None => Duration::ZERO,
                Pause::Shared(pause) | Pause::Break(pause) => pause,
            };
            now += pause;
            paused += pause;
        }
        paused.as_secs_f64() / time.as_secs_f64()
    }

    #[test]
    fn leaves_the_lock_free_for_longer_than_it_is_held_while_others_write() {
        let start = Instant::now();
        let mut sharing = Sharing::new(start);
        sharing.looked(start, 1);
        assert!(paused(&mut sharing, start, Duration::from_secs(1)) < 0.1, "alone it is hardly ever paused");
        sharing.looked(start + Duration::from_secs(1), 2);
        let shared = paused(&mut sharing, start + Duration::from_secs(1), Duration::from_secs(4));
        assert!((0.6..0.7).contains(&shared), "{shared}");
        let later = start + Duration::from_secs(60);
        assert!(paused(&mut sharing, later, Duration::from_secs(1)) < 0.1, "they have stopped");
    }

    #[test]
    fn commits_that_leave_room_by_themselves_are_not_paused() {
        for gap in [APART, HELD] {
            let mut now = Instant::now();
            let mut sharing = Sharing::new(now);
            for _ in 0..1000 {
                now += HELD + gap;
                assert_eq!(sharing.pause_after(now, HELD), Pause::None);
            }
        }
    }
}
