#!/bin/sh
# Bill, learn of payments, correct and cancel through tresorpayd's outbox, with the sqlite3 shell (3.33 or later).
#
#     sh outbox.sh DATABASE bill REFERENCE [CODE_STRUCTURE]     one notice, and wait until it is paid
#     sh outbox.sh DATABASE follow [REFERENCE]                  every payment, once; ends after REFERENCE
#     sh outbox.sh DATABASE correct REFERENCE CODE_STRUCTURE    a REJECTED row, and send it again
#     sh outbox.sh DATABASE cancel REFERENCE                    withdraw a notice
#
# Each may be run again after a crash at any point: nothing is billed, delivered or canceled twice.
set -eu
usage="usage: sh outbox.sh DATABASE bill|follow|correct|cancel [REFERENCE] [CODE_STRUCTURE]"
database=${1:?$usage}
verb=${2:?$usage}

# A text as SQL writes it: whatever comes from outside goes through here.
quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"; }
reference=$(quoted "${3:-}")
structure=NULL
[ -z "${4:-}" ] || structure=$(quoted "$4")

# [open]
# Runs the SQL on its standard input, all of it on one connection; the first error ends it.
outbox() {
    # mode=rw: a wrong path is an error, not a new, empty database. -init: nobody's ~/.sqliterc.
    sqlite3 -init /dev/null -batch -bail -noheader \
        -cmd '.timeout 5000' -cmd 'PRAGMA synchronous = FULL' -cmd '.output /dev/null' \
        -cmd 'PRAGMA wal_autocheckpoint = 0' -cmd '.output stdout' "file:$database?mode=rw"
}
# [/open]

bill() {
    # [bill]
    outbox <<SQL
INSERT INTO outbox (reference, net_total, tax_payer, items, code_structure) VALUES
    ($reference, 12000,
     '{"name":"Coulibaly","firstName":"Fatoumata","phoneNumber":"+223 76 12 34 56"}',
     '[{"name":"Vignette moto","quantity":2,"unitPrice":6000,"codeNatureRecette":"71531"}]', $structure)
    ON CONFLICT(reference) DO NOTHING;
SQL
    # [/bill]
}

# One notice's column.
notice() { echo "SELECT $1 FROM outbox WHERE reference = $reference;" | outbox; }

# Prints each status; ends well if the last one is PAID.
wait_until_final() {
    status=
    while :; do
        now=$(notice status)
        [ "$now" = "$status" ] || echo "$now"
        status=$now
        case $status in
            PAID) notice "'by ' || provider || ', ' || pay_date"; return 0 ;;
            CANCELED | REJECTED | UNCERTAIN) notice "coalesce(last_error, '')"; return 1 ;;
        esac
        sleep 0.5
    done
}

# Every payment once: the delivery and the place in the feed are one commit, in tables of our own. Each look is a
# connection of its own here, so there is no data_version to compare; a look without news costs a millisecond.
follow() {
    outbox <<SQL
CREATE TABLE IF NOT EXISTS shop_feed (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER);
CREATE TABLE IF NOT EXISTS shop_delivery (reference TEXT PRIMARY KEY, amount INTEGER);
INSERT INTO shop_feed VALUES (1, 0) ON CONFLICT(one) DO NOTHING;
SQL
    while :; do
        outbox <<SQL
BEGIN IMMEDIATE;
CREATE TEMP TABLE move AS
    SELECT t.id, t.from_status, t.to_status, o.reference, o.net_total, o.provider
    FROM transition AS t LEFT JOIN outbox AS o ON o.id = t.outbox_id
    WHERE t.id > (SELECT last FROM shop_feed) ORDER BY t.id LIMIT 1000;
INSERT INTO shop_delivery SELECT reference, net_total FROM move
    WHERE to_status = 'PAID' AND from_status <> 'PAID' ON CONFLICT DO NOTHING;
UPDATE shop_feed SET last = (SELECT max(id) FROM move) WHERE EXISTS (SELECT 1 FROM move);
COMMIT;
SELECT 'deliver ' || reference || ' ' || net_total || ' ' || coalesce(provider, '') FROM move
    WHERE to_status = 'PAID' AND from_status <> 'PAID' ORDER BY id;
SELECT 'undo the delivery of ' || reference FROM move
    WHERE from_status = 'PAID' AND to_status <> 'PAID' ORDER BY id;
SQL
        delivered=$(echo "SELECT count(*) FROM shop_delivery WHERE reference = $reference;" | outbox)
        [ "$delivered" -eq 0 ] || return 0
        sleep 0.5
    done
}

# A REJECTED row: its correction and the wish to send it again are one commit.
correct() {
    command=$(outbox <<SQL
BEGIN IMMEDIATE;
UPDATE outbox SET code_structure = $structure WHERE reference = $reference AND status = 'REJECTED';
CREATE TEMP TABLE corrected AS SELECT changes() AS count;
INSERT INTO command (reference, action, requested_by, reason)
    SELECT $reference, 'retry', 'shop', 'wrong code of the structure' FROM corrected WHERE count = 1;
COMMIT;
SELECT last_insert_rowid() FROM corrected WHERE count = 1;
SQL
    )
    [ -n "$command" ] || { echo "refused: the row is not REJECTED"; return 1; }
    outcome
}

cancel() {
    command=$(outbox <<SQL
INSERT INTO command (reference, action, requested_by, reason) VALUES ($reference, 'cancel', 'shop', 'entered twice');
SELECT last_insert_rowid();
SQL
    )
    outcome
}

# Waits until the daemon has carried the command out: `done`, or `refused` and why.
outcome() {
    while :; do
        result=$(echo "SELECT outcome || ' ' || coalesce(detail, '') FROM command WHERE id = $command;" | outbox)
        [ -z "$result" ] || break
        sleep 0.25
    done
    echo "$result"
    case $result in done*) return 0 ;; *) return 1 ;; esac
}

[ "$verb" = follow ] || : "${3:?$usage}"
case $verb in
    bill) bill && wait_until_final ;;
    follow) follow ;;
    correct) : "${4:?$usage}" && correct ;;
    cancel) cancel ;;
    *) echo "$usage" >&2; exit 2 ;;
esac
