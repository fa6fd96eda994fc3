#!/usr/bin/env python3
"""Relays between an outbox table in PostgreSQL, MariaDB or MySQL and tresorpayd's outbox, both ways.

    python3 from_database.py [--once] [--name NAME] postgresql DSN OUTBOX
    python3 from_database.py [--once] [--name NAME] mysql OPTION_FILE OUTBOX

DSN is as libpq has it, "host=db.example dbname=shop user=relay"; the password is in ~/.pgpass. OPTION_FILE is a my.cnf
with user, password, host and database below [client]. NAME tells several databases apart that feed one outbox.

It runs on tresorpayd's host, as a member of its group, as one process. It needs psycopg2 or PyMySQL (Debian:
python3-psycopg2, python3-pymysql). The tables over there are made by postgresql.sql or mysql.sql.

It may be killed at any point, and two of them may run: what it brings over is known by its reference, or by its
number, and is marked over there only after it is committed here; so it is brought again or not at all, and never
twice. Statuses are written back together with the place in the feed, in one commit.
"""

import argparse
import sqlite3
import sys
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

BATCH = 200  # rows in one commit
PAUSE = 1.0  # seconds between two looks
PAUSE_AFTER_TROUBLE = 10.0

# What the application writes; tresorpayd's columns have the same names.
WRITTEN = (
    "reference", "code_client", "code_structure", "net_total", "tax_payer", "items", "authorized_payment_modes",
    "callback", "redirect_url", "priority", "replaces", "not_before",
)
# What tresorpayd writes and the application wants to know.
KNOWN = ("status", "tresorpay_reference", "payment_url", "provider", "pay_date", "paid_at", "last_error", "updated_at")
CONFLICT = "relay: the outbox has this reference with other content; a notice that was sent is corrected by a new row"
FOREIGN = "relay: the outbox has this reference from another application; each needs references of its own"
LOST = "relay: a restored copy of the outbox lacks this; look at TresorPay for it before it is billed again"


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def open_outbox(path):
    db = sqlite3.connect(Path(path).absolute().as_uri() + "?mode=rw", uri=True, isolation_level=None)
    db.execute("PRAGMA busy_timeout = 10000")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 0")  # the daemon checkpoints
    # Whose notice it is, so that the row of another application is never taken for one of ours.
    db.execute("CREATE TABLE IF NOT EXISTS relay_notice (reference TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID")
    # A command has no key of its own that could tell a repetition, so its number over there is kept.
    db.execute("CREATE TABLE IF NOT EXISTS relay_command (name TEXT NOT NULL, remote_id INTEGER NOT NULL,"
               " command_id INTEGER NOT NULL, PRIMARY KEY (name, remote_id)) WITHOUT ROWID")
    return db


@contextmanager
def immediate(db):
    """A transaction here; it reads before it writes."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def query(remote, sql, values=()):
    cursor = remote.cursor()
    cursor.execute(sql, values)
    rows = cursor.fetchall() if cursor.description else []
    cursor.close()
    return rows


def carry_notices(remote, outbox, name):
    """Rows that wait over there come to be here, and are marked once they are."""
    rows = query(remote, f"SELECT id, {', '.join(WRITTEN)} FROM tresorpay_outbox WHERE relayed_at IS NULL"
                         " ORDER BY id LIMIT %s", (BATCH,))
    remote.rollback()  # nothing is held over there while this side writes
    troubles = {}
    with immediate(outbox):
        for remote_id, *content in rows:
            trouble = bring(outbox, name, dict(zip(WRITTEN, content)))
            if trouble:
                troubles[remote_id] = trouble
    # A crash here: the rows are brought again, and are found to be here already.
    for remote_id, *content in rows:
        # Only if it is still what was brought: a correction that came meanwhile is brought next time.
        same = " AND ".join(f"{column} = %s" if value is not None else f"{column} IS NULL"
                            for column, value in zip(WRITTEN, content))
        values = [value for value in content if value is not None]
        if remote_id in troubles:
            query(remote, "UPDATE tresorpay_outbox SET relayed_at = %s, status = CASE WHEN status IS NULL THEN"
                          f" 'REJECTED' ELSE status END, last_error = %s WHERE id = %s AND {same}",
                  (now(), troubles[remote_id], remote_id, *values))
        else:
            query(remote, f"UPDATE tresorpay_outbox SET relayed_at = %s WHERE id = %s AND {same}",
                  (now(), remote_id, *values))
    remote.commit()
    return len(rows)


def bring(outbox, name, row):
    """One row; what is wrong with it, or None. A reference that is here already is the same notice, or a correction."""
    values = tuple(row.values())
    try:
        added = outbox.execute(
            f"INSERT INTO outbox ({', '.join(WRITTEN)}) VALUES ({', '.join('?' * len(WRITTEN))})"
            " ON CONFLICT(reference) DO NOTHING", values).rowcount
        if added == 1:
            outbox.execute("INSERT INTO relay_notice VALUES (?, ?)", (row["reference"], name))
            return None
        *here, status = outbox.execute(
            f"SELECT {', '.join(WRITTEN)}, status FROM outbox WHERE reference = ?", (row["reference"],)).fetchone()
        ours = outbox.execute("SELECT name FROM relay_notice WHERE reference = ?", (row["reference"],)).fetchone()
        if ours != (name,):
            return FOREIGN
        if tuple(here) == values:
            return None
        if status not in ("PENDING", "REJECTED"):
            return CONFLICT
        outbox.execute(f"UPDATE outbox SET {', '.join(column + ' = ?' for column in WRITTEN)} WHERE reference = ?",
                       (*values, row["reference"]))
        if status == "REJECTED":
            outbox.execute("INSERT INTO command (reference, action, requested_by) VALUES (?, 'retry', 'relay')",
                           (row["reference"],))
        return None
    except (sqlite3.IntegrityError, sqlite3.InterfaceError, OverflowError) as refusal:
        # The rule that the row breaks, named by the outbox itself. Anything else ends the look, and is tried again.
        return str(refusal)


def carry_commands(remote, outbox, name):
    rows = query(remote, "SELECT id, reference, action, argument, requested_by, reason FROM tresorpay_command"
                         " WHERE relayed_at IS NULL ORDER BY id LIMIT %s", (BATCH,))
    remote.rollback()
    refusals = {}
    with immediate(outbox):
        for remote_id, *wish in rows:
            if command_id(outbox, name, remote_id):
                continue  # brought before a crash
            try:
                command = outbox.execute("INSERT INTO command (reference, action, argument, requested_by, reason)"
                                         " VALUES (?, ?, ?, ?, ?)", wish).lastrowid
                outbox.execute("INSERT INTO relay_command VALUES (?, ?, ?)", (name, remote_id, command))
            except sqlite3.IntegrityError as refusal:
                refusals[remote_id] = str(refusal)
    for remote_id, *_ in rows:
        refusal = refusals.get(remote_id)
        query(remote, "UPDATE tresorpay_command SET relayed_at = %s, outcome = %s, detail = %s WHERE id = %s",
              (now(), "refused" if refusal else None, refusal, remote_id))
    remote.commit()
    return len(rows)


def command_id(outbox, name, remote_id):
    """The number here of a command over there, or None."""
    return outbox.execute("SELECT command_id FROM relay_command WHERE name = ? AND remote_id = ?",
                          (name, remote_id)).fetchone()


def write_back_outcomes(remote, outbox, name):
    """What open commands came to."""
    waiting = query(remote, "SELECT id FROM tresorpay_command WHERE outcome IS NULL AND relayed_at IS NOT NULL"
                            " ORDER BY id")
    for (remote_id,) in waiting:
        command = command_id(outbox, name, remote_id)
        answer = ("refused", LOST)
        if command:
            answer = outbox.execute("SELECT outcome, detail FROM command WHERE id = ?", command).fetchone()
        if answer[0]:
            query(remote, "UPDATE tresorpay_command SET outcome = %s, detail = %s WHERE id = %s", (*answer, remote_id))
    remote.commit()


def write_back_statuses(remote, outbox, name):
    """What the feed tells is written there with the place in the feed. Each row as it is now: a step may be skipped."""
    # The lock makes a second relay wait for this one.
    timeline, last = query(remote, "SELECT timeline, last_transition FROM tresorpay_feed FOR UPDATE")[0]
    current = outbox.execute("SELECT value FROM meta WHERE key = 'timeline'").fetchone()[0]
    if timeline != current:
        last = 0  # another file, or a restored copy: its numbers tell other things
        if timeline:
            tell_lost(remote, outbox)
    rows = outbox.execute(
        f"SELECT t.id, ours.reference, {', '.join('o.' + column for column in KNOWN)} FROM transition AS t"
        " LEFT JOIN outbox AS o ON o.id = t.outbox_id"
        " LEFT JOIN relay_notice AS ours ON ours.reference = o.reference AND ours.name = ?"
        " WHERE t.id > ? ORDER BY t.id LIMIT ? + 0", (name, last, BATCH)).fetchall()
    latest = {reference: known for _, reference, *known in rows if reference is not None}
    assignments = ", ".join(column + " = %s" for column in KNOWN)
    for reference, known in sorted(latest.items()):
        query(remote, f"UPDATE tresorpay_outbox SET {assignments} WHERE reference = %s", (*known, reference))
    last = rows[-1][0] if rows else last
    query(remote, "UPDATE tresorpay_feed SET timeline = %s, last_transition = %s", (current, last))
    remote.commit()
    return len(rows)


def tell_lost(remote, outbox):
    """Rows that were here before the restore and are not any more. They may be billed, so nobody brings them again."""
    for (reference,) in query(remote, "SELECT reference FROM tresorpay_outbox WHERE relayed_at IS NOT NULL"):
        if outbox.execute("SELECT 1 FROM outbox WHERE reference = ?", (reference,)).fetchone() is None:
            query(remote, "UPDATE tresorpay_outbox SET last_error = %s WHERE reference = %s AND"
                          " (last_error IS NULL OR status <> 'REJECTED')", (LOST, reference))


def look(remote, outbox, name):
    """One look both ways; whether there may be more at once."""
    # Notices before commands: a row and its cancel may come together.
    busy = [
        carry_notices(remote, outbox, name),
        carry_commands(remote, outbox, name),
        write_back_statuses(remote, outbox, name),
    ]
    write_back_outcomes(remote, outbox, name)
    return BATCH in busy


def connect(kind, where):
    if kind == "postgresql":
        import psycopg2

        return psycopg2.connect(where)
    import pymysql

    return pymysql.connect(read_default_file=where, charset="utf8mb4", connect_timeout=10)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="carry what is there, and end")
    parser.add_argument("--name", default="relay", help="tells several databases apart that feed one outbox")
    parser.add_argument("kind", choices=["postgresql", "mysql"])
    parser.add_argument("where", help="DSN, or option file")
    parser.add_argument("outbox", help="tresorpayd's database file")
    options = parser.parse_args()
    while True:
        try:
            remote, outbox = connect(options.kind, options.where), open_outbox(options.outbox)
            while True:
                if look(remote, outbox, options.name):
                    continue
                if options.once:
                    return
                time.sleep(PAUSE)
        except Exception as trouble:  # any driver's, a busy outbox: tried again, and nothing was half done
            if options.once:
                raise
            print(f"relay: {type(trouble).__name__}: {trouble}", file=sys.stderr, flush=True)
            time.sleep(PAUSE_AFTER_TROUBLE)


if __name__ == "__main__":
    main()
