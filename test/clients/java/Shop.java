/* pgjdbc at home: see doc/clients.md, which shows the marked regions. */

// snippet: checkout
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import javax.sql.DataSource;
import org.postgresql.util.PSQLException;

class Shop {
    record Line(String sku, int quantity, BigDecimal unit_price) {
    }

    record Order(long id, String state, int version, boolean replayed) {
    }

    static class OutOfStock extends RuntimeException {
        final JsonNode shortOf; // [{"sku", "requested", "available"}]

        OutOfStock(SQLException error) {
            shortOf = detail(error).get("short");
        }
    }

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Set<String> REPEAT = Set.of("40001", "40P01", "55P03", "57P01", "57P02", "57P03");

    private final DataSource pool;

    Shop(DataSource pool) {
        this.pool = pool;
    }

    /** The DETAIL of an error of the engine is JSON. */
    static JsonNode detail(SQLException error) {
        try {
            return JSON.readTree(((PSQLException) error).getServerErrorMessage().getDetail());
        } catch (java.io.IOException notJson) {
            throw new IllegalStateException(notJson);
        }
    }

    /** Nobody knows whether a lost connection (08) has committed: the key makes it safe to ask again. */
    static boolean mayRepeat(SQLException error) {
        String state = error.getSQLState();
        return state != null && (state.startsWith("08") || REPEAT.contains(state));
    }

    /** Creates the order of this key, once, however often the network makes us ask. */
    Order checkout(long userId, String key, List<Line> lines) throws Exception {
        for (int attempt = 1;; attempt++) {
            try (Connection connection = pool.getConnection()) {
                return create(connection, userId, key, lines);
            } catch (SQLException error) {
                if ("OE001".equals(error.getSQLState())) {
                    throw new OutOfStock(error);
                }
                if (attempt == 5 || !mayRepeat(error)) {
                    throw error;
                }
                Thread.sleep(ThreadLocalRandom.current().nextInt(100 << attempt));
            }
        }
    }

    // A string is sent as character varying: ?::jsonb makes it JSON.
    private Order create(Connection connection, long userId, String key, List<Line> lines) throws Exception {
        try (PreparedStatement call = connection.prepareStatement("""
                SELECT * FROM order_engine.create_order(?, ?::jsonb, idempotency_key => ?, currency => 'EUR')""")) {
            call.setLong(1, userId);
            call.setString(2, JSON.writeValueAsString(lines));
            call.setString(3, key);
            ResultSet row = call.executeQuery();
            row.next();
            return new Order(row.getLong("order_id"), row.getString("state"), row.getInt("version"),
                row.getBoolean("replayed"));
        }
    }
    // end snippet

    // snippet: webhook
    record Paid(String outcome, boolean replayed) {
    }

    /** As often as the provider calls; with refund_due and mismatch the money has to go back. */
    Paid paymentCaptured(long orderId, String ref, BigDecimal amount, String currency) throws SQLException {
        try (Connection connection = pool.getConnection();
                PreparedStatement call = connection.prepareStatement(
                    "SELECT outcome, replayed FROM order_engine.pay_order(?, ?, ?, ?)")) {
            call.setLong(1, orderId);
            call.setString(2, ref);
            call.setBigDecimal(3, amount);
            call.setString(4, currency);
            ResultSet row = call.executeQuery();
            row.next();
            return new Paid(row.getString("outcome"), row.getBoolean("replayed"));
        }
    }
    // end snippet

    // snippet: version
    static class Changed extends RuntimeException {
        final JsonNode now; // {"expected", "actual", "state"}

        Changed(SQLException error) {
            now = detail(error);
        }
    }

    /** The version after the move. */
    int ship(long orderId, int seenVersion) throws SQLException {
        try (Connection connection = pool.getConnection();
                PreparedStatement call = connection.prepareStatement("""
                    SELECT version FROM order_engine.ship_order(?, expected_version => ?,
                        context => '{"actor": "warehouse"}')""")) {
            call.setLong(1, orderId);
            call.setInt(2, seenVersion); // an int: for a long there is no such function
            ResultSet row = call.executeQuery();
            row.next();
            return row.getInt(1);
        } catch (SQLException error) {
            if ("OE011".equals(error.getSQLState())) {
                throw new Changed(error);
            }
            throw error;
        }
    }
}
// end snippet
