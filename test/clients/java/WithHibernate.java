/* Hibernate ORM at home, with the entity that doc/clients.md shows, ShopOrder. */
import jakarta.persistence.OptimisticLockException;
import java.util.List;
import java.util.Map;
import org.hibernate.Session;
import org.hibernate.SessionFactory;
import org.hibernate.boot.MetadataSources;
import org.hibernate.boot.registry.StandardServiceRegistryBuilder;

class WithHibernate {
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

    public static void main(String[] arguments) {
        Tap.run(() -> {
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
