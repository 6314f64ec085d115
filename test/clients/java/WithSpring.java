/* Spring's JdbcTemplate at home: see doc/clients.md, which shows the marked regions. */
import com.fasterxml.jackson.databind.JsonNode;
import java.math.BigDecimal;
import java.sql.SQLException;
import java.util.List;
import java.util.Map;
import org.springframework.dao.DataAccessException;
import org.springframework.dao.DataAccessResourceFailureException;
import org.springframework.dao.TransientDataAccessException;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.datasource.DriverManagerDataSource;

class WithSpring {
    // snippet: spring
    /** Outside of @Transactional: what is repeated is the whole transaction. */
    static Map<String, Object> checkout(JdbcTemplate jdbc, long userId, String key, String lines) {
        for (int attempt = 1;; attempt++) {
            try {
                return jdbc.queryForMap("SELECT * FROM order_engine.create_order(?, ?::jsonb, ?, currency => 'EUR')",
                    userId, lines, key);
            } catch (TransientDataAccessException | DataAccessResourceFailureException error) {
                if (attempt == 5) { // 40001, 40P01, 55P03, or the connection is lost
                    throw error;
                }
            }
        }
    }

    /** Spring does not know OE001 and its like: what it throws has them at its root. */
    static boolean is(DataAccessException error, String state) {
        return error.getRootCause() instanceof SQLException cause && state.equals(cause.getSQLState());
    }

    static JsonNode detail(DataAccessException error) {
        return Shop.detail((SQLException) error.getRootCause());
    }
    // end snippet

    // snippet: webhook
    /** As often as the provider calls; with refund_due and mismatch the money has to go back. */
    static Map<String, Object> paymentCaptured(JdbcTemplate jdbc, long orderId, String ref, BigDecimal amount, String currency) {
        return jdbc.queryForMap("SELECT outcome, replayed FROM order_engine.pay_order(?, ?, ?, ?)",
            orderId, ref, amount, currency);
    }
    // end snippet

    // snippet: version
    /** The version after the move; Changed, as above, says what has happened since the page was shown. */
    static int ship(JdbcTemplate jdbc, long orderId, int seenVersion) {
        try {
            return jdbc.queryForObject("SELECT version FROM order_engine.ship_order(?, expected_version => ?)",
                Integer.class, orderId, seenVersion);
        } catch (DataAccessException error) {
            throw is(error, "OE011") ? new Shop.Changed((SQLException) error.getRootCause()) : error;
        }
    }
    // end snippet

    private static String cups(int quantity) {
        return "[{\"sku\": \"cup\", \"quantity\": %d, \"unit_price\": \"19.90\"}]".formatted(quantity);
    }

    private static void testShort(JdbcTemplate jdbc) {
        try {
            checkout(jdbc, 42, "basket-short", cups(500));
            Tap.is("sold", "refused", "what is not there is not sold");
        } catch (DataAccessException error) {
            Tap.is(is(error, "OE001"), true, "what is not there is not sold");
            Tap.is(detail(error).at("/short/0/available").asInt(), 8, "what is short is parsed");
        }
    }

    private static void testPayment(JdbcTemplate jdbc, long orderId) {
        for (boolean replayed : new boolean[] { false, true }) {
            Tap.is(paymentCaptured(jdbc, orderId, "psp-1", new BigDecimal("39.80"), "EUR"),
                Map.of("outcome", "paid", "replayed", replayed), "it is paid, replayed: " + replayed);
        }
    }

    private static void testVersion(JdbcTemplate jdbc, long orderId) {
        try {
            Tap.is(ship(jdbc, orderId, 1), "refused", "a stale page does not ship");
        } catch (Shop.Changed error) {
            Tap.is(error.now.get("actual").asInt(), 2, "a stale page does not ship");
        }
        Tap.is(ship(jdbc, orderId, 2), 3, "the version that was seen does");
    }

    public static void main(String[] arguments) {
        Tap.run(() -> {
            JdbcTemplate jdbc = new JdbcTemplate(new DriverManagerDataSource(Tap.url()));
            Map<String, Object> order = checkout(jdbc, 42, "basket-paid", cups(2));
            Tap.is(order.get("amount"), new BigDecimal("39.80"), "an order is created");
            Tap.is(checkout(jdbc, 42, "basket-paid", cups(2)).get("replayed"), true, "the same key is the same order");
            testShort(jdbc);
            testPayment(jdbc, (Long) order.get("order_id"));
            testVersion(jdbc, (Long) order.get("order_id"));
            JdbcTemplate strict = new JdbcTemplate(new DriverManagerDataSource(
                Tap.url() + "&options=-c%20default_transaction_isolation=repeatable%5C%20read"));
            List<Map<String, Object>> twins = Tap.together(() -> checkout(strict, 42, "basket-twins", cups(1)));
            Tap.is(twins.get(0).get("order_id"), twins.get(1).get("order_id"), "two requests at once are one order");
            Map<String, Object> killed = Tap.killedOnce(() -> checkout(jdbc, 42, "basket-killed", cups(1)));
            Tap.is(killed.get("replayed"), false, "a lost connection is survived");
        });
    }
}
