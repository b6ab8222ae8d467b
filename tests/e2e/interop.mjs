// TLS as Node speaks it. Standard input: {host, port, ca, rows: [{version, suite, groups, name, head, body, cert, key, once}]};
// standard output: a line of JSON for each row: what was negotiated, what was answered, whether a second connection
// resumed the first one's session.
import tls from 'node:tls';
import { readFileSync } from 'node:fs';

const { host, port, ca, rows } = JSON.parse(readFileSync(0));
const authority = readFileSync(ca);

function connect(row, session) {
	return new Promise((resolve, reject) => {
		const seen = { answer: '' };
		const socket = tls.connect({
			host, port, ca: authority, servername: row.name, session, ALPNProtocols: ['http/1.1'],
			minVersion: row.version, maxVersion: row.version, ciphers: row.suite, ecdhCurve: row.groups,
			cert: row.cert && readFileSync(row.cert), key: row.key && readFileSync(row.key),
		}, () => {
			seen.version = socket.getProtocol();
			seen.suite = socket.getCipher().standardName;
			seen.group = socket.getEphemeralKeyInfo().name;
			seen.name = socket.getPeerCertificate().subject?.CN;
			seen.reused = socket.isSessionReused();
			seen.alpn = socket.alpnProtocol;
			socket.write(row.head);
			socket.write(row.body);
		});
		socket.on('session', (ticket) => { seen.session = ticket; });
		socket.on('data', (data) => { seen.answer += data.toString('latin1'); });
		socket.on('end', () => resolve(seen));
		socket.on('error', reject);
		socket.setTimeout(10000, () => reject(new Error('timeout')));
	});
}

for (const row of rows) {
	let seen;
	try {
		seen = await connect(row);
		if (!row.once)
			seen.resumed = (await connect(row, seen.session)).reused;
		delete seen.session;
	} catch (why) {
		seen = { error: String(why) };
	}
	console.log(JSON.stringify(seen));
}
