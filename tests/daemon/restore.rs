//! Old copies put back while no daemon runs: each is known for what it is, nothing leaves before `accept-restore`, and
//! what is no restore is no alarm.

use std::{fs, path::PathBuf, time::Duration};

use tresorpayd::simulator::{Config, ErrorBody, Fault, Operation, Rule};

use crate::{
    audit::audit,
    harness::{DEADLINE, World, case, each, holds_for, until},
    rows::{Application, NewRow, bulk},
};

/// As systemd is told not to restart it.
pub(crate) const EXIT_LASTING: i32 = 78;

/// `<database><suffix>`.
pub(crate) fn beside(world: &World, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", world.database().display()))
}

/// How a copy comes into its place.
#[derive(Clone, Copy)]
pub(crate) enum How {
    /// `cp`: the same inode, other bytes.
    Over,
    /// `mv`: another inode.
    Rename,
}

/// Puts `bytes` in the place of the database file.
pub(crate) fn put(world: &World, bytes: &[u8], how: How) {
    match how {
        How::Over => fs::write(world.database(), bytes).unwrap(),
        How::Rename => {
            let copy = world.dir.path().join("copy.db");
            fs::write(&copy, bytes).unwrap();
            fs::rename(copy, world.database()).unwrap();
        }
    }
}

/// `INSERT`s while nobody else has the database open, and leaves no `-wal`.
pub(crate) async fn inserted(world: &World, rows: &[NewRow]) -> Vec<u8> {
    let mut app = world.application().await;
    app.insert(rows).await;
    app.close().await;
    assert!(!beside(world, "-wal").exists(), "somebody else has it open");
    fs::read(world.database()).unwrap()
}

/// Starts a daemon that must refuse; what it said.
pub(crate) async fn refused(world: &World) -> String {
    let mut daemon = world.spawn();
    let ended = daemon.ended(DEADLINE).await;
    assert_eq!(ended, Ok(EXIT_LASTING), "{}", daemon.log());
    daemon.log()
}

/// Refused twice, then accepted: what was open in the copy is `UNCERTAIN`, stays so, and others go on.
async fn accepted_only(world: &World, emissions: u64, doubts: usize) {
    for _ in 0..2 {
        let log = refused(world).await;
        assert!(log.contains("went back in time") && log.contains("accept-restore"), "{log}");
    }
    let (code, said) = world.run(&["accept-restore"]).await;
    assert_eq!(code, 1, "nobody was asked: {said}");
    assert!(said.contains("--yes"), "{said}");
    refused(world).await;
    assert_eq!(world.emissions(), emissions, "nothing left before it was accepted");
    let (code, said) = world.run(&["accept-restore", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    assert_eq!((app.count("UNCERTAIN").await, app.waiting().await), (doubts, 0));
    app.insert(&[NewRow::new("NEXT")]).await;
    until("others go on", async || app.status("NEXT").await == "EMITTED").await;
    holds_for(Duration::from_millis(1200), "nothing else leaves", async || {
        world.emissions() == emissions + 1
    })
    .await;
    daemon.stop().await;
    let (code, said) = world.run(&["accept-restore", "--yes"]).await;
    assert!(code == 0 && said.contains("nothing to accept"), "{said}");
    assert_eq!(app.count("EMITTED").await, 1, "a second time changes nothing");
    audit(world, &mut app).await;
}

async fn old_copy(killed: bool, how: How) {
    let mut world = World::new().await;
    world.set("emit.max_uncertain", "1000");
    world.start().await.stop().await;
    let old = inserted(&world, &bulk(10)).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    until("all are emitted", async || app.count("EMITTED").await == 10).await;
    app.close().await;
    if killed {
        daemon.kill().await;
    } else {
        daemon.stop().await;
    }
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(beside(&world, suffix));
    }
    put(&world, &old, how);
    accepted_only(&world, 10, 10).await;
}

#[tokio::test]
async fn an_old_copy_sends_nothing_until_it_is_accepted() {
    each([
        case("stopped, cp", old_copy(false, How::Over)),
        case("stopped, mv", old_copy(false, How::Rename)),
        case("killed, cp", old_copy(true, How::Over)),
    ])
    .await;
}

/// Emits `A-1…` and then `B-1…`, with a checkpoint between them, and dies: the `-wal` knows only what came last.
async fn killed_with_a_wal(world: &mut World) -> Vec<u8> {
    // Polls would write the older rows into the log again.
    world.set("emit.max_uncertain", "1000").set("poll.first_delay", "1h").set("poll.max_delay", "1h");
    world.start().await.stop().await;
    let old = inserted(world, &bulk(120)).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    until("the first are emitted", async || app.count("EMITTED").await == 120).await;
    until("the log begins anew", async || app.number("PRAGMA wal_checkpoint(TRUNCATE)").await == 0).await;
    let more: Vec<_> = (1..=8).map(|number| NewRow::new(format!("B-{number}"))).collect();
    app.insert(&more).await;
    until("all are emitted", async || app.count("EMITTED").await == 128).await;
    app.close().await;
    daemon.kill().await;
    assert!(fs::metadata(beside(world, "-wal")).unwrap().len() > 0);
    old
}

/// SQLite plays the log of the newer file back onto the older one, without a word.
async fn an_old_file_beside_a_newer_wal(how: How) {
    let mut world = World::new().await;
    let old = killed_with_a_wal(&mut world).await;
    put(&world, &old, how);
    let wal = fs::read(beside(&world, "-wal")).unwrap();
    for _ in 0..2 {
        let log = refused(&world).await;
        assert!(log.contains("-wal") && log.contains("accept-restore"), "{log}");
    }
    for command in [&["accept-restore", "--yes"][..], &["migrate"]] {
        let (code, said) = world.run(command).await;
        assert_eq!(code, EXIT_LASTING, "{command:?}: {said}");
    }
    let (code, said) = world.run(&["check"]).await;
    assert!(code == 1 && said.contains("FAIL"), "{said}");
    assert_eq!(fs::read(world.database()).unwrap(), old, "untouched");
    assert_eq!(fs::read(beside(&world, "-wal")).unwrap(), wal, "untouched");
    assert_eq!(world.emissions(), 128);
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(beside(&world, suffix)).unwrap();
    }
    refused(&world).await;
    assert_eq!(world.run(&["accept-restore", "--yes"]).await.0, 0);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    assert_eq!((app.count("UNCERTAIN").await, app.waiting().await), (120, 0));
    daemon.stop().await;
    assert_eq!(world.emissions(), 128);
    assert!(world.sim.ledger().billed_twice().is_empty());
}

/// An application opens the mixture before the daemon does: when it closes, SQLite makes one file of the two.
async fn a_mixture_that_an_application_has_sealed() {
    let mut world = World::new().await;
    let old = killed_with_a_wal(&mut world).await;
    put(&world, &old, How::Over);
    let mut app = world.application().await;
    app.run("SELECT count(*) FROM meta").await.unwrap();
    app.close().await;
    assert!(!beside(&world, "-wal").exists(), "the application was the last to close");
    refused(&world).await;
    assert_eq!(world.emissions(), 128);
}

#[tokio::test]
async fn an_old_file_beside_a_newer_wal_is_refused_untouched() {
    each([
        case("cp", an_old_file_beside_a_newer_wal(How::Over)),
        case("mv", an_old_file_beside_a_newer_wal(How::Rename)),
        case("sealed by an application", a_mixture_that_an_application_has_sealed()),
    ])
    .await;
}

/// Attempts made after the restore have the numbers of those that are lost: a copy from before it is known all the same.
#[tokio::test]
async fn a_copy_from_before_an_accepted_restore_is_refused_though_it_has_more_attempts() {
    let mut world = World::new().await;
    world.set("emit.max_uncertain", "1000");
    world.start().await.stop().await;
    let old = inserted(&world, &bulk(2)).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    let more: Vec<_> = (1..=4).map(|number| NewRow::new(format!("B-{number}"))).collect();
    app.insert(&more).await;
    until("all are emitted", async || app.count("EMITTED").await == 6).await;
    app.close().await;
    daemon.stop().await;
    let newer = fs::read(world.database()).unwrap();
    put(&world, &old, How::Rename);
    assert_eq!(world.run(&["accept-restore", "--yes"]).await.0, 0);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("C-1")]).await;
    until("it is emitted", async || app.status("C-1").await == "EMITTED").await;
    app.close().await;
    daemon.stop().await;
    put(&world, &newer, How::Rename);
    assert!(refused(&world).await.contains("accepted restore"));
    assert_eq!(world.emissions(), 7);
}

/// Killed between its commit and the mark, `accept-restore` is only run again.
#[tokio::test]
async fn accepting_twice_is_accepting_once() {
    let mut world = World::new().await;
    world.set("emit.max_uncertain", "1000");
    world.start().await.stop().await;
    let old = inserted(&world, &bulk(3)).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    until("all are emitted", async || app.count("EMITTED").await == 3).await;
    app.close().await;
    daemon.stop().await;
    put(&world, &old, How::Over);
    let mark = fs::read(beside(&world, ".mark")).unwrap();
    assert_eq!(world.run(&["accept-restore", "--yes"]).await.0, 0);
    fs::write(beside(&world, ".mark"), mark).unwrap();
    accepted_only(&world, 3, 3).await;
}

/// The machine was put back, and the mark with it: only a person can know.
#[tokio::test]
async fn a_machine_that_was_put_back_is_declared() {
    let mut world = World::new().await;
    world.set("emit.max_uncertain", "1000");
    world.sim.add_fault(Rule::once(Operation::Emit, Fault::Lost { processed: true }));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("LOST")]).await;
    until("TresorPay has it", async || world.sim.notice("LOST").is_some()).await;
    daemon.kill().await;
    app.insert(&bulk(3)).await;
    // The last to close folds the log into the file.
    app.close().await;
    let (old, mark) = (fs::read(world.database()).unwrap(), fs::read(beside(&world, ".mark")).unwrap());
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    until("all are emitted", async || app.count("EMITTED").await == 3).await;
    app.close().await;
    daemon.stop().await;
    put(&world, &old, How::Rename);
    fs::write(beside(&world, ".mark"), mark).unwrap();
    let (code, said) = world.run(&["accept-restore", "--yes"]).await;
    assert!(code == 0 && said.contains("--declare"), "{said}");
    let (code, said) = world.run(&["accept-restore", "--declare", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    assert_eq!(app.count("UNCERTAIN").await, 4);
    let row = app.row("LOST").await;
    assert_eq!((row.attempts, row.last_error.unwrap().starts_with("restored: ")), (1, true));
    assert_eq!(app.attempts_of("LOST").await[0].outcome.as_deref(), Some("interrupted"));
    let last = app.transitions().await.pop().unwrap();
    assert_eq!((&*last.to_status, &*last.source), ("UNCERTAIN", "recovery"));
    holds_for(Duration::from_millis(1200), "nothing leaves", async || world.emissions() == 4).await;
    daemon.stop().await;
    audit(&world, &mut app).await;
}

/// A new database in place of a lost one: the operator decides, since nobody else can know.
#[tokio::test]
async fn a_lost_database_is_begun_anew_by_an_operator_only() {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(2)).await;
    until("both are emitted", async || app.count("EMITTED").await == 2).await;
    app.close().await;
    daemon.stop().await;
    fs::remove_file(world.database()).unwrap();
    refused(&world).await;
    let (code, said) = world.run(&["accept-restore"]).await;
    assert!(code == 1 && said.contains("no database any more"), "{said}");
    assert!(!world.database().exists());
    assert_eq!(world.run(&["accept-restore", "--yes"]).await.0, 0);
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("NEXT")]).await;
    until("it is emitted", async || app.status("NEXT").await == "EMITTED").await;
    daemon.stop().await;
}

/// Emits some rows; then `change`; then a daemon must start and emit one more.
async fn no_alarm(killed: bool, change: impl AsyncFnOnce(&World)) {
    let world = World::new().await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&bulk(60)).await;
    until("all are emitted", async || app.count("EMITTED").await == 60).await;
    app.close().await;
    if killed {
        daemon.kill().await;
        assert!(fs::exists(beside(&world, "-wal")).unwrap());
    } else {
        daemon.stop().await;
    }
    change(&world).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("NEXT")]).await;
    until("it goes on", async || app.status("NEXT").await == "EMITTED").await;
    daemon.stop().await;
    let (code, said) = world.run(&["check"]).await;
    assert_eq!(code, 0, "{said}");
    audit(&world, &mut app).await;
}

/// To another folder and back, the mark with it, as between disks: another inode, another time.
async fn moved(world: &World) {
    let folder = world.dir.path().join("elsewhere");
    fs::create_dir(&folder).unwrap();
    for suffix in ["", "-wal", "-shm", ".mark"].into_iter().filter(|suffix| beside(world, suffix).exists()) {
        let (here, elsewhere) = (beside(world, suffix), folder.join(format!("renamed.db{suffix}")));
        fs::copy(&here, &elsewhere).unwrap();
        fs::remove_file(&here).unwrap();
        fs::rename(&elsewhere, &here).unwrap();
    }
}

/// A backup of this very moment, put back.
async fn newest_backup(world: &World) {
    let copy = world.dir.path().join("backup.db");
    let mut app = world.application().await;
    app.run(&format!("VACUUM INTO '{}'", copy.display())).await.unwrap();
    app.close().await;
    fs::rename(copy, world.database()).unwrap();
}

async fn vacuumed(world: &World) {
    let mut app = world.application().await;
    app.run("VACUUM").await.unwrap();
    app.close().await;
}

async fn inserted_meanwhile(world: &World) {
    inserted(world, &[NewRow::new("MEANWHILE")]).await;
}

#[tokio::test]
async fn what_is_no_restore_is_no_alarm() {
    each([
        case("killed", no_alarm(true, async |_: &World| {})),
        case("killed, moved", no_alarm(true, moved)),
        case("stopped, moved", no_alarm(false, moved)),
        case("killed, vacuumed", no_alarm(true, vacuumed)),
        case("stopped, vacuumed", no_alarm(false, vacuumed)),
        case("the newest backup", no_alarm(false, newest_backup)),
        case("rows inserted meanwhile", no_alarm(false, inserted_meanwhile)),
    ])
    .await;
}

/// What was sent in the time that is lost, and with which codes, nobody knows: no cancel proves anything, whatever the row
/// had been through when the copy was made. Only a person's word ends such a doubt.
async fn no_policy_settles_it(policy: &'static str) {
    let other_codes = vec![("APP-DEMO".to_owned(), "OTHER".to_owned())];
    let mut world = World::with(Config { other_codes, ..Config::default() }).await;
    world.set("api.request_timeout", "1s").set("api.breaker_failures", "100");
    let (code, processed, body) = (400, false, ErrorBody::default());
    let refusal = Fault::Status { code, processed, retry_after: None, body, message: None, title: None };
    world.sim.add_fault(Rule::always(Operation::Emit, Fault::Lost { processed: true }).reference("DOUBT"));
    world.sim.add_fault(Rule::once(Operation::Emit, refusal).reference("HARMLESS"));
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    app.insert(&[NewRow::new("DOUBT"), NewRow::new("HARMLESS")]).await;
    until("one is in doubt", async || app.status("DOUBT").await == "UNCERTAIN").await;
    until("one is refused", async || app.status("HARMLESS").await == "REJECTED").await;
    app.close().await;
    daemon.stop().await;
    let old = inserted(&world, &[NewRow::new("NEVER")]).await;
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    until("it is emitted", async || app.status("NEVER").await == "EMITTED").await;
    assert_eq!(app.command("HARMLESS", "retry").await.0, "done");
    until("it is emitted", async || app.status("HARMLESS").await == "EMITTED").await;
    app.close().await;
    daemon.stop().await;
    let emissions = world.emissions();
    put(&world, &old, How::Over);
    assert_eq!(world.run(&["accept-restore", "--yes"]).await.0, 0);

    world.set("emit.on_uncertain", policy).set("emit.settle_after", "500ms");
    // Other codes than those that were sent and are lost.
    world.set("notice.code_structure", "OTHER");
    let held = async |app: &mut Application| {
        for reference in ["DOUBT", "HARMLESS", "NEVER"] {
            let row = app.row(reference).await;
            assert_eq!((&*row.status, &row.next_attempt_at), ("UNCERTAIN", &None), "{row:?}");
            assert!(row.last_error.as_deref().unwrap().starts_with("restored: "), "{row:?}");
        }
    };
    for _ in 0..2 {
        let mut daemon = world.start().await;
        let mut app = world.application().await;
        holds_for(Duration::from_secs(2), "nothing leaves", async || {
            world.cancels() == 0 && world.emissions() == emissions
        })
        .await;
        held(&mut app).await;
        app.close().await;
        daemon.stop().await;
    }
    let mut daemon = world.start().await;
    let mut app = world.application().await;
    // A cancel that is asked for leaves; that TresorPay knows nothing under these codes proves nothing.
    let (outcome, detail) = app.command("NEVER", "cancel").await;
    assert!(outcome == "refused" && detail.contains("restored"), "{outcome}: {detail}");
    assert_eq!((world.cancels(), app.status("NEVER").await.as_str()), (1, "UNCERTAIN"));
    app.insert(&[NewRow::new("NEXT")]).await;
    until("others go on", async || app.status("NEXT").await == "EMITTED").await;
    holds_for(Duration::from_secs(1), "it is held all the same", async || {
        world.cancels() == 1 && world.emissions() == emissions + 1
    })
    .await;
    daemon.stop().await;
    assert!(world.sim.ledger().billed_twice().is_empty());
}

#[tokio::test]
async fn no_policy_settles_what_a_restore_put_in_doubt() {
    each(["cancel", "resend"].map(|policy| case(policy, no_policy_settles_it(policy)))).await;
}
