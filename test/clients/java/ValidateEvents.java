/* networknt's json-schema-validator at home: the contract of the events. */
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.networknt.schema.JsonSchema;
import com.networknt.schema.JsonSchemaFactory;
import com.networknt.schema.SpecVersion;
import java.nio.file.Files;
import java.nio.file.Path;

class ValidateEvents {
    public static void main(String[] arguments) {
        Tap.run(() -> {
            JsonSchema schema = JsonSchemaFactory.getInstance(SpecVersion.VersionFlag.V202012)
                .getSchema(Files.readString(Path.of("doc/event.schema.json")));
            schema.initializeValidators();
            Tap.is(schema.getId().startsWith("urn:uuid:"), true, "its $id is one");
            for (String line : Files.readAllLines(Path.of(System.getenv("EVENTS")))) {
                JsonNode given = new ObjectMapper().readTree(line);
                Tap.is(schema.validate(given.get("event")).isEmpty(), given.get("valid").asBoolean(), given.get("what").asText());
            }
        });
    }
}
