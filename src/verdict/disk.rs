//! Room on the disk of the database, told before a commit is refused; and a write-ahead log that takes it.

use super::{Facts, Reason, State, words::size};
use crate::{
    lang::Lang,
    store::{Room, WAL_TOLD_SHARE},
};

/// What to say of it; `None`: there is room.
pub(super) fn room(room: Room, lang: Lang) -> Option<Reason> {
    let words = words(room, lang);
    match room.trouble() {
        Some(code) => Some(Reason::new(State::Critical, format!("{code}{}{words}", lang.pick(": ", " : ")))),
        None => (room.free < Room::LITTLE).then(|| Reason::new(State::Warning, words)),
    }
}

/// How it stands where there is little room or none.
pub fn words(room: Room, lang: Lang) -> String {
    if room.read_only {
        let told = lang.pick(
            "the file system of the database is read-only: nothing can be recorded, and nothing is sent",
            "le système de fichiers de la base est en lecture seule : rien n'est enregistré, et rien n'est envoyé",
        );
        return told.to_owned();
    }
    let free = size(lang, room.free);
    match (room.trouble().is_some(), lang) {
        (true, Lang::En) => format!("{free} left on the disk of the database: commits may fail; make room"),
        (true, Lang::Fr) => format!(
            "il reste {free} sur le disque de la base : un enregistrement peut échouer ; libérez de la place"
        ),
        (false, Lang::En) => format!("{free} left on the disk of the database: make room before it is full"),
        (false, Lang::Fr) => {
            format!("il reste {free} sur le disque de la base : libérez de la place avant qu'il soit plein")
        }
    }
}

/// A reader keeps it from being written back.
pub(super) fn wal(facts: &Facts<'_>) -> Option<Reason> {
    let lang = facts.lang;
    let (found, limit) = (size(lang, facts.wal_bytes), size(lang, facts.max_wal));
    let reader =
        lang.pick("some process keeps a read transaction open", "un programme garde une lecture ouverte");
    if facts.wal_bytes > facts.max_wal {
        Some(Reason::new(
            State::Critical,
            match lang {
                Lang::En => {
                    format!("the WAL has {found}, above database.max_wal ({limit}); {reader}: end it")
                }
                Lang::Fr => format!(
                    "le journal WAL atteint {found}, au-delà de database.max_wal ({limit}) ; {reader} : arrêtez-le"
                ),
            },
        ))
    } else if facts.wal_bytes > facts.max_wal / WAL_TOLD_SHARE {
        Some(Reason::new(
            State::Warning,
            match lang {
                Lang::En => {
                    format!(
                        "the WAL has {found}; {reader}, and above {limit} (database.max_wal) emission stops"
                    )
                }
                Lang::Fr => format!(
                    "le journal WAL atteint {found} ; {reader}, et au-delà de {limit} (database.max_wal) l'émission s'arrête"
                ),
            },
        ))
    } else {
        None
    }
}
