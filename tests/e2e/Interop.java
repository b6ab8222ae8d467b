// TLS as Java speaks it: java Interop.java HOST PORT CA, a row a line on standard input: version, suite, name, spaces before
// the body that is sent (none: nothing is sent), path; where there is one the file of the client's certificate, or else nothing;
// the key of the API, the body. Standard output: a line a row: version, suite, name in the certificate, ALPN,
// whether a second connection resumed the first one's session, status and size of the answer; or "error" and why.
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.util.*;
import javax.net.ssl.*;

public class Interop {
	static final int PIECE = 1 << 14;
	static String host, port;

	static SSLSocket connect(SSLContext context, String[] row) throws Exception {
		SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(host, Integer.parseInt(port));
		socket.setSoTimeout(10000);
		SSLParameters parameters = socket.getSSLParameters();
		parameters.setProtocols(new String[] { row[0] });
		parameters.setCipherSuites(new String[] { row[1] });
		parameters.setServerNames(List.of(new SNIHostName(row[2])));
		parameters.setApplicationProtocols(new String[] { "http/1.1" });
		socket.setSSLParameters(parameters);
		socket.startHandshake();
		return socket;
	}

	/** Status and length of the answer's body. */
	static String ask(SSLSocket socket, String head, byte[] body) throws Exception {
		OutputStream out = socket.getOutputStream();
		out.write(head.getBytes(StandardCharsets.US_ASCII));
		// Java looks whether a key has had enough when a call is over.
		for (int at = 0; at < body.length; at += PIECE)
			out.write(body, at, Math.min(PIECE, body.length - at));
		out.flush();
		byte[] answer = socket.getInputStream().readAllBytes();
		String text = new String(answer, StandardCharsets.ISO_8859_1);
		int end = text.indexOf("\r\n\r\n");
		return text.substring(9, 12) + "\t" + (answer.length - end - 4);
	}

	static KeyManager[] identity(String file) throws Exception {
		KeyStore store = KeyStore.getInstance("PKCS12");
		try (InputStream in = Files.newInputStream(Path.of(file))) {
			store.load(in, "client".toCharArray());
		}
		KeyManagerFactory factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
		factory.init(store, "client".toCharArray());
		return factory.getKeyManagers();
	}

	static String play(TrustManager[] trust, String[] row) throws Exception {
		SSLContext context = SSLContext.getInstance("TLS");
		context.init(row.length > 5 && !row[5].isEmpty() ? identity(row[5]) : null, trust, null);
		int size = Integer.parseInt(row[3]);
		String head = size == 0 ? "GET " + row[4] + " HTTP/1.1\r\n" :
			"POST " + row[4] + " HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer " + row[6] +
			"\r\nContent-Length: " + (size + row[7].length()) + "\r\n";
		head += "Host: " + row[2] + "\r\nConnection: close\r\n\r\n";
		SSLSocket first = connect(context, row);
		SSLSession session = first.getSession();
		String name = ((X509Certificate) session.getPeerCertificates()[0]).getSubjectX500Principal().getName();
		byte[] body = (size == 0 ? "" : " ".repeat(size) + row[7]).getBytes(StandardCharsets.US_ASCII);
		String answer = ask(first, head, body);
		SSLSocket second = connect(context, row);
		boolean resumed = second.getSession().getCreationTime() == session.getCreationTime();
		ask(second, "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", new byte[0]);
		return String.join("\t", session.getProtocol(), session.getCipherSuite(), name, first.getApplicationProtocol(),
			String.valueOf(resumed), answer);
	}

	public static void main(String[] arguments) throws Exception {
		host = arguments[0];
		port = arguments[1];
		// So that a body of a few records has several KeyUpdates between them.
		Security.setProperty("jdk.tls.keyLimits", "AES/GCM/NoPadding KeyUpdate 2^15, ChaCha20-Poly1305 KeyUpdate 2^15");
		KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
		store.load(null, null);
		try (InputStream file = Files.newInputStream(Path.of(arguments[2]))) {
			store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
		}
		TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
		factory.init(store);
		for (String line : new String(System.in.readAllBytes(), StandardCharsets.UTF_8).split("\n")) {
			try {
				System.out.println(play(factory.getTrustManagers(), line.split("\t")));
			} catch (Exception why) {
				System.out.println("error\t" + why);
			}
		}
	}
}
