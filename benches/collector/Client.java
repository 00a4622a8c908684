import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.flume.Event;
import org.apache.flume.api.RpcClient;
import org.apache.flume.api.RpcClientFactory;
import org.apache.flume.event.EventBuilder;

/** Sends the lines of a file by Flume's own client, again and again: PORT FILE BATCH PASSES. Prints events a second, a line a pass. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        int batch = Integer.parseInt(arguments[2]);
        Properties properties = new Properties();
        properties.put("hosts", "h1");
        properties.put("hosts.h1", "127.0.0.1:" + arguments[0]);
        properties.put("batch-size", arguments[2]);
        List<byte[]> lines = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(arguments[1]))) lines.add(line.getBytes());
        RpcClient client = RpcClientFactory.getInstance(properties);
        for (int pass = 0; pass < Integer.parseInt(arguments[3]); pass++) {
            long begun = System.nanoTime();
            for (int from = 0; from < lines.size(); from += batch) {
                List<Event> events = new ArrayList<>(batch);
                for (byte[] line : lines.subList(from, Math.min(from + batch, lines.size()))) {
                    events.add(EventBuilder.withBody(line));
                }
                client.appendBatch(events);
            }
            System.out.println(lines.size() / ((System.nanoTime() - begun) / 1e9));
        }
        client.close();
    }
}
