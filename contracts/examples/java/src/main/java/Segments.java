import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Holds each customer's present segment in memory, from the topic alone.
 *
 * <pre>
 * Segments localhost:9092 customer-segments           prints every move, for ever
 * Segments localhost:9092 customer-segments --once    reads to the end, prints who is where as JSON lines
 * </pre>
 */
public final class Segments {
  private static final ObjectMapper JSON = new ObjectMapper();

  /** The newest record of each customer in each partition: after partitions were added a customer has two. */
  private final Map<String, Map<Integer, JsonNode>> held = new TreeMap<>();

  /** Takes a record in; returns it, if it is news, else null. */
  JsonNode apply(int partition, String customer, byte[] value) throws IOException {
    Map<Integer, JsonNode> known = held.computeIfAbsent(customer, name -> new HashMap<>());
    if (value == null) { // a tombstone: erased, or long gone; it drops the records of its own partition
      known.remove(partition);
      if (known.isEmpty()) {
        held.remove(customer);
      }
      return null;
    }
    JsonNode record = JSON.readTree(value);
    JsonNode before = known.get(partition);
    if (before != null && revision(record) <= revision(before)) {
      return null; // seen already
    }
    JsonNode present = present(customer);
    known.put(partition, record);
    return present == null || revision(record) > revision(present) ? record : null;
  }

  /** Returns a customer's present record: the one of the highest revision; null for who is not known, or gone. */
  JsonNode present(String customer) {
    JsonNode found = null;
    for (JsonNode each : held.getOrDefault(customer, Map.of()).values()) {
      found = found == null || revision(each) > revision(found) ? each : found;
    }
    return found;
  }

  private static long revision(JsonNode record) {
    return record.get("revision").asLong();
  }

  public static void main(String[] arguments) throws IOException {
    boolean once = arguments.length == 3 && arguments[2].equals("--once");
    if (arguments.length != 2 && !once) {
      System.err.println("usage: Segments BOOTSTRAP TOPIC [--once]");
      System.exit(2);
    }
    Map<String, Object> settings =
        Map.of(
            "bootstrap.servers", arguments[0],
            "isolation.level", "read_committed", // nothing of an aborted transaction
            "enable.auto.commit", false); // no group: all partitions, each time; the topic is the table
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    Segments segments = new Segments();
    try (KafkaConsumer<String, byte[]> consumer =
        new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer())) {
      List<TopicPartition> partitions =
          consumer.partitionsFor(arguments[1]).stream()
              .map(each -> new TopicPartition(each.topic(), each.partition()))
              .toList();
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
      while (!once || partitions.stream().anyMatch(each -> consumer.position(each) < ends.get(each))) {
        for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofMillis(500))) {
          JsonNode news = segments.apply(record.partition(), record.key(), record.value());
          if (news != null && !once) {
            String name = news.get("segment").get("name").asText();
            out.println(record.key() + " is " + name + " because of: " + news.get("cause").asText());
          }
        }
      }
    }
    for (String customer : segments.held.keySet()) {
      out.println(JSON.writeValueAsString(segments.present(customer)));
    }
  }
}
