<?php
// Bill, learn of payments, correct and cancel through tresorpayd's outbox. PHP 7.4 or later with pdo_sqlite.
//
//     php outbox.php DATABASE bill REFERENCE [CODE_STRUCTURE]     one notice, and wait until it is paid
//     php outbox.php DATABASE follow [REFERENCE]                  every payment, once; ends after REFERENCE
//     php outbox.php DATABASE correct REFERENCE CODE_STRUCTURE    a REJECTED row, and send it again
//     php outbox.php DATABASE cancel REFERENCE                    withdraw a notice
//
// Each may be run again after a crash at any point: nothing is billed, delivered or canceled twice.

declare(strict_types=1);

// [open]
function open_outbox(string $path): PDO
{
    $db = new PDO("sqlite:$path", null, null, [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        // Without CREATE: a wrong path is an error, not a new, empty database.
        PDO::SQLITE_ATTR_OPEN_FLAGS => PDO::SQLITE_OPEN_READWRITE,
    ]);
    $db->exec('PRAGMA busy_timeout = 5000');
    $db->exec('PRAGMA synchronous = FULL');
    $db->exec('PRAGMA wal_autocheckpoint = 0'); // the daemon checkpoints
    return $db;
}
// [/open]

/** Runs one statement; whole numbers are bound as such, since the outbox refuses an amount that is text. */
function sql(PDO $db, string $text, array $values = []): PDOStatement
{
    $statement = $db->prepare($text);
    foreach (array_values($values) as $at => $value) {
        $type = is_int($value) ? PDO::PARAM_INT : ($value === null ? PDO::PARAM_NULL : PDO::PARAM_STR);
        $statement->bindValue($at + 1, $value, $type);
    }
    $statement->execute();
    return $statement;
}

/** BEGIN IMMEDIATE, because what it does reads before it writes. PDO's own beginTransaction() is not immediate. */
function transaction(PDO $db, callable $work)
{
    $db->exec('BEGIN IMMEDIATE');
    try {
        $result = $work();
        $db->exec('COMMIT');
        return $result;
    } catch (Throwable $error) {
        $db->exec('ROLLBACK');
        throw $error;
    }
}

function bill(PDO $db, string $reference, int $net_total, array $tax_payer, array $items, ?string $code_structure): void
{
    transaction($db, function () use ($db, $reference, $net_total, $tax_payer, $items, $code_structure): void {
        $known = sql($db, 'SELECT net_total FROM outbox WHERE reference = ?', [$reference])->fetchColumn();
        if ($known !== false && (int) $known !== $net_total) {
            throw new RuntimeException("$reference is billed already, at $known XOF");
        }
        // [insert]
        $insert = $db->prepare(
            'INSERT INTO outbox (reference, net_total, tax_payer, items, code_structure) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT(reference) DO NOTHING'
        );
        $insert->bindValue(1, $reference);
        $insert->bindValue(2, $net_total, PDO::PARAM_INT);
        $insert->bindValue(3, json_encode($tax_payer, JSON_THROW_ON_ERROR));
        $insert->bindValue(4, json_encode($items, JSON_THROW_ON_ERROR));
        $insert->bindValue(5, $code_structure);
        $insert->execute();
        // [/insert]
    });
}

/** Returns at once the first time, and then once another connection has committed. */
function wait_for_change(PDO $db, ?int &$seen): void
{
    while (true) {
        $version = (int) $db->query('PRAGMA data_version')->fetchColumn();
        if ($version !== $seen) {
            $seen = $version;
            return;
        }
        usleep(250000);
    }
}

/** Every payment once: the delivery and the place in the feed are one commit, in tables of our own. */
function follow(PDO $db, callable $told): void
{
    $db->exec('CREATE TABLE IF NOT EXISTS shop_feed (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER)');
    $db->exec('CREATE TABLE IF NOT EXISTS shop_delivery (reference TEXT PRIMARY KEY, amount INTEGER)');
    $db->exec('INSERT INTO shop_feed VALUES (1, 0) ON CONFLICT(one) DO NOTHING');
    $seen = null;
    $moves = [];
    do {
        if ($moves === []) {
            wait_for_change($db, $seen);
        }
        $moves = transaction($db, function () use ($db): array {
            $moves = $db->query(
                'SELECT t.id, t.from_status, t.to_status, o.reference, o.net_total, o.provider
                 FROM transition AS t LEFT JOIN outbox AS o ON o.id = t.outbox_id
                 WHERE t.id > (SELECT last FROM shop_feed) ORDER BY t.id LIMIT 1000'
            )->fetchAll(PDO::FETCH_ASSOC);
            foreach ($moves as $move) {
                if ($move['to_status'] === 'PAID' && $move['from_status'] !== 'PAID') {
                    sql($db, 'INSERT INTO shop_delivery VALUES (?, ?) ON CONFLICT DO NOTHING',
                        [$move['reference'], (int) $move['net_total']]);
                }
                sql($db, 'UPDATE shop_feed SET last = ?', [(int) $move['id']]);
            }
            return $moves;
        });
    } while ($told($moves));
}

/** A REJECTED row: its correction and the wish to send it again are one commit. Null: it is not REJECTED. */
function correct(PDO $db, string $reference, string $code_structure): ?int
{
    return transaction($db, function () use ($db, $reference, $code_structure): ?int {
        $corrected = sql($db, "UPDATE outbox SET code_structure = ? WHERE reference = ? AND status = 'REJECTED'",
            [$code_structure, $reference])->rowCount();
        return $corrected === 1 ? ask($db, $reference, 'retry', 'wrong code of the structure') : null;
    });
}

/** Asks the daemon for something; the id finds the outcome. */
function ask(PDO $db, string $reference, string $action, string $reason): int
{
    sql($db, "INSERT INTO command (reference, action, requested_by, reason) VALUES (?, ?, 'shop', ?)",
        [$reference, $action, $reason]);
    return (int) $db->lastInsertId();
}

/** Waits until the daemon has carried it out: `done`, or `refused` and why. */
function outcome(PDO $db, int $command): array
{
    $seen = null;
    do {
        wait_for_change($db, $seen);
        $result = sql($db, 'SELECT outcome, detail FROM command WHERE id = ?', [$command])->fetch(PDO::FETCH_NUM);
    } while ($result[0] === null);
    return $result;
}

/** Prints each status; whether the last one is PAID. */
function wait_until_final(PDO $db, string $reference): bool
{
    $seen = $before = null;
    while (true) {
        wait_for_change($db, $seen);
        [$status, $url, $error] = sql($db,
            'SELECT status, payment_url, last_error FROM outbox WHERE reference = ?', [$reference]
        )->fetch(PDO::FETCH_NUM);
        if ($status !== $before) {
            $before = $status;
            echo trim("$status " . ($error ?? $url)), "\n";
        }
        if (in_array($status, ['PAID', 'CANCELED', 'REJECTED', 'UNCERTAIN'], true)) {
            return $status === 'PAID';
        }
    }
}

function main(array $arguments): bool
{
    [, $path, $verb, $reference, $code_structure] = $arguments + array_fill(0, 5, null);
    if ($path === null || $verb === null || ($reference === null && $verb !== 'follow')) {
        fwrite(STDERR, "usage: php outbox.php DATABASE bill|follow|correct|cancel [REFERENCE] [CODE_STRUCTURE]\n");
        exit(2);
    }
    $db = open_outbox($path);
    switch ($verb) {
        case 'bill':
            bill(
                $db,
                $reference,
                12000,
                ['name' => 'Coulibaly', 'firstName' => 'Fatoumata', 'phoneNumber' => '+223 76 12 34 56'],
                [['name' => 'Vignette moto', 'quantity' => 2, 'unitPrice' => 6000, 'codeNatureRecette' => '71531']],
                $code_structure
            );
            return wait_until_final($db, $reference);
        case 'follow':
            follow($db, function (array $moves) use ($db, $reference): bool {
                foreach ($moves as $move) {
                    ['from_status' => $before, 'to_status' => $now, 'reference' => $whose] = $move;
                    if ($now === 'PAID' && $before !== 'PAID') {
                        echo "deliver $whose {$move['net_total']} {$move['provider']}\n";
                    } elseif ($before === 'PAID' && $now !== 'PAID') {
                        echo "undo the delivery of $whose\n"; // TresorPay changed its mind
                    }
                }
                $delivered = sql($db, 'SELECT count(*) FROM shop_delivery WHERE reference = ?', [$reference]);
                return (int) $delivered->fetchColumn() === 0;
            });
            return true;
        case 'correct':
            $command = correct($db, $reference, (string) $code_structure);
            break;
        case 'cancel':
            $command = ask($db, $reference, 'cancel', 'entered twice');
            break;
        default:
            fwrite(STDERR, "unknown: $verb\n");
            exit(2);
    }
    [$result, $detail] = $command === null ? ['refused', "$reference is not REJECTED"] : outcome($db, $command);
    echo trim("$result $detail"), "\n";
    return $result === 'done';
}

exit(main($argv) ? 0 : 1);
