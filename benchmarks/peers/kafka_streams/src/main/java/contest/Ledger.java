package contest;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.LocalDate;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** A customer: his orders of the horizon, and the segment last put out. The rules: benchmarks/oracle.py. */
final class Ledger {
    static final int HORIZON_DAYS = 365;
    static final int OUTSIDE = -1;
    static final int NEVER = -2;

    /** net: in pence. */
    record Order(int day, long net) {}

    /** An input record; Jackson fills it. */
    record Event(String customer_id, String invoice_no, int quantity, double unit_price, String invoice_date) {}

    /** An output record's value. monetary: in pence. */
    record Output(String customer_id, int segment, int frequency, long monetary) {}

    /** The model file. */
    record Model(String[] names, double[] mean, double[] scale, double[][] centroids) {

        /** Returns the nearest centroid's index; monetary in pence. */
        int nearest(int recency, int frequency, long monetary) {
            double[] x = new double[names.length];
            for (int j = 0; j < x.length; j++) {
                double value = switch (names[j]) {
                    case "recency" -> recency;
                    case "frequency" -> frequency;
                    default -> monetary / 100.0;
                };
                x[j] = (Math.log1p(value) - mean[j]) / scale[j];
            }
            int best = 0;
            double least = Double.POSITIVE_INFINITY;
            for (int k = 0; k < centroids.length; k++) {
                double sum = 0;
                for (int j = 0; j < x.length; j++) sum += (x[j] - centroids[k][j]) * (x[j] - centroids[k][j]);
                if (sum < least) {
                    least = sum;
                    best = k;
                }
            }
            return best;
        }
    }

    private int segment = NEVER;
    private final Map<String, Order> orders = new HashMap<>();

    /** Takes in a line; returns what is to be put out, null for nothing. */
    Output advance(Event event, Model model) {
        int day = (int) LocalDate.parse(event.invoice_date().substring(0, 10)).toEpochDay();
        orders.values().removeIf(order -> order.day() <= day - HORIZON_DAYS);
        long amount = event.quantity() * Math.round(event.unit_price() * 100);
        orders.merge(event.invoice_no(), new Order(day, amount), (a, b) -> new Order(a.day(), a.net() + b.net()));
        int frequency = 0, last = day - HORIZON_DAYS;
        long monetary = 0;
        for (Order order : orders.values()) {
            monetary += order.net();
            if (order.net() > 0) {
                frequency++;
                last = Math.max(last, order.day());
            }
        }
        int now = frequency == 0 || monetary <= 0 ? OUTSIDE : model.nearest(day - last, frequency, monetary);
        if (now == segment) return null;
        segment = now;
        return new Output(event.customer_id(), now, frequency, monetary);
    }

    /** One byte of segment; then an order each: length and bytes of the invoice, day, net. */
    static final Serde<Ledger> SERDE = Serdes.serdeFrom(Ledger::write, Ledger::read);

    private static byte[] write(String topic, Ledger ledger) {
        if (ledger == null) return null;
        int size = 1;
        for (String invoice : ledger.orders.keySet()) size += 13 + 3 * invoice.length();
        ByteBuffer out = ByteBuffer.allocate(size).put((byte) ledger.segment);
        ledger.orders.forEach((invoice, order) -> {
            byte[] name = invoice.getBytes(StandardCharsets.UTF_8);
            out.put((byte) name.length).put(name).putInt(order.day()).putLong(order.net());
        });
        return Arrays.copyOf(out.array(), out.position());
    }

    private static Ledger read(String topic, byte[] bytes) {
        if (bytes == null) return null;
        ByteBuffer in = ByteBuffer.wrap(bytes);
        Ledger ledger = new Ledger();
        ledger.segment = in.get();
        while (in.hasRemaining()) {
            byte[] name = new byte[in.get()];
            in.get(name);
            ledger.orders.put(new String(name, StandardCharsets.UTF_8), new Order(in.getInt(), in.getLong()));
        }
        return ledger;
    }
}
