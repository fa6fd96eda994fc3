-- The outbox: the whole database schema of tresorpayd, and its public interface for applications.
--
-- An application INSERTs into `outbox` and `command`, SELECTs from everything, and may UPDATE or DELETE what was never
-- sent. It needs SQLite 3.26 or later with the JSON functions, no library and no credential. The daemon does the rest.
--
-- How the rules are kept:
--   * Bad input is refused by triggers that RAISE(ABORT, 'outbox: COLUMN rule'). CHECK and NOT NULL stand behind them
--     only: `INSERT OR IGNORE` skips those in silence, and would lose a notice.
--   * No rule leans on foreign_keys, recursive_triggers or trusted_schema: an application may set them as it likes.
--   * Only the daemon's connections may write what the daemon owns. The triggers named `..._daemon_only` compare by a
--     collation that only the daemon registers. Anybody else's statement fails as soon as it is prepared:
--         no such collation sequence: use_the_command_table
--     This stops accidents, not somebody who drops triggers. To ask for something, INSERT into `command`.
--   * What the daemon writes most is checked by OR, not by IN: for a list of three or more, SQLite builds a table, and in
--     a trigger's statement anew for each row. That was a third of the work of an emission.
--
-- Times are UTC text, RFC 3339 with milliseconds: 2026-11-24T09:48:00.000Z. Amounts are whole XOF.

----------------------------------------------------------------------------------------------------------------------
-- Tables
----------------------------------------------------------------------------------------------------------------------

-- One row is one avis de recette. Long text stands last: SQLite reads a row from the front, and what is asked most often
-- (status, amount, times) is then found without reading through it.
CREATE TABLE outbox (
    id                       INTEGER PRIMARY KEY AUTOINCREMENT, -- left out at INSERT; never given twice

    -- Written by the application, once (see also the end of the table).
    reference                TEXT NOT NULL UNIQUE,  -- the application's own reference, 1 to 64 characters
    code_client              TEXT,                  -- NULL: the configured one
    code_structure           TEXT,                  -- NULL: the configured one
    net_total                INTEGER NOT NULL,      -- XOF; equals the sum of quantity * unitPrice over items
    priority                 INTEGER NOT NULL DEFAULT 0, -- 0 to 9, higher first, then oldest
    replaces                 TEXT,                  -- reference of the row that this one corrects
    not_before               TEXT,                  -- emitted no earlier than this; milliseconds may be left out
    created_at               TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),

    -- Written by the daemon, read by all. An INSERT leaves them out (NULL and the default are not setting them).
    status                   TEXT NOT NULL ON CONFLICT REPLACE DEFAULT 'PENDING',
    status_source            TEXT,                  -- who moved the row to its present status, as in transition.source;
    status_reason            TEXT,                  -- and why: set with status, copied to transition by a trigger
    updated_at               TEXT,                  -- the daemon's last write to this row
    attempts                 INTEGER NOT NULL ON CONFLICT REPLACE DEFAULT 0, -- emissions that left and count
    next_attempt_at          TEXT,                  -- when the daemon next acts on this row of itself;
                                                    -- NULL: at once in PENDING, else not by itself
    not_before_passed        TEXT,                  -- the value of not_before that the daemon has seen pass
    tresorpay_reference      TEXT,                  -- e.g. TP20241231.1048.AR3; unique
    payment_url              TEXT,                  -- where the taxpayer pays; set by the commit that makes EMITTED
    provider                 TEXT,                  -- as TresorPay gave it
    pay_date                 TEXT,                  -- as TresorPay gave it (local time of Mali, which is UTC)
    emitted_at               TEXT,
    paid_at                  TEXT,
    canceled_at              TEXT,
    delivery_confirmed_at    TEXT,
    callback_called_at       TEXT,                  -- the row's own callback was called, after the payment
    receipt_path             TEXT,                  -- PDF receipt, relative to the receipts directory
    anonymised_at            TEXT,                  -- when retention took the personal data out
    last_error               TEXT,                  -- the stable error code, then what was said; NULL: all is well

    -- Written by the application, once: JSON with TresorPay's own field names, and URLs.
    tax_payer                TEXT NOT NULL,         -- object: id, name, firstName, nif, companyName, address,
                                                    -- phoneNumber, email; name or companyName is required
    items                    TEXT NOT NULL,         -- array of name, quantity, unitPrice, description, codeNatureRecette
    authorized_payment_modes TEXT,                  -- array of codeProvider, paymentNumber, cardNumber, amount
    callback                 TEXT,                  -- NULL: the configured one, if any
    redirect_url             TEXT,                  -- NULL: the configured one, if any

    -- An old SQLite shows a CHECK what was given, not what the column's type makes of it ('12', not 12): hence CAST,
    -- and no rule here that the triggers do not have.
    CHECK (typeof(reference) <> 'blob' AND length(reference) BETWEEN 1 AND 64),
    CHECK (CAST(net_total AS NUMERIC) BETWEEN 1 AND 9007199254740991),
    CHECK (CAST(priority AS NUMERIC) BETWEEN 0 AND 9),
    CHECK (typeof(tax_payer) <> 'blob'),
    CHECK (typeof(items) <> 'blob'),
    CONSTRAINT known_status CHECK (status = 'EMITTING' OR status = 'EMITTED' OR status = 'PENDING' OR status = 'PAID'
        OR status = 'UNCERTAIN' OR status = 'REJECTED' OR status = 'CANCELED'),
    CONSTRAINT known_status_source CHECK (status_source = 'emit' OR status_source = 'poll' OR status_source = 'command'
        OR status_source = 'callback' OR status_source = 'reconcile' OR status_source = 'recovery'),
    CHECK (CAST(attempts AS NUMERIC) >= 0),
    CHECK (tresorpay_reference IS NOT NULL OR status NOT IN ('EMITTED', 'PAID'))
);

-- History, append-only. `id` rises in commit order: WHERE id > :last ORDER BY id is the feed of everything that happens.
-- Triggers write it; rows of a deleted outbox row stay.
CREATE TABLE transition (
    id          INTEGER PRIMARY KEY,
    outbox_id   INTEGER NOT NULL,
    at          TEXT NOT NULL,
    from_status TEXT,           -- NULL for the insertion; equal to to_status for a correction of amounts or of a payment
    to_status   TEXT NOT NULL,
    source      TEXT NOT NULL,
    reason      TEXT,
    provider    TEXT,           -- of a transition to PAID: outbox.provider and
    pay_date    TEXT,           -- outbox.pay_date as they were then, for the books

    CHECK (id > 0),
    CONSTRAINT known_source CHECK (source = 'emit' OR source = 'application' OR source = 'poll' OR source = 'command'
        OR source = 'callback' OR source = 'reconcile' OR source = 'recovery')
);

-- One row a request that could change something at TresorPay: committed before it leaves, completed once.
CREATE TABLE attempt (
    id                  INTEGER PRIMARY KEY,
    outbox_id           INTEGER NOT NULL,
    operation           TEXT NOT NULL,
    code_client         TEXT,   -- these three as sent
    code_structure      TEXT,
    base_url            TEXT NOT NULL,
    started_at          TEXT NOT NULL,
    duration_ms         INTEGER,
    phase               TEXT NOT NULL DEFAULT 'sent', -- `sent` until it is known better
    http_status         INTEGER,                      -- NULL: no answer
    outcome             TEXT,   -- NULL: under way; `ok`; the error code; `interrupted` (written by recovery)
    tresorpay_reference TEXT,   -- as answered
    detail              TEXT,   -- title, message and fieldErrors of the problem, scrubbed

    CHECK (id > 0),
    CONSTRAINT known_operation CHECK (operation = 'emit' OR operation = 'cancel' OR operation = 'confirm'),
    CONSTRAINT known_phase CHECK (phase = 'answered' OR phase = 'sent' OR phase = 'unsent')
);

-- How applications and operators ask. INSERT only; the daemon writes the last three columns.
CREATE TABLE command (
    id           INTEGER PRIMARY KEY,
    reference    TEXT,          -- the outbox row's; NULL for pause and resume
    action       TEXT NOT NULL,
    argument     TEXT,          -- resolve-emitted: the TresorPay reference; else NULL
    requested_by TEXT,
    reason       TEXT,          -- why, in the words of who asks; may be taken out later (retention)
    requested_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    done_at      TEXT,
    outcome      TEXT,          -- `done` or `refused`
    detail       TEXT,          -- why it was refused, or what it waits for

    CHECK (action IN ('cancel', 'retry', 'poll', 'confirm-delivery', 'fetch-receipt', 'resolve-emitted',
                      'resolve-not-emitted', 'anonymise', 'pause', 'resume')),
    CHECK (outcome IN ('done', 'refused')),
    CHECK ((done_at IS NULL) = (outcome IS NULL))
);

-- environment, api_origin and database_id are written at the file's first start and never change.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('schema_version', '1'), ('contract_version', '1');

-- Tells under which conflict clause a trigger runs; see outbox_insert. Row 1 always stands, row 2 never stays.
CREATE TABLE outbox_reference_probe (
    reference INTEGER PRIMARY KEY CHECK (reference IN (1, 2)),
    replaced  INTEGER NOT NULL DEFAULT 0
);

INSERT INTO outbox_reference_probe (reference, replaced) VALUES (1, 0);

-- Lets the transition of a correction in, and no other with from = to. A ticket lives for the length of one trigger.
CREATE TABLE outbox_correction_ticket (
    outbox_id INTEGER PRIMARY KEY
);

----------------------------------------------------------------------------------------------------------------------
-- Indexes: the daemon's queues, then lookups. Partial, so that a move of status touches few of them. SQLite's planner
-- takes outbox_finished for much that outbox_paid_due and outbox_personal are for: name those with INDEXED BY.
----------------------------------------------------------------------------------------------------------------------

-- PENDING and due: what is claimed, in order.
CREATE INDEX outbox_ready ON outbox (priority DESC, id)
    WHERE status = 'PENDING' AND next_attempt_at IS NULL AND not_before IS not_before_passed;

-- PENDING and not due yet, by the later of next_attempt_at and not_before (made comparable: .000 where it has no
-- milliseconds). When it is due, the daemon sets next_attempt_at = NULL and not_before_passed = not_before.
CREATE INDEX outbox_waiting ON outbox (
        max(coalesce(next_attempt_at, ''),
            CASE length(not_before) WHEN 20 THEN substr(not_before, 1, 19) || '.000Z' ELSE coalesce(not_before, '') END))
    WHERE status = 'PENDING' AND (next_attempt_at IS NOT NULL OR not_before IS NOT not_before_passed);

-- PENDING, and a correction of another row, which is canceled first.
CREATE INDEX outbox_replacing ON outbox (id) WHERE status = 'PENDING' AND replaces IS NOT NULL;

CREATE INDEX outbox_emitting ON outbox (id) WHERE status = 'EMITTING';

CREATE INDEX outbox_uncertain ON outbox (next_attempt_at) WHERE status = 'UNCERTAIN';

-- What is polled, by when.
CREATE INDEX outbox_emitted ON outbox (next_attempt_at) WHERE status = 'EMITTED';

-- Paid, with something left to do: confirm the delivery, fetch the receipt, call the row's own callback.
CREATE INDEX outbox_paid_due ON outbox (next_attempt_at) WHERE status = 'PAID' AND next_attempt_at IS NOT NULL;

-- Finished: lists and reconciliation.
CREATE INDEX outbox_finished ON outbox (status, updated_at)
    WHERE status = 'PAID' OR status = 'CANCELED' OR status = 'REJECTED';

-- Finished, with its personal data: retention.
CREATE INDEX outbox_personal ON outbox (updated_at)
    WHERE anonymised_at IS NULL AND (status = 'PAID' OR status = 'CANCELED' OR status = 'REJECTED');

-- At TresorPay by now, and maybe with a card number still: retention. A row leaves it as the card numbers go.
CREATE INDEX outbox_cards ON outbox (id)
    WHERE (status = 'EMITTED' OR status = 'PAID' OR status = 'CANCELED') AND instr(authorized_payment_modes, 'cardNumber') > 0;

CREATE UNIQUE INDEX outbox_tresorpay_reference ON outbox (tresorpay_reference) WHERE tresorpay_reference IS NOT NULL;

CREATE INDEX outbox_replaces ON outbox (replaces) WHERE replaces IS NOT NULL;

CREATE INDEX transition_outbox ON transition (outbox_id);

-- Drift that reconciliation found: seldom any.
CREATE INDEX transition_reconciled ON transition (at) WHERE source = 'reconcile';

CREATE INDEX attempt_outbox ON attempt (outbox_id);

-- What is under way; recovery completes what it finds here. One request of a kind at a time for one row.
CREATE UNIQUE INDEX attempt_open ON attempt (outbox_id, operation) WHERE outcome IS NULL;

CREATE INDEX command_open ON command (reference, action) WHERE done_at IS NULL;

-- The same in the order in which they were asked.
CREATE INDEX command_waiting ON command (id) WHERE done_at IS NULL;

-- What was asked of one row: retention takes its words out.
CREATE INDEX command_done ON command (reference) WHERE done_at IS NOT NULL;

----------------------------------------------------------------------------------------------------------------------
-- Rules for what an application writes
----------------------------------------------------------------------------------------------------------------------

-- The rules for the application's columns, once, for INSERT and UPDATE alike: to write a row into this view is to check
-- it. It holds nothing.
CREATE VIEW outbox_rules AS
    SELECT NULL AS reference, NULL AS code_client, NULL AS code_structure, NULL AS net_total, NULL AS priority,
           NULL AS replaces, NULL AS not_before, NULL AS created_at, NULL AS tax_payer, NULL AS items,
           NULL AS authorized_payment_modes, NULL AS callback, NULL AS redirect_url
    WHERE 0;

CREATE TRIGGER outbox_rules_check INSTEAD OF INSERT ON outbox_rules
BEGIN
    -- Text: the type, the length, no NUL, valid UTF-8, and the form by kind of column.
    SELECT CASE name
        WHEN 'reference' THEN RAISE(ABORT, 'outbox: reference must be text of 1 to 64 characters (UTF-8), no blanks at the ends, no control characters')
        WHEN 'code_client' THEN RAISE(ABORT, 'outbox: code_client must be text of 1 to 64 characters (UTF-8), no blanks at the ends, no control characters')
        WHEN 'code_structure' THEN RAISE(ABORT, 'outbox: code_structure must be text of 1 to 64 characters (UTF-8), no blanks at the ends, no control characters')
        WHEN 'replaces' THEN RAISE(ABORT, 'outbox: replaces must be text of 1 to 64 characters (UTF-8), no blanks at the ends, no control characters')
        WHEN 'not_before' THEN RAISE(ABORT, 'outbox: not_before must be a UTC time that exists, written 2026-11-24T09:48:00Z or 2026-11-24T09:48:00.000Z')
        WHEN 'created_at' THEN RAISE(ABORT, 'outbox: created_at must be a UTC time that exists, written 2026-11-24T09:48:00.000Z; left out, it is now')
        WHEN 'tax_payer' THEN RAISE(ABORT, 'outbox: tax_payer must be text (UTF-8, no NUL) of at most 10000 characters: a JSON object')
        WHEN 'items' THEN RAISE(ABORT, 'outbox: items must be text (UTF-8, no NUL) of at most 200000 characters: a JSON array')
        WHEN 'authorized_payment_modes' THEN RAISE(ABORT, 'outbox: authorized_payment_modes must be text (UTF-8, no NUL) of at most 20000 characters: a JSON array')
        WHEN 'callback' THEN RAISE(ABORT, 'outbox: callback must be an http or https URL of at most 2048 characters (UTF-8), no blanks, no control characters')
        WHEN 'redirect_url' THEN RAISE(ABORT, 'outbox: redirect_url must be an http or https URL of at most 2048 characters (UTF-8), no blanks, no control characters')
    END
    FROM (
        SELECT 'reference' AS name, NEW.reference AS text, 'name' AS kind, 64 AS most, 1 AS required
        UNION ALL SELECT 'code_client', NEW.code_client, 'name', 64, 0
        UNION ALL SELECT 'code_structure', NEW.code_structure, 'name', 64, 0
        UNION ALL SELECT 'replaces', NEW.replaces, 'name', 64, 0
        UNION ALL SELECT 'not_before', NEW.not_before, 'time', 24, 0
        UNION ALL SELECT 'created_at', NEW.created_at, 'time', 24, 1
        UNION ALL SELECT 'tax_payer', NEW.tax_payer, 'json', 10000, 1
        UNION ALL SELECT 'items', NEW.items, 'json', 200000, 1
        UNION ALL SELECT 'authorized_payment_modes', NEW.authorized_payment_modes, 'json', 20000, 0
        UNION ALL SELECT 'callback', NEW.callback, 'url', 2048, 0
        UNION ALL SELECT 'redirect_url', NEW.redirect_url, 'url', 2048, 0
    )
    WHERE CASE
        WHEN text IS NULL THEN required
        WHEN typeof(text) <> 'text' OR length(text) NOT BETWEEN 1 AND most OR instr(text, char(0)) > 0 THEN 1
        -- Not plain ASCII: is it UTF-8? (An application in Latin-1 would write what nobody can read back.) Accented
        -- Latin letters, two bytes that start with C3, are counted; anything else is looked at one by one.
        WHEN text GLOB '*[^' || char(1) || '-' || char(127) || ']*'
            AND (text GLOB '*[^' || char(1) || '-' || char(127) || char(192) || '-' || char(255) || ']*'
                OR length(text) <> length(CAST(replace(text, CAST(x'C3' AS TEXT), '') AS BLOB)))
            AND EXISTS (
                WITH RECURSIVE
                    part (start) AS (
                        SELECT 1 UNION ALL SELECT start + 100 FROM part WHERE start + 100 <= length(text)),
                    place (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM place WHERE i < 100)
                SELECT 1
                FROM (SELECT substr(text, start, 100) AS piece FROM part LIMIT -1) CROSS JOIN place
                WHERE piece GLOB '*[^' || char(1) || '-' || char(127) || ']*' AND i <= length(piece)
                    AND CAST(char(unicode(substr(piece, i, 1))) AS BLOB) <> CAST(substr(piece, i, 1) AS BLOB))
            THEN 1
        WHEN kind = 'name' THEN
            text GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*'
            OR trim(text, char(32, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8203,
                               8232, 8233, 8239, 8287, 12288, 65279)) <> text
        WHEN kind = 'url' THEN
            lower(text) NOT GLOB 'http://[^/?#]*' AND lower(text) NOT GLOB 'https://[^/?#]*'
            OR text GLOB '*[' || char(1) || '-' || char(32) || char(127) || '-' || char(160) || char(5760)
                || char(8192) || '-' || char(8203) || char(8232, 8233, 8239, 8287, 12288, 65279) || ']*'
        WHEN kind = 'time' THEN
            strftime('%Y-%m-%dT%H:%M:%S', substr(text, 1, 19), '+0 seconds') IS NOT substr(text, 1, 19)
            OR text NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z'
            AND (name = 'created_at'
                OR text NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z')
    END;

    -- Numbers. At most 2^53 - 1, which every JSON reader takes exactly.
    SELECT CASE
        WHEN typeof(NEW.net_total) <> 'integer' OR NEW.net_total NOT BETWEEN 1 AND 9007199254740991
            THEN RAISE(ABORT, 'outbox: net_total must be a whole number of XOF from 1 to 9007199254740991')
        WHEN typeof(NEW.priority) <> 'integer' OR NEW.priority NOT BETWEEN 0 AND 9
            THEN RAISE(ABORT, 'outbox: priority must be a whole number from 0 to 9')
        WHEN NEW.replaces = NEW.reference
            THEN RAISE(ABORT, 'outbox: replaces must be the reference of another row')
    END;

    -- tax_payer. JSON is strict RFC 8259, whatever more a newer SQLite would read. A null is an absent field.
    SELECT CASE
        WHEN NOT json_valid(NEW.tax_payer) THEN RAISE(ABORT, 'outbox: tax_payer must be a JSON object (not valid JSON)')
        WHEN json_type(NEW.tax_payer) <> 'object' THEN RAISE(ABORT, 'outbox: tax_payer must be a JSON object')
        ELSE CASE (
            SELECT CASE
                WHEN max(CASE key WHEN 'name' THEN 0 WHEN 'firstName' THEN 0 WHEN 'phoneNumber' THEN 0 WHEN 'id' THEN 0
                                  WHEN 'nif' THEN 0 WHEN 'companyName' THEN 0 WHEN 'address' THEN 0 WHEN 'email' THEN 0
                                  ELSE 1 END) THEN 'unknown'
                WHEN count(*) <> count(DISTINCT key) THEN 'twice'
                WHEN max(type <> 'text' AND type <> 'null') THEN 'type'
                WHEN NOT coalesce(max((key = 'name' OR key = 'companyName') AND type = 'text' AND trim(value,
                    char(9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200,
                         8201, 8202, 8203, 8232, 8233, 8239, 8287, 12288, 65279)) <> ''), 0) THEN 'nameless'
            END
            FROM json_each(NEW.tax_payer))
            WHEN 'unknown' THEN RAISE(ABORT, 'outbox: tax_payer has an unknown field; known are id, name, firstName, nif, companyName, address, phoneNumber, email')
            WHEN 'twice' THEN RAISE(ABORT, 'outbox: tax_payer has a field twice')
            WHEN 'type' THEN RAISE(ABORT, 'outbox: tax_payer fields must all be text')
            WHEN 'nameless' THEN RAISE(ABORT, 'outbox: tax_payer must have a name or a companyName that is not blank')
        END
    END;

    -- items: each item comes to its quantity * unitPrice, or to a negative number that says what is wrong with it.
    -- 1000 items of at most 2^53 - 1 each cannot overflow the sum.
    SELECT CASE
        WHEN NOT json_valid(NEW.items) THEN RAISE(ABORT, 'outbox: items must be a JSON array (not valid JSON)')
        WHEN json_type(NEW.items) <> 'array' OR json_array_length(NEW.items) NOT BETWEEN 1 AND 1000
            THEN RAISE(ABORT, 'outbox: items must be a JSON array of 1 to 1000 items')
        ELSE CASE (
            SELECT CASE WHEN min(product) < 0 THEN min(product) ELSE sum(product) END
            FROM (
                SELECT CASE WHEN item.type <> 'object' THEN -1 ELSE (
                    SELECT CASE
                        WHEN max(CASE key WHEN 'name' THEN 0 WHEN 'quantity' THEN 0 WHEN 'unitPrice' THEN 0
                                          WHEN 'description' THEN 0 WHEN 'codeNatureRecette' THEN 0 ELSE 1 END) THEN -2
                        WHEN count(*) <> count(DISTINCT key) THEN -3
                        WHEN max(key <> 'quantity' AND key <> 'unitPrice' AND type <> 'text' AND type <> 'null') THEN -4
                        WHEN NOT coalesce(max(key = 'quantity' AND type = 'integer'
                                              AND value BETWEEN 1 AND 9007199254740991), 0) THEN -5
                        WHEN NOT coalesce(max(key = 'unitPrice' AND type = 'integer'
                                              AND value BETWEEN 0 AND 9007199254740991
                                              AND item.value NOT GLOB '*"unitPrice":-*'), 0) THEN -6
                        WHEN max(CASE key WHEN 'quantity' THEN value END)
                             > 9007199254740991 / max(1, max(CASE key WHEN 'unitPrice' THEN value END)) THEN -7
                        ELSE max(CASE key WHEN 'quantity' THEN value END) * max(CASE key WHEN 'unitPrice' THEN value END)
                    END
                    FROM json_each(item.value)) END AS product
                FROM json_each(NEW.items) AS item
                LIMIT 1000))
            WHEN -1 THEN RAISE(ABORT, 'outbox: items must be JSON objects')
            WHEN -2 THEN RAISE(ABORT, 'outbox: items have an unknown field; known are name, quantity, unitPrice, description, codeNatureRecette')
            WHEN -3 THEN RAISE(ABORT, 'outbox: items have a field twice')
            WHEN -4 THEN RAISE(ABORT, 'outbox: items must have text as name, description and codeNatureRecette')
            WHEN -5 THEN RAISE(ABORT, 'outbox: items must have a quantity that is a whole number from 1 to 9007199254740991')
            WHEN -6 THEN RAISE(ABORT, 'outbox: items must have a unitPrice that is a whole number of XOF from 0 to 9007199254740991')
            WHEN -7 THEN RAISE(ABORT, 'outbox: items must not come to more than 9007199254740991 XOF each')
            WHEN NEW.net_total THEN NULL
            ELSE RAISE(ABORT, 'outbox: net_total must equal the sum of quantity * unitPrice over items')
        END
    END;

    -- authorized_payment_modes, if any.
    SELECT CASE
        WHEN NEW.authorized_payment_modes IS NULL THEN NULL
        WHEN NOT json_valid(NEW.authorized_payment_modes)
            THEN RAISE(ABORT, 'outbox: authorized_payment_modes must be a JSON array (not valid JSON)')
        WHEN json_type(NEW.authorized_payment_modes) <> 'array' OR json_array_length(NEW.authorized_payment_modes) > 100
            THEN RAISE(ABORT, 'outbox: authorized_payment_modes must be a JSON array of at most 100 modes')
        ELSE CASE (
            SELECT max(CASE WHEN mode.type <> 'object' THEN 5 ELSE (
                SELECT CASE
                    WHEN max(CASE key WHEN 'codeProvider' THEN 0 WHEN 'paymentNumber' THEN 0 WHEN 'cardNumber' THEN 0
                                      WHEN 'amount' THEN 0 ELSE 1 END) THEN 4
                    WHEN count(*) <> count(DISTINCT key) THEN 3
                    WHEN max(key <> 'amount' AND type <> 'text' AND type <> 'null') THEN 2
                    WHEN max(key = 'amount' AND type <> 'null' AND (type <> 'integer'
                             OR value NOT BETWEEN 1 AND 9007199254740991)) THEN 1
                END
                FROM json_each(mode.value)) END)
            FROM json_each(NEW.authorized_payment_modes) AS mode)
            WHEN 5 THEN RAISE(ABORT, 'outbox: authorized_payment_modes must be JSON objects')
            WHEN 4 THEN RAISE(ABORT, 'outbox: authorized_payment_modes have an unknown field; known are codeProvider, paymentNumber, cardNumber, amount')
            WHEN 3 THEN RAISE(ABORT, 'outbox: authorized_payment_modes have a field twice')
            WHEN 2 THEN RAISE(ABORT, 'outbox: authorized_payment_modes must have text as codeProvider, paymentNumber and cardNumber')
            WHEN 1 THEN RAISE(ABORT, 'outbox: authorized_payment_modes must have an amount that is a whole number of XOF from 1 to 9007199254740991')
        END
    END;
END;

CREATE TRIGGER outbox_insert BEFORE INSERT ON outbox
BEGIN
    INSERT INTO outbox_rules (reference, code_client, code_structure, net_total, priority, replaces, not_before,
                              created_at, tax_payer, items, authorized_payment_modes, callback, redirect_url)
    VALUES (NEW.reference, NEW.code_client, NEW.code_structure, NEW.net_total, NEW.priority, NEW.replaces, NEW.not_before,
            NEW.created_at, NEW.tax_payer, NEW.items, NEW.authorized_payment_modes, NEW.callback, NEW.redirect_url);

    SELECT CASE
        WHEN NEW.status <> 'PENDING' THEN RAISE(ABORT, 'outbox: status is written by the daemon; a row is inserted as PENDING')
        WHEN NEW.attempts <> 0 THEN RAISE(ABORT, 'outbox: attempts is written by the daemon')
        WHEN NEW.status_source IS NOT NULL THEN RAISE(ABORT, 'outbox: status_source is written by the daemon')
        WHEN NEW.status_reason IS NOT NULL THEN RAISE(ABORT, 'outbox: status_reason is written by the daemon')
        WHEN NEW.updated_at IS NOT NULL THEN RAISE(ABORT, 'outbox: updated_at is written by the daemon')
        WHEN NEW.next_attempt_at IS NOT NULL THEN RAISE(ABORT, 'outbox: next_attempt_at is written by the daemon (use not_before)')
        WHEN NEW.not_before_passed IS NOT NULL THEN RAISE(ABORT, 'outbox: not_before_passed is written by the daemon')
        WHEN NEW.tresorpay_reference IS NOT NULL THEN RAISE(ABORT, 'outbox: tresorpay_reference is written by the daemon')
        WHEN NEW.payment_url IS NOT NULL THEN RAISE(ABORT, 'outbox: payment_url is written by the daemon')
        WHEN NEW.provider IS NOT NULL THEN RAISE(ABORT, 'outbox: provider is written by the daemon')
        WHEN NEW.pay_date IS NOT NULL THEN RAISE(ABORT, 'outbox: pay_date is written by the daemon')
        WHEN NEW.emitted_at IS NOT NULL THEN RAISE(ABORT, 'outbox: emitted_at is written by the daemon')
        WHEN NEW.paid_at IS NOT NULL THEN RAISE(ABORT, 'outbox: paid_at is written by the daemon')
        WHEN NEW.canceled_at IS NOT NULL THEN RAISE(ABORT, 'outbox: canceled_at is written by the daemon')
        WHEN NEW.delivery_confirmed_at IS NOT NULL THEN RAISE(ABORT, 'outbox: delivery_confirmed_at is written by the daemon')
        WHEN NEW.callback_called_at IS NOT NULL THEN RAISE(ABORT, 'outbox: callback_called_at is written by the daemon')
        WHEN NEW.receipt_path IS NOT NULL THEN RAISE(ABORT, 'outbox: receipt_path is written by the daemon')
        WHEN NEW.anonymised_at IS NOT NULL THEN RAISE(ABORT, 'outbox: anonymised_at is written by the daemon')
        WHEN NEW.last_error IS NOT NULL THEN RAISE(ABORT, 'outbox: last_error is written by the daemon')

        -- Before the INSERT, NEW.id is -1 where none was given. One that was is passed over only where it changes
        -- nothing: for a known reference, and not beyond the last id (even an ignored INSERT would use up the ids below).
        WHEN NEW.id <> -1
            AND (NOT EXISTS (SELECT 1 FROM outbox WHERE reference = NEW.reference)
                OR NEW.id > (SELECT max(id) FROM outbox))
            THEN RAISE(ABORT, 'outbox: id is given by the database; leave it out')
    END;

    -- Nothing is overwritten. SQLite fires no DELETE trigger for what OR REPLACE removes, but the conflict clause of the
    -- outer statement also rules the statements of its triggers: only under OR REPLACE does this change row 1.
    INSERT OR IGNORE INTO outbox_reference_probe (reference, replaced)
        SELECT 1, 1 WHERE EXISTS (SELECT 1 FROM outbox WHERE reference = NEW.reference);
    SELECT RAISE(ABORT, 'outbox: reference is already there, and no row is ever overwritten')
        WHERE (SELECT replaced FROM outbox_reference_probe WHERE reference = 1);
END;

-- An explicit NULL in status or attempts takes the default, save under OR IGNORE, where SQLite would drop the row without
-- a word. Row 2 is the same case in small: it appears under every other clause.
CREATE TRIGGER outbox_insert_null BEFORE INSERT ON outbox WHEN NEW.status IS NULL OR NEW.attempts IS NULL
BEGIN
    DELETE FROM outbox_reference_probe WHERE reference = 2;
    INSERT OR REPLACE INTO outbox_reference_probe (reference, replaced) VALUES (2, NULL);
    SELECT RAISE(ABORT, 'outbox: status and attempts must be left out, not NULL, under INSERT OR IGNORE')
        WHERE NOT EXISTS (SELECT 1 FROM outbox_reference_probe WHERE reference = 2);
    DELETE FROM outbox_reference_probe WHERE reference = 2;
END;

CREATE TRIGGER outbox_inserted AFTER INSERT ON outbox
BEGIN
    SELECT RAISE(ABORT, 'outbox: id is given by the database; leave it out') WHERE NEW.id < 1;
    INSERT INTO transition (outbox_id, at, from_status, to_status, source)
        VALUES (NEW.id, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), NULL, 'PENDING', 'application');
END;

CREATE TRIGGER outbox_reference_probe_update BEFORE UPDATE ON outbox_reference_probe
BEGIN
    SELECT RAISE(ABORT, 'outbox_reference_probe: belongs to the triggers of outbox');
END;

CREATE TRIGGER outbox_reference_probe_delete BEFORE DELETE ON outbox_reference_probe WHEN OLD.reference = 1
BEGIN
    SELECT RAISE(ABORT, 'outbox: reference is already there, and no row is ever overwritten');
END;

-- Corrections: what the application wrote may be changed while the row is PENDING or REJECTED and every emission so far
-- surely created nothing: it never left (phase `unsent`), or its answer says so (the four outcomes below; `ok`,
-- `unknown`, `interrupted` and NULL do not). A row that was ever EMITTED or UNCERTAIN has been sent, whatever is known of
-- its attempts: they may be gone with a restored file. An UPDATE that changes nothing is let through.
CREATE TRIGGER outbox_correct BEFORE UPDATE OF reference, code_client, code_structure, net_total, priority, replaces,
    not_before, created_at, tax_payer, items, authorized_payment_modes, callback, redirect_url ON outbox
WHEN NEW.status IS OLD.status AND NEW.updated_at IS OLD.updated_at AND NEW.anonymised_at IS OLD.anonymised_at
    AND (NEW.reference IS NOT OLD.reference OR NEW.code_client IS NOT OLD.code_client
        OR NEW.code_structure IS NOT OLD.code_structure OR NEW.net_total IS NOT OLD.net_total
        OR NEW.priority IS NOT OLD.priority OR NEW.replaces IS NOT OLD.replaces
        OR NEW.not_before IS NOT OLD.not_before OR NEW.created_at IS NOT OLD.created_at
        OR NEW.tax_payer IS NOT OLD.tax_payer OR NEW.items IS NOT OLD.items
        OR NEW.authorized_payment_modes IS NOT OLD.authorized_payment_modes
        OR NEW.callback IS NOT OLD.callback OR NEW.redirect_url IS NOT OLD.redirect_url)
BEGIN
    INSERT INTO outbox_rules (reference, code_client, code_structure, net_total, priority, replaces, not_before,
                              created_at, tax_payer, items, authorized_payment_modes, callback, redirect_url)
    VALUES (NEW.reference, NEW.code_client, NEW.code_structure, NEW.net_total, NEW.priority, NEW.replaces, NEW.not_before,
            NEW.created_at, NEW.tax_payer, NEW.items, NEW.authorized_payment_modes, NEW.callback, NEW.redirect_url);

    SELECT CASE
        WHEN OLD.anonymised_at IS NOT NULL
            THEN RAISE(ABORT, 'outbox: an anonymised row may not be corrected')
        WHEN OLD.status NOT IN ('PENDING', 'REJECTED')
            THEN RAISE(ABORT, 'outbox: a row may be corrected in PENDING and REJECTED only')
        WHEN EXISTS (SELECT 1 FROM attempt
                     WHERE outbox_id = OLD.id AND operation = 'emit' AND phase <> 'unsent'
                        AND NOT (phase = 'answered' AND outcome IS NOT NULL
                            AND outcome IN ('refused', 'rate_limited', 'unauthorized', 'misdirected',
                                            'already_canceled')))
            OR EXISTS (SELECT 1 FROM transition WHERE outbox_id = OLD.id AND to_status IN ('EMITTED', 'UNCERTAIN'))
            THEN RAISE(ABORT, 'outbox: a row may not be corrected once an emission was neither unsent nor refused')
    END;

    SELECT CASE
        WHEN EXISTS (SELECT 1 FROM attempt WHERE outbox_id = OLD.id AND operation = 'emit' AND phase <> 'unsent')
            THEN RAISE(ABORT, 'outbox: reference may not change once an emission was not unsent')
        WHEN EXISTS (SELECT 1 FROM outbox WHERE reference = NEW.reference)
            THEN RAISE(ABORT, 'outbox: reference is already there, and no row is ever overwritten')
        WHEN EXISTS (SELECT 1 FROM outbox WHERE replaces = OLD.reference)
            THEN RAISE(ABORT, 'outbox: reference may not change while another row replaces it')
        WHEN EXISTS (SELECT 1 FROM command WHERE reference = OLD.reference AND done_at IS NULL)
            THEN RAISE(ABORT, 'outbox: reference may not change while a command for it is open')
    END
    WHERE NEW.reference IS NOT OLD.reference;
END;

-- A correction of amounts leaves a transition with from = to that names the columns and both totals.
CREATE TRIGGER outbox_corrected AFTER UPDATE OF net_total, items, authorized_payment_modes ON outbox
WHEN NEW.status IS OLD.status AND NEW.updated_at IS OLD.updated_at AND NEW.anonymised_at IS OLD.anonymised_at
    AND (NEW.net_total IS NOT OLD.net_total OR NEW.items IS NOT OLD.items
        OR NEW.authorized_payment_modes IS NOT OLD.authorized_payment_modes)
BEGIN
    DELETE FROM outbox_correction_ticket;
    INSERT INTO outbox_correction_ticket (outbox_id) VALUES (NEW.id);
    INSERT INTO transition (outbox_id, at, from_status, to_status, source, reason)
    VALUES (NEW.id, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), NEW.status, NEW.status, 'application',
        'corrected ' || substr(
            CASE WHEN NEW.net_total IS NOT OLD.net_total THEN ', net_total' ELSE '' END
            || CASE WHEN NEW.items IS NOT OLD.items THEN ', items' ELSE '' END
            || CASE WHEN NEW.authorized_payment_modes IS NOT OLD.authorized_payment_modes
                    THEN ', authorized_payment_modes' ELSE '' END, 3)
        || ': net_total ' || OLD.net_total || ' -> ' || NEW.net_total);
    DELETE FROM outbox_correction_ticket;
END;

-- UPDATE OF goes by the name that the statement uses, so the rowid's other names are listed too.
CREATE TRIGGER outbox_id_fixed BEFORE UPDATE OF id, rowid, oid, _rowid_ ON outbox
BEGIN
    SELECT RAISE(ABORT, 'outbox: id never changes');
END;

CREATE TRIGGER outbox_delete BEFORE DELETE ON outbox
BEGIN
    SELECT CASE
        WHEN OLD.status NOT IN ('PENDING', 'REJECTED', 'CANCELED') OR OLD.tresorpay_reference IS NOT NULL
            OR EXISTS (SELECT 1 FROM attempt WHERE outbox_id = OLD.id AND operation = 'emit' AND phase <> 'unsent')
            OR EXISTS (SELECT 1 FROM transition WHERE outbox_id = OLD.id AND to_status IN ('EMITTED', 'UNCERTAIN'))
            THEN RAISE(ABORT, 'outbox: a row that was sent is never deleted; INSERT a cancel into command')
    END;
END;

----------------------------------------------------------------------------------------------------------------------
-- What only the daemon writes, and the moves of status
----------------------------------------------------------------------------------------------------------------------

CREATE TRIGGER outbox_daemon_only AFTER UPDATE OF status, status_source, status_reason, updated_at, attempts,
    next_attempt_at, not_before_passed, tresorpay_reference, payment_url, provider, pay_date, emitted_at, paid_at,
    canceled_at, delivery_confirmed_at, callback_called_at, receipt_path, anonymised_at, last_error ON outbox
WHEN NEW.id = 0 COLLATE use_the_command_table -- never true; what counts is that it must be prepared
BEGIN
    SELECT RAISE(ABORT, 'outbox: use the command table');
END;

-- The moves, and their transition in the same commit. status_source, status_reason and updated_at are set in the same
-- UPDATE as status.
CREATE TRIGGER outbox_move AFTER UPDATE OF status ON outbox WHEN NEW.status <> OLD.status
BEGIN
    SELECT CASE
        WHEN NEW.status_source IS NULL OR NEW.updated_at IS NULL
            THEN RAISE(ABORT, 'outbox: status must be set together with status_source and updated_at')
        WHEN NEW.anonymised_at IS NOT NULL AND NEW.status IN ('PENDING', 'EMITTING')
            THEN RAISE(ABORT, 'outbox: status of an anonymised row may not go back to PENDING or EMITTING')
        ELSE CASE OLD.status
            WHEN 'PENDING' THEN CASE NEW.status
                WHEN 'EMITTING' THEN NULL WHEN 'REJECTED' THEN NULL WHEN 'CANCELED' THEN NULL
                WHEN 'EMITTED' THEN NULL WHEN 'UNCERTAIN' THEN NULL
                WHEN 'PAID' THEN RAISE(ABORT, 'outbox: status may not go from PENDING to PAID')
            END
            WHEN 'EMITTING' THEN CASE NEW.status
                WHEN 'EMITTED' THEN NULL WHEN 'PENDING' THEN NULL WHEN 'REJECTED' THEN NULL WHEN 'UNCERTAIN' THEN NULL
                WHEN 'PAID' THEN RAISE(ABORT, 'outbox: status may not go from EMITTING to PAID')
                WHEN 'CANCELED' THEN RAISE(ABORT, 'outbox: status may not go from EMITTING to CANCELED')
            END
            WHEN 'EMITTED' THEN CASE NEW.status
                WHEN 'PAID' THEN NULL WHEN 'CANCELED' THEN NULL
                WHEN 'PENDING' THEN RAISE(ABORT, 'outbox: status may not go from EMITTED to PENDING')
                WHEN 'EMITTING' THEN RAISE(ABORT, 'outbox: status may not go from EMITTED to EMITTING')
                WHEN 'UNCERTAIN' THEN RAISE(ABORT, 'outbox: status may not go from EMITTED to UNCERTAIN')
                WHEN 'REJECTED' THEN RAISE(ABORT, 'outbox: status may not go from EMITTED to REJECTED')
            END
            WHEN 'UNCERTAIN' THEN CASE NEW.status
                WHEN 'EMITTED' THEN NULL WHEN 'EMITTING' THEN NULL WHEN 'PENDING' THEN NULL WHEN 'CANCELED' THEN NULL
                WHEN 'REJECTED' THEN RAISE(ABORT, 'outbox: status may not go from UNCERTAIN to REJECTED')
                WHEN 'PAID' THEN RAISE(ABORT, 'outbox: status may not go from UNCERTAIN to PAID')
            END
            WHEN 'REJECTED' THEN CASE NEW.status
                WHEN 'PENDING' THEN NULL WHEN 'CANCELED' THEN NULL WHEN 'EMITTED' THEN NULL WHEN 'UNCERTAIN' THEN NULL
                WHEN 'EMITTING' THEN RAISE(ABORT, 'outbox: status may not go from REJECTED to EMITTING')
                WHEN 'PAID' THEN RAISE(ABORT, 'outbox: status may not go from REJECTED to PAID')
            END
            WHEN 'PAID' THEN CASE NEW.status
                WHEN 'CANCELED' THEN NULL
                WHEN 'PENDING' THEN RAISE(ABORT, 'outbox: status may not go from PAID to PENDING')
                WHEN 'EMITTING' THEN RAISE(ABORT, 'outbox: status may not go from PAID to EMITTING')
                WHEN 'UNCERTAIN' THEN RAISE(ABORT, 'outbox: status may not go from PAID to UNCERTAIN')
                WHEN 'REJECTED' THEN RAISE(ABORT, 'outbox: status may not go from PAID to REJECTED')
                WHEN 'EMITTED' THEN RAISE(ABORT, 'outbox: status may not go from PAID to EMITTED')
            END
            WHEN 'CANCELED' THEN CASE NEW.status
                WHEN 'PAID' THEN NULL
                WHEN 'PENDING' THEN RAISE(ABORT, 'outbox: status may not go from CANCELED to PENDING')
                WHEN 'EMITTING' THEN RAISE(ABORT, 'outbox: status may not go from CANCELED to EMITTING')
                WHEN 'UNCERTAIN' THEN RAISE(ABORT, 'outbox: status may not go from CANCELED to UNCERTAIN')
                WHEN 'REJECTED' THEN RAISE(ABORT, 'outbox: status may not go from CANCELED to REJECTED')
                WHEN 'EMITTED' THEN RAISE(ABORT, 'outbox: status may not go from CANCELED to EMITTED')
            END
        END
    END;

    INSERT INTO transition (outbox_id, at, from_status, to_status, source, reason, provider, pay_date)
        VALUES (NEW.id, NEW.updated_at, OLD.status, NEW.status, NEW.status_source, NEW.status_reason,
                CASE NEW.status WHEN 'PAID' THEN NEW.provider END, CASE NEW.status WHEN 'PAID' THEN NEW.pay_date END);
END;

-- Reconciliation found that a payment is not what it was: a transition with from = to keeps both. What was not known before
-- is no change.
CREATE TRIGGER outbox_payment_changed AFTER UPDATE OF provider, pay_date ON outbox
WHEN NEW.status = OLD.status AND OLD.status = 'PAID'
    AND (NEW.provider <> OLD.provider OR NEW.pay_date <> OLD.pay_date)
BEGIN
    DELETE FROM outbox_correction_ticket;
    INSERT INTO outbox_correction_ticket (outbox_id) VALUES (NEW.id);
    INSERT INTO transition (outbox_id, at, from_status, to_status, source, provider, pay_date, reason)
    VALUES (NEW.id, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), NEW.status, NEW.status, 'reconcile', NEW.provider, NEW.pay_date,
        'drift_payment: ' || substr(
            CASE WHEN NEW.provider <> OLD.provider
                 THEN ', provider ' || OLD.provider || ' -> ' || NEW.provider ELSE '' END
            || CASE WHEN NEW.pay_date <> OLD.pay_date
                    THEN ', pay_date ' || OLD.pay_date || ' -> ' || NEW.pay_date ELSE '' END, 3));
    DELETE FROM outbox_correction_ticket;
END;

-- A notice belongs to one row. (The unique index says so too, but would let UPDATE OR REPLACE delete the other row.)
CREATE TRIGGER outbox_tresorpay_reference_taken BEFORE UPDATE OF tresorpay_reference ON outbox
WHEN NEW.tresorpay_reference IS NOT OLD.tresorpay_reference
BEGIN
    SELECT RAISE(ABORT, 'outbox: tresorpay_reference is another row''s already')
        WHERE EXISTS (SELECT 1 FROM outbox WHERE tresorpay_reference = NEW.tresorpay_reference);
END;

-- Of what the application wrote, the daemon changes two things, and marks itself by writing updated_at or status with
-- them. First: card numbers go, at the earliest with the UPDATE that makes the row EMITTED.
CREATE TRIGGER outbox_card_numbers BEFORE UPDATE OF reference, code_client, code_structure, net_total, priority, replaces,
    not_before, created_at, tax_payer, items, authorized_payment_modes, callback, redirect_url ON outbox
WHEN NEW.anonymised_at IS OLD.anonymised_at AND (NEW.status IS NOT OLD.status OR NEW.updated_at IS NOT OLD.updated_at)
BEGIN
    SELECT CASE
        WHEN NEW.reference IS NOT OLD.reference OR NEW.code_client IS NOT OLD.code_client
            OR NEW.code_structure IS NOT OLD.code_structure OR NEW.net_total IS NOT OLD.net_total
            OR NEW.priority IS NOT OLD.priority OR NEW.replaces IS NOT OLD.replaces
            OR NEW.not_before IS NOT OLD.not_before OR NEW.created_at IS NOT OLD.created_at
            OR NEW.tax_payer IS NOT OLD.tax_payer OR NEW.items IS NOT OLD.items
            OR NEW.callback IS NOT OLD.callback OR NEW.redirect_url IS NOT OLD.redirect_url
            THEN RAISE(ABORT, 'outbox: the daemon does not correct what the application wrote')
        WHEN NEW.authorized_payment_modes IS OLD.authorized_payment_modes THEN NULL
        WHEN NEW.status NOT IN ('EMITTED', 'PAID', 'CANCELED')
            OR (SELECT group_concat(field) FROM (
                    SELECT path || key || type || coalesce(atom, '') AS field
                    FROM json_tree(NEW.authorized_payment_modes) ORDER BY field LIMIT -1))
               IS NOT
               (SELECT group_concat(field) FROM (
                    SELECT path || key || type || coalesce(atom, '') AS field
                    FROM json_tree(OLD.authorized_payment_modes) WHERE key IS NOT 'cardNumber' ORDER BY field LIMIT -1))
            THEN RAISE(ABORT, 'outbox: authorized_payment_modes may lose its card numbers only, once EMITTED')
    END;
END;

-- Second: a finished row's personal data leaves, once. Amounts, codes and history stay.
CREATE TRIGGER outbox_anonymise BEFORE UPDATE OF anonymised_at ON outbox WHEN NEW.anonymised_at IS NOT OLD.anonymised_at
BEGIN
    SELECT CASE
        WHEN OLD.anonymised_at IS NOT NULL
            THEN RAISE(ABORT, 'outbox: anonymised_at is written once')
        WHEN NEW.status <> OLD.status OR OLD.status NOT IN ('PAID', 'CANCELED', 'REJECTED')
            THEN RAISE(ABORT, 'outbox: anonymised_at is for rows in PAID, CANCELED and REJECTED only')
        WHEN NEW.reference IS NOT OLD.reference OR NEW.code_client IS NOT OLD.code_client
            OR NEW.code_structure IS NOT OLD.code_structure OR NEW.net_total IS NOT OLD.net_total
            OR NEW.priority IS NOT OLD.priority OR NEW.replaces IS NOT OLD.replaces
            OR NEW.not_before IS NOT OLD.not_before OR NEW.created_at IS NOT OLD.created_at
            THEN RAISE(ABORT, 'outbox: anonymised_at comes with the personal columns only')
        WHEN NEW.tax_payer IS NOT '{"anonymised":true}' OR NEW.authorized_payment_modes IS NOT NULL
            OR NEW.callback IS NOT NULL OR NEW.redirect_url IS NOT NULL
            THEN RAISE(ABORT, 'outbox: anonymised_at needs tax_payer {"anonymised":true} and NULL in authorized_payment_modes, callback and redirect_url')
        WHEN NOT json_valid(NEW.items)
            OR (SELECT group_concat(field) FROM (
                    SELECT path || key || type || coalesce(atom, '') AS field
                    FROM json_tree(NEW.items) ORDER BY field LIMIT -1))
               IS NOT
               (SELECT group_concat(field) FROM (
                    SELECT path || key || type || coalesce(atom, '') AS field
                    FROM json_tree(OLD.items) WHERE key IS NOT 'name' AND key IS NOT 'description'
                    ORDER BY field LIMIT -1))
            THEN RAISE(ABORT, 'outbox: anonymised_at needs items without name and description, the rest as it was')
    END;
END;

----------------------------------------------------------------------------------------------------------------------
-- transition: append-only, complete, a chain
----------------------------------------------------------------------------------------------------------------------

-- The triggers of outbox write it, nobody else. The last transition of a row always ends in its present status: so what is
-- not written with a move has from = to, and then it needs a correction's ticket.
CREATE TRIGGER transition_insert BEFORE INSERT ON transition
BEGIN
    SELECT CASE
        WHEN NEW.id <> -1
            THEN RAISE(ABORT, 'transition: id is given by the database; leave it out')
        WHEN NEW.to_status IS NOT (SELECT status FROM outbox WHERE id = NEW.outbox_id)
            THEN RAISE(ABORT, 'transition: to_status must be the present status of the outbox row')
        WHEN NEW.from_status IS NOT
            (SELECT to_status FROM transition WHERE outbox_id = NEW.outbox_id ORDER BY id DESC LIMIT 1)
            THEN RAISE(ABORT, 'transition: from_status must be the to_status of the row''s last transition')
        WHEN NEW.from_status = NEW.to_status
            AND NOT EXISTS (SELECT 1 FROM outbox_correction_ticket WHERE outbox_id = NEW.outbox_id)
            THEN RAISE(ABORT, 'transition: is written by the triggers of outbox only')
    END;
END;

CREATE TRIGGER transition_update BEFORE UPDATE ON transition
BEGIN
    SELECT RAISE(ABORT, 'transition: append-only, no UPDATE');
END;

CREATE TRIGGER transition_delete BEFORE DELETE ON transition
BEGIN
    SELECT RAISE(ABORT, 'transition: append-only, no DELETE');
END;

----------------------------------------------------------------------------------------------------------------------
-- attempt: inserted open, completed once
----------------------------------------------------------------------------------------------------------------------

CREATE TRIGGER attempt_insert_daemon_only BEFORE INSERT ON attempt
BEGIN
    SELECT CASE
        WHEN NEW.id = 0 COLLATE use_the_command_table OR NEW.id <> -1
            THEN RAISE(ABORT, 'attempt: id is given by the database; leave it out')
        WHEN NEW.outcome IS NOT NULL OR NEW.phase <> 'sent' OR NEW.http_status IS NOT NULL
            THEN RAISE(ABORT, 'attempt: must be inserted open, before the request leaves')
        WHEN EXISTS (SELECT 1 FROM attempt
                     WHERE outbox_id = NEW.outbox_id AND operation = NEW.operation AND outcome IS NULL)
            THEN RAISE(ABORT, 'attempt: one of this operation is under way for the row already')
        WHEN NEW.operation = 'emit' THEN CASE
            WHEN (SELECT status FROM outbox WHERE id = NEW.outbox_id) IS NOT 'EMITTING'
                THEN RAISE(ABORT, 'attempt: an emission is for a row in EMITTING; insert it after the UPDATE that makes it so')
        END
        WHEN NOT EXISTS (SELECT 1 FROM outbox WHERE id = NEW.outbox_id)
            THEN RAISE(ABORT, 'attempt: outbox_id must be the id of an outbox row')
    END;
END;

CREATE TRIGGER attempt_fixed BEFORE UPDATE OF id, rowid, oid, _rowid_, outbox_id, operation, code_client, code_structure,
    base_url, started_at ON attempt
BEGIN
    SELECT RAISE(ABORT, 'attempt: what was sent never changes');
END;

-- While outcome is NULL, everything below may be written; after that, detail may still be taken out (retention).
CREATE TRIGGER attempt_complete_daemon_only BEFORE UPDATE OF duration_ms, phase, http_status, outcome,
    tresorpay_reference, detail ON attempt
WHEN OLD.outcome IS NOT NULL OR OLD.id = 0 COLLATE use_the_command_table
BEGIN
    SELECT RAISE(ABORT, 'attempt: is completed once')
        WHERE NEW.detail IS NOT NULL OR NEW.outcome IS NOT OLD.outcome OR NEW.phase IS NOT OLD.phase
            OR NEW.duration_ms IS NOT OLD.duration_ms OR NEW.http_status IS NOT OLD.http_status
            OR NEW.tresorpay_reference IS NOT OLD.tresorpay_reference;
END;

CREATE TRIGGER attempt_delete BEFORE DELETE ON attempt
BEGIN
    SELECT RAISE(ABORT, 'attempt: no DELETE');
END;

----------------------------------------------------------------------------------------------------------------------
-- command: inserted by anybody, completed once by the daemon
----------------------------------------------------------------------------------------------------------------------

-- Only what is malformed is refused here. What makes no sense for the row (or names none) is `refused` by the daemon.
CREATE TRIGGER command_insert BEFORE INSERT ON command
BEGIN
    SELECT CASE
        WHEN NEW.id <> -1
            THEN RAISE(ABORT, 'command: id is given by the database; leave it out')
        WHEN NEW.action IS NULL OR NEW.action NOT IN ('cancel', 'retry', 'poll', 'confirm-delivery', 'fetch-receipt',
                'resolve-emitted', 'resolve-not-emitted', 'anonymise', 'pause', 'resume')
            THEN RAISE(ABORT, 'command: action must be cancel, retry, poll, confirm-delivery, fetch-receipt, resolve-emitted, resolve-not-emitted, anonymise, pause or resume')
        WHEN NEW.action IN ('pause', 'resume') AND NEW.reference IS NOT NULL
            THEN RAISE(ABORT, 'command: reference must be NULL for pause and resume')
        WHEN NEW.action NOT IN ('pause', 'resume')
            AND (typeof(NEW.reference) <> 'text' OR length(NEW.reference) NOT BETWEEN 1 AND 64)
            THEN RAISE(ABORT, 'command: reference must be the reference of an outbox row')
        WHEN NEW.action <> 'resolve-emitted' AND NEW.argument IS NOT NULL
            THEN RAISE(ABORT, 'command: argument must be NULL, save for resolve-emitted')
        WHEN NEW.action = 'resolve-emitted' AND (typeof(NEW.argument) <> 'text' OR length(NEW.argument) NOT BETWEEN 1 AND 128
                OR trim(NEW.argument) = ''
                OR NEW.argument GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*')
            THEN RAISE(ABORT, 'command: argument must be the TresorPay reference for resolve-emitted, text of 1 to 128 characters')
        WHEN NEW.requested_by IS NOT NULL AND (typeof(NEW.requested_by) <> 'text' OR length(NEW.requested_by) > 128)
            THEN RAISE(ABORT, 'command: requested_by must be text of at most 128 characters')
        WHEN NEW.reason IS NOT NULL AND (typeof(NEW.reason) <> 'text' OR length(NEW.reason) > 500)
            THEN RAISE(ABORT, 'command: reason must be text of at most 500 characters')
        WHEN typeof(NEW.requested_at) <> 'text' OR length(CAST(NEW.requested_at AS BLOB)) <> 24
            OR NEW.requested_at NOT GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z'
            OR strftime('%Y-%m-%dT%H:%M:%S', substr(NEW.requested_at, 1, 19), '+0 seconds') IS NOT substr(NEW.requested_at, 1, 19)
            THEN RAISE(ABORT, 'command: requested_at must be a UTC time that exists, written 2026-11-24T09:48:00.000Z; left out, it is now')
        WHEN instr(coalesce(NEW.reference, '') || coalesce(NEW.argument, '') || coalesce(NEW.requested_by, '') || coalesce(NEW.reason, ''),
                   char(0)) > 0
            OR EXISTS (
                WITH RECURSIVE place (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM place WHERE i < 900)
                SELECT 1
                FROM (SELECT coalesce(NEW.reference, '') || '|' || coalesce(NEW.argument, '') || '|'
                          || coalesce(NEW.requested_by, '') || '|' || coalesce(NEW.reason, '') AS content
                      LIMIT 1) CROSS JOIN place
                WHERE content GLOB '*[^' || char(1) || '-' || char(127) || ']*' AND i <= length(content)
                    AND CAST(char(unicode(substr(content, i, 1))) AS BLOB) <> CAST(substr(content, i, 1) AS BLOB))
            THEN RAISE(ABORT, 'command: reference, argument, requested_by and reason must be UTF-8 text without NUL')
        WHEN NEW.done_at IS NOT NULL THEN RAISE(ABORT, 'command: done_at is written by the daemon')
        WHEN NEW.outcome IS NOT NULL THEN RAISE(ABORT, 'command: outcome is written by the daemon')
        WHEN NEW.detail IS NOT NULL THEN RAISE(ABORT, 'command: detail is written by the daemon')
    END;
END;

CREATE TRIGGER command_inserted AFTER INSERT ON command WHEN NEW.id < 1
BEGIN
    SELECT RAISE(ABORT, 'command: id is given by the database; leave it out');
END;

-- While it is open, the daemon may write done_at, outcome and detail; after that, only take argument, reason and
-- detail out.
CREATE TRIGGER command_complete_daemon_only BEFORE UPDATE ON command
BEGIN
    SELECT CASE
        WHEN NEW.id IS NOT OLD.id COLLATE use_the_command_table OR NEW.reference IS NOT OLD.reference
            OR NEW.action IS NOT OLD.action OR NEW.requested_by IS NOT OLD.requested_by
            OR NEW.requested_at IS NOT OLD.requested_at
            OR NEW.argument IS NOT OLD.argument AND (OLD.done_at IS NULL OR NEW.argument IS NOT NULL)
            OR NEW.reason IS NOT OLD.reason AND (OLD.done_at IS NULL OR NEW.reason IS NOT NULL)
            THEN RAISE(ABORT, 'command: what was asked never changes')
        WHEN OLD.done_at IS NOT NULL AND (NEW.done_at IS NOT OLD.done_at OR NEW.outcome IS NOT OLD.outcome
                OR NEW.detail IS NOT OLD.detail AND NEW.detail IS NOT NULL)
            THEN RAISE(ABORT, 'command: is completed once')
    END;
END;

CREATE TRIGGER command_delete BEFORE DELETE ON command
BEGIN
    SELECT RAISE(ABORT, 'command: no DELETE');
END;

----------------------------------------------------------------------------------------------------------------------
-- meta: the daemon's alone; what the file is for never changes
----------------------------------------------------------------------------------------------------------------------

CREATE TRIGGER meta_insert_daemon_only BEFORE INSERT ON meta
BEGIN
    SELECT RAISE(ABORT, 'meta: environment, api_origin and database_id never change')
        WHERE NEW.key COLLATE use_the_command_table IN ('environment', 'api_origin', 'database_id')
            AND (SELECT value FROM meta WHERE key = NEW.key) <> NEW.value;
END;

CREATE TRIGGER meta_update_daemon_only BEFORE UPDATE ON meta
BEGIN
    SELECT RAISE(ABORT, 'meta: environment, api_origin and database_id never change')
        WHERE NEW.key <> OLD.key COLLATE use_the_command_table
            OR OLD.key IN ('environment', 'api_origin', 'database_id') AND NEW.value IS NOT OLD.value;
END;

CREATE TRIGGER meta_delete_daemon_only BEFORE DELETE ON meta
BEGIN
    SELECT RAISE(ABORT, 'meta: environment, api_origin and database_id never change')
        WHERE OLD.key COLLATE use_the_command_table IN ('environment', 'api_origin', 'database_id');
END;
