#!/usr/bin/env python3
"""Bill, learn of payments, correct and cancel through tresorpayd's outbox. Python 3.7 or later, nothing to install.

    python3 outbox.py DATABASE bill REFERENCE [CODE_STRUCTURE]     one notice, and wait until it is paid
    python3 outbox.py DATABASE follow [REFERENCE]                  every payment, once; ends after REFERENCE
    python3 outbox.py DATABASE correct REFERENCE CODE_STRUCTURE    a REJECTED row, and send it again
    python3 outbox.py DATABASE cancel REFERENCE                    withdraw a notice

Each may be run again after a crash at any point: nothing is billed, delivered or canceled twice.
"""

import json
import sqlite3
import sys
import time
from pathlib import Path

PAUSE = 0.25  # seconds between two looks


# [open]
def open_outbox(path):
    # mode=rw: a wrong path is an error, not a new, empty database.
    db = sqlite3.connect(Path(path).absolute().as_uri() + "?mode=rw", uri=True, isolation_level=None)
    db.execute("PRAGMA busy_timeout = 5000")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA wal_autocheckpoint = 0")  # the daemon checkpoints
    return db
# [/open]


# [bill]
def bill(db, reference, net_total, tax_payer, items, code_structure=None):
    db.execute("BEGIN IMMEDIATE")  # because it reads before it writes
    try:
        known = db.execute("SELECT net_total FROM outbox WHERE reference = ?", (reference,)).fetchone()
        if known and known[0] != net_total:
            raise ValueError(f"{reference} is billed already, at {known[0]} XOF")
        db.execute(
            "INSERT INTO outbox (reference, net_total, tax_payer, items, code_structure)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT(reference) DO NOTHING",
            (reference, net_total, json.dumps(tax_payer), json.dumps(items), code_structure),
        )
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise
# [/bill]


# [follow]
def changes(db):
    """Yields at once, and then whenever another connection has committed."""
    seen = None
    while True:
        version = db.execute("PRAGMA data_version").fetchone()
        if version != seen:
            seen = version
            yield
        time.sleep(PAUSE)


def follow(db):
    """Every payment once: the delivery and the place in the feed are one commit, in tables of our own."""
    db.execute("CREATE TABLE IF NOT EXISTS shop_feed (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER)")
    db.execute("CREATE TABLE IF NOT EXISTS shop_delivery (reference TEXT PRIMARY KEY, amount INTEGER)")
    db.execute("INSERT INTO shop_feed VALUES (1, 0) ON CONFLICT(one) DO NOTHING")
    news, moves = changes(db), []
    while True:
        if not moves:
            next(news)
        db.execute("BEGIN IMMEDIATE")
        moves = db.execute(
            "SELECT t.id, t.from_status, t.to_status, o.reference, o.net_total, o.provider"
            " FROM transition AS t LEFT JOIN outbox AS o ON o.id = t.outbox_id"
            " WHERE t.id > (SELECT last FROM shop_feed) ORDER BY t.id LIMIT 1000"
        ).fetchall()
        for last, before, now, reference, amount, provider in moves:
            if now == "PAID" and before != "PAID":
                db.execute("INSERT INTO shop_delivery VALUES (?, ?) ON CONFLICT DO NOTHING", (reference, amount))
            db.execute("UPDATE shop_feed SET last = ?", (last,))
        db.execute("COMMIT")
        yield moves
# [/follow]


# [correct]
def correct(db, reference, code_structure):
    """A REJECTED row: its correction and the wish to send it again are one commit. None: it is not REJECTED."""
    db.execute("BEGIN IMMEDIATE")
    try:
        done = db.execute(
            "UPDATE outbox SET code_structure = ? WHERE reference = ? AND status = 'REJECTED'",
            (code_structure, reference),
        ).rowcount
        command = ask(db, reference, "retry", "wrong code of the structure") if done else None
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise
    return command
# [/correct]


# [cancel]
def ask(db, reference, action, reason):
    """Asks the daemon for something; the id finds the outcome."""
    return db.execute(
        "INSERT INTO command (reference, action, requested_by, reason) VALUES (?, ?, 'shop', ?)",
        (reference, action, reason),
    ).lastrowid


def outcome(db, command):
    """Waits until the daemon has carried it out: `done`, or `refused` and why."""
    for _ in changes(db):
        result = db.execute("SELECT outcome, detail FROM command WHERE id = ?", (command,)).fetchone()
        if result[0] is not None:
            return result
# [/cancel]


def wait_until_final(db, reference):
    """Prints each status; whether the last one is PAID."""
    before = None
    for _ in changes(db):
        status, url, error = db.execute(
            "SELECT status, payment_url, last_error FROM outbox WHERE reference = ?", (reference,)
        ).fetchone()
        if status != before:
            print(status, error or url or "", flush=True)
            before = status
        if status in ("PAID", "CANCELED", "REJECTED", "UNCERTAIN"):
            return status == "PAID"


def main(path, verb, reference=None, code_structure=None):
    db = open_outbox(path)
    if verb == "bill" and reference:
        bill(
            db,
            reference,
            12000,
            {"name": "Coulibaly", "firstName": "Fatoumata", "phoneNumber": "+223 76 12 34 56"},
            [{"name": "Vignette moto", "quantity": 2, "unitPrice": 6000, "codeNatureRecette": "71531"}],
            code_structure,
        )
        return wait_until_final(db, reference)
    if verb == "follow":
        delivered = "SELECT 1 FROM shop_delivery WHERE reference = ?"
        for moves in follow(db):
            for _, before, now, whose, amount, provider in moves:
                if now == "PAID" and before != "PAID":
                    print("deliver", whose, amount, provider, flush=True)
                elif before == "PAID" and now != "PAID":
                    print("undo the delivery of", whose, flush=True)  # TresorPay changed its mind
            if reference and db.execute(delivered, (reference,)).fetchone():
                return True
    if verb == "correct" and reference and code_structure:
        command = correct(db, reference, code_structure)
    elif verb == "cancel" and reference:
        command = ask(db, reference, "cancel", "entered twice")
    else:
        sys.exit(__doc__)
    if command is None:
        print(reference, "is not REJECTED")
        return False
    result, detail = outcome(db, command)
    print(result, detail or "")
    return result == "done"


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    sys.exit(0 if main(*sys.argv[1:]) else 1)
