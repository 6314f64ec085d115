/* What Shop does, which doc/clients.md shows. */
import java.math.BigDecimal;
import java.util.List;

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

    public static void main(String[] arguments) {
        Tap.run(() -> {
            Shop shop = shop("");
            long orderId = testCheckout(shop);
            testPayment(shop, orderId);
            testVersion(shop, orderId);
            testTwins();
            testKilled(shop);
        });
    }
}
