import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Hears of each execution's end: {@code java Completions GROUP [TENANT]}, until Ctrl-C. */
public class Completions {
    private static final ObjectMapper JSON = new ObjectMapper();

    // Enough while this process lives. Where the work is written to a database, write the ce_id under
    // a unique key in the same transaction instead: that outlives a crash.
    private static final Set<String> SEEN = Collections.newSetFromMap(new LinkedHashMap<>() {
        private static final long serialVersionUID = 1;

        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
            return size() > 10_000;
        }
    });

    public static void main(String[] arguments) throws IOException {
        String prefix = System.getenv().getOrDefault("MILEPOST_TOPIC_PREFIX", "milepost.executions.");
        List<String> topics =
                Stream.of("succeeded", "failed", "cancelled").map(state -> prefix + state + ".v1").toList();
        String tenant = arguments.length > 1 ? arguments[1] : null;

        KafkaConsumer<String, byte[]> consumer = new KafkaConsumer<>(settings(arguments[0]));
        Thread worker = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup(); // what blocks throws; the batch in work is finished first
            join(worker);
        }));
        try (consumer) {
            consumer.subscribe(topics);
            while (true) {
                for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    // Told by a header, so what is not wanted need not be parsed.
                    if (tenant == null || tenant.equals(header(record, "ce_tenantid"))) {
                        handle(record);
                    }
                }
                consumer.commitSync(); // after the work: what a crash interrupts comes again
            }
        } catch (WakeupException stop) {
            // Ctrl-C or SIGTERM
        }
    }

    private static Properties settings(String group) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers",
                System.getenv().getOrDefault("MILEPOST_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"));
        settings.put("group.id", group);
        settings.put("isolation.level", "read_committed"); // the default shows aborted records too
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest"); // where a new group begins
        settings.put("key.deserializer", StringDeserializer.class.getName());
        settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
        return settings;
    }

    private static void handle(ConsumerRecord<String, byte[]> record) throws IOException {
        String id = header(record, "ce_id");
        if (SEEN.contains(id)) {
            return;
        }
        JsonNode completion = JSON.readTree(record.value());
        System.out.printf("%s %s %s%n", completion.get("tenant").asText(), record.key(),
                completion.get("state").asText());
        SEEN.add(id);
    }

    private static String header(ConsumerRecord<?, ?> record, String name) {
        Header header = record.headers().lastHeader(name);
        return header == null ? null : new String(header.value(), StandardCharsets.UTF_8);
    }

    private static void join(Thread thread) {
        try {
            thread.join();
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
