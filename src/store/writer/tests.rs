//! What a COMMIT that failed may have left, and which file is written: the writer alone, on a real database.
#![allow(clippy::unwrap_used, clippy::panic)]

use tokio::sync::oneshot;

use super::{
    write::{EmitTurn, Write},
    *,
};
use crate::{
    notice::{Source, Status, TresorPayReference},
    store::{
        Claim, DoubtPolicy, EmissionRecord, PollOutcome, PollRecord,
        mark::{Mark, Reading, Standing},
        open::{Binding, create_file, daemon_options, prepare},
    },
    tresorpay::{ErrorCode, Phase},
};

struct Bench {
    task: WriterTask,
    folder: tempfile::TempDir,
}

impl Bench {
    /// With `rows` PENDING rows.
    async fn new(rows: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        create_file(&path).unwrap();
        let options = daemon_options(&path);
        let guarded = Guard::open(&path).unwrap();
        let binding = Binding { environment: "custom".into(), api_origin: "http://localhost".into() };
        let mut conn = prepare(&options, &path, &binding).await.unwrap();
        let insert = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
             INSERT INTO outbox (reference, net_total, tax_payer, items)
             SELECT 'A-' || i, 100, json_object('name', 'T'), json_array(json_object('name', 'P', 'quantity', 1,
                    'unitPrice', 100, 'description', 'd', 'codeNatureRecette', '1')) FROM n";
        sqlx::query(insert).bind(i64::try_from(rows).unwrap()).execute(&mut conn).await.unwrap();
        let standing = Standing::read(&mut conn).await.unwrap();
        let mark = Mark::open(&folder.path().join("mark"), &standing).unwrap();
        let guard = Arc::new(guarded.with_mark(mark.clone()));
        let file = WriterFile { path, options, max_wal: 1 << 30 };
        Self { task: WriterTask::new(file, conn, mark, guard, Commits::default()), folder }
    }

    /// The database took the group, and the writer was told that it failed.
    async fn commit_unseen(&mut self, group: &mut [Write]) {
        self.task.try_once(group).await.unwrap();
        self.task.unseen = true;
        self.task.drop_connection().await;
    }

    async fn numbers(&mut self, sql: &'static str) -> Vec<i64> {
        let rows: Vec<(i64,)> =
            sqlx::query_as(sql).fetch_all(self.task.connection().await.unwrap()).await.unwrap();
        rows.into_iter().map(|row| row.0).collect()
    }

    async fn attempts(&mut self) -> Vec<i64> {
        self.numbers("SELECT id FROM attempt ORDER BY id").await
    }

    async fn emitting(&mut self) -> Vec<i64> {
        self.numbers("SELECT id FROM outbox WHERE status = 'EMITTING' ORDER BY id").await
    }
}

fn claim(limit: usize) -> Claim {
    Claim {
        limit,
        now: Timestamp::now(),
        promote: true,
        max_attempts: 20,
        max_uncertain: 50,
        default_code_client: Some("APP".into()),
        default_code_structure: Some("STR".into()),
        base_url: "http://localhost".into(),
        resend: None,
    }
}

fn turn(records: Vec<EmissionRecord>, limit: usize) -> Write {
    let turn = EmitTurn { records, claim: (limit > 0).then(|| claim(limit)), ..EmitTurn::default() };
    Write::EmitTurn { turn, reply: oneshot::channel().0 }
}

fn claimed(write: &Write) -> Vec<(i64, i64)> {
    let Write::EmitTurn { turn, .. } = write else { panic!("no turn") };
    turn.claimed.iter().map(|row| (row.outbox_id, row.attempt_id)).collect()
}

fn emitted(outbox_id: i64, attempt_id: i64) -> EmissionRecord {
    let now = Timestamp::now();
    EmissionRecord {
        outbox_id,
        attempt_id,
        to: Status::Emitted,
        reason: "ok".into(),
        counts: true,
        phase: Phase::Answered,
        http_status: Some(200),
        code: ErrorCode::Ok,
        detail: None,
        tresorpay_reference: Some(TresorPayReference::parse(&format!("TP{outbox_id}")).unwrap()),
        payment_url: Some("http://localhost".into()),
        duration: Duration::from_millis(1),
        at: now,
        next_attempt_at: Some(now),
        settle_at: None,
    }
}

#[tokio::test]
async fn a_claim_that_was_written_although_it_failed_is_taken_over_and_not_made_again() {
    let mut bench = Bench::new(9).await;
    let mut group = [turn(Vec::new(), 3)];
    bench.commit_unseen(&mut group).await;
    bench.task.persist(&mut group).await.unwrap();
    assert_eq!(claimed(&group[0]), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!((bench.emitting().await, bench.attempts().await), (vec![1, 2, 3], vec![1, 2, 3]));

    // What was handed over is not taken over once more.
    bench.task.answer(Vec::from(group)).await.unwrap();
    bench.task.unseen = true;
    let mut group = [turn(Vec::new(), 2)];
    bench.task.persist(&mut group).await.unwrap();
    assert_eq!(claimed(&group[0]), [(4, 4), (5, 5)]);
}

/// A connection that has just been opened has inserted nothing yet: what others have claimed before is not its claim.
#[tokio::test]
async fn a_claim_that_finds_nothing_claims_nothing_whatever_the_connection_did_before() {
    let mut bench = Bench::new(3).await;
    let mut group = vec![turn(Vec::new(), 3)];
    bench.task.persist(&mut group).await.unwrap();
    bench.task.answer(group).await.unwrap();
    for new_connection in [true, false] {
        if new_connection {
            bench.task.drop_connection().await;
        }
        let mut group = vec![turn(Vec::new(), 3)];
        bench.task.persist(&mut group).await.unwrap();
        assert_eq!(claimed(&group[0]), [], "on a new connection: {new_connection}");
    }
    // Nor with answers in the same commit, whose statements change rows.
    bench.task.drop_connection().await;
    let mut group = vec![turn(vec![emitted(1, 1), emitted(2, 2)], 3)];
    bench.task.persist(&mut group).await.unwrap();
    assert_eq!(claimed(&group[0]), []);
}

#[tokio::test]
async fn a_claim_that_failed_and_was_not_written_is_made() {
    let mut bench = Bench::new(5).await;
    bench.task.unseen = true;
    bench.task.drop_connection().await;
    let mut group = [turn(Vec::new(), 3)];
    bench.task.persist(&mut group).await.unwrap();
    assert_eq!(claimed(&group[0]), [(1, 1), (2, 2), (3, 3)]);
    assert!(!bench.task.unseen);
}

/// The rows of the unseen claim may be more than the next one asks for: no slot is used twice, no row is forgotten.
#[tokio::test]
async fn no_more_is_taken_over_than_there_are_slots_for() {
    let mut bench = Bench::new(9).await;
    bench.commit_unseen(&mut [turn(Vec::new(), 4)]).await;
    // Not every write can take them.
    bench.task.persist(&mut [turn(Vec::new(), 0)]).await.unwrap();
    for (limit, rows) in [(3, vec![(1, 1), (2, 2), (3, 3)]), (2, vec![(4, 4)]), (2, vec![(5, 5), (6, 6)])] {
        let mut group = vec![turn(Vec::new(), limit)];
        bench.task.persist(&mut group).await.unwrap();
        assert_eq!(claimed(&group[0]), rows);
        bench.task.answer(group).await.unwrap();
    }
    assert_eq!(bench.attempts().await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn answers_that_were_written_although_it_failed_are_recorded_once() {
    let mut bench = Bench::new(5).await;
    let mut group = vec![turn(Vec::new(), 2)];
    bench.task.persist(&mut group).await.unwrap();
    bench.task.answer(group).await.unwrap();

    let reference = TresorPayReference::parse("TP1").unwrap();
    let outcome = PollOutcome::Moved {
        to: Status::Paid,
        provider: None,
        pay_date: None,
        reason: "paid".into(),
        next: None,
        last_error: None,
    };
    let source = Source::Poll;
    let poll = PollRecord { outbox_id: 1, reference, outcome, at: Timestamp::now(), source };
    let mut group = [
        turn(vec![emitted(1, 1), emitted(2, 2)], 2),
        Write::Polls { records: vec![poll], reply: oneshot::channel().0 },
    ];
    bench.commit_unseen(&mut group).await;
    bench.task.persist(&mut group).await.unwrap();
    assert_eq!(claimed(&group[0]), [(3, 3), (4, 4)], "the claim of the same commit is taken over");
    assert_eq!(bench.numbers("SELECT attempts FROM outbox ORDER BY id").await, [1, 1, 0, 0, 0]);
    assert_eq!(bench.numbers("SELECT count(*) FROM transition WHERE to_status = 'EMITTED'").await, [2]);
    assert_eq!(bench.numbers("SELECT count(*) FROM transition WHERE to_status = 'PAID'").await, [1]);
    assert_eq!(bench.emitting().await, [3, 4]);
}

#[tokio::test]
async fn a_recovery_that_was_written_although_it_failed_still_says_how_many_rows_are_in_doubt() {
    let mut bench = Bench::new(5).await;
    bench.task.persist(&mut [turn(Vec::new(), 3)]).await.unwrap();
    let mut group = [Write::Recover {
        now: Timestamp::now(),
        policy: DoubtPolicy::Hold,
        moved: 0,
        reply: oneshot::channel().0,
    }];
    bench.commit_unseen(&mut group).await;
    bench.task.persist(&mut group).await.unwrap();
    let [Write::Recover { moved, .. }] = group else { panic!("no recovery") };
    assert_eq!(moved, 3);
    assert_eq!(bench.numbers("SELECT sum(attempts) FROM outbox").await, [3]);
}

/// An old copy put in the file's place while the daemon runs would be billed again.
#[tokio::test]
async fn another_file_in_the_place_of_the_database_ends_it() {
    let mut bench = Bench::new(5).await;
    let path = bench.folder.path().join("outbox.db");
    let copy = bench.folder.path().join("copy.db");
    bench.numbers("PRAGMA wal_checkpoint(TRUNCATE)").await;
    std::fs::copy(&path, &copy).unwrap();
    bench.task.persist(&mut [turn(Vec::new(), 3)]).await.unwrap();
    bench.task.drop_connection().await;
    std::fs::rename(&copy, &path).unwrap();
    let error = bench.task.persist(&mut [turn(Vec::new(), 3)]).await.unwrap_err();
    assert!(error.to_string().contains("replaced"), "{error}");
}

/// The same written into the file itself.
#[tokio::test]
async fn a_database_that_forgot_what_was_sent_ends_it() {
    let mut bench = Bench::new(5).await;
    let mut group = vec![turn(Vec::new(), 3)];
    bench.task.persist(&mut group).await.unwrap();
    bench.task.answer(group).await.unwrap();
    bench.task.mark.advance(4).unwrap();
    bench.task.unseen = true;
    let error = bench.task.persist(&mut [turn(Vec::new(), 1)]).await.unwrap_err();
    assert!(error.to_string().contains("does not know the attempt 4"), "{error}");
    let Reading::Says(mark) = Mark::read(&bench.folder.path().join("mark")).unwrap() else {
        panic!("no mark")
    };
    assert!(mark.doubt, "the next start refuses it too");
    assert_eq!(bench.emitting().await, [1, 2, 3]);
}
