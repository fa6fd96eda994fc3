// Bills one notice through tresorpayd's outbox and waits until it is paid. Node 22.16 or later, which has
// node:sqlite built in and opens file: URIs by it.
//
//     node insert.mjs DATABASE [REFERENCE]
//
// Run it twice with the same reference: it bills once.

import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';
import { setTimeout as wait } from 'node:timers/promises';

// [open]
function openOutbox(path) {
  // mode=rw: a wrong path is an error, not a new, empty database.
  const db = new DatabaseSync(`${pathToFileURL(path).href}?mode=rw`);
  db.exec('PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL');
  db.exec('PRAGMA wal_autocheckpoint = 0'); // the daemon checkpoints
  return db;
}
// [/open]

// [bill]
function bill(db, reference, netTotal, taxPayer, items) {
  db.exec('BEGIN IMMEDIATE'); // because it reads before it writes
  try {
    const known = db.prepare('SELECT net_total FROM outbox WHERE reference = ?').get(reference);
    if (known && known.net_total !== netTotal) {
      throw new Error(`${reference} is billed already, at ${known.net_total} XOF`);
    }
    // [insert]
    db.prepare(`INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES (?, ?, ?, ?)
                ON CONFLICT(reference) DO NOTHING`)
      .run(reference, netTotal, JSON.stringify(taxPayer), JSON.stringify(items));
    // [/insert]
    db.exec('COMMIT');
  } catch (error) {
    db.exec('ROLLBACK');
    throw error;
  }
}
// [/bill]

const [path, reference = 'VIGNETTE-2026-0004'] = process.argv.slice(2);
if (!path) {
  console.error('usage: node insert.mjs DATABASE [REFERENCE]');
  process.exit(2);
}
const db = openOutbox(path);
bill(db, reference, 12000,
  { name: 'Coulibaly', firstName: 'Fatoumata', phoneNumber: '+223 76 12 34 56' },
  [{ name: 'Vignette moto', quantity: 2, unitPrice: 6000, codeNatureRecette: '71531' }]);

const read = db.prepare('SELECT status, payment_url, last_error FROM outbox WHERE reference = ?');
const dataVersion = db.prepare('PRAGMA data_version'); // changes when somebody else has committed
for (let seen, before; ; await wait(250)) {
  const { data_version: version } = dataVersion.get();
  if (version === seen) continue;
  seen = version;
  const { status, payment_url, last_error } = read.get(reference);
  if (status !== before) console.log(status, last_error ?? payment_url ?? '');
  before = status;
  if (['PAID', 'CANCELED', 'REJECTED', 'UNCERTAIN'].includes(status)) {
    process.exit(status === 'PAID' ? 0 : 1);
  }
}
