import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;

/** What the programs of this folder share: TAP, a call that has to wait, and two at once. */
final class Tap {
    private static int ran = 0;

    private Tap() {
    }

    interface Body {
        void run() throws Exception;
    }

    static void is(Object got, Object expected, String what) {
        ran++;
        boolean passed = Objects.equals(got, expected);
        System.out.printf("%s %d - %s%n", passed ? "ok" : "not ok", ran, what);
        if (!passed) {
            System.out.printf("# got %s, expected %s%n", got, expected);
        }
    }

    /** The error, whose SQLSTATE is compared. */
    static SQLException refused(Callable<?> call, String state, String what) throws Exception {
        try {
            is(call.call(), "an error", what);
        } catch (Exception error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                if (cause instanceof SQLException sql) {
                    is(sql.getSQLState(), state, what);
                    return sql;
                }
            }
            throw error;
        }
        return null;
    }

    /** Runs the tests; an error that they throw is a failure. */
    static void run(Body tests) {
        try {
            tests.run();
        } catch (Throwable error) {
            error.printStackTrace();
            is(error, null, "no error");
        }
        System.out.printf("1..%d%n", ran);
        System.exit(0); // whatever threads a driver has left
    }

    static String url() {
        return "jdbc:postgresql://%s:%s/%s?user=%s".formatted(System.getenv("PGHOST"), System.getenv("PGPORT"),
            System.getenv("PGDATABASE"), System.getenv("PGUSER"));
    }

    static Connection connect() throws SQLException {
        return DriverManager.getConnection(url());
    }

    /** The pids of the application's sessions that wait for a lock, as soon as there are so many. */
    static List<Integer> waiting(int count) throws Exception {
        try (Connection connection = connect(); var statement = connection.createStatement()) {
            for (int tries = 0; tries < 3000; tries++, Thread.sleep(20)) {
                List<Integer> pids = new ArrayList<>();
                ResultSet rows = statement.executeQuery(
                    "SELECT pid FROM pg_stat_activity WHERE usename = current_user AND wait_event_type = 'Lock'");
                while (rows.next()) {
                    pids.add(rows.getInt(1));
                }
                if (pids.size() >= count) {
                    return pids;
                }
            }
        }
        throw new IllegalStateException("nobody waits for the stock");
    }

    /** While it lasts, whoever takes a cup waits; then nothing has been taken. */
    static void cupsHeld(Body meanwhile) throws Exception {
        try (Connection holder = connect(); var statement = holder.createStatement()) {
            holder.setAutoCommit(false);
            statement.execute("SELECT order_engine.create_order(1, '[{\"sku\": \"cup\", \"quantity\": 1}]')");
            meanwhile.run();
            holder.rollback();
        }
    }

    static <T> CompletableFuture<T> start(Callable<T> call) {
        CompletableFuture<T> result = new CompletableFuture<>();
        new Thread(() -> {
            try {
                result.complete(call.call());
            } catch (Throwable error) {
                result.completeExceptionally(error);
            }
        }).start();
        return result;
    }

    /** What the two calls return, both of which wait for a cup at once. */
    static <T> List<T> together(Callable<T> call) throws Exception {
        List<CompletableFuture<T>> results = new ArrayList<>();
        cupsHeld(() -> {
            results.add(start(call));
            results.add(start(call));
            waiting(2);
        });
        return List.of(results.get(0).get(), results.get(1).get());
    }

    /** What a call returns whose connection the server ends while it waits for a cup. */
    static <T> T killedOnce(Callable<T> call) throws Exception {
        List<CompletableFuture<T>> result = new ArrayList<>();
        cupsHeld(() -> {
            result.add(start(call));
            int pid = waiting(1).get(0);
            try (Connection killer = connect(); var statement = killer.createStatement()) {
                statement.execute("SELECT pg_terminate_backend(" + pid + ")");
            }
            // its next attempt waits too, until the cups are free
            waiting(1);
        });
        return result.get(0).get();
    }
}
