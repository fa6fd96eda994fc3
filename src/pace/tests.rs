//! The gate as its users see it: sides apart, pauses for all, and a token request that never waits for itself.

use super::*;

fn pace(max_concurrency: usize) -> Pace {
    let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };
    Pace::new(max_concurrency, None, backoff, 3)
}

#[test]
fn each_side_has_a_breaker_of_its_own() {
    let (pace, start) = (pace(4), Instant::now());
    for _ in 0..3 {
        pace.report_because(Side::Emit, Health::Bad, "timed_out: no answer", start);
    }
    assert!(matches!(pace.allowance(Side::Emit, start), Allowance::NotBefore(_)));
    assert_eq!(pace.allowance(Side::Status, start), Allowance::Open, "the other side is not concerned");
    pace.report_because(Side::Token, Health::Bad, "no_token: none", start);
    assert!(matches!(pace.allowance(Side::Token, start), Allowance::NotBefore(_)), "the first opens it");
}

#[test]
fn retry_after_holds_back_every_side_and_the_longest_wins() {
    let (pace, start) = (pace(4), Instant::now());
    pace.report(Side::Emit, Health::Pause(Duration::from_secs(9)), start);
    pace.report(Side::Status, Health::Pause(Duration::from_secs(2)), start);
    let until = start + Duration::from_secs(9);
    for side in Side::ALL {
        assert_eq!(pace.allowance(side, start), Allowance::NotBefore(until));
        assert_eq!(pace.not_before(side, start), Some(until));
        assert_eq!(pace.allowance(side, until), Allowance::Open);
    }
}

#[test]
fn the_token_endpoint_asks_for_itself_alone() {
    let (pace, start) = (pace(4), Instant::now());
    pace.report_because(Side::Token, Health::Pause(Duration::from_secs(9)), "no_token: HTTP 429", start);
    assert_eq!(pace.allowance(Side::Emit, start), Allowance::Open);
    assert_eq!(pace.allowance(Side::Token, start), Allowance::NotBefore(start + Duration::from_secs(9)));
}

#[test]
fn what_is_held_back_is_told_when_it_changes_and_not_for_each_failure() {
    let (pace, start) = (pace(4), Instant::now());
    let mut held = pace.held();
    let changed = |held: &mut watch::Receiver<Held>| {
        let changed = held.has_changed().unwrap_or_default();
        held.mark_unchanged();
        changed
    };
    let fail = |now| pace.report_because(Side::Emit, Health::Bad, "unreachable: refused", now);
    let told = [false, false, true, false, false].map(|opens| {
        fail(start);
        changed(&mut held) == opens
    });
    assert_eq!(told, [true; 5]);
    let side = held.borrow().sides[0].clone();
    assert_eq!((&*side.side, side.failures, &*side.error), ("emit", 3, "unreachable: refused"));
    assert!(Timestamp::parse(&side.next_probe) > side.since.as_deref().and_then(Timestamp::parse));
    let later = start + Duration::from_secs(1);
    assert_eq!(pace.allowance(Side::Emit, later), Allowance::Probe);
    fail(later);
    assert!(changed(&mut held), "the next probe is later");
    pace.report(Side::Emit, Health::Good, later);
    assert!(changed(&mut held) && held.borrow().is_nothing());
    pace.report(Side::Emit, Health::Good, later);
    assert!(!changed(&mut held));
}

#[tokio::test]
async fn a_token_request_travels_on_the_slot_of_who_waits_for_it() {
    let pace = pace(1);
    let lent = Notify::new();
    assert!(pace.token_permit(&lent).await.is_some(), "a free slot is taken");
    let held = pace.next_permit().await;
    let mut asked = Box::pin(pace.token_permit(&lent));
    let soon = Duration::from_millis(20);
    assert!(tokio::time::timeout(soon, &mut asked).await.is_err(), "every slot is held");
    lent.notify_one();
    assert!(asked.await.is_none(), "it goes on the slot that was lent");
    drop(held);
}
