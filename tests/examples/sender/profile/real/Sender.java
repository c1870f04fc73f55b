import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** Java's own HTTP client as it comes: it offers an upgrade to HTTP/2 with every request. URL COUNT */
class Sender {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int number = 0; number < Integer.parseInt(arguments[1]); number++) {
            String body = "{\"id\":\"evt_" + number + "\",\"type\":\"action.created\",\"a\":1,\"b\":2}";
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .timeout(Duration.ofSeconds(5))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body)).build();
            for (int attempt = 0; attempt < 3; attempt++) {
                try {
                    int status = client.send(request, HttpResponse.BodyHandlers.discarding()).statusCode();
                    if (status == 200 || status == 201) break;
                } catch (java.io.IOException error) {
                    // as after any other failure
                }
                Thread.sleep(30);
            }
        }
    }
}
