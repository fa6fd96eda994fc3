//! The breaker of one side: counts failures in a row, opens, lets one probe out at a time, closes on success.

use std::time::Instant;

use super::{Allowance, Backoff};

/// What a side has met. It is told the time and asks nobody.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Failures in a row that open it.
    opens_after: u32,
    failures: u32,
    open: Option<Open>,
    probing: bool,
    /// This side alone was asked to wait.
    paused_until: Option<Instant>,
    /// What the last failure was: its code, then words.
    why: String,
}

/// An open breaker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) since: Instant,
    /// It is closed to all but a probe at this instant.
    pub(super) until: Instant,
    /// How often it has been opened in a row: the step of the back-off.
    step: u32,
}

/// What a failure changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that anybody has to know.
    None,
    /// It opened.
    Opened,
    /// It is open as before, for the same reason, and its next probe is later.
    Later,
    /// It is open as before, for another reason.
    OtherReason,
}

impl Breaker {
    pub(super) fn new(opens_after: u32) -> Self {
        Self {
            opens_after: opens_after.max(1),
            failures: 0,
            open: None,
            probing: false,
            paused_until: None,
            why: String::new(),
        }
    }

    pub(super) fn allowance(&mut self, now: Instant) -> Allowance {
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Allowance::NotBefore(until);
        }
        match self.open {
            None => Allowance::Open,
            Some(_) if self.probing => Allowance::ProbeUnderWay,
            Some(open) if now < open.until => Allowance::NotBefore(open.until),
            Some(_) => {
                self.probing = true;
                Allowance::Probe
            }
        }
    }

    /// While failures are counted, no more requests are to be under way than would open it: each may be a doubt.
    pub(super) fn most_at_once(&self) -> usize {
        if self.failures == 0 || self.open.is_some() {
            return usize::MAX;
        }
        usize::try_from(self.opens_after.saturating_sub(self.failures)).unwrap_or(usize::MAX).max(1)
    }

    pub(super) fn fail(&mut self, now: Instant, why: &str, backoff: Backoff) -> Change {
        self.failures = self.failures.saturating_add(1);
        let was_probe = std::mem::take(&mut self.probing);
        let other = code(&self.why) != code(why);
        why.clone_into(&mut self.why);
        match &mut self.open {
            Some(open) if was_probe => {
                open.step = open.step.saturating_add(1);
                open.until = now + backoff.delay(open.step);
                if other { Change::OtherReason } else { Change::Later }
            }
            // One that was under way when it opened says nothing new.
            Some(_) => Change::None,
            None if self.failures >= self.opens_after => {
                self.open = Some(Open { since: now, until: now + backoff.delay(1), step: 1 });
                Change::Opened
            }
            None => Change::None,
        }
    }

    /// It answers as it should; how long it was open.
    pub(super) fn succeed(&mut self, now: Instant) -> Option<std::time::Duration> {
        let open = self.open.take();
        self.failures = 0;
        self.probing = false;
        open.map(|open| now.saturating_duration_since(open.since))
    }

    /// This side alone waits; whether that is news.
    pub(super) fn pause(&mut self, until: Instant, why: &str) -> bool {
        self.probing = false;
        why.clone_into(&mut self.why);
        let longer = self.paused_until.is_none_or(|paused| paused < until);
        if longer {
            self.paused_until = Some(until);
        }
        longer
    }

    pub(super) fn end_probe(&mut self) {
        self.probing = false;
    }

    pub(super) fn open(&self) -> Option<Open> {
        self.open
    }

    /// When it is open: when it next lets one out. When it is asked to wait: until when.
    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| now < *until).max(self.open.map(|open| open.until))
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn why(&self) -> &str {
        &self.why
    }
}

/// `timed_out` of `timed_out: no answer within …`.
fn code(why: &str) -> &str {
    why.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };

    #[test]
    fn it_opens_probes_once_and_closes_on_success() {
        let (mut breaker, start) = (Breaker::new(3), Instant::now());
        for change in [Change::None, Change::None, Change::Opened] {
            assert_eq!(breaker.allowance(start), Allowance::Open);
            assert_eq!(breaker.fail(start, "timed_out: x", BACKOFF), change);
        }
        let open_until = |breaker: &mut Breaker, now| match breaker.allowance(now) {
            Allowance::NotBefore(at) => at - now,
            other => unreachable!("{other:?}"),
        };
        assert!(open_until(&mut breaker, start) <= Duration::from_secs(1));
        let later = start + Duration::from_secs(1);
        assert_eq!(breaker.allowance(later), Allowance::Probe);
        assert_eq!(breaker.allowance(later), Allowance::ProbeUnderWay);
        assert_eq!(breaker.fail(later, "timed_out: x", BACKOFF), Change::Later);
        assert!(open_until(&mut breaker, later) > Duration::from_secs(1), "the second step is longer");
        let last = later + Duration::from_secs(2);
        assert_eq!(breaker.allowance(last), Allowance::Probe);
        assert_eq!(breaker.fail(last, "server_error: x", BACKOFF), Change::OtherReason);
        assert_eq!(breaker.succeed(last), Some(Duration::from_secs(3)));
        assert_eq!(breaker.allowance(last), Allowance::Open);
        for _ in 0..3 {
            breaker.fail(last, "timed_out: x", BACKOFF);
        }
        assert!(open_until(&mut breaker, last) <= Duration::from_secs(1), "it starts at the bottom again");
    }

    #[test]
    fn what_was_under_way_when_it_opened_does_not_push_it_further() {
        let (mut breaker, start) = (Breaker::new(3), Instant::now());
        for _ in 0..100 {
            breaker.fail(start, "timed_out: x", BACKOFF);
        }
        let later = start + Duration::from_secs(1);
        assert_eq!(breaker.allowance(later), Allowance::Probe);
        breaker.fail(later, "timed_out: x", BACKOFF);
        assert_eq!(breaker.allowance(later + Duration::from_secs(2)), Allowance::Probe);
    }

    #[test]
    fn while_failures_are_counted_no_more_than_would_open_it_are_under_way() {
        let (mut breaker, start) = (Breaker::new(5), Instant::now());
        assert_eq!(breaker.most_at_once(), usize::MAX);
        for most in [4, 3, 2, 1] {
            breaker.fail(start, "timed_out: x", BACKOFF);
            assert_eq!(breaker.most_at_once(), most);
        }
        breaker.succeed(start);
        assert_eq!(breaker.most_at_once(), usize::MAX);
    }

    /// The contract's number, at the least jitter there is: however fast requests fail, and with the default settings.
    #[test]
    fn at_most_seven_probes_in_two_minutes() {
        for _ in 0..200 {
            let (mut breaker, start) = (Breaker::new(5), Instant::now());
            for _ in 0..8 {
                breaker.fail(start, "timed_out: x", BACKOFF);
            }
            let (mut now, mut probes) = (start, 0);
            while now < start + Duration::from_secs(120) {
                if let Allowance::NotBefore(at) = breaker.allowance(now) {
                    now = at;
                } else {
                    probes += 1;
                    breaker.fail(now, "timed_out: x", BACKOFF);
                }
            }
            assert!(probes <= 7, "{probes}");
        }
    }
}
