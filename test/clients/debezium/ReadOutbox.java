/* Debezium at home: the connector that doc/debezium.md configures reads a real outbox. */
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.debezium.embedded.Connect;
import io.debezium.engine.DebeziumEngine;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.storage.Converter;
import org.apache.kafka.connect.storage.SimpleHeaderConverter;

class ReadOutbox {
    private static final String TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /** What Kafka Connect would send. */
    record Message(String topic, String key, String value, Map<String, String> headers) {
    }

    private static final LinkedBlockingQueue<SourceRecord> arrived = new LinkedBlockingQueue<>();
    private static int ran = 0;

    private static void is(Object got, Object expected, String what) {
        boolean passed = Objects.equals(got, expected);
        System.out.printf("%s %d - %s%n", passed ? "ok" : "not ok", ++ran, what);
        if (!passed) {
            System.out.printf("# got %s, expected %s%n", got, expected);
        }
    }

    /** The block of JSON in the documentation, with this server's address. */
    private static Properties documented() throws Exception {
        Matcher block = Pattern.compile("```json\n(.*?)```", Pattern.DOTALL).matcher(Files.readString(Path.of("doc/debezium.md")));
        block.find();
        JsonNode connector = new ObjectMapper().readTree(block.group(1));
        Properties properties = new Properties();
        connector.get("config").fields().forEachRemaining(field -> properties.setProperty(field.getKey(), field.getValue().asText()));
        properties.setProperty("name", connector.get("name").asText());
        properties.setProperty("database.hostname", System.getenv("PGHOST"));
        properties.setProperty("database.port", System.getenv("PGPORT"));
        // what Kafka Connect does itself
        properties.setProperty("offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore");
        return properties;
    }

    private static byte[] convert(Properties properties, boolean isKey, String topic, Schema schema, Object value) throws Exception {
        String name = properties.getProperty(isKey ? "key.converter" : "value.converter");
        Converter converter = (Converter) Class.forName(name).getDeclaredConstructor().newInstance();
        converter.configure(Map.of(), isKey);
        return converter.fromConnectData(topic, schema, value);
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    private static Message message(Properties properties, SourceRecord record) throws Exception {
        Map<String, String> headers = new TreeMap<>();
        for (Header header : record.headers()) {
            // the default of Kafka Connect
            headers.put(header.key(), text(new SimpleHeaderConverter().fromConnectHeader(record.topic(), header.key(),
                header.schema(), header.value())));
        }
        return new Message(record.topic(), text(convert(properties, true, record.topic(), record.keySchema(), record.key())),
            text(convert(properties, false, record.topic(), record.valueSchema(), record.value())), headers);
    }

    private static Connection connect(String user) throws SQLException {
        return DriverManager.getConnection("jdbc:postgresql://%s:%s/shop?user=%s".formatted(System.getenv("PGHOST"),
            System.getenv("PGPORT"), user));
    }

    private static void execute(String user, String... statements) throws SQLException {
        try (Connection connection = connect(user); var statement = connection.createStatement()) {
            for (String sql : statements) {
                statement.execute(sql);
            }
        }
    }

    /** Its own heartbeats have a topic of their own. */
    private static void keep(SourceRecord record) {
        if (record.topic().startsWith("outbox.event.")) {
            arrived.add(record);
        }
    }

    /** It reads what is committed from when it listens: asks until something comes. */
    private static void waitUntilItListens() throws Exception {
        for (int tries = 0; tries < 300; tries++) {
            execute("web", "SELECT order_engine.emit('probe', '1', 'probe', '{}')");
            if (arrived.poll(500, TimeUnit.MILLISECONDS) != null) {
                return;
            }
        }
        throw new IllegalStateException("nothing arrives");
    }

    /** What arrives up to the event of this type. */
    private static List<Message> upTo(Properties properties, String type) throws Exception {
        List<Message> messages = new ArrayList<>();
        for (;;) {
            SourceRecord record = arrived.poll(60, TimeUnit.SECONDS);
            if (record == null) {
                throw new IllegalStateException("waited for " + type + " in vain, after " + messages);
            }
            Message message = message(properties, record);
            if (type.equals(message.headers().get("type"))) {
                return messages;
            }
            if (!message.topic().endsWith(".probe")) {
                messages.add(message);
            }
        }
    }

    /** The rows as they are: what the messages have to be. */
    private static List<Message> expected() throws SQLException {
        List<Message> messages = new ArrayList<>();
        try (Connection connection = connect("debezium"); var statement = connection.createStatement();
                var rows = statement.executeQuery("""
                    SELECT 'outbox.event.' || aggregatetype AS topic, aggregateid, payload::text, id, type, headers
                    FROM order_engine.outbox WHERE aggregatetype <> 'probe' AND type <> 'end' ORDER BY id""")) {
            while (rows.next()) {
                Map<String, String> headers = new TreeMap<>(Map.of("id", rows.getString("id"), "type", rows.getString("type")));
                if (rows.getString("headers") != null) {
                    headers.put("headers", rows.getString("headers"));
                }
                messages.add(new Message(rows.getString("topic"), rows.getString("aggregateid"), rows.getString("payload"), headers));
            }
        }
        return messages;
    }

    private static void testMessages(Properties properties) throws Exception {
        execute("web", "SET order_engine.traceparent = '" + TRACE + "'", """
            DO $$
            DECLARE
                id bigint;
            BEGIN
                SELECT order_id INTO id FROM order_engine.create_order(42, '[{"sku": "cup", "quantity": 1, "unit_price": "19.90"}]');
                PERFORM order_engine.pay_order(id, 'psp-1', 19.90), order_engine.ship_order(id);
            END $$""", "SELECT order_engine.emit('cart', '17', 'cart.kept', '{\"price\": 1.10}', '{\"color\": \"red\"}')",
            "SELECT order_engine.emit('cart', '17', 'cart.gone', NULL)", "SELECT order_engine.emit('cart', '17', 'end', '{}')");
        List<Message> messages = upTo(properties, "end");
        is(messages, expected(), "every event arrives, in order: topic, key, value, headers");
        Message first = messages.get(0);
        is(first.topic(), "outbox.event.order", "the topic is that of the aggregate type");
        is(first.headers().keySet().toString(), "[headers, id, type]", "an event has these headers");
        is(new ObjectMapper().readTree(first.headers().get("headers")).toString(),
            "{\"seq\":\"1\",\"traceparent\":\"" + TRACE + "\"}", "seq and traceparent are in the one that is JSON");
        is(new ObjectMapper().readTree(first.value()).get("order_id").asText(), first.key(), "the value is the payload");
        is(messages.get(messages.size() - 1).value(), null, "a payload of null is a tombstone");
    }

    private static void waitUntilItIsEmptied() throws Exception {
        try (Connection connection = connect("debezium"); var statement = connection.createStatement()) {
            for (int tries = 0; tries < 3000; tries++, Thread.sleep(20)) {
                var row = statement.executeQuery("SELECT count(*) FROM order_engine.outbox");
                row.next();
                if (row.getInt(1) == 0) {
                    return;
                }
            }
        }
        throw new IllegalStateException("the outbox is not emptied");
    }

    /** Tables that are full are emptied, and nobody hears of it. */
    private static void testRotation(Properties properties) throws Exception {
        execute("postgres", "ALTER SYSTEM SET order_engine.outbox_retention = '1s'", "SELECT pg_reload_conf()");
        waitUntilItIsEmptied();
        execute("web", "SELECT order_engine.emit('cart', '18', 'cart.kept', '{}')", "SELECT order_engine.emit('cart', '18', 'end', '{}')");
        List<Message> messages = upTo(properties, "end");
        is(messages.size(), 1, "a rotation is not seen");
        is(messages.get(0).key(), "18", "what comes afterwards is");
    }

    private static void test() throws Exception {
        Properties properties = documented();
        var engine = DebeziumEngine.create(Connect.class).using(properties)
            .notifying(event -> keep(event.value()))
            .using((success, message, error) -> System.err.println(message + " " + error)).build();
        Executors.newSingleThreadExecutor().execute(engine);
        waitUntilItListens();
        testMessages(properties);
        testRotation(properties);
    }

    public static void main(String[] arguments) {
        try {
            test();
        } catch (Throwable error) {
            error.printStackTrace();
            is(error, null, "no error");
        }
        System.out.printf("1..%d%n", ran);
        System.exit(0); // the engine runs for ever
    }
}
