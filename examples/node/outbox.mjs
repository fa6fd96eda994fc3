// Bill, learn of payments, correct and cancel through tresorpayd's outbox. Node 22.16 or later, or an older one with
// the package sqlite3: see database.mjs.
//
//     node outbox.mjs DATABASE bill REFERENCE [CODE_STRUCTURE]     one notice, and wait until it is paid
//     node outbox.mjs DATABASE follow [REFERENCE]                  every payment, once; ends after REFERENCE
//     node outbox.mjs DATABASE correct REFERENCE CODE_STRUCTURE    a REJECTED row, and send it again
//     node outbox.mjs DATABASE cancel REFERENCE                    withdraw a notice
//
// Each may be run again after a crash at any point: nothing is billed, delivered or canceled twice.

import { setTimeout as wait } from 'node:timers/promises';
import { openOutbox } from './database.mjs';

// [transaction]
// BEGIN IMMEDIATE, because what it does reads before it writes. One connection carries one transaction at a time:
// a server opens a connection for each, or lets them queue.
async function transaction(db, work) {
  await db.exec('BEGIN IMMEDIATE');
  try {
    const result = await work();
    await db.exec('COMMIT');
    return result;
  } catch (error) {
    await db.exec('ROLLBACK');
    throw error;
  }
}
// [/transaction]

function bill(db, reference, netTotal, taxPayer, items, codeStructure = null) {
  return transaction(db, async () => {
    const known = await db.prepare('SELECT net_total FROM outbox WHERE reference = ?').get(reference);
    if (known && known.net_total !== netTotal) {
      throw new Error(`${reference} is billed already, at ${known.net_total} XOF`);
    }
    // [insert]
    await db.prepare(`INSERT INTO outbox (reference, net_total, tax_payer, items, code_structure)
                      VALUES (?, ?, ?, ?, ?) ON CONFLICT(reference) DO NOTHING`)
      .run(reference, netTotal, JSON.stringify(taxPayer), JSON.stringify(items), codeStructure);
    // [/insert]
  });
}

// Yields at once, and then whenever another connection has committed.
async function* changes(db) {
  for (let seen; ; await wait(250)) {
    const { data_version: version } = await db.prepare('PRAGMA data_version').get();
    if (version === seen) continue;
    seen = version;
    yield;
  }
}

// Every payment once: the delivery and the place in the feed are one commit, in tables of our own.
async function* follow(db) {
  await db.exec('CREATE TABLE IF NOT EXISTS shop_feed (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER)');
  await db.exec('CREATE TABLE IF NOT EXISTS shop_delivery (reference TEXT PRIMARY KEY, amount INTEGER)');
  await db.exec('INSERT INTO shop_feed VALUES (1, 0) ON CONFLICT(one) DO NOTHING');
  for (let news = changes(db), moves = []; ;) {
    if (moves.length === 0) await news.next();
    moves = await transaction(db, async () => {
      const moves = await db.prepare(
        `SELECT t.id, t.from_status, t.to_status, o.reference, o.net_total, o.provider
         FROM transition AS t LEFT JOIN outbox AS o ON o.id = t.outbox_id
         WHERE t.id > (SELECT last FROM shop_feed) ORDER BY t.id LIMIT 1000`,
      ).all();
      for (const { id, from_status: before, to_status: now, reference, net_total: amount } of moves) {
        if (now === 'PAID' && before !== 'PAID') {
          await db.prepare('INSERT INTO shop_delivery VALUES (?, ?) ON CONFLICT DO NOTHING').run(reference, amount);
        }
        await db.prepare('UPDATE shop_feed SET last = ?').run(id);
      }
      return moves;
    });
    yield moves;
  }
}

// A REJECTED row: its correction and the wish to send it again are one commit. Null: it is not REJECTED.
function correct(db, reference, codeStructure) {
  return transaction(db, async () => {
    const { changes: corrected } = await db.prepare(
      `UPDATE outbox SET code_structure = ? WHERE reference = ? AND status = 'REJECTED'`,
    ).run(codeStructure, reference);
    return corrected === 1 ? ask(db, reference, 'retry', 'wrong code of the structure') : null;
  });
}

// Asks the daemon for something; the id finds the outcome.
async function ask(db, reference, action, reason) {
  const { lastInsertRowid } = await db.prepare(
    `INSERT INTO command (reference, action, requested_by, reason) VALUES (?, ?, 'shop', ?)`,
  ).run(reference, action, reason);
  return lastInsertRowid;
}

// Waits until the daemon has carried it out: `done`, or `refused` and why.
async function outcome(db, command) {
  for await (const _ of changes(db)) {
    const result = await db.prepare('SELECT outcome, detail FROM command WHERE id = ?').get(command);
    if (result.outcome !== null) return result;
  }
}

// Prints each status; whether the last one is PAID.
async function waitUntilFinal(db, reference) {
  let before;
  for await (const _ of changes(db)) {
    const { status, payment_url: url, last_error: error } = await db.prepare(
      'SELECT status, payment_url, last_error FROM outbox WHERE reference = ?',
    ).get(reference);
    if (status !== before) console.log(status, error ?? url ?? '');
    before = status;
    if (['PAID', 'CANCELED', 'REJECTED', 'UNCERTAIN'].includes(status)) return status === 'PAID';
  }
}

async function main([path, verb, reference, codeStructure]) {
  if (!path || !verb || (!reference && verb !== 'follow')) {
    console.error('usage: node outbox.mjs DATABASE bill|follow|correct|cancel [REFERENCE] [CODE_STRUCTURE]');
    process.exit(2);
  }
  const db = await openOutbox(path);
  if (verb === 'bill') {
    await bill(db, reference, 12000,
      { name: 'Coulibaly', firstName: 'Fatoumata', phoneNumber: '+223 76 12 34 56' },
      [{ name: 'Vignette moto', quantity: 2, unitPrice: 6000, codeNatureRecette: '71531' }], codeStructure);
    return waitUntilFinal(db, reference);
  }
  if (verb === 'follow') {
    for await (const moves of follow(db)) {
      for (const { from_status: before, to_status: now, reference: whose, net_total: amount, provider } of moves) {
        if (now === 'PAID' && before !== 'PAID') console.log('deliver', whose, amount, provider);
        // TresorPay changed its mind:
        else if (before === 'PAID' && now !== 'PAID') console.log('undo the delivery of', whose);
      }
      const delivered = db.prepare('SELECT 1 FROM shop_delivery WHERE reference = ?');
      if (reference && await delivered.get(reference)) return true;
    }
  }
  let command;
  if (verb === 'correct' && codeStructure) command = await correct(db, reference, codeStructure);
  if (verb === 'cancel') command = await ask(db, reference, 'cancel', 'entered twice');
  if (command === undefined) throw new Error(`unknown: ${verb}`);
  const { outcome: result, detail } = command === null
    ? { outcome: 'refused', detail: `${reference} is not REJECTED` }
    : await outcome(db, command);
  console.log(result, detail ?? '');
  return result === 'done';
}

process.exit(await main(process.argv.slice(2)) ? 0 : 1);
