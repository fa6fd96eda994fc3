#!/usr/bin/env python3
"""Bills one notice through tresorpayd's outbox and follows it until it is paid. Python 3, nothing to install.

    python3 insert.py DATABASE [REFERENCE]

Run it twice with the same reference: it bills once.
"""

import json
import sqlite3
import sys
import time
from pathlib import Path


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
def bill(db, reference, net_total, tax_payer, items):
    db.execute("BEGIN IMMEDIATE")  # because it reads before it writes
    try:
        known = db.execute("SELECT net_total FROM outbox WHERE reference = ?", (reference,)).fetchone()
        if known and known[0] != net_total:
            raise ValueError(f"{reference} is billed already, at {known[0]} XOF")
        db.execute(
            "INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES (?, ?, ?, ?)"
            " ON CONFLICT(reference) DO NOTHING",
            (reference, net_total, json.dumps(tax_payer), json.dumps(items)),
        )
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise
# [/bill]


# [follow]
def follow(db, last):
    """Everything that happens after the transition `last`. Store the last id that you have dealt with."""
    seen = None
    while True:
        version = db.execute("PRAGMA data_version").fetchone()  # changes when somebody else has committed
        if version != seen:
            seen = version
            for move in db.execute(
                "SELECT t.id, o.reference, t.to_status, t.reason FROM transition AS t"
                " JOIN outbox AS o ON o.id = t.outbox_id WHERE t.id > ? ORDER BY t.id", (last,)
            ).fetchall():
                last = move[0]
                yield move
        time.sleep(0.25)
# [/follow]


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    db = open_outbox(sys.argv[1])
    reference = sys.argv[2] if len(sys.argv) == 3 else "VIGNETTE-2026-0001"
    bill(
        db,
        reference,
        12000,
        {"name": "Coulibaly", "firstName": "Fatoumata", "phoneNumber": "+223 76 12 34 56"},
        [{"name": "Vignette moto", "quantity": 2, "unitPrice": 6000, "codeNatureRecette": "71531"}],
    )
    # From this notice's own beginning, also when it was billed by an earlier run.
    first = db.execute(
        "SELECT min(t.id) FROM transition AS t JOIN outbox AS o ON o.id = t.outbox_id WHERE o.reference = ?",
        (reference,),
    ).fetchone()[0]
    for _, whose, status, reason in follow(db, first - 1):
        if whose != reference:
            continue
        print(status, reason or "", flush=True)
        if status == "EMITTED":
            row = db.execute("SELECT payment_url FROM outbox WHERE reference = ?", (reference,)).fetchone()
            print("pay at", row[0], flush=True)
        if status in ("PAID", "CANCELED", "REJECTED", "UNCERTAIN"):
            sys.exit(0 if status == "PAID" else 1)


main()
