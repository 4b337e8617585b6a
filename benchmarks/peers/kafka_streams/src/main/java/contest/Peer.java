package contest;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Properties;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** The job on Kafka Streams: a processor with a RocksDB store and its changelog, exactly once. */
public final class Peer {
    private static final String STORE = "ledgers";
    private static final ObjectMapper JSON =
            new ObjectMapper().configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false);

    /** Advances the ledger of a record's customer. */
    private static final class Segmenting extends ContextualFixedKeyProcessor<String, Ledger.Event, Ledger.Output> {
        private final Ledger.Model model;
        private KeyValueStore<String, Ledger> ledgers;

        Segmenting(Ledger.Model model) {
            this.model = model;
        }

        @Override
        public void init(FixedKeyProcessorContext<String, Ledger.Output> context) {
            super.init(context);
            ledgers = context.getStateStore(STORE);
        }

        @Override
        public void process(FixedKeyRecord<String, Ledger.Event> record) {
            Ledger ledger = ledgers.get(record.key());
            if (ledger == null) ledger = new Ledger();
            Ledger.Output output = ledger.advance(record.value(), model);
            ledgers.put(record.key(), ledger);
            if (output != null) context().forward(record.withValue(output));
        }
    }

    public static void main(String[] arguments) throws IOException {
        Ledger.Model model = JSON.readValue(new File(environment("MODEL")), Ledger.Model.class);
        boolean tuned = "1".equals(System.getenv("BENCH_TUNED"));
        var store = Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), Serdes.String(), Ledger.SERDE);
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(tuned ? store.withCachingEnabled() : store);
        builder.stream(environment("INPUT"), Consumed.with(Serdes.String(), json(Ledger.Event.class)))
                .processValues(() -> new Segmenting(model), STORE)
                .to(environment("OUTPUT"), Produced.with(Serdes.String(), json(Ledger.Output.class)));

        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, environment("OUTPUT"));
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, environment("KAFKA"));
        config.put(StreamsConfig.STATE_DIR_CONFIG, environment("STATE"));
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        if (tuned) {
            config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
            config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 << 20);
        }
        KafkaStreams streams = new KafkaStreams(builder.build(), config);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static <T> Serde<T> json(Class<T> type) {
        Serializer<T> write = (topic, value) -> {
            try {
                return JSON.writeValueAsBytes(value);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        Deserializer<T> read = (topic, bytes) -> {
            try {
                return JSON.readValue(bytes, type);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        return Serdes.serdeFrom(write, read);
    }

    private static String environment(String name) {
        return System.getenv("BENCH_" + name);
    }
}
