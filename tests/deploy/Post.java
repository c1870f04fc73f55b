// Posts a body to each URL as Java's own client does by default: over clear text it asks for an upgrade to HTTP/2.
// java Post.java certificate.pem body url…

import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

class Post {
    public static void main(String[] arguments) throws Exception {
        var trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null);
        try (var file = new FileInputStream(arguments[0])) {
            trusted.setCertificateEntry("test", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(trusted);
        var tls = SSLContext.getInstance("TLS");
        tls.init(null, managers.getTrustManagers(), null);
        var client = HttpClient.newBuilder().sslContext(tls).build();
        for (int i = 2; i < arguments.length; i++) {
            var body = HttpRequest.BodyPublishers.ofString(arguments[1].replace("{}", "" + (i - 2)));
            var request = HttpRequest.newBuilder(URI.create(arguments[i])).POST(body).build();
            System.out.println(client.send(request, HttpResponse.BodyHandlers.discarding()).statusCode());
        }
    }
}
