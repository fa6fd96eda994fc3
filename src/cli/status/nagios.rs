//! The one line of `status --exit-code`, as Nagios and its kin read it: a state, why, and after a bar the numbers that they
//! draw.

use crate::{
    cli::output::printable,
    clock::Timestamp,
    lang::Lang,
    notice::Status,
    store::{Room, inspect::Summary},
    verdict::{Reason, State, words::counted},
};

/// Reasons that are told; Nagios cuts a line that is too long.
const MAX_REASONS: usize = 5;
/// Seconds for which a row may be due: as the reasons say.
const LATE: u64 = 600;

/// What the numbers are taken of.
pub(super) struct Numbers<'a> {
    pub(super) summary: &'a Summary,
    /// `emit.max_uncertain`
    pub(super) max_uncertain: u32,
    pub(super) database_bytes: u64,
    pub(super) wal_bytes: u64,
    /// `database.max_wal`, in bytes.
    pub(super) max_wal: u64,
    /// On the disk of the database; `None`: it is not known.
    pub(super) room: Option<Room>,
    pub(super) now: Timestamp,
}

/// `TRESORPAYD WARNING - 1 row is UNCERTAIN: … | pending=0 …`; without numbers where the database cannot be read.
pub(super) fn line(state: State, reasons: &[Reason], numbers: Option<&Numbers<'_>>, lang: Lang) -> String {
    // The bar begins the numbers.
    let mut told: Vec<String> =
        reasons.iter().take(MAX_REASONS).map(|reason| printable(&reason.text).replace('|', "/")).collect();
    let more = i64::try_from(reasons.len().saturating_sub(MAX_REASONS)).unwrap_or(i64::MAX);
    if more > 0 {
        let many = counted(
            lang,
            more,
            lang.pick("other reason", "autre motif"),
            lang.pick("other reasons", "autres motifs"),
        );
        told.push(match lang {
            Lang::En => format!("and {many}: tresorpayd status"),
            Lang::Fr => format!("et {many} : tresorpayd status"),
        });
    }
    if told.is_empty() {
        told.push(lang.pick("nothing needs attention", "rien à signaler").to_owned());
    }
    let numbers = numbers.map_or_else(String::new, |numbers| format!(" | {}", performance(numbers)));
    format!("TRESORPAYD {} - {}{numbers}", state.word(), told.join(lang.pick("; ", " ; ")))
}

/// `label=value[unit];warning;critical;minimum;maximum`, as far as there is something to say.
fn performance(numbers: &Numbers<'_>) -> String {
    let rows = |wanted| {
        let count = numbers.summary.statuses.iter().find(|count| count.status == wanted);
        count.map_or(0, |count| count.rows)
    };
    let waiting = numbers.summary.oldest_waiting.as_ref();
    let oldest = waiting
        .and_then(|waiting| Timestamp::parse(&waiting.since))
        .map_or(0, |since| numbers.now.since(since).as_secs());
    let free = numbers.room.map(|room| format!("free={}B;{}:;{}:;0", room.free, Room::LITTLE, Room::NEEDED));
    let told = [
        format!("pending={}", rows(Status::Pending)),
        format!("emitting={}", rows(Status::Emitting)),
        format!("uncertain={};0;{};0", rows(Status::Uncertain), numbers.max_uncertain.saturating_sub(1)),
        format!("emitted={}", rows(Status::Emitted)),
        format!("rejected_last_day={};0", numbers.summary.rejected_since),
        format!("oldest_due={oldest}s;{LATE}"),
        format!("open_commands={}", numbers.summary.open_commands),
        format!("database={}B", numbers.database_bytes),
        format!("wal={}B;{};{};0", numbers.wal_bytes, numbers.max_wal / 2, numbers.max_wal),
    ];
    told.into_iter().chain(free).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_one_bar_whatever_the_reasons_say() {
        let reason = |text: &str| Reason::new(State::Warning, text);
        assert_eq!(line(State::Ok, &[], None, Lang::Fr), "TRESORPAYD OK - rien à signaler");
        let reasons = ["a | b\nc", "2", "3", "4", "5", "6", "7"].map(reason);
        assert_eq!(
            line(State::Warning, &reasons, None, Lang::En),
            "TRESORPAYD WARNING - a / b c; 2; 3; 4; 5; and 2 other reasons: tresorpayd status"
        );
        let told = line(State::Warning, &reasons[..6], None, Lang::Fr);
        assert!(told.ends_with(" ; et 1 autre motif : tresorpayd status"), "{told}");
    }
}
