/* An order as an entity: see doc/clients.md, which shows it. */

// snippet: entity
import jakarta.persistence.Column;
import jakarta.persistence.Entity;
import jakarta.persistence.Id;
import jakarta.persistence.Table;
import jakarta.persistence.Version;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.math.BigDecimal;
import java.time.OffsetDateTime;
import java.util.EnumSet;
import java.util.Map;
import org.hibernate.FlushMode;
import org.hibernate.annotations.DynamicUpdate;
import org.hibernate.annotations.Generated;
import org.hibernate.annotations.IdGeneratorType;
import org.hibernate.annotations.JdbcTypeCode;
import org.hibernate.engine.spi.SharedSessionContractImplementor;
import org.hibernate.generator.BeforeExecutionGenerator;
import org.hibernate.generator.EventType;
import org.hibernate.type.SqlTypes;

@Entity
@Table(schema = "order_engine", name = "orders")
@DynamicUpdate
public class ShopOrder {
    @Id
    @NextOrderId
    @Column(name = "order_id")
    Long id;

    @Column(name = "user_id", updatable = false)
    long userId;

    @Version
    int version = 1; // the first one of the engine's

    @Generated(event = EventType.INSERT, writable = true) // null when inserted: as the machine begins
    String state;

    @JdbcTypeCode(SqlTypes.JSON)
    Map<String, Object> attributes = Map.of();

    @JdbcTypeCode(SqlTypes.JSON)
    @Column(name = "private")
    Map<String, Object> privateData = Map.of();

    // the engine's own: read (again after a move, by refresh()), never written
    @Generated(event = EventType.INSERT)
    @Column(insertable = false, updatable = false)
    BigDecimal amount;

    @Generated(event = EventType.INSERT)
    @Column(name = "due_at", insertable = false, updatable = false)
    OffsetDateTime dueAt;

    /** An id says in which partition the order lies, so it is drawn for its user before the INSERT. */
    public static class IdGenerator implements BeforeExecutionGenerator {
        @Override
        public Object generate(SharedSessionContractImplementor session, Object order, Object id, EventType event) {
            return session.createNativeQuery("SELECT order_engine.next_order_id(:user)", Long.class)
                .setParameter("user", ((ShopOrder) order).userId)
                .setHibernateFlushMode(FlushMode.MANUAL)
                .getSingleResult();
        }

        @Override
        public EnumSet<EventType> getEventTypes() {
            return EnumSet.of(EventType.INSERT);
        }
    }

    @IdGeneratorType(IdGenerator.class)
    @Retention(RetentionPolicy.RUNTIME)
    @interface NextOrderId {
    }
}
// end snippet
