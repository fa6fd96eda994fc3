#!/bin/sh
# One notice in TresorPay's sandbox, from nothing. Put the secret alone into a file `secret` that only you can
# read, and what TresorPay gave to your application into the first two lines.
#
#     sh sandbox.sh
set -eu

# [sandbox]
export TRESORPAYD__AUTH__CLIENT_ID=my-application TRESORPAYD__AUTH__CLIENT_SECRET_FILE="$PWD/secret"
export TRESORPAYD__NOTICE__CODE_CLIENT=APP-001 TRESORPAYD__NOTICE__CODE_STRUCTURE=DGI-01
export TRESORPAYD__DATABASE__URL="sqlite://$PWD/sandbox.db"
tresorpayd migrate && tresorpayd check
tresorpayd run &
# [insert]
sqlite3 -cmd '.timeout 5000' 'file:sandbox.db?mode=rw' "
  INSERT INTO outbox (reference, net_total, tax_payer, items)
  VALUES ('ESSAI-0001', 100, json_object('name', 'Essai'), json_array(json_object(
    'name', 'Essai', 'quantity', 1, 'unitPrice', 100, 'codeNatureRecette', '71531')))
  ON CONFLICT(reference) DO NOTHING"
# [/insert]
sqlite3 'file:sandbox.db?mode=rw' "SELECT status, payment_url, last_error FROM outbox"
# [/sandbox]

# The row above is most often still PENDING. A little later it is not.
while sqlite3 'file:sandbox.db?mode=rw' "SELECT status FROM outbox WHERE reference = 'ESSAI-0001'" |
    grep -q -e PENDING -e EMITTING; do
    sleep 0.5
done
tresorpayd show ESSAI-0001
kill $!
wait $!
