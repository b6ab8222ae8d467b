"""Attacks with HTTP/2's own means (tests/README.md T64 to T75), as bytes over TLS: what they cost us has a bound,
no backend hears of what was not accepted, and others notice nothing.
"""
import json
import struct
import time

from harness.client import CHAT, Closed, chat, elapsed, sim
from harness.cluster import NAME
from harness.h2 import (ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM,
                        FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PADDED, PING,
                        PREFACE, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, SETTINGS,
                        WINDOW_UPDATE, H2Client, block, frame, integer, literal)
from harness.proc import wait_for
from harness.suite import test

CONNECTION_BYTES_MAX = 384 * 1024  # http2.connection
BLOCK_BYTES = 16 * 1024


def word(value):
    return struct.pack('>I', value)


def at_rest(cluster):
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 10, 'a request is still under way')


def served_by_all(cluster):
    return sum(len(backend.served()) for backend in cluster.backends.values())


def flood(client, data):
    """Sends while the router takes it; what it answered at last, and how long it took."""
    since = elapsed()
    try:
        client.send(data)
    except OSError:
        pass
    return client.read_until_closed(), since()


def others_are_served(cluster):
    since = elapsed()
    with H2Client(cluster) as client:
        assert client.ask(cluster.key, chat(sim('tokens=2'))).status == 200
    assert since() < 10, f'another client waited {since():.1f} s'


def open_request(client, key, length=100):
    """HEADERS of a request whose body never comes."""
    return block(client.fields('POST', CHAT, key, (), length))


# ---- T64, T65: resets

@test('h2attacks.rapid-reset')
def rapid_reset(cluster):
    before = served_by_all(cluster)
    for whole in (False, True):
        with H2Client(cluster) as client:
            head = open_request(client, client.key)
            body = json.dumps(chat(sim('tokens=9'))).encode().ljust(100)
            out = bytearray()
            for number in range(1, 10001, 2):
                out += frame(HEADERS, END_HEADERS, number, head)
                if whole:
                    out += frame(DATA, END_STREAM, number, body)
                out += frame(RST_STREAM, 0, number, word(CANCEL))
            (_, code), seconds = flood(client, out)
            assert code == ENHANCE_YOUR_CALM and seconds < 10, (code, seconds)
        at_rest(cluster)
    assert served_by_all(cluster) - before <= 100, 'backends worked for streams that were reset at once'
    others_are_served(cluster)


TRIGGERS = {
    'an increment of zero': lambda n: frame(WINDOW_UPDATE, 0, n, word(0)),
    'a window that overflows': lambda n: frame(WINDOW_UPDATE, 0, n, word(0x7fffffff)),
    'DATA behind the end': lambda n: frame(DATA, 0, n, b'x'),
    'HEADERS behind the end': lambda n: frame(HEADERS, END_HEADERS | END_STREAM, n, block([('x', 'y')])),
    'PRIORITY of a wrong length': lambda n: frame(PRIORITY, 0, n, b'1234'),
    'a stream that depends on itself': lambda n: frame(PRIORITY, 0, n, word(n) + b'\x10'),
}


@test('h2attacks.made-you-reset', seconds=90)
def made_you_reset(cluster):
    for name, trigger in TRIGGERS.items():
        before = served_by_all(cluster)
        with H2Client(cluster) as client:
            body = json.dumps(chat(sim('tokens=500 tps=10'), stream=True)).encode()
            head = open_request(client, client.key, len(body))
            out = bytearray()
            # Where nothing is reset (PRIORITY has no meaning here), streams beyond the hundredth are refused.
            for number in range(1, 4001, 2):
                out += frame(HEADERS, END_HEADERS, number, head) + frame(DATA, END_STREAM, number, body)
                out += trigger(number)
            goaway, seconds = flood(client, out)
            assert goaway and goaway[1] != 0 and seconds < 10, f'{name}: {goaway} after {seconds:.1f} s'
        at_rest(cluster)
        assert served_by_all(cluster) - before <= 202, f'{name}: backends got {served_by_all(cluster) - before}'
    others_are_served(cluster)


# ---- T66, T67: header blocks

@test('h2attacks.continuation-flood')
def continuation(cluster):
    for piece in (b'', literal('x', 'y') * 10, literal('x', 'y' * 1000) * 16):
        with H2Client(cluster) as client:
            # No more than what is read and dropped while the connection lingers.
            out = frame(HEADERS, 0, 1, block([(':method', 'GET')])) + \
                frame(CONTINUATION, 0, 1, piece) * (500000 // (9 + len(piece)))
            (_, code), seconds = flood(client, out)
            assert code == ENHANCE_YOUR_CALM and seconds < 10, (len(piece), code, seconds)
    # A block that is begun and left alone: the header timer (3 s).
    with H2Client(cluster) as client:
        assert client.ping()
        since = elapsed()
        client.send(frame(HEADERS, 0, 1, block([(':method', 'GET')])))
        assert client.read_until_closed()[1] == ENHANCE_YOUR_CALM
        assert 2 < since() < 15, f'closed after {since():.1f} s'
    # Not even a preface.
    with H2Client(cluster, greet=False) as client:
        since = elapsed()
        client.read_until_closed()
        assert since() < 15, f'closed after {since():.1f} s'


def used(cluster):
    """Bytes that sessions hold, blocks for what waits included."""
    counters = cluster.counters()
    return counters['pool_h2_bytes_used'] + counters['pool_blocks_used'] * BLOCK_BYTES


@test('h2attacks.bomb', seconds=90)
def bomb(cluster):
    """One large field in the table, then references of one byte to it, with every window shut (how long that lasts:
    tests/sim/test_h2_memory.c)."""
    at_rest(cluster)
    idle = used(cluster)
    value = 'v' * 3900
    with H2Client(cluster, settings=[(INITIAL_WINDOW_SIZE, 0)], credit=False) as client:
        assert client.ping()
        one = used(cluster) - idle
        assert one < 64 * 1024, f'an idle connection holds {one} bytes'
        most = 0
        for number in range(1, 200, 2):
            head = block(client.fields('GET', '/v1/models', 'eco_wrong')) + literal('x', value, 0x40)
            head += b'\xbe' * 16000 if number % 4 == 1 else b'\xbe' * 7
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, number, head[:16384]))
            client.new_stream()
            if number % 20 == 1:
                client.ping()
                most = max(most, used(cluster) - idle)
        assert client.ping()
        most = max(most, used(cluster) - idle)
        assert most <= CONNECTION_BYTES_MAX, f'a connection holds {most} bytes'
        answered = [stream for stream in client.streams.values() if stream.status]
        assert answered and {stream.status for stream in answered} == {401, 431}, [s.status for s in answered]
    wait_for(lambda: used(cluster) <= idle, 5, 'the memory does not come back')
    others_are_served(cluster)


@test('h2attacks.hpack')
def hpack(cluster):
    """T68: each ends the connection with COMPRESSION_ERROR."""
    good = block([(':method', 'GET'), (':scheme', 'https'), (':path', '/healthz'), (':authority', NAME)])
    for name, data in {
        'an index beyond the tables': b'\xff\x80\x01',
        'index zero': b'\x80',
        'an integer without end': b'\xff' + b'\xff' * 20,
        'a table size above the limit': integer(65536, 5, 0x20) + good,
        'a table size behind a field': good + integer(100, 5, 0x20),
        'a literal that is cut off': b'\x00\x7f',
        'Huffman code of EOS': b'\x00\x84\xff\xff\xff\xff\x01a',
        'padding of Huffman that is too long': b'\x00\x82\x1f\xff\x01a',
    }.items():
        with H2Client(cluster) as client:
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, data))
            goaway = client.read_until_closed()
            assert goaway and goaway[1] == 9, f'{name}: {goaway}'
    others_are_served(cluster)


# ---- T69: floods of frames that cost nothing to send

@test('h2attacks.floods', seconds=120)
def floods(cluster):
    for name, data in {
        'PING': frame(PING, 0, 0, b'12345678'),
        'SETTINGS': frame(SETTINGS, 0, 0, struct.pack('>HI', INITIAL_WINDOW_SIZE, 65535)),
        'acknowledged SETTINGS': frame(SETTINGS, ACK, 0),
        'PRIORITY': frame(PRIORITY, 0, 1, word(0) + b'\x10'),
        'PRIORITY_UPDATE': frame(16, 0, 0, word(1) + b'u=1'),
        'WINDOW_UPDATE': frame(WINDOW_UPDATE, 0, 0, word(1)),
        'unknown frames': frame(77, 0, 0, b'x'),
        'frames of no stream': frame(77, 0, 9, b''),
        'empty DATA': frame(DATA, 0, 1),
        'DATA of padding': frame(DATA, PADDED, 1, b'\x03\0\0\0'),
        'empty CONTINUATION': frame(HEADERS, 0, 3) + frame(CONTINUATION, 0, 3),
    }.items():
        with H2Client(cluster) as client:
            client.send(frame(HEADERS, END_HEADERS, 1, open_request(client, client.key)))
            goaway, seconds = flood(client, data * 50000)
            # Of a segment's worth that comes first, one acknowledgment too many may be seen before their number.
            codes = (ENHANCE_YOUR_CALM, PROTOCOL_ERROR) if name == 'acknowledged SETTINGS' else (ENHANCE_YOUR_CALM,)
            assert goaway and goaway[1] in codes and seconds < 10, f'{name}: {goaway} {seconds:.1f} s'
        at_rest(cluster)
    others_are_served(cluster)


@test('h2attacks.replies-that-nobody-reads', seconds=90)
def replies(cluster):
    """PINGs within their budget from a client that takes no answer: the queue of replies has a bound."""
    at_rest(cluster)
    idle = used(cluster)
    with H2Client(cluster, window=4096) as client:
        for _ in range(9):
            try:
                client.send(frame(PING, 0, 0, b'12345678') * 90)
            except OSError:
                break
            assert used(cluster) - idle <= CONNECTION_BYTES_MAX
            time.sleep(0.3)
    wait_for(lambda: used(cluster) <= idle, 5, 'the memory does not come back')


# ---- T70, T71: windows and lengths

@test('h2attacks.windows')
def windows(cluster):
    for name, data, code in (
        ('the connection\'s window overflows', frame(WINDOW_UPDATE, 0, 0, word(0x7fffffff)), FLOW_CONTROL_ERROR),
        ('an increment of zero', frame(WINDOW_UPDATE, 0, 0, word(0)), PROTOCOL_ERROR),
        ('a first window of 2^31', frame(SETTINGS, 0, 0, struct.pack('>HI', INITIAL_WINDOW_SIZE, 1 << 31)),
         FLOW_CONTROL_ERROR),
        ('a window\'s length', frame(WINDOW_UPDATE, 0, 0, b'123'), FRAME_SIZE_ERROR),
    ):
        with H2Client(cluster) as client:
            client.send(data)
            goaway = client.read_until_closed()
            assert goaway and goaway[1] == code, f'{name}: {goaway}'
    with H2Client(cluster, credit=False) as client:
        stream = client.begin_chat(chat(sim('tokens=2000 event_bytes=1000'), stream=True))
        client.read_until(lambda: len(stream.body) == 65535)
        # The window is 65,535 below zero now, and only what lifts it above counts.
        client.send(frame(WINDOW_UPDATE, 0, 0, word(1 << 20)) +
                    frame(SETTINGS, 0, 0, struct.pack('>HI', INITIAL_WINDOW_SIZE, 0)) +
                    frame(WINDOW_UPDATE, 0, stream.number, word(65535)))
        assert client.ping() and len(stream.body) == 65535
        client.send(frame(WINDOW_UPDATE, 0, stream.number, word(1000)))
        client.read_until(lambda: len(stream.body) == 66535)
        assert client.ping() and len(stream.body) == 66535
    # A body that does not wait for our window breaks it, unless that has moved on; then it is too slow (3 s).
    with H2Client(cluster) as client:
        stream = client.new_stream()
        client.send(frame(HEADERS, END_HEADERS, stream.number, open_request(client, client.key, 10000000)) +
                    frame(DATA, 0, stream.number, b' ' * 16384) * 100)
        client.finish(stream)
        assert stream.reset in (CANCEL, FLOW_CONTROL_ERROR), stream.reset
        answer = client.request('GET', '/healthz')
        assert answer.status == 200, (answer.status, answer.reset)
    at_rest(cluster)


@test('h2attacks.lengths-that-lie')
def lengths(cluster):
    before = served_by_all(cluster)
    body = json.dumps(chat(sim('tokens=1'))).encode()
    with H2Client(cluster) as client:
        for told, pieces in ((len(body) + 1, [body]), (len(body) - 1, [body]), (0, [body]), (len(body), [body, b'x']),
                             (len(body) + 70000, [body])):
            stream = client.new_stream()
            out = frame(HEADERS, END_HEADERS, stream.number, open_request(client, client.key, told))
            for index, piece in enumerate(pieces):
                last = index == len(pieces) - 1
                out += frame(DATA, END_STREAM if last else 0, stream.number, piece)
            client.send(out)
            client.finish(stream)
            assert stream.reset == PROTOCOL_ERROR, f'{told} bytes told: {stream.reset} {stream}'
        stream = client.new_stream()
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, stream.number,
                          open_request(client, client.key, 5)))
        assert client.finish(stream).reset == PROTOCOL_ERROR
        assert served_by_all(cluster) == before, 'a backend got such a request'
        assert client.ask(cluster.key, chat(sim('tokens=1'))).status == 200
    at_rest(cluster)


# ---- T72: fields

@test('h2attacks.fields')
def fields(cluster):
    """Each is refused alone; the connection goes on, and the backends hear nothing."""
    before = served_by_all(cluster)
    usual = [(':method', 'POST'), (':scheme', 'https'), (':authority', NAME), (':path', CHAT)]
    key = ('authorization', f'Bearer {cluster.key}')
    malformed = [usual + [key, field] for field in (
        ('x', 'a\r\nx-evil: 1'), ('x', 'a\nb'), ('x', 'a\0b'), ('x\r\ny', 'a'), ('x:y', 'a'), ('x y', 'a'), ('', 'a'),
        ('X-Upper', 'a'), ('x', ' a'), ('x', 'a '), ('connection', 'close'), ('keep-alive', '1'),
        ('proxy-connection', 'x'), ('transfer-encoding', 'chunked'), ('upgrade', 'h2c'), ('te', 'gzip'),
        ('host', 'another.test'), (':path', '/late'), (':status', '200'), (':protocol', 'websocket'),
        (':unknown', 'x'), ('content-length', '1, 1'))]
    for index in range(4):
        if index != 2:
            malformed.append(usual[:index] + usual[index + 1:] + [key])  # one is absent
        malformed.append(usual + [usual[index], key])  # one is there twice
    for name, value in ((':path', ''), (':path', '/a b'), (':path', '/\r\nx: y'), (':path', '/a HTTP/1.1\r\nHost: x'),
                        (':method', 'GE T'), (':method', 'GET\r\n'), (':authority', 'a\r\nx: y'), (':scheme', 'ftp')):
        malformed.append([(n, value if n == name else v) for n, v in usual] + [key])
    for number, each in enumerate(malformed):
        if number % 20 == 0:
            client = H2Client(cluster)
        stream = client.new_stream()
        client.send(frame(HEADERS, END_HEADERS, stream.number, block(each)))
        client.finish(stream)
        assert stream.reset == PROTOCOL_ERROR or stream.status == 400, f'{each[-2:]}: {stream.reset} {stream}'
        if number % 20 == 19 or number == len(malformed) - 1:
            assert client.request('GET', '/healthz').status == 200
            client.close()
    with H2Client(cluster) as client:
        refused = ((('x', 'a\x7f'), 400), (('x', '\xff'), 400), (('expect', 'x'), 417), (('x', 'y' * 8300), 431),
                   (('content-length', '05'), 400))
        for field, status in refused:
            stream = client.new_stream()
            client.send(frame(HEADERS, END_HEADERS, stream.number, block(usual + [key, field])))
            client.finish(stream)
            assert stream.status == status or (field[0] == 'content-length' and stream.reset == PROTOCOL_ERROR), \
                f'{field[0]}: {stream.reset} {stream}'
        assert client.request('GET', '/healthz').status == 200
    assert served_by_all(cluster) == before, 'a backend got such a request'
    at_rest(cluster)


# ---- T73 to T75: states, concurrency, preface

@test('h2attacks.states', seconds=90)
def states(cluster):
    before = served_by_all(cluster)
    with H2Client(cluster) as client:
        head = open_request(client, client.key)
    get = block([(':method', 'GET'), (':scheme', 'https'), (':path', '/healthz'), (':authority', NAME)])
    both = END_HEADERS | END_STREAM
    ends = {
        'DATA of stream 0': frame(DATA, 0, 0, b'x'),
        'HEADERS of stream 0': frame(HEADERS, both, 0, get),
        'RST_STREAM of stream 0': frame(RST_STREAM, 0, 0, word(8)),
        'SETTINGS of a stream': frame(SETTINGS, 0, 1),
        'PING of a stream': frame(PING, 0, 1, b'12345678'),
        'GOAWAY of a stream': frame(GOAWAY, 0, 1, word(0) * 2),
        'DATA of an idle stream': frame(DATA, END_STREAM, 5, b'x'),
        'RST_STREAM of an idle stream': frame(RST_STREAM, 0, 5, word(8)),
        'WINDOW_UPDATE of an idle stream': frame(WINDOW_UPDATE, 0, 5, word(8)),
        'HEADERS of an even stream': frame(HEADERS, both, 2, get),
        'PUSH_PROMISE': frame(HEADERS, END_HEADERS, 1, head) + frame(PUSH_PROMISE, END_HEADERS, 1, word(2) + get),
        'CONTINUATION alone': frame(CONTINUATION, END_HEADERS, 1, get),
        'DATA inside a header block': frame(HEADERS, 0, 1, get) + frame(DATA, 0, 1, b'x'),
        'PING inside a header block': frame(HEADERS, 0, 1, get) + frame(PING, 0, 0, b'12345678'),
        'CONTINUATION of another stream': frame(HEADERS, 0, 1, get) + frame(CONTINUATION, END_HEADERS, 3, get),
        'SETTINGS of 5 bytes': frame(SETTINGS, 0, 0, b'12345'),
        'acknowledged SETTINGS with values': frame(SETTINGS, ACK, 0, b'123456'),
        'PING of 7 bytes': frame(PING, 0, 0, b'1234567'),
        'RST_STREAM of 3 bytes': frame(HEADERS, END_HEADERS, 1, head) + frame(RST_STREAM, 0, 1, b'123'),
        'GOAWAY of 7 bytes': frame(GOAWAY, 0, 0, b'1234567'),
        'padding beyond the frame': frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, PADDED, 1, b'\x08abc'),
        'a frame of 16,385 bytes': frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, 0, 1, b' ' * 16385),
        'a frame of 16 MB': b'\xff\xff\xff\x00\x00\x00\x00\x00\x01' + b' ' * 100,
        'ENABLE_PUSH = 2': frame(SETTINGS, 0, 0, struct.pack('>HI', 2, 2)),
        'MAX_FRAME_SIZE = 1': frame(SETTINGS, 0, 0, struct.pack('>HI', 5, 1)),
    }
    for name, data in ends.items():
        with H2Client(cluster) as client:
            client.send(data)
            try:
                goaway = client.read_until_closed()
            except TimeoutError:
                raise AssertionError(f'{name}: the connection goes on')
            assert goaway and goaway[1] not in (0, 2), f'{name}: {goaway}'
    for name, data in {
        'trailers without an end': frame(HEADERS, END_HEADERS, 1, head) + frame(HEADERS, END_HEADERS, 1, block([('x', 'y')])),
        'pseudo fields in trailers': frame(HEADERS, END_HEADERS, 1, head) + frame(DATA, 0, 1, b'x' * 100) +
        frame(HEADERS, both, 1, block([(':path', '/')])),
        'DATA behind the end': frame(HEADERS, both, 1, get) + frame(DATA, 0, 1, b'x'),
        'HEADERS behind the end': frame(HEADERS, both, 1, get) + frame(HEADERS, both, 1, get),
    }.items():
        with H2Client(cluster) as client:
            stream = client.new_stream()
            client.send(data)
            try:
                client.read_until(lambda: stream.reset is not None or client.goaway)
            except Closed:
                pass
            code = client.goaway[1] if client.goaway else stream.reset
            assert code in (1, 5), f'{name}: {client.goaway} {stream.reset}'
    assert served_by_all(cluster) == before, 'a backend got such a request'
    at_rest(cluster)
    others_are_served(cluster)


@test('h2attacks.trailers-are-dropped')
def trailers(cluster):
    backend = cluster.backends['solo']
    backend.mark()
    body = json.dumps(chat(sim('tokens=1'), model='solo')).encode()
    with H2Client(cluster) as client:
        stream = client.new_stream()
        client.send(frame(HEADERS, END_HEADERS, stream.number, open_request(client, client.key, len(body))) +
                    frame(DATA, 0, stream.number, body) +
                    frame(HEADERS, END_HEADERS | END_STREAM, stream.number, block([('x-trailer', 'evil')])))
        assert client.finish(stream).status == 200
    names = {name.lower() for name, _ in backend.wait_served()[0]['headers']}
    assert 'x-trailer' not in names and 'trailer' not in names


@test('h2attacks.1000-streams')
def thousand(cluster):
    """Beyond 100, a stream is refused, to be tried again; the others wait for their bodies."""
    with H2Client(cluster) as client:
        head = open_request(client, client.key)
        out = bytearray()
        for _ in range(1000):
            out += frame(HEADERS, END_HEADERS, client.new_stream().number, head)
        client.send(out)
        refused = lambda: [s for s in client.streams.values() if s.reset == REFUSED_STREAM]  # noqa: E731
        client.read_until(lambda: len(refused()) == 900)
        assert min(stream.number for stream in refused()) == 201
        assert cluster.counter('pool_exchanges_used') == 100
        body = json.dumps(chat(sim('tokens=1'))).encode()
        assert len(body) <= 100
        client.send(frame(DATA, END_STREAM, 1, body + b' ' * (100 - len(body))))
        assert client.finish(client.streams[1]).status == 200
    at_rest(cluster)


@test('h2attacks.preface')
def preface(cluster):
    for name, data in {
        'HTTP/1.1': b'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
        'another preface': PREFACE.replace(b'SM', b'SN') + frame(SETTINGS, 0, 0),
        'no SETTINGS': PREFACE + frame(PING, 0, 0, b'12345678'),
        'nothing but zeros': b'\0' * 1000,
    }.items():
        with H2Client(cluster, greet=False) as client:
            client.send(data)
            since = elapsed()
            client.read_until_closed()
            assert since() < 10, f'{name}: {since():.1f} s'
    # HTTP/2 where HTTP/1.1 was agreed on.
    with cluster.client() as client:
        client.send(PREFACE + frame(SETTINGS, 0, 0))
        answer = client.read_head()
        assert answer.status in (400, 505), answer
        client.read_body(answer)
        assert client.is_closed()
