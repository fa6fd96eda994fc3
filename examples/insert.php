<?php
// Bills one notice through tresorpayd's outbox and waits until it is paid. PHP 7.4 or later with pdo_sqlite.
//
//     php insert.php DATABASE [REFERENCE]
//
// Run it twice with the same reference: it bills once.

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

// [bill]
function bill(PDO $db, string $reference, int $net_total, array $tax_payer, array $items): void
{
    $db->exec('BEGIN IMMEDIATE'); // because it reads before it writes
    try {
        $known = $db->prepare('SELECT net_total FROM outbox WHERE reference = ?');
        $known->execute([$reference]);
        $billed = $known->fetchColumn();
        if ($billed !== false && (int) $billed !== $net_total) {
            throw new RuntimeException("$reference is billed already, at $billed XOF");
        }
        $known->closeCursor();
        // [insert]
        $insert = $db->prepare(
            'INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES (?, ?, ?, ?)
             ON CONFLICT(reference) DO NOTHING'
        );
        $insert->bindValue(1, $reference);
        $insert->bindValue(2, $net_total, PDO::PARAM_INT);
        $insert->bindValue(3, json_encode($tax_payer, JSON_THROW_ON_ERROR));
        $insert->bindValue(4, json_encode($items, JSON_THROW_ON_ERROR));
        $insert->execute();
        // [/insert]
        $db->exec('COMMIT');
    } catch (Throwable $error) {
        $db->exec('ROLLBACK');
        throw $error;
    }
}
// [/bill]

if ($argc !== 2 && $argc !== 3) {
    fwrite(STDERR, "usage: php insert.php DATABASE [REFERENCE]\n");
    exit(2);
}
$db = open_outbox($argv[1]);
$reference = $argv[2] ?? 'VIGNETTE-2026-0003';
bill(
    $db,
    $reference,
    12000,
    ['name' => 'Coulibaly', 'firstName' => 'Fatoumata', 'phoneNumber' => '+223 76 12 34 56'],
    [['name' => 'Vignette moto', 'quantity' => 2, 'unitPrice' => 6000, 'codeNatureRecette' => '71531']]
);

$read = $db->prepare('SELECT status, payment_url, last_error FROM outbox WHERE reference = ?');
$seen = null;
$before = null;
while (true) {
    $version = $db->query('PRAGMA data_version')->fetchColumn(); // changes when somebody else has committed
    if ($version !== $seen) {
        $seen = $version;
        $read->execute([$reference]);
        [$status, $payment_url, $last_error] = $read->fetch(PDO::FETCH_NUM);
        $read->closeCursor();
        if ($status !== $before) {
            $before = $status;
            echo trim("$status " . ($last_error ?? $payment_url)), "\n";
        }
        if (in_array($status, ['PAID', 'CANCELED', 'REJECTED', 'UNCERTAIN'], true)) {
            exit($status === 'PAID' ? 0 : 1);
        }
    }
    usleep(250000);
}
