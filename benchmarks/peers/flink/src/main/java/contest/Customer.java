package contest;

import java.io.Serializable;
import java.time.LocalDate;
import java.util.HashMap;
import java.util.Map;

/** A customer's state, a Flink POJO: his orders, and the segment last put out. Rules: benchmarks/oracle.py. */
public class Customer {
    static final int HORIZON_DAYS = 365;
    static final int OUTSIDE = -1;
    static final int NEVER = -2;

    public int segment = NEVER;
    public Map<String, Order> orders = new HashMap<>();

    /** net: in pence. */
    public static class Order {
        public int day;
        public long net;
    }

    /** An input record; Jackson fills it. */
    public static class Event {
        public String customer_id, invoice_no, invoice_date;
        public int quantity;
        public double unit_price;
    }

    /** An output record's value. monetary: in pence. */
    public static class Output {
        public String customer_id;
        public int segment, frequency;
        public long monetary;
    }

    /** The model file. */
    record Model(String[] names, double[] mean, double[] scale, double[][] centroids) implements Serializable {
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

    /** Takes in a line; returns what is to be put out, null for nothing. */
    Output advance(Event event, Model model) {
        int day = (int) LocalDate.parse(event.invoice_date.substring(0, 10)).toEpochDay();
        orders.values().removeIf(order -> order.day <= day - HORIZON_DAYS);
        Order mine = orders.computeIfAbsent(event.invoice_no, invoice -> new Order());
        if (mine.day == 0) mine.day = day;
        mine.net += event.quantity * Math.round(event.unit_price * 100);
        Output output = new Output();
        int last = day;
        for (Order order : orders.values()) {
            output.monetary += order.net;
            if (order.net > 0) last = output.frequency++ == 0 ? order.day : Math.max(last, order.day);
        }
        boolean outside = output.frequency == 0 || output.monetary <= 0;
        int now = outside ? OUTSIDE : model.nearest(day - last, output.frequency, output.monetary);
        if (now == segment) return null;
        output.customer_id = event.customer_id;
        output.segment = segment = now;
        return output;
    }
}
