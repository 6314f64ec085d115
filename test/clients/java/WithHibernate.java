/* Hibernate ORM at home: see doc/clients.md, which shows the marked region and the entity, ShopOrder. */
import com.fasterxml.jackson.databind.JsonNode;
import jakarta.persistence.OptimisticLockException;
import java.math.BigDecimal;
import java.util.List;
import java.util.Map;
import org.hibernate.JDBCException;
import org.hibernate.Session;
import org.hibernate.SessionFactory;
import org.hibernate.boot.MetadataSources;
import org.hibernate.boot.registry.StandardServiceRegistryBuilder;

class WithHibernate {
    // snippet: calls
    /** Whole transactions are repeated, with the same key, as in the code above. */
    static Object[] checkout(SessionFactory factory, long userId, String key, String lines) {
        return factory.fromTransaction(session -> session.createNativeQuery("""
                SELECT order_id, replayed
                FROM order_engine.create_order(:user, CAST(:lines AS jsonb), :key, currency => 'EUR')""", Object[].class)
            .setParameter("user", userId).setParameter("lines", lines).setParameter("key", key)
            .getSingleResult());
    }

    /** As often as the provider calls; with refund_due and mismatch the money has to go back. */
    static String paymentCaptured(SessionFactory factory, long orderId, String ref, BigDecimal amount) {
        return factory.fromTransaction(session -> session.createNativeQuery(
                "SELECT outcome FROM order_engine.pay_order(:order, :ref, :amount, 'EUR')", String.class)
            .setParameter("order", orderId).setParameter("ref", ref).setParameter("amount", amount)
            .getSingleResult());
    }

    static boolean is(JDBCException error, String state) {
        return state.equals(error.getSQLState());
    }

    static JsonNode detail(JDBCException error) {
        return Shop.detail(error.getSQLException());
    }
    // end snippet

    /** allColumns: as without @DynamicUpdate. */
    private static SessionFactory factory(boolean allColumns) {
        var registry = new StandardServiceRegistryBuilder().applySetting("hibernate.connection.url", Tap.url()).build();
        var metadata = new MetadataSources(registry).addAnnotatedClass(ShopOrder.class).buildMetadata();
        metadata.getEntityBinding(ShopOrder.class.getName()).setDynamicUpdate(!allColumns);
        return metadata.buildSessionFactory();
    }

    private static Object events(SessionFactory factory, long id) {
        return factory.fromSession(session -> session
            .createNativeQuery("SELECT string_agg(event, ' ' ORDER BY version) FROM order_engine.order_history(:id)", String.class)
            .setParameter("id", id).getSingleResult());
    }

    private static long testInsert(SessionFactory factory) {
        ShopOrder order = new ShopOrder();
        order.userId = 42;
        order.attributes = Map.of("gift", true);
        order.privateData = Map.of("name", "Ann");
        factory.inTransaction(session -> session.persist(order));
        Tap.is(List.of(order.state, order.version), List.of("pending", 1), "an entity is inserted, and knows its state");
        Tap.is(order.dueAt != null, true, "and until when it can be paid");
        Tap.is(events(factory, order.id), "create", "it has a history");
        ShopOrder read = factory.fromSession(session -> session.find(ShopOrder.class, order.id));
        Tap.is(List.of(read.version, read.attributes, read.privateData),
            List.of(1, Map.of("gift", true), Map.of("name", "Ann")), "what is read is what was written");
        return order.id;
    }

    private static void testUpdate(SessionFactory factory, long id) {
        factory.inTransaction(session -> {
            ShopOrder order = session.find(ShopOrder.class, id);
            order.attributes = Map.of("gift", false);
            session.flush();
            Tap.is(order.version, 2, "a change is a version");
            order.state = "paid";
            session.flush();
            Tap.is(order.version, 3, "a state that is set is a move");
            session.refresh(order);
            Tap.is(order.dueAt, null, "what the move changed is there after a refresh");
        });
        Tap.is(events(factory, id), "create update pay", "the engine has recorded both");
    }

    /** Both have read the same version, and the other one is faster. */
    private static void testStale(SessionFactory factory, long id) {
        try (Session slow = factory.openSession()) {
            slow.beginTransaction();
            slow.find(ShopOrder.class, id).state = "cancelled";
            factory.inTransaction(fast -> fast.find(ShopOrder.class, id).state = "shipped");
            try {
                slow.flush();
                Tap.is("saved", "refused", "a stale save is refused");
            } catch (OptimisticLockException error) {
                Tap.is(error.getClass(), OptimisticLockException.class, "a stale save is refused");
            }
            slow.getTransaction().rollback();
        }
        Tap.is(events(factory, id), "create update pay ship", "and leaves no trace");
    }

    private static void testIllegal(SessionFactory factory, long id) throws Exception {
        var error = Tap.refused(() -> {
            factory.inTransaction(session -> session.find(ShopOrder.class, id).state = "pending");
            return "moved";
        }, "OE010", "a move that the machine does not know is refused");
        Tap.is(Shop.detail(error).get("allowed").toString(), "[\"complete\"]", "with what is allowed");
    }

    private static String cups(int quantity) {
        return "[{\"sku\": \"cup\", \"quantity\": %d, \"unit_price\": \"19.90\"}]".formatted(quantity);
    }

    private static void testCalls(SessionFactory factory) {
        Object[] order = checkout(factory, 42, "basket", cups(2));
        Object[] again = checkout(factory, 42, "basket", cups(2));
        Tap.is(List.of(again), List.of(order[0], true), "a native query creates an order, once");
        try {
            checkout(factory, 42, "basket-short", cups(500));
            Tap.is("sold", "refused", "what is not there is not sold");
        } catch (JDBCException error) {
            Tap.is(is(error, "OE001"), true, "what is not there is not sold");
            Tap.is(detail(error).at("/short/0/available").asInt(), 8, "what is short is parsed");
        }
        Tap.is(paymentCaptured(factory, (Long) order[0], "psp-1", new BigDecimal("39.80")), "paid", "and one pays it");
    }

    public static void main(String[] arguments) {
        Tap.run(() -> {
            try (SessionFactory factory = factory(false)) {
                testCalls(factory);
            }
            for (boolean allColumns : new boolean[] { false, true }) {
                try (SessionFactory factory = factory(allColumns)) {
                    long id = testInsert(factory);
                    testUpdate(factory, id);
                    testStale(factory, id);
                    testIllegal(factory, id);
                }
            }
        });
    }
}
