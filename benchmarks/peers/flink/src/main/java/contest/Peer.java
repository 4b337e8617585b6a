package contest;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.Optional;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.AbstractDeserializationSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.producer.ProducerRecord;

/** The job on Flink: keyed state in RocksDB, checkpoints every second, a transactional sink; exactly once. */
public final class Peer {
    private static final ObjectMapper JSON =
            new ObjectMapper().configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false);

    private static final class Events extends AbstractDeserializationSchema<Customer.Event> {
        @Override
        public Customer.Event deserialize(byte[] bytes) throws IOException {
            return JSON.readValue(bytes, Customer.Event.class);
        }
    }

    /** Advances the customer of an event. */
    private static final class Segmenting
            extends KeyedProcessFunction<String, Customer.Event, Customer.Output> {
        private final Customer.Model model;
        private transient ValueState<Customer> state;

        Segmenting(Customer.Model model) {
            this.model = model;
        }

        @Override
        public void open(OpenContext context) {
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("customer", Customer.class));
        }

        @Override
        public void processElement(Customer.Event event, Context context, Collector<Customer.Output> out)
                throws IOException {
            Customer customer = state.value();
            if (customer == null) customer = new Customer();
            Customer.Output output = customer.advance(event, model);
            state.update(customer);
            if (output != null) out.collect(output);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Customer.Model model = JSON.readValue(new File(environment("MODEL")), Customer.Model.class);
        Path checkpoints = Path.of(environment("STATE"), "checkpoints");
        Configuration config = new Configuration();
        config.set(StateBackendOptions.STATE_BACKEND,
                Optional.ofNullable(environment("FLINK_STATE")).orElse("rocksdb"));
        config.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, checkpoints.toUri().toString());
        config.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofSeconds(1)); // mode: exactly once
        config.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, true);
        config.set(CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION,
                ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        newest(checkpoints).ifPresent(path -> config.set(StateRecoveryOptions.SAVEPOINT_PATH, path.toUri().toString()));

        var source = KafkaSource.<Customer.Event>builder()
                .setBootstrapServers(environment("KAFKA"))
                .setTopics(environment("INPUT"))
                .setGroupId(environment("OUTPUT"))
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setValueOnlyDeserializer(new Events())
                .build();
        var sink = KafkaSink.<Customer.Output>builder()
                .setBootstrapServers(environment("KAFKA"))
                .setRecordSerializer((output, context, timestamp) -> record(output))
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix(environment("OUTPUT"))
                .setProperty("transaction.timeout.ms", "600000") // the broker allows 15 minutes
                .build();
        StreamExecutionEnvironment flink = StreamExecutionEnvironment.createLocalEnvironment(1, config);
        flink.fromSource(source, WatermarkStrategy.noWatermarks(), "events").uid("events")
                .keyBy(event -> event.customer_id)
                .process(new Segmenting(model)).uid("segmenting")
                .sinkTo(sink).uid("segments");
        flink.execute();
    }

    /** Returns the last checkpoint that was completed. */
    private static Optional<Path> newest(Path checkpoints) throws IOException {
        if (!Files.exists(checkpoints)) return Optional.empty();
        try (var paths = Files.walk(checkpoints)) {
            return paths.filter(path -> path.endsWith("_metadata"))
                    .map(Path::getParent)
                    .max(Comparator.comparingLong(path -> path.toFile().lastModified()));
        }
    }

    private static ProducerRecord<byte[], byte[]> record(Customer.Output output) {
        try {
            byte[] key = output.customer_id.getBytes(StandardCharsets.UTF_8);
            return new ProducerRecord<>(environment("OUTPUT"), key, JSON.writeValueAsBytes(output));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static String environment(String name) {
        return System.getenv("BENCH_" + name);
    }
}
