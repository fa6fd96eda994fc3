// Opens the outbox with what this Node has: `node:sqlite` (built in since Node 22.16), else the package `sqlite3`
// (Debian: node-sqlite3), made to look like it. Either way: await db.exec(sql), await db.prepare(sql).run(...values),
// .get(...) for one row, .all(...) for all.

import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

export function openOutbox(path) {
  const [major, minor] = process.versions.node.split('.').map(Number);
  return major > 22 || (major === 22 && minor >= 16) ? openBuiltIn(path) : openPackage(path);
}

async function openBuiltIn(path) {
  // [open]
  const { DatabaseSync } = await import('node:sqlite');
  // mode=rw: a wrong path is an error, not a new, empty database.
  const db = new DatabaseSync(`${pathToFileURL(path).href}?mode=rw`);
  db.exec('PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL');
  db.exec('PRAGMA wal_autocheckpoint = 0'); // the daemon checkpoints
  // [/open]
  return db;
}

async function openPackage(path) {
  const { Database, OPEN_READWRITE } = createRequire(import.meta.url)('sqlite3');
  let db;
  // The last argument is a callback: its error, and what the statement changed as its `this`.
  const call = (name, ...input) => new Promise((done, failed) => {
    db[name](...input, function (error, output) {
      if (error) failed(error);
      else done(name === 'run' ? { changes: this.changes, lastInsertRowid: this.lastID } : output);
    });
  });
  await new Promise((done, failed) => {
    // Without OPEN_CREATE: a wrong path is an error, not a new, empty database.
    db = new Database(resolve(path), OPEN_READWRITE, (error) => (error ? failed(error) : done()));
  });
  await call('exec', 'PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0');
  const prepare = (sql) => Object.fromEntries(
    ['run', 'get', 'all'].map((name) => [name, (...values) => call(name, sql, values)]),
  );
  return { exec: (sql) => call('exec', sql), prepare };
}
