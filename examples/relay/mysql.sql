-- An outbox for tresorpayd in a MariaDB (10.5 or later) or MySQL (8.0 or later) database. The relay, from_database.py,
-- carries pending rows from here into tresorpayd's SQLite outbox, and what became of them back.
--
--     mariadb DATABASE < mysql.sql
--
-- The application INSERTs into tresorpay_outbox and tresorpay_command, within its own transactions. The columns have
-- the names and the rules of tresorpayd's; JSON is text, because the relay compares and forwards it as it is.
-- Text is compared byte by byte (utf8mb4_bin), as SQLite does.

CREATE TABLE tresorpay_outbox (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    reference varchar(64) NOT NULL UNIQUE,
    code_client varchar(64),
    code_structure varchar(64),
    net_total bigint NOT NULL CHECK (net_total > 0),
    tax_payer text NOT NULL,
    items mediumtext NOT NULL,
    authorized_payment_modes text,
    callback varchar(2048),
    redirect_url varchar(2048),
    priority smallint NOT NULL DEFAULT 0,
    replaces varchar(64),
    not_before varchar(24),
    -- Set by the relay: NULL means "to be carried over". To correct a REJECTED row, change it and set this to NULL.
    relayed_at varchar(24),
    -- Written by the relay; NULL until it has the row.
    status varchar(16),
    tresorpay_reference varchar(128),
    payment_url varchar(2048),
    provider varchar(200),
    pay_date varchar(64),
    paid_at varchar(24),
    last_error text,
    updated_at varchar(24),
    KEY tresorpay_outbox_to_relay (relayed_at, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE tresorpay_command (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    reference varchar(64),
    action varchar(32) NOT NULL,
    argument varchar(128),
    requested_by varchar(200),
    reason varchar(500),
    relayed_at varchar(24),
    outcome varchar(16),
    detail text,
    KEY tresorpay_command_to_relay (relayed_at, id),
    KEY tresorpay_command_open (outcome, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- How far the relay has written back. timeline is of tresorpayd's file: it changes when an old copy was restored.
CREATE TABLE tresorpay_feed (
    one smallint PRIMARY KEY CHECK (one = 1),
    timeline varchar(64) NOT NULL,
    last_transition bigint NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT INTO tresorpay_feed VALUES (1, '', 0);
