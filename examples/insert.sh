#!/bin/sh
# Bills one notice through tresorpayd's outbox and waits until it is paid, with the sqlite3 shell.
#
#     sh insert.sh DATABASE [REFERENCE]
#
# Run it twice with the same reference: it bills once.
set -eu
database=${1:?"usage: sh insert.sh DATABASE [REFERENCE]"}
reference=$(printf %s "${2:-VIGNETTE-2026-0002}" | sed "s/'/''/g")

# [bill]
# mode=rw: a wrong path is an error, not a new, empty database.
sqlite3 -bail "file:$database?mode=rw" >/dev/null <<SQL
.timeout 5000
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 0;
INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES
    ('$reference', 12000,
     '{"name":"Coulibaly","firstName":"Fatoumata","phoneNumber":"+223 76 12 34 56"}',
     '[{"name":"Vignette moto","quantity":2,"unitPrice":6000,"codeNatureRecette":"71531"}]')
    ON CONFLICT(reference) DO NOTHING;
SQL
# [/bill]

# [read]
notice() {
    sqlite3 -cmd '.timeout 5000' "file:$database?mode=rw" \
        "SELECT $1 FROM outbox WHERE reference = '$reference'"
}
# [/read]

status=
while :; do
    now=$(notice status)
    [ "$now" = "$status" ] || echo "$now"
    status=$now
    case $status in
        PAID) notice "'by ' || provider || ', ' || pay_date"; exit 0 ;;
        CANCELED | REJECTED | UNCERTAIN) notice last_error; exit 1 ;;
    esac
    sleep 0.5
done
