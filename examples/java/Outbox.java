// Bill, learn of payments, correct and cancel through tresorpayd's outbox. Java 11 or later, with sqlite-jdbc
// (Debian's package is libxerial-sqlite-jdbc-java).
//
//     java -cp /usr/share/java/sqlite-jdbc.jar Outbox.java DATABASE VERB [REFERENCE] [CODE_STRUCTURE]
//
//     bill REFERENCE [CODE_STRUCTURE]     one notice, and wait until it is paid
//     follow [REFERENCE]                  every payment, once; ends after REFERENCE
//     correct REFERENCE CODE_STRUCTURE    a REJECTED row, and send it again
//     cancel REFERENCE                    withdraw a notice
//
// Each may be run again after a crash at any point: nothing is billed, delivered or canceled twice.

import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Set;

public class Outbox {
    /** What is done within one transaction. */
    interface Work<T> {
        T run() throws SQLException;
    }

    // [open]
    static Connection openOutbox(String path) throws SQLException {
        // mode=rw: a wrong path is an error, not a new, empty database.
        Connection db = DriverManager.getConnection("jdbc:sqlite:" + Path.of(path).toUri() + "?mode=rw");
        try (Statement pragma = db.createStatement()) {
            pragma.execute("PRAGMA busy_timeout = 5000");
            pragma.execute("PRAGMA synchronous = FULL");
            pragma.execute("PRAGMA wal_autocheckpoint = 0"); // the daemon checkpoints
        }
        return db;
    }
    // [/open]

    // [transaction]
    /** BEGIN IMMEDIATE, because what it does reads before it writes. */
    static <T> T transaction(Connection db, Work<T> work) throws SQLException {
        // As SQL: this driver's setAutoCommit(false) would hold the lock again right after each commit.
        execute(db, "BEGIN IMMEDIATE");
        try {
            T result = work.run();
            execute(db, "COMMIT");
            return result;
        } catch (SQLException | RuntimeException error) {
            execute(db, "ROLLBACK");
            throw error;
        }
    }
    // [/transaction]

    /** Runs one statement; how many rows it changed. */
    static int execute(Connection db, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            bind(statement, values);
            return statement.execute() ? 0 : statement.getUpdateCount();
        }
    }

    /** The first column of the first row as text, or null. */
    static String value(Connection db, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            bind(statement, values);
            ResultSet row = statement.executeQuery();
            return row.next() ? row.getString(1) : null;
        }
    }

    private static void bind(PreparedStatement statement, Object... values) throws SQLException {
        for (int at = 0; at < values.length; at++) {
            statement.setObject(at + 1, values[at]);
        }
    }

    static void bill(Connection db, String reference, long netTotal, String taxPayer, String items,
            String codeStructure) throws SQLException {
        transaction(db, () -> {
            String known = value(db, "SELECT net_total FROM outbox WHERE reference = ?", reference);
            if (known != null && Long.parseLong(known) != netTotal) {
                throw new SQLException(reference + " is billed already, at " + known + " XOF");
            }
            // [insert]
            try (PreparedStatement insert = db.prepareStatement(
                    "INSERT INTO outbox (reference, net_total, tax_payer, items, code_structure)"
                            + " VALUES (?, ?, ?, ?, ?) ON CONFLICT(reference) DO NOTHING")) {
                insert.setString(1, reference);
                insert.setLong(2, netTotal);
                insert.setString(3, taxPayer);
                insert.setString(4, items);
                insert.setString(5, codeStructure);
                insert.executeUpdate();
            }
            // [/insert]
            return null;
        });
    }

    /** Waits until another connection has committed since {@code seen}. */
    static String nextVersion(Connection db, String seen) throws Exception {
        while (true) {
            String version = value(db, "PRAGMA data_version");
            if (!version.equals(seen)) {
                return version;
            }
            Thread.sleep(250);
        }
    }

    /** Every payment once: the delivery and the place in the feed are one commit, in tables of our own. */
    static void follow(Connection db, String until) throws Exception {
        execute(db, "CREATE TABLE IF NOT EXISTS shop_feed (one INTEGER PRIMARY KEY CHECK (one = 1), last INTEGER)");
        execute(db, "CREATE TABLE IF NOT EXISTS shop_delivery (reference TEXT PRIMARY KEY, amount INTEGER)");
        execute(db, "INSERT INTO shop_feed VALUES (1, 0) ON CONFLICT(one) DO NOTHING");
        String seen = null;
        while (until == null || value(db, "SELECT 1 FROM shop_delivery WHERE reference = ?", until) == null) {
            seen = nextVersion(db, seen);
            while (transaction(db, () -> deliver(db))) {
                // There may be more.
            }
        }
    }

    /** Deals with what is new in the feed; whether there was anything. */
    static boolean deliver(Connection db) throws SQLException {
        long last = 0;
        try (Statement feed = db.createStatement();
                ResultSet move = feed.executeQuery(
                        "SELECT t.id, t.from_status, t.to_status, o.reference, o.net_total, o.provider"
                                + " FROM transition AS t LEFT JOIN outbox AS o ON o.id = t.outbox_id"
                                + " WHERE t.id > (SELECT last FROM shop_feed) ORDER BY t.id LIMIT 1000")) {
            while (move.next()) {
                last = move.getLong(1);
                boolean wasPaid = "PAID".equals(move.getString(2));
                boolean isPaid = "PAID".equals(move.getString(3));
                String reference = move.getString(4);
                if (isPaid && !wasPaid) {
                    execute(db, "INSERT INTO shop_delivery VALUES (?, ?) ON CONFLICT DO NOTHING",
                            reference, move.getLong(5));
                    System.out.println("deliver " + reference + " " + move.getLong(5) + " " + move.getString(6));
                } else if (wasPaid && !isPaid) {
                    // TresorPay changed its mind.
                    System.out.println("undo the delivery of " + reference);
                }
            }
        }
        return last > 0 && execute(db, "UPDATE shop_feed SET last = ?", last) == 1;
    }

    /** A REJECTED row: its correction and the wish to send it again are one commit. Null: it is not REJECTED. */
    static String correct(Connection db, String reference, String codeStructure) throws SQLException {
        return transaction(db, () -> {
            int corrected = execute(db,
                    "UPDATE outbox SET code_structure = ? WHERE reference = ? AND status = 'REJECTED'",
                    codeStructure, reference);
            return corrected == 1 ? ask(db, reference, "retry", "wrong code of the structure") : null;
        });
    }

    /** Asks the daemon for something; the id finds the outcome. */
    static String ask(Connection db, String reference, String action, String reason) throws SQLException {
        execute(db, "INSERT INTO command (reference, action, requested_by, reason) VALUES (?, ?, 'shop', ?)",
                reference, action, reason);
        return value(db, "SELECT last_insert_rowid()");
    }

    /** Waits until the daemon has carried it out: {@code done}, or {@code refused} and why. */
    static String outcome(Connection db, String command) throws Exception {
        for (String seen = null;;) {
            seen = nextVersion(db, seen);
            String outcome = value(db,
                    "SELECT outcome || ' ' || coalesce(detail, '') FROM command WHERE id = ?", command);
            if (outcome != null) {
                return outcome;
            }
        }
    }

    /** Prints each status; whether the last one is PAID. */
    static boolean waitUntilFinal(Connection db, String reference) throws Exception {
        String seen = null;
        String before = "";
        while (true) {
            seen = nextVersion(db, seen);
            String told = value(db, "SELECT status || ' ' || coalesce(last_error, payment_url, '') FROM outbox"
                    + " WHERE reference = ?", reference);
            String status = told.substring(0, told.indexOf(' '));
            if (!status.equals(before)) {
                System.out.println(told.trim());
                before = status;
            }
            if (Set.of("PAID", "CANCELED", "REJECTED", "UNCERTAIN").contains(status)) {
                return status.equals("PAID");
            }
        }
    }

    /** Prints what a command came to; whether it is done. */
    static boolean told(Connection db, String command) throws Exception {
        String outcome = command == null ? "refused: the row is not REJECTED" : outcome(db, command);
        System.out.println(outcome.trim());
        return outcome.startsWith("done");
    }

    static boolean run(String path, String verb, String reference, String codeStructure) throws Exception {
        Connection db = openOutbox(path);
        switch (verb) {
            case "bill":
                // A program of your own makes its JSON with a library.
                bill(db, reference, 12000,
                        "{\"name\":\"Coulibaly\",\"firstName\":\"Fatoumata\",\"phoneNumber\":\"+223 76 12 34 56\"}",
                        "[{\"name\":\"Vignette moto\",\"quantity\":2,\"unitPrice\":6000,"
                                + "\"codeNatureRecette\":\"71531\"}]",
                        codeStructure);
                return waitUntilFinal(db, reference);
            case "follow":
                follow(db, reference);
                return true;
            case "correct":
                return told(db, correct(db, reference, codeStructure));
            case "cancel":
                return told(db, ask(db, reference, "cancel", "entered twice"));
            default:
                System.err.println("unknown: " + verb);
                return false;
        }
    }

    public static void main(String[] args) throws Exception {
        boolean enough = args.length >= 3 || (args.length == 2 && args[1].equals("follow"));
        if (!enough || args.length > 4 || (args[1].equals("correct") && args.length != 4)) {
            System.err.println("usage: Outbox.java DATABASE bill|follow|correct|cancel [REFERENCE] [CODE_STRUCTURE]");
            System.exit(2);
        }
        boolean done = run(args[0], args[1], args.length > 2 ? args[2] : null, args.length > 3 ? args[3] : null);
        System.exit(done ? 0 : 1);
    }
}
