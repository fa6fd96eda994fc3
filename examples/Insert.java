// Bills one notice through tresorpayd's outbox and waits until it is paid. Java 11 or later, with sqlite-jdbc
// (Debian's package is libxerial-sqlite-jdbc-java).
//
//     java -cp /usr/share/java/sqlite-jdbc.jar Insert.java DATABASE [REFERENCE]
//
// Run it twice with the same reference: it bills once.

import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Set;

public class Insert {
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

    // [bill]
    static void bill(Connection db, String reference, long netTotal, String taxPayer, String items)
            throws SQLException {
        try (Statement sql = db.createStatement()) {
            // As SQL: this driver's setAutoCommit(false) would hold the lock again right after each commit.
            sql.execute("BEGIN IMMEDIATE"); // because it reads before it writes
            try {
                try (PreparedStatement known =
                        db.prepareStatement("SELECT net_total FROM outbox WHERE reference = ?")) {
                    known.setString(1, reference);
                    ResultSet row = known.executeQuery();
                    if (row.next() && row.getLong(1) != netTotal) {
                        throw new SQLException(reference + " is billed already, at another amount");
                    }
                }
                // [insert]
                try (PreparedStatement insert = db.prepareStatement(
                        "INSERT INTO outbox (reference, net_total, tax_payer, items) VALUES (?, ?, ?, ?)"
                                + " ON CONFLICT(reference) DO NOTHING")) {
                    insert.setString(1, reference);
                    insert.setLong(2, netTotal);
                    insert.setString(3, taxPayer);
                    insert.setString(4, items);
                    insert.executeUpdate();
                }
                // [/insert]
                sql.execute("COMMIT");
            } catch (SQLException error) {
                sql.execute("ROLLBACK");
                throw error;
            }
        }
    }
    // [/bill]

    public static void main(String[] args) throws Exception {
        if (args.length != 1 && args.length != 2) {
            System.err.println("usage: java -cp SQLITE_JDBC_JAR Insert.java DATABASE [REFERENCE]");
            System.exit(2);
        }
        String reference = args.length == 2 ? args[1] : "VIGNETTE-2026-0005";
        Connection db = openOutbox(args[0]);
        // A program of your own makes its JSON with a library.
        bill(db, reference, 12000,
                "{\"name\":\"Coulibaly\",\"firstName\":\"Fatoumata\",\"phoneNumber\":\"+223 76 12 34 56\"}",
                "[{\"name\":\"Vignette moto\",\"quantity\":2,\"unitPrice\":6000,"
                        + "\"codeNatureRecette\":\"71531\"}]");
        System.exit(follow(db, reference) ? 0 : 1);
    }

    /** Prints each status; whether the last one is PAID. */
    static boolean follow(Connection db, String reference) throws Exception {
        try (Statement dataVersion = db.createStatement();
                PreparedStatement read = db.prepareStatement(
                        "SELECT status, coalesce(last_error, payment_url, '') FROM outbox"
                                + " WHERE reference = ?")) {
            read.setString(1, reference);
            long seen = -1;
            String before = "";
            while (true) {
                long version;
                try (ResultSet row = dataVersion.executeQuery("PRAGMA data_version")) {
                    row.next();
                    version = row.getLong(1); // changes when somebody else has committed
                }
                if (version != seen) {
                    seen = version;
                    try (ResultSet row = read.executeQuery()) {
                        row.next();
                        String status = row.getString(1);
                        if (!status.equals(before)) {
                            System.out.println((status + " " + row.getString(2)).trim());
                        }
                        before = status;
                    }
                    if (Set.of("PAID", "CANCELED", "REJECTED", "UNCERTAIN").contains(before)) {
                        return before.equals("PAID");
                    }
                }
                Thread.sleep(250);
            }
        }
    }
}
