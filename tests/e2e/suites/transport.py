"""From Ethernet to HTTP/1.1: ping, TLS versions, resumption, keep-alive, pipelining."""
import fcntl
import json
import os
import socket
import ssl
import struct

from harness.client import CHAT, Client, chat, elapsed, sim, tls_context
from harness.cluster import NAME, PORT
from harness.proc import run, wait_for
from harness.suite import test

SIOCOUTQNSD = 0x894b

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@test('transport.ping')
def ping(cluster):
    run('ping', '-4', '-c', '3', '-i', '0.05', '-W', '2', cluster.host4)
    run('ping', '-6', '-c', '3', '-i', '0.05', '-W', '2', cluster.host6)
    run('ping', '-4', '-c', '2', '-i', '0.05', '-s', '1400', '-W', '2', cluster.host4)


@test('transport.curl')
def curl(cluster):
    body = json.dumps(chat(sim('tokens=9')))
    for host in (cluster.host4, cluster.host6):
        for version in (('--tls-max', '1.2'), ('--tlsv1.3',)):
            text = cluster.curl(*version, '-w', '\n%{http_code} %{http_version} %{ssl_verify_result}', '-H',
                                'content-type: application/json', '-d', body, f'https://{NAME}{CHAT}',
                                host=host)
            answer, last = text.rsplit('\n', 1)
            assert last == '200 2 0', f'{host} {version}: {last}'
            assert json.loads(answer)['usage']['completion_tokens'] == 9


@test('transport.curl-stream')
def curl_stream(cluster):
    body = json.dumps(chat(sim('tokens=50'), stream=True))
    text = cluster.curl('-N', '-d', body, '-H', 'content-type: application/json', f'https://{NAME}{CHAT}')
    assert text.endswith('data: [DONE]\n\n') and text.count('data: ') >= 53


@test('transport.tls')
def tls(cluster):
    for version, name in ((TLS12, 'TLSv1.2'), (TLS13, 'TLSv1.3')):
        with cluster.client(versions=(version, version)) as client:
            assert client.socket.version() == name
            assert client.socket.selected_alpn_protocol() == 'http/1.1'
            assert client.request('GET', '/healthz').status == 200
    old = tls_context(cluster.ca)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers('DEFAULT@SECLEVEL=0')
    try:
        cluster.client(context=old)
        raise AssertionError('TLS 1.1 was accepted')
    except (ssl.SSLError, ConnectionError):
        pass
    stranger = tls_context(cluster.ca)
    stranger.set_alpn_protocols(['smtp'])
    try:
        cluster.client(context=stranger).request('GET', '/healthz')
        raise AssertionError('a protocol that nobody speaks was accepted')
    except (ssl.SSLError, ConnectionError):
        pass


@test('transport.engine')
def engine(cluster):
    """What computes is told by status and metrics; what was forced is what does."""
    for worker in cluster.admin.call('GET', 'status')['dataplane']['workers']:
        told = (worker['tls_primitives'], worker['tls_ciphers'])
        assert told == ('mbedtls', 'mbedtls') if cluster.is_portable else \
            told[0] in ('libcrypto', 'mbedtls') and (told[1] == 'mbedtls' or told[1].startswith(('vaes ', 'ipsec-mb '))), told
    infos = [labels for name, labels, value in cluster.admin.metrics() if name == 'sluice_worker_tls_info' and int(value) == 1]
    assert [(info['primitives'], info['ciphers']) for info in infos] == [told] * cluster.workers, infos


@test('transport.resumption')
def resumption(cluster):
    for version in (TLS12, TLS13):
        context = tls_context(cluster.ca, (version, version))
        with cluster.client(context=context) as first:
            assert not first.socket.session_reused
            assert first.request('GET', '/healthz').status == 200
            session = first.socket.session
        before = cluster.counter('handshakes_resumed')
        for _ in range(4):  # whichever worker gets it, the ticket must open
            with cluster.client(context=context, session=session) as again:
                assert again.socket.session_reused, f'{version.name}: a full handshake'
                assert again.request('GET', '/healthz').status == 200
        wait_for(lambda: cluster.counter('handshakes_resumed') == before + 4, 2, 'they are not counted')
    ticket = os.path.join(cluster.root, 'ticket')
    words = ('openssl', 's_client', '-connect', f'{cluster.host4}:{PORT}', '-servername', NAME, '-CAfile',
             cluster.ca, '-verify_return_error', '-ign_eof')
    get = f'GET /healthz HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n'
    for version in ('-tls1_2', '-tls1_3'):
        assert 'HTTP/1.1 200' in run(*words, version, '-sess_out', ticket, input=get)
        assert 'Reused, TLS' in run(*words, version, '-sess_in', ticket, input=get), version


@test('transport.keep-alive')
def keep_alive(cluster):
    accepted = cluster.counter('clients_accepted')
    with cluster.client() as client:
        for number in range(100):
            answer = client.ask(cluster.key, chat(sim(f'tokens={number % 7 + 1}')))
            assert answer.status == 200 and answer.json()['usage']['completion_tokens'] == number % 7 + 1
        refused = client.ask(cluster.key, chat(model='nothing'))
        assert refused.status == 404, 'a refusal does not end the connection'
        assert client.ask(cluster.key, chat()).status == 200
        last = client.request('GET', '/healthz', fields=[('Connection', 'close')])
        assert last.status == 200 and last.field('connection') == 'close'
        assert client.is_closed()
    wait_for(lambda: cluster.counter('clients_accepted') - accepted == 1, 2, 'it took several connections')


@test('transport.pipelining')
def pipelining(cluster):
    with cluster.client() as client:
        whole = b''
        for number in range(1, 9):
            body = json.dumps(chat(sim(f'tokens={number} ttft={9 - number}ms'))).encode()
            whole += client.head('POST', CHAT, cluster.key, length=len(body)) + body
        client.send(whole)
        for number in range(1, 9):
            answer = client.read_head()
            client.read_body(answer)
            assert answer.json()['usage']['completion_tokens'] == number, 'answers out of order'


@test('transport.expect-continue')
def expect_continue(cluster):
    body = json.dumps(chat(sim('tokens=2'))).encode()
    with cluster.client() as client:
        client.send(client.head('POST', CHAT, cluster.key, [('Expect', '100-continue')], len(body)))
        assert client.read_until(b'\r\n\r\n').startswith(b'HTTP/1.1 100')
        client.send(body)
        answer = client.read_head()
        client.read_body(answer)
        assert answer.status == 200
    with cluster.client() as client:
        client.send(client.head('POST', CHAT, 'eco_wrong', [('Expect', '100-continue')], len(body)))
        assert client.read_until(b'\r\n\r\n').startswith(b'HTTP/1.1 401'), 'refused before the body'


@test('transport.pieces')
def pieces(cluster):
    """One byte per segment, head and body."""
    body = json.dumps(chat(sim('tokens=3'))).encode()
    with cluster.client() as client:
        for byte in client.head('POST', CHAT, cluster.key, length=len(body)) + body:
            client.send(bytes([byte]))
        answer = client.read_head()
        client.read_body(answer)
        assert answer.json()['usage']['completion_tokens'] == 3


@test('transport.first-event-at-once')
def first_event_at_once(cluster):
    with cluster.client() as client:
        clock = elapsed()
        response = client.begin(cluster.key, chat(sim('tokens=20 tps=20'), stream=True))
        events = client.read_events(response)
        next(events)
        assert clock() < 0.5, f'the first event took {clock():.2f} s of a stream that lasts a second'
        times = [clock() for _ in events]
        assert times[-1] - times[0] > 0.7, 'the events came all together'


@test('transport.strangers')
def strangers(cluster):
    """What is no TLS gets no answer in HTTP, and hurts nobody."""
    for data in (b'GET / HTTP/1.1\r\nHost: a\r\n\r\n', bytes(1000), os.urandom(4000), b'\x16\x03\x01\xff\xff',
                 b'\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00', b'\x15\x03\x03\x00\x02\x02\x28'):
        with Client(cluster.host4, PORT, timeout=8) as client:
            client.send(data)
            try:
                while True:
                    answer = client.receive()
                    assert not answer.startswith(b'HTTP'), answer[:60]
            except Exception as why:
                assert type(why).__name__ in ('Closed', 'ConnectionResetError', 'TimeoutError'), repr(why)
    for _ in range(50):
        plain = socket.create_connection((cluster.host4, PORT), 5)
        plain.close()
    with cluster.client() as client:
        assert client.request('GET', '/healthz').status == 200


def unsent(sock):
    """Bytes that were written and have not left yet."""
    return struct.unpack('i', fcntl.ioctl(sock, SIOCOUTQNSD, bytes(4)))[0]


@test('transport.tls-in-pieces', seconds=240)
def tls_in_pieces(cluster):
    """The bytes of TLS itself in segments of one, two or seven bytes, a record of 16 KB among them; what is answered is
    read by OpenSSL as many bytes at a time."""
    body = json.dumps(chat(sim('tokens=3', 'x' * 20000))).encode()
    for version, size in ((TLS12, 1), (TLS13, 1), (TLS12, 7), (TLS13, 2)):
        frames = cluster.counter('frames_in')
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = tls_context(cluster.ca, (version, version))
        tls = context.wrap_bio(incoming, outgoing, server_hostname=NAME)
        with Client(cluster.host4, PORT) as plain:

            def until(step):
                while True:
                    try:
                        return step()
                    except ssl.SSLWantReadError:
                        data = outgoing.read()
                        for start in range(0, len(data), size):
                            plain.send(data[start:start + size])
                            while unsent(plain.socket) > 0:  # the kernel would put the next one to it
                                os.sched_yield()
                        if not received:
                            received.extend(plain.receive(1000))
                        incoming.write(received[:size])
                        del received[:size]

            received = bytearray()
            until(tls.do_handshake)
            tls.write(plain.head('POST', CHAT, cluster.key, length=len(body)) + body)
            answer = b''
            while b'total_tokens' not in answer:
                answer += until(lambda: tls.read(1000))
            assert answer.startswith(b'HTTP/1.1 200'), answer[:200]
        wait_for(lambda: cluster.counter('frames_in') - frames > len(body) / size, 5, f'{size} came together')
