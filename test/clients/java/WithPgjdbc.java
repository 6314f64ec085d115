/* What Shop does, which doc/clients.md shows; and what the driver sends, its table "What to write". */
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.List;
import java.util.UUID;
import org.postgresql.util.PGobject;
import org.postgresql.util.PSQLException;

class WithPgjdbc {
    private static final List<Shop.Line> CUP = List.of(new Shop.Line("cup", 1, new BigDecimal("19.90")));
    private static final List<Shop.Line> CUPS = List.of(new Shop.Line("cup", 2, new BigDecimal("19.90")));

    private static Shop shop(String options) {
        var source = new org.postgresql.ds.PGSimpleDataSource();
        source.setUrl(Tap.url() + options);
        return new Shop(source);
    }

    private static long testCheckout(Shop shop) throws Exception {
        Shop.Order order = shop.checkout(42, "basket-paid", CUPS);
        Tap.is(order, new Shop.Order(order.id(), "pending", 1, false), "an order is created");
        Tap.is(shop.checkout(42, "basket-paid", CUPS), new Shop.Order(order.id(), "pending", 1, true),
            "the same key is the same order");
        try {
            shop.checkout(42, "basket-short", List.of(new Shop.Line("cup", 500, BigDecimal.ONE)));
            Tap.is("sold", "refused", "what is not there is not sold");
        } catch (Shop.OutOfStock error) {
            Tap.is(error.shortOf.toString(), "[{\"sku\":\"cup\",\"requested\":500,\"available\":8}]", "what is short is parsed");
        }
        return order.id();
    }

    private static void testPayment(Shop shop, long orderId) throws Exception {
        for (boolean replayed : new boolean[] { false, true }) {
            Tap.is(shop.paymentCaptured(orderId, "psp-1", new BigDecimal("39.80"), "EUR"),
                new Shop.Paid("paid", replayed), "it is paid, replayed: " + replayed);
        }
    }

    private static void testVersion(Shop shop, long orderId) throws Exception {
        try {
            shop.ship(orderId, 1);
            Tap.is("shipped", "refused", "a stale page does not ship");
        } catch (Shop.Changed error) {
            Tap.is(error.now.toString(), "{\"expected\":1,\"actual\":2,\"state\":\"paid\"}", "a stale page does not ship");
        }
        Tap.is(shop.ship(orderId, 2), 3, "the version that was seen does");
    }

    private static void testTwins() throws Exception {
        Shop strict = shop("&options=-c%20default_transaction_isolation=repeatable%5C%20read");
        List<Shop.Order> twins = Tap.together(() -> strict.checkout(42, "basket-twins", CUP));
        Tap.is(twins.get(0).replayed() != twins.get(1).replayed(), true, "of two requests at once one creates the order");
        Tap.is(twins.get(0).id(), twins.get(1).id(), "and both get it");
    }

    private static void testKilled(Shop shop) throws Exception {
        Shop.Order order = Tap.killedOnce(() -> shop.checkout(42, "basket-killed", CUP));
        Tap.is(order.replayed(), false, "a lost connection is survived");
    }

    interface Binding {
        void bind(PreparedStatement call) throws SQLException;
    }

    /** What the server says to a value that the driver sends; nothing is left behind. */
    private static String told(String options, String query, Binding value) throws SQLException {
        try (Connection connection = DriverManager.getConnection(Tap.url() + options)) {
            connection.setAutoCommit(false);
            try (PreparedStatement call = connection.prepareStatement(query)) {
                value.bind(call);
                ResultSet row = call.executeQuery();
                row.next();
                return row.getString(1);
            } catch (PSQLException error) {
                return error.getSQLState() + " " + error.getServerErrorMessage().getMessage();
            }
        }
    }

    private static void sent(String what, String query, Binding value, String expected) throws SQLException {
        Tap.is(told("", query, value), expected, what);
    }

    private static String missing(String call) {
        return "42883 function order_engine.%s does not exist".formatted(call);
    }

    private static final String LINES = "[{\"sku\": \"cup\", \"quantity\": 1, \"unit_price\": \"19.90\"}]";
    private static final String CREATE = "SELECT amount FROM order_engine.create_order(42::bigint, %s)";
    /** The call was found; this order is not. */
    private static final String TAKEN = "OE012 order 1 does not exist";

    private static void testJson() throws Exception {
        PGobject json = new PGobject();
        json.setType("json");
        json.setValue(LINES);
        sent("lines by setString", CREATE.formatted("?"), call -> call.setString(1, LINES),
            missing("create_order(bigint, character varying)"));
        sent("lines by setString, cast", CREATE.formatted("?::jsonb"), call -> call.setString(1, LINES), "19.90");
        sent("lines as Types.OTHER", CREATE.formatted("?"), call -> call.setObject(1, LINES, Types.OTHER), "19.90");
        sent("lines as a PGobject of type json", CREATE.formatted("?"), call -> call.setObject(1, json),
            missing("create_order(bigint, json)"));
        Tap.is(told("&stringtype=unspecified", CREATE.formatted("?"), call -> call.setString(1, LINES)), "19.90",
            "lines by setString, with stringtype=unspecified");
    }

    private static void testText() throws Exception {
        String key = CREATE.formatted("'" + LINES + "', ?");
        String within = CREATE.formatted("'" + LINES + "', pay_within => ?");
        sent("a key by setString", key, call -> call.setString(1, "key"), "19.90");
        sent("a key as a UUID", key, call -> call.setObject(1, new UUID(1, 1)), missing("create_order(bigint, unknown, uuid)"));
        sent("a time to pay by setString", within, call -> call.setString(1, "1 hour"),
            missing("create_order(bigint, unknown, pay_within => character varying)"));
        sent("a time to pay by setString, cast", within.replace("?", "?::interval"), call -> call.setString(1, "1 hour"), "19.90");
    }

    private static void testNumbers() throws Exception {
        String pay = "SELECT outcome FROM order_engine.pay_order(1::bigint, 'ref'::varchar, ?)";
        String ship = "SELECT state FROM order_engine.ship_order(1::bigint, expected_version => ?)";
        sent("an amount by setBigDecimal", pay, call -> call.setBigDecimal(1, new BigDecimal("19.90")), TAKEN);
        sent("an amount by setInt", pay, call -> call.setInt(1, 20), TAKEN);
        sent("an amount by setLong", pay, call -> call.setLong(1, 20), TAKEN);
        sent("an amount by setDouble", pay, call -> call.setDouble(1, 19.9),
            missing("pay_order(bigint, character varying, double precision)"));
        sent("an amount by setString", pay, call -> call.setString(1, "19.90"),
            missing("pay_order(bigint, character varying, character varying)"));
        sent("a version by setInt", ship, call -> call.setInt(1, 1), TAKEN);
        sent("a version by setLong", ship, call -> call.setLong(1, 1), missing("ship_order(bigint, expected_version => bigint)"));
    }

    public static void main(String[] arguments) {
        Tap.run(() -> {
            Shop shop = shop("");
            long orderId = testCheckout(shop);
            testPayment(shop, orderId);
            testVersion(shop, orderId);
            testTwins();
            testKilled(shop);
            testJson();
            testText();
            testNumbers();
        });
    }
}
