"""Attacks on HTTP/1.1 and JSON over raw TLS: bytes in, statuses out (attack_rows.py), and no backend hears
of a request that was not accepted. The truth is the backends' log: its request ids are those of the answers.
"""
import gzip
import json
import os
import random
import re
import socket
import ssl
import threading
import time

from harness import net
from harness.backend import header
from harness.client import CHAT, Closed, chat, elapsed, sim
from harness.proc import run, wait_for
from harness.suite import test
from suites import attack_rows
from suites.attack_rows import BODY, GET, KEY, LAST, SECOND, chunk, chunked, request, with_length
from suites.usage import rows_of

THREADS = 4
ALLOWED_FIELDS = {'host', 'content-type', 'content-length', 'transfer-encoding', 'user-agent', 'accept', 'x-request-id',
                  'traceparent', 'authorization', 'connection'}


class Watch:
    """Which answers said 200, and what the backends served meanwhile."""

    def __init__(self, cluster):
        self.cluster = cluster
        give_key(cluster)
        self.accepted = set()
        self.errors = []
        self.lock = threading.Lock()
        for backend in cluster.backends.values():
            backend.mark()

    def note(self, answer):
        with self.lock:
            if answer.status != 200:
                self.errors.append(answer.body)
            elif answer.field('x-ecolink-region') or answer.field('x-infer-region'):
                self.accepted.add(answer.field('x-request-id'))

    def served(self):
        return [entry for backend in self.cluster.backends.values() for entry in backend.new_served()]

    def check(self):
        """Every request in a backend's log was accepted, and every accepted one is there."""
        wait_for(lambda: len(self.served()) >= len(self.accepted), 5, 'accepted requests are missing at the backends')
        time.sleep(0.2)  # what should not come
        served = self.served()
        strange = [entry for entry in served if entry['id'] not in self.accepted]
        assert not strange, f'a backend heard of a request that no client was told of: {strange[0]}'
        assert len(served) == len(self.accepted), 'a request was sent twice'
        for entry in served:
            names = {name.lower() for name, _ in entry['headers']}
            assert names <= ALLOWED_FIELDS, f'a backend was sent {names - ALLOWED_FIELDS}'
            assert KEY.decode() not in str(entry), 'a key reached a backend'
        for body in self.errors:
            error = body.decode()
            assert not re.search(r'10\.77|10\.78|fd77|:90\d\d|/tmp|/build|\.c:\d|0x[0-9a-f]{6}|mbedtls|DPDK', error,
                                 re.I), f'an error tells too much: {error}'


def give_key(cluster):
    if 'attacker' not in cluster.keys:
        cluster.admin.call('POST', 'keys', {'account': 'main', 'plan': 'wide', 'surface': 'ecolink', 'key': KEY.decode()})
        cluster.keys['attacker'] = KEY.decode()
        with cluster.client() as client:
            wait_for(lambda: client.request('GET', '/v1/models', KEY.decode()).status == 200, 5, 'the key is not known')


def filled(cluster, data):
    data = data.replace(b'@INFER@', cluster.keys['infer'].encode())
    if attack_rows.BOMB in data:
        # Another length than the mark's: the head is written anew.
        head, _ = data.split(attack_rows.BOMB)
        bomb = gzip.compress(b' ' * (1 << 20), 9)
        data = re.sub(rb'Content-Length: \d+', b'Content-Length: %d' % len(bomb), head) + bomb
    return data


def method_of(data):
    return 'HEAD' if data.lstrip(b'\r\n').startswith(b'HEAD ') else 'POST'


def send_all(client, data, split):
    """Where the router has gone meanwhile, its answer may be there all the same."""
    try:
        for at in range(0, len(data), split or len(data) or 1):
            client.send(data[at:at + (split or len(data))])
    except (OSError, ssl.SSLError):
        pass


def answers_of(client, count, method):
    """Up to `count` answers, the first of them to that method, and whether the connection ended behind them."""
    answers = []
    try:
        while len(answers) < count:
            answer = client.read_head()
            client.read_body(answer, 'POST' if answers else method)
            answers.append(answer)
    except Closed:
        return answers, True
    return answers, None


def play(cluster, watch, row):
    """A row; what is wrong with it, or None."""
    data = filled(cluster, row.data)
    with cluster.client(timeout=10) as client:
        send_all(client, data + filled(cluster, SECOND), row.split)
        answers, is_closed = answers_of(client, len(row.statuses), method_of(data))
        for answer in answers:
            watch.note(answer)
        statuses = [answer.status for answer in answers]
        if statuses != row.statuses:
            return f'{row}: {statuses} instead of {row.statuses}'
        if row.goes_on:
            return None
        if not is_closed and not ends(client, watch):
            return f'{row}: the connection goes on'
    return None


def ends(client, watch):
    """True if nothing but the end follows; another answer is one of the requests that nobody must read."""
    try:
        answer = client.read_head()
    except (Closed, OSError):
        return True
    watch.note(answer)
    return False


def in_threads(work, items):
    """The results of work(item) that are not None."""
    left = list(reversed(items))
    found = []
    lock = threading.Lock()

    def loop():
        while True:
            with lock:
                if not left or len(found) > 20:
                    return
                item = left.pop()
            try:
                what = work(item)
            except Exception as why:  # of a thread: told with the item's name
                what = f'{item}: {type(why).__name__} {why}'
            if what:
                with lock:
                    found.append(what)

    threads = [threading.Thread(target=loop) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def none_of(wrong):
    """Each on a line of its own, since a test's line is short."""
    for line in wrong:
        print(f'    {line[:300]}')
    assert not wrong, f'{len(wrong)} are wrong, the first: {wrong[0]}'


@test('attacks.rows', seconds=180)
def table(cluster):
    assert len(attack_rows.rows) >= 250
    watch = Watch(cluster)
    none_of(in_threads(lambda row: play(cluster, watch, row), attack_rows.rows))
    watch.check()
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 10, 'requests stay')


# ---- T49: every octet at every kind of place

TCHAR = set(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
VALUE = set(range(0x20, 0x7f)) | {9}
HOST = set(b'.-_:[]0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz')


def of(octets, good, bad=400):
    return lambda octet: good if octet in octets else bad


def in_version(octet):
    return 200 if octet in b'01' else 505 if octet in b'23456789' else 400


def in_coding(octet):
    return 200 if octet == 0x20 else 501 if octet in VALUE - {9} else 400


def json_text(octet):
    """Inside a string of the body, before a z."""
    return 200 if 0x20 <= octet < 0x80 and octet not in b'"\\' else 400


def places():
    """name, the request around an octet, the status of its answer"""
    get = lambda *fields, **more: request(*fields, **{**GET, **more})  # noqa: E731
    yield 'method', lambda o: request(line=b'G' + o + b'T /v1/models HTTP/1.1'), \
        lambda octet: 200 if octet == ord('E') else 405 if octet in TCHAR else 400
    yield 'target', lambda o: get(line=b'GET /v1/models?x=' + o + b'y HTTP/1.1'), \
        of(set(range(0x21, 0x7f)) - {ord('#')}, 200)
    yield 'behind the target', lambda o: get(line=b'GET /v1/models' + o + b'HTTP/1.1'), of(b' ', 200)
    yield 'version', lambda o: get(b'Connection: close', line=b'GET /v1/models HTTP/1.' + o), in_version
    yield 'behind the version', lambda o: get(line=b'GET /v1/models HTTP/1.1' + o), of(b'', 200)
    yield 'CR of the request line', lambda o: get().replace(b'HTTP/1.1\r', b'HTTP/1.1' + o), of(b'\r', 200)
    yield 'LF of the request line', lambda o: get().replace(b'HTTP/1.1\r\n', b'HTTP/1.1\r' + o), of(b'\n', 200)
    yield 'start of a line', lambda o: get(o + b'X: y'), of(TCHAR, 200)
    yield 'name', lambda o: get(b'X' + o + b'y: z'), of(TCHAR | {ord(':')}, 200)
    yield 'end of a name', lambda o: get(b'Xy' + o + b': z'), of(TCHAR | {ord(':')}, 200)
    yield 'behind the colon', lambda o: get(b'X:' + o + b'y'), of(VALUE, 200)
    yield 'value', lambda o: get(b'X: a' + o + b'z'), of(VALUE, 200)
    yield 'end of a value', lambda o: get(b'X: a' + o), of(VALUE, 200)
    yield 'CR of a field', lambda o: get(b'X: y@').replace(b'@\r', o), of(b'\r', 200)
    yield 'LF of a field', lambda o: get(b'X: y', b'Z: z').replace(b'y\r\n', b'y\r' + o), of(b'\n', 200)
    yield 'host', lambda o: get(host=b'Host: a' + o + b'z'), of(HOST, 200)
    yield 'key', lambda o: get(key=KEY + o), \
        lambda octet: 200 if octet in b' \t' else 401 if octet in VALUE else 400
    yield 'length', lambda o: get(b'Content-Length: 1' + o, body=b'x' * 19), of(b' 0123456789', 200)
    yield 'coding', lambda o: get(b'Transfer-Encoding: chunked' + o, body=LAST), in_coding
    yield 'before the coding', lambda o: get(b'Transfer-Encoding: ' + o + b'chunked', body=LAST), in_coding
    yield 'chunk size', lambda o: chunked(chunk() + b'0' + o + b'\r\n\r\n' + b'Z' * 64), of(b'0', 200)
    yield 'before a chunk size', lambda o: chunked(chunk() + o + b'0\r\n\r\n' + b'Z' * 300), of(b'0', 200)
    yield 'extension', lambda o: chunked(chunk() + b'0;a' + o + b'z\r\n\r\n'), of(TCHAR | set(b'=;'), 200)
    yield 'CR behind a size', lambda o: chunked(chunk(end=o + b'\n') + LAST), of(b'\r', 200)
    yield 'LF behind a size', lambda o: chunked(chunk(end=b'\r' + o) + LAST), of(b'\n', 200)
    yield 'CR behind a chunk', lambda o: chunked(chunk(behind=o + b'\n') + LAST), of(b'\r', 200)
    yield 'LF behind a chunk', lambda o: chunked(chunk(behind=b'\r' + o) + LAST), of(b'\n', 200)
    yield 'trailer name', lambda o: chunked(chunk() + b'0\r\nX' + o + b'y: z\r\n\r\n'), of(TCHAR | {ord(':')}, 200)
    yield 'trailer value', lambda o: chunked(chunk() + b'0\r\nX: a' + o + b'z\r\n\r\n'), of(VALUE, 200)
    yield 'string of the body', lambda o: with_length(body=BODY.replace(b'x [[', b'x' + o + b'z [[')), json_text
    yield 'escape of the body', lambda o: with_length(body=BODY.replace(b'x [[', b'x\\' + o + b' [[')), \
        of(b'"\\/bfnrt', 200)
    yield 'between members of the body', lambda o: with_length(body=BODY.replace(b',"m', o + b',"m')), \
        of(b' \t\r\n', 200)
    yield 'before the body', lambda o: with_length(body=o + BODY), of(b' \t\r\n', 200)
    yield 'behind the body', lambda o: with_length(body=BODY + o), of(b' \t\r\n', 200)


class Speaker:
    """Sends requests of one answer each, on one connection as long as it lasts."""

    def __init__(self, cluster, watch):
        self.cluster = cluster
        self.watch = watch
        self.client = None

    def status(self, data):
        fresh = self.client is None
        if fresh:
            self.client = self.cluster.client(timeout=10)
        try:
            send_all(self.client, data, None)
            answer = self.client.read_head()
            if answer.field('content-length') or answer.field('transfer-encoding'):
                self.client.read_body(answer)  # else until the end, to HTTP/1.0
        except Closed:
            self.leave()
            if fresh:
                return 'closed'
            return self.status(data)  # the connection had ended behind the answer before
        self.watch.note(answer)
        if answer.status not in (401, 404, 405) or answer.field('connection') == 'close':
            # What else was sent may be read as a request; that is another test's question.
            self.leave()
        return answer.status

    def leave(self):
        if self.client:
            self.client.close()
        self.client = None


@test('attacks.every-octet', seconds=300)
def every_octet(cluster):
    watch = Watch(cluster)

    def one_place(place):
        name, around, expected = place
        speaker = Speaker(cluster, watch)
        for octet in range(256):
            status = speaker.status(filled(cluster, around(bytes([octet]))))
            if status != expected(octet):
                return f'{name}: {status} for octet {octet:#04x}, not {expected(octet)}'
        speaker.leave()
        return None

    none_of(in_threads(one_place, list(places())))
    watch.check()


# ---- T52: pipelining

@test('attacks.pipelined', seconds=90)
def pipelined(cluster):
    """100 requests in one write, with answers of all kinds: in order, none mixed up."""
    chance = random.Random(52)
    tired = cluster.new_key(plan='burst')
    with cluster.client() as client:
        while client.request('GET', '/v1/models', tired).status == 200:
            pass
    for turn in range(3):
        watch = Watch(cluster)
        data, wanted = b'', []
        for number in range(1, 100):
            body = json.dumps(chat(sim(f'tokens={number}'), model='solo')).encode()
            kind = chance.choice(('fine', 'fine', 'fine', 'key', 'rate', 'path', 'method', 'json', 'health', 'chunks'))
            part, status = {
                'fine': (with_length(body=body), 200),
                'chunks': (chunked(chunk(body[:20]) + chunk(body[20:]) + LAST), 200),
                'key': (with_length(key=b'eco_nobody', body=SECOND), 401),
                'rate': (with_length(key=tired.encode(), body=body), 429),
                'path': (with_length(line=b'POST /v1/nothing HTTP/1.1', body=body), 404),
                'method': (request(line=b'DELETE /v1/models HTTP/1.1'), 405),
                'json': (with_length(body=body[:-1]), 400),
                'health': (request(line=b'GET /healthz HTTP/1.1', key=None), 200),
            }[kind]
            data += part
            wanted.append((kind, status, number))
        data += request(b'Content-Length: 40000000')
        with cluster.client(timeout=30) as client:
            send_all(client, filled(cluster, data + SECOND), (None, 1371, 7)[turn])
            for kind, status, number in wanted:
                answer = client.read_head()
                client.read_body(answer)
                watch.note(answer)
                assert answer.status == status, f'request {number} ({kind}): {answer}'
                if kind in ('fine', 'chunks'):
                    tokens = answer.json()['usage']['completion_tokens']
                    assert tokens == number, f'request {number} got the answer of request {tokens}'
            answer = client.read_head()
            client.read_body(answer)
            assert answer.status == 413, answer
            assert ends(client, watch), 'something follows the answer that ends the connection'
        watch.check()


# ---- T54: paths

KNOWN_PATHS = {f'{prefix}{path}' for prefix in ('/v1', '/api/v1')
               for path in ('/chat/completions', '/completions', '/responses', '/embeddings', '/rerank',
                            '/images/generations', '/audio/speech', '/audio/transcriptions', '/video/generations',
                            '/models')} | {'/platform/models', '/healthz', '/readyz'}


def path_mutations(count):
    chance = random.Random(54)
    tricks = ['//', '/./', '/../', '/..;/', '/;x=y/', '%2f', '%2F', '%5c', '%2e', '%2e%2e/', '%00', '%0d%0a', '%20', '%c0%af',
              '%e0%80%af', '%252f', '\\', ';', '.', '..', '~', '+', '%', '%zz', '%u002f', ':', '@', '&', '=', '*', '/']
    whole = [CHAT + '/', '/' + CHAT, '/v1//chat/completions', '/V1/chat/completions', '/v1/Chat/completions',
             '/v1/chat/completions/..', '/v1/models/../chat/completions', '/healthz/../v1/chat/completions',
             '/v1/chat/completions;x', '/v1/chat/completions%00', '/v1/chat/completions.json', '/v1/./chat/completions',
             '/v1/chat/./completions', '/v1/chat/completions%3fx', '/%76%31/chat/completions', '/v1/chat/completion%73',
             '/api/v1/../../v1/chat/completions', '/v1/v1/chat/completions', '/api/v1/chat/completions', '/chat/completions',
             '/v2/chat/completions', '/inference-instances', '/admin', '/metrics', '/platform/chat/completions']
    yield from whole
    for _ in range(count - len(whole)):
        path = CHAT
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(1, len(path) + 1)
            kind = chance.randrange(5)
            if kind == 0:
                path = path[:at] + chance.choice(tricks) + path[at:]
            elif kind == 1:
                path = path[:at - 1] + chance.choice(tricks) + path[at:]
            elif kind == 2:
                path = path[:at - 1] + f'%{ord(path[at - 1]):02{chance.choice("xX")}}' + path[at:]
            elif kind == 3:
                path = path[:at - 1] + path[at - 1].swapcase() + path[at:]
            else:
                path = path[:at - 1] + path[at:]
        yield path


@test('attacks.paths', seconds=120)
def paths(cluster):
    """No decoding, no normalising: a path is one of the list, or there is nothing."""
    watch = Watch(cluster)
    speaker = Speaker(cluster, watch)
    for path in path_mutations(525):
        status = speaker.status(filled(cluster, with_length(line=f'POST {path} HTTP/1.1'.encode())))
        plain = path.split('?')[0]
        if plain == CHAT:
            assert status == 200, f'{path}: {status}'
        elif plain not in KNOWN_PATHS:
            # A model's own page, /v1/models/NAME, takes GET alone; a path without its slash is no target.
            allowed = (400,) if not path.startswith('/') else (404, 405) if plain.startswith('/v1/models/') else \
                (401, 404) if plain.startswith('/api/v1/') else (404,)
            assert status in allowed, f'{path}: {status}'
    speaker.leave()
    watch.check()
    wait_for(lambda: {entry['path'] for entry in watch.served()} <= {CHAT}, 2, 'another path reached a backend')


# ---- T56: fields

@test('attacks.fields-to-backends')
def fields_to_backends(cluster):
    """Of what a client sends a backend gets the allow-list, and of that what the router makes of it."""
    watch = Watch(cluster)
    nasty = ['Content_Length: 3', 'Content-Length-: 3', 'Transfer_Encoding: chunked', 'Connection: x-one, keep-alive, accept',
             'Connection: user-agent', 'x-one: 1', 'Keep-Alive: timeout=1', 'Proxy-Connection: close', 'TE: trailers',
             'Trailer: x', 'Upgrade: h2c', 'Cookie: a=b', 'Set-Cookie: a=b', 'X-Forwarded-For: 127.0.0.1',
             'X-Forwarded-Host: a', 'X-Forwarded-Proto: http', 'Forwarded: for=1', 'X-Real-IP: 1.1.1.1', 'Via: 1.1 a',
             'X-Original-URL: /admin', 'X-Rewrite-URL: /admin', 'X-HTTP-Method-Override: PUT', 'Range: bytes=0-1',
             'If-None-Match: "a"', 'Expect: 100-continue', 'X-Api-Key: secret', 'Proxy-Authorization: Basic YTpi',
             'x-sim-script: tokens=3', 'X-Request-Id: mine', 'x-ecolink-request-id: mine', 'x-ecolink-region: tx',
             'openai-organization: o', 'x-sluice-debug: 1', 'tracestate: a=b', 'baggage: a=b', 'traceparent: nonsense',
             'traceparent: 00-00000000000000000000000000000000-0000000000000000-00', 'Origin: https://a', 'Referer: a',
             'Accept: text/html', 'Accept-Encoding: gzip', 'Accept-Language: de', 'Cache-Control: no-cache', 'Pragma: x',
             'User-Agent: ' + 'a' * 4000, 'Content-Type: ' + 'b' * 4000, 'Host2: a', 'X: ${jndi:ldap://a}', 'Age: 1',
             'Date: x', 'Server: x', 'Content-MD5: x', 'Content-Location: /a', 'Max-Forwards: 0', 'From: a', 'Priority: u=0',
             'Alt-Used: a', 'Early-Data: 1', 'Sec-Fetch-Mode: cors', 'DNT: 1']
    with cluster.client() as client:
        for field in nasty:
            name, value = field.split(': ', 1)
            fields = [(name, value)]
            answer = client.ask(cluster.key, chat(sim('tokens=1'), model='solo'), fields)
            watch.note(answer)
            assert answer.status == 200, f'{field}: {answer}'
    watch.check()
    for entry in watch.served():
        assert header(entry, 'host')[0].startswith('10.77.0.1'), entry
        assert header(entry, 'x-request-id') == [entry['id']], entry
        assert len(header(entry, 'traceparent')) == 1, entry
        assert re.match(r'^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]$', header(entry, 'traceparent')[0]), entry
        for name, value in entry['headers']:
            assert len(value) < 300, f'{name} is {len(value)} bytes long'


# ---- T57, T58: backends

class Parrot:
    """A backend that answers each request on a connection with the same bytes and leaves it open."""

    PORT = 9021

    def __init__(self):
        self.answer = b''
        self.requests = []  # per connection: how many
        self.listener = socket.create_server((net.HOST4, self.PORT), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        number = None
        with peer:
            peer.settimeout(20)
            try:
                while True:
                    asked = b''
                    while b'\r\n\r\n' not in asked:
                        piece = peer.recv(65536)
                        if not piece:
                            return
                        asked += piece
                    if b'/health' in asked.split(b'\r\n')[0]:
                        peer.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
                        continue
                    head, body = asked.split(b'\r\n\r\n', 1)
                    length = int(re.search(rb'content-length: (\d+)', head.lower()).group(1))
                    while len(body) < length:
                        body += peer.recv(65536)
                    if number is None:
                        number = len(self.requests)
                        self.requests.append(0)
                    self.requests[number] += 1
                    peer.sendall(self.answer)
            except OSError:
                pass

    def close(self):
        self.listener.close()


OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n'
DOC = b'{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}'
WHOLE = OK + b'Content-Length: %d\r\n\r\n' % len(DOC) + DOC

# name, answer, the client's status (None: cut), whether the connection may be used again
BACKEND_ROWS = (
    ('good', WHOLE, 200, True),
    ('good, chunked', OK + b'Transfer-Encoding: chunked\r\n\r\n' + chunk(DOC) + LAST, 200, True),
    ('good, after 8 interim heads', b'HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n' * 8 + WHOLE, 200, True),
    ('good, with a trailer', OK + b'Transfer-Encoding: chunked\r\n\r\n' + chunk(DOC) + b'0\r\nX: y\r\n\r\n', 200, True),
    ('good, but it closes', OK + b'Connection: close\r\nContent-Length: %d\r\n\r\n' % len(DOC) + DOC, 200, False),
    ('9 interim heads', b'HTTP/1.1 103 Early Hints\r\n\r\n' * 9 + WHOLE, 502, False),
    ('a flood of interim heads', b'HTTP/1.1 100 Continue\r\n\r\n' * 5000 + WHOLE, 502, False),
    ('an interim head with a length', b'HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n' + WHOLE, 502, False),
    ('switching protocols', b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n', 502, False),
    ('two lengths', OK + b'Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello', 502, False),
    ('length and coding', OK + b'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n' + chunk(DOC) + LAST, 502, False),
    ('a length of -1', OK + b'Content-Length: -1\r\n\r\n', 502, False),
    ('a length in a list', OK + b'Content-Length: 5, 5\r\n\r\nhello', 502, False),
    ('a length with a tab', OK + b'Content-Length: 5\t\r\n\r\nhello', 502, False),
    ('an unknown coding', OK + b'Transfer-Encoding: gzip\r\n\r\nhello', 502, False),
    ('coding in HTTP/1.0', WHOLE.replace(b'1.1', b'1.0').replace(b'Content-L', b'Transfer-Encoding: chunked\r\nX-L'), 502,
     False),
    ('bare LF', WHOLE.replace(b'\r\n', b'\n'), 502, False),
    ('bare LF in one line', WHOLE.replace(b'json\r\n', b'json\n'), 502, False),
    ('bare CR in a value', WHOLE.replace(b'json\r\n', b'js\ron\r\n'), 502, False),
    ('NUL in a value', WHOLE.replace(b'json\r\n', b'js\0on\r\n'), 502, False),
    ('a fold', WHOLE.replace(b'json\r\n', b'json;\r\n x\r\n'), 502, False),
    ('a space before a colon', WHOLE.replace(b'Type:', b'Type :'), 502, False),
    ('high bytes in a value', WHOLE.replace(b'json\r\n', b'json\r\nX: \xff\r\n'), 502, False),
    ('HTTP/2.0', WHOLE.replace(b'HTTP/1.1', b'HTTP/2.0'), 502, False),
    ('HTTP/0.9', DOC + b'\r\n\r\n', 502, False),
    ('a status of 99', WHOLE.replace(b'200', b'099'), 502, False),
    ('a status of 1000', WHOLE.replace(b'200', b'1000'), 502, False),
    ('a status of 600', WHOLE.replace(b'200', b'600'), 502, False),
    ('ICY', WHOLE.replace(b'HTTP/1.1', b'ICY'), 502, False),
    ('an empty line first', b'\r\n' + WHOLE, 502, False),
    ('a field of 40,000 bytes', WHOLE.replace(b'json\r\n', b'json\r\nX: ' + b'y' * 40000 + b'\r\n'), 502, False),
    ('101 fields', WHOLE.replace(b'json\r\n', b'json\r\n' + b'X: y\r\n' * 101), 502, False),
    ('204 with a length', b'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello', 502, False),
    ('extra bytes', WHOLE + b'extra', 200, False),
    ('a second answer', WHOLE + WHOLE, 200, False),
    ('a second answer that is poisoned', WHOLE + OK + b'Content-Length: 8\r\n\r\n"poison"', 200, False),
    ('extra bytes behind the last chunk', OK + b'Transfer-Encoding: chunked\r\n\r\n' + chunk(DOC) + LAST + b'x', 200, False),
    ('a bad chunk size', OK + b'Transfer-Encoding: chunked\r\n\r\n' + chunk(DOC[:9]) + b'zz\r\n', None, False),
    ('a chunk without its end', OK + b'Transfer-Encoding: chunked\r\n\r\n' + chunk(DOC, behind=b'XX') + LAST, None, False),
    ('a trailer that frames', OK + b'Transfer-Encoding: chunked\r\n\r\n' + chunk(DOC) + b'0\r\nContent-Length: 1\r\n\r\n', None,
     False),
)


@test('attacks.backends', seconds=240)
def backends(cluster):
    """Answers that break the rules: 502 or a cut, and nobody's next answer comes from that connection."""
    parrot = Parrot()
    wrong = []
    try:
        for number, row in enumerate(BACKEND_ROWS):
            # A pod of its own: what one row does to a pod's health must not matter to the next.
            model = f'parrot-{number}'
            parrot.answer = WHOLE
            cluster.put('pod', model, address=net.HOST4, port=Parrot.PORT)
            cluster.model(model, mv=[model])
            wait_for(lambda: asked_of(cluster, model) == 200, 10, f'{model} is not served')
            wrong += play_backend(cluster, parrot, model, *row)
            cluster.put('pod', model, state='maint')
    finally:
        parrot.close()
    none_of(wrong)
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 15, 'requests stay')


def play_backend(cluster, parrot, model, name, answer, status, may_go_on):
    """What is wrong with a row of BACKEND_ROWS, as sentences."""
    parrot.answer = answer
    before = list(parrot.requests)
    seen = asked_of(cluster, model)
    if seen != status:
        yield f'{name}: {seen}, not {status}'
    counts = list(parrot.requests)
    used = [i for i, count in enumerate(counts) if count > (before[i] if i < len(before) else 0)]
    if status == 200 and len(used) != 1:
        yield f'{name}: {len(used)} tries'
    time.sleep(0.1)  # what came behind the answer may come a little later
    parrot.answer = WHOLE
    wait_for(lambda: asked_of(cluster, model) == 200, 20, f'nothing is right after {name}')
    again = [i for i in used if parrot.requests[i] > counts[i]]
    if not may_go_on and again:
        yield f'{name}: the connection was used again'


def asked_of(cluster, model):
    """Status of a whole answer; None: cut."""
    with cluster.client(timeout=10) as client:
        try:
            answer = client.ask(cluster.key, chat(model=model))
        except Closed:
            return None
        return f'another body: {answer}' if answer.status == 200 and answer.body != DOC else answer.status


# ---- T61: slow ones

@test('attacks.slow', seconds=120)
def slow(cluster):
    """head: 3 s in all, body: 3 s between pieces (cluster.CONFIG): all are let go in time, others are served."""
    give_key(cluster)
    whole = filled(cluster, with_length())
    head, body = whole.split(b'\r\n\r\n', 1)
    head += b'\r\n\r\n'
    drips = [
        ('a head by the byte', head, b'', 0.2, 3.0),
        ('a head by the field', b'GET /v1/models HTTP/1.1\r\n', b'X: y\r\n' * 60, 0.25, 3.0),
        ('empty lines', b'', b'\r\n' * 2, 0.5, 3.0),
        ('a head that stops', head[:40], b'', 0, 3.0),
        ('a body that stops', head + body[:10], b'', 0, 3.0),
        ('a chunk that stops', filled(cluster, chunked(b'5\r\n{"')), b'', 0, 3.0),
        ('a chunk size that stops', filled(cluster, chunked(b'5')), b'', 0, 3.0),
    ]

    def one(drip):
        name, first, rest, pause, limit = drip
        with cluster.client(timeout=limit + 4) as client:
            clock = elapsed()
            if rest or not pause:
                send_all(client, first, None)
                pieces = [rest[i:i + 6] for i in range(0, len(rest), 6)]
            else:
                pieces = [first[i:i + 1] for i in range(len(first) - 1)]
            client.socket.settimeout(0.001)
            while clock() < limit + 4:
                if pieces:
                    send_all(client, pieces.pop(0), None)
                if is_over(client):
                    break
                time.sleep(pause or 0.05)
            took = clock()
            if not limit - 0.5 <= took <= limit + 2.5:
                return f'{name}: let go after {took:.1f} s'
        return None

    wrong = in_threads(one, drips)
    with cluster.client() as client:
        assert client.ask(cluster.key, chat()).status == 200
    none_of(wrong)
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 5, 'their requests stay')


def is_over(client):
    """Whether the peer has ended; an answer before that is of no interest."""
    try:
        while True:
            client.receive()
    except Closed:
        return True
    except (TimeoutError, ssl.SSLWantReadError):
        return False


# ---- T60, P4: what one connection can hold

def each_bytes(said, name):
    """Of one line of the sum that --check prints."""
    found = re.search(rf' {name} +\d+ x +(\d+) B', re.sub(' +', ' ', said))
    assert found, f'--check has no line of {name}: {said}'
    return int(found.group(1))


@test('attacks.memory', seconds=180)
def memory(cluster):
    """Connections that each hold as much as they can hold no more than the lines of the start-up sum have for them:
    all a session, TLS and TCP, a third a head buffer, a third a request with one block of its body."""
    give_key(cluster)
    said = run(os.path.join(cluster.build, 'dataplane/sluice-dataplane'), '--config', cluster.config, '--check')
    held = []
    part_of_head = filled(cluster, request(*[b'X: ' + b'y' * 7000] * 4, **GET))[:-2]
    part_of_body = filled(cluster, request(b'Content-Length: 33554432')) + b'{"model":"' + b'x' * 30
    whole = filled(cluster, request(*[b'X: y'] * 90, **GET)) * 8
    warm(cluster, 32)
    before = cluster.dataplane_rss_bytes()
    count = 600
    third = count // 3
    try:
        for number in range(count):
            client = cluster.client(timeout=10)
            send_all(client, (part_of_head, part_of_body, whole)[number % 3], None)
            held.append(client)
        # The first ones may have been too slow already.
        wait_for(lambda: cluster.counter('pool_blocks_used') > 0, 5, 'no body has begun')
        # The last one has a head until all that it asked for at once is answered.
        wait_for(lambda: cluster.counter('pool_heads_used') <= third, 5, 'more than a third have a head')
        grown = cluster.dataplane_rss_bytes() - before
        used = cluster.counters()
        assert used['pool_blocks_used'] <= third and used['pool_heads_used'] <= third, used
        with cluster.client() as client:
            assert client.ask(cluster.key, chat()).status == 200
    finally:
        for client in held:
            client.reset()
    all_have = sum(each_bytes(said, line) for line in ('sessions clients', 'tls connections', 'tcp connections')) + \
        8 * each_bytes(said, 'ranges')
    cap = count * all_have + third * (each_bytes(said, 'heads') + each_bytes(said, 'requests') +
                                      each_bytes(said, 'body blocks'))
    assert grown <= cap, f'{grown / count:.0f} bytes a connection; the sum has {cap / count:.0f} for each'
    wait_for(lambda: cluster.counter('pool_clients_used') <= 1, 10, 'their connections stay')


def warm(cluster, count):
    clients = [cluster.client() for _ in range(count)]
    for client in clients:
        client.close()


# ---- T63, T86: logs

@test('attacks.logs')
def logs(cluster):
    """What a client sends forges no line of a log, and no key stands in one."""
    give_key(cluster)
    evil = '\r\nFORGED level=error \x1b[31m\x00\x85\u2028'
    for name in ('a\r\nFORGED: x', evil, '"FORGED', '\u202eFORGED', '\x7f', 'x' * 250 + '\n'):
        with cluster.client() as client:
            answer = client.ask(cluster.key, chat(model=name))
            assert answer.status == 404, answer
            text = answer.body.decode()
            assert not any(ord(c) < 0x20 for c in text), f'a control stands in an answer: {text!r}'
            answer.json()
    for octet in (0x00, 0x01, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0d, 0x1b, 0x7f, 0x85, 0x9b, 0xff):
        for data in (request(line=b'GET /v1/' + bytes([octet]) + b'FORGED HTTP/1.1'),
                     request(b'User-Agent: a' + bytes([octet]) + b'FORGED', **GET)):
            with cluster.client() as client:
                send_all(client, filled(cluster, data), None)
                answer = client.read_head()
                assert answer.status == 400 or octet == 0x09, answer
    time.sleep(0.3)
    for process in (cluster.control, cluster.dataplane):
        with open(process.log_path, 'rb') as log:
            data = log.read()
        for line in data.splitlines():
            assert not line.startswith(b'FORGED'), line
            assert not any(c < 0x20 and c != 9 or c == 0x7f for c in line), f'a control in the log: {line!r}'
        for key in cluster.keys.values():
            assert key.encode() not in data, 'a key stands in a log'


@test('attacks.secrets')
def secrets(cluster):
    """Neither a key nor a word of a prompt or of an answer is left anywhere: logs, store, usage, shared memory, metrics."""
    mark = 'canary' + os.urandom(12).hex()
    ids = []
    with cluster.client() as client:
        for stream in (False, True):
            answer = client.ask(cluster.key, chat(sim('tokens=3', mark), stream=stream, user=mark))
            assert answer.status == 200 and answer.complete, answer
            ids.append(answer.field('x-request-id'))
        for wrong in (chat(mark, temperature=3), chat(mark, stop={mark: 1}), mark.encode()):
            assert mark not in client.ask(cluster.key, wrong).body.decode()
    with cluster.client() as client:
        assert client.ask(cluster.key, chat(sim('reset', mark), model='fault')).status == 502
    rows_of(cluster, ids)
    places = {'metrics': repr(list(cluster.admin.metrics())).encode()}
    ours = [os.path.join(cluster.root, name) for name in os.listdir(cluster.root)
            if name.startswith('sluice.db') or name in ('control.log', 'dataplane.log')]
    for folder in (os.path.join(cluster.root, 'spool'), '/dev/shm'):
        ours += [path for path in (os.path.join(folder, name) for name in os.listdir(folder)) if os.path.isfile(path)]
    assert len(ours) >= 5, ours
    for path in ours:
        with open(path, 'rb') as file:
            places[path] = file.read()
    for path, data in places.items():
        assert mark.encode() not in data, f'a prompt is left in {path}'
        for key in cluster.keys.values():
            assert key.encode() not in data, f'a key is left in {path}'


# ---- T76, T77: bodies that parsers read differently

def chat_with(text):
    return b'{' + text + b',"messages":[{"role":"user","content":"[[sim tokens=1]]"}]}'


MODEL = b'"model":"solo"'
BODY_ROWS = (
    ('duplicate', chat_with(MODEL + b',"model":"sim"'), 400),
    ('duplicate with an escape', chat_with(MODEL + b',"mod\\u0065l":"sim"'), 400),
    ('escaped once', chat_with(b'"mod\\u0065l":"solo"'), 200),
    ('escaped value', chat_with(b'"model":"s\\u006flo"'), 200),
    ('another case', chat_with(MODEL + b',"Model":"sim","MODEL":"sim"'), 200),
    ('with spaces', chat_with(MODEL + b',"model ":"sim"," model":"sim"'), 200),
    ('with NUL', chat_with(MODEL + b',"model\\u0000":"sim"'), 400),
    ('nested', chat_with(b'"metadata":{"model":"sim","stream":"x"},' + MODEL), 200),
    ('in an array', chat_with(b'"x":[{"model":"sim"}],' + MODEL), 200),
    ('in a string', chat_with(b'"x":"\\",\\"model\\":\\"sim\\"",' + MODEL), 200),
    ('last', b'{"messages":[{"role":"user","content":"[[sim tokens=1]]"}],' + MODEL + b'}', 200),
    ('duplicate of a field that is not read', chat_with(MODEL + b',"user":"a","user":"b"'), 200),
    ('duplicate stream', chat_with(MODEL + b',"stream":false,"stream":true'), 400),
    ('duplicate max_tokens', chat_with(MODEL + b',"max_tokens":1,"max_\\u0074okens":9'), 400),
    ('duplicate include_usage', chat_with(MODEL + b',"stream_options":{"include_usage":true,"include_usage":false}'), 400),
    ('duplicate messages', chat_with(MODEL + b',"messages":[1]'), 400),
    ('null and a name', chat_with(b'"model":null,' + MODEL), 400),
    ('BOM', b'\xef\xbb\xbf' + chat_with(MODEL), 400),
    ('UTF-16', chat_with(MODEL).decode().encode('utf-16-le'), 400),
    ('UTF-16 with BOM', chat_with(MODEL).decode().encode('utf-16'), 400),
    ('UTF-32', chat_with(MODEL).decode().encode('utf-32-be'), 400),
    ('lone surrogate', chat_with(MODEL + b',"user":"\\ud800"'), 400),
    ('lone surrogate in a name', chat_with(MODEL + b',"\\udfff":1'), 400),
    ('overlong UTF-8', chat_with(MODEL + b',"user":"\xc0\xaf"'), 400),
    ('surrogate in UTF-8', chat_with(MODEL + b',"user":"\xed\xa0\x80"'), 400),
    ('cut UTF-8', chat_with(MODEL + b',"user":"\xe2\x82"'), 400),
    ('trailing data', chat_with(MODEL) + b'{}', 400),
    ('trailing comma', chat_with(MODEL + b',"a":[1,]'), 400),
    ('trailing NUL', chat_with(MODEL) + b'\0', 400),
    ('comment', chat_with(MODEL + b'/* "model":"sim" */'), 400),
    ('line comment', chat_with(MODEL + b'//x\n'), 400),
    ('single quotes', chat_with(b"'model':'solo'"), 400),
    ('no quotes', chat_with(b'model:"solo"'), 400),
    ('NaN', chat_with(MODEL + b',"temperature":NaN'), 400),
    ('Infinity', chat_with(MODEL + b',"x":Infinity'), 400),
    ('1e400', chat_with(MODEL + b',"x":1e400'), 400),
    ('1e-400', chat_with(MODEL + b',"x":1e-400'), 400),
    ('an integer of 30 digits', chat_with(MODEL + b',"x":123456789012345678901234567890'), 400),
    ('leading zero', chat_with(MODEL + b',"x":01'), 400),
    ('plus', chat_with(MODEL + b',"x":+1'), 400),
    ('hexadecimal', chat_with(MODEL + b',"x":0x1'), 400),
    ('newline in a string', chat_with(MODEL + b',"x":"a\nb"'), 400),
    ('tab in a string', chat_with(MODEL + b',"x":"a\tb"'), 400),
    ('DEL in a string', chat_with(MODEL + b',"x":"a\x7fb"'), 200),
    ('unknown escape', chat_with(MODEL + b',"x":"\\x41"'), 400),
    ('depth of 127 in a member', chat_with(MODEL + b',"x":' + b'[' * 127 + b']' * 127), 200),
    ('depth of 128 in a member', chat_with(MODEL + b',"x":' + b'[' * 128 + b']' * 128), 400),
    ('depth of 100,000', chat_with(MODEL + b',"x":' + b'[' * 100000), 400),
    ('depth of objects', chat_with(MODEL + b',"x":' + b'{"a":' * 100000), 400),
    ('256 members', chat_with(MODEL + b''.join(b',"k%d":1' % i for i in range(254))), 200),
    ('257 members', chat_with(MODEL + b''.join(b',"k%d":1' % i for i in range(255))), 400),
    ('a model of 257 bytes', chat_with(b'"model":"' + b'm' * 257 + b'"'), 400),
    ('a model with a slash', chat_with(b'"model":"../solo"'), 404),
    ('a model in capitals', chat_with(b'"model":"SOLO"'), 404),
    ('a model with a space', chat_with(b'"model":"solo "'), 404),
    ('a model with NUL', chat_with(b'"model":"solo\\u0000"'), 404),
    ('a model of look-alikes', chat_with('"model":"s\u043elo"'.encode()), 404),
    ('an instance with a sign', chat_with(b'"model":"my-llama:+1"'), 404),
    ('an instance of zeros', chat_with(b'"model":"my-llama:' + b'0' * 300 + b'1"'), 400),
    ('an array', b'[' + chat_with(MODEL) + b']', 400),
    ('a string', json.dumps(chat_with(MODEL).decode()).encode(), 400),
    ('nothing', b'', 400),
    ('white space', b' \r\n\t', 400),
)


@test('attacks.bodies', seconds=120)
def bodies(cluster):
    """Where a body is accepted, the model that was routed is the one that the backend reads."""
    watch = Watch(cluster)
    wrong = []
    for name, body, status in BODY_ROWS:
        with cluster.client() as client:
            answer = client.ask(cluster.key, body)
        watch.note(answer)
        if answer.status != status:
            wrong.append(f'{name}: {answer}')
    none_of(wrong)
    watch.check()
    for entry in watch.served():
        assert entry['model'] == 'solo', entry


@test('attacks.body-cuts', seconds=120)
def body_cuts(cluster):
    """A body in two pieces, cut everywhere, in chunks and in records: the same request."""
    watch = Watch(cluster)
    body = b'{"messages":[{"role":"user","content":"\\u00e9\xc3\xa9 [[sim tokens=1]]"}],"mod\\u0065l":"s\\u006flo","n":1}'
    with cluster.client() as client:
        for cut in range(1, len(body)):
            data = filled(cluster, chunked(chunk(body[:cut]) + chunk(body[cut:]) + LAST))
            at = data.index(b'\r\n\r\n') + 4 + cut
            client.send(data[:at])
            client.send(data[at:])
            answer = client.read_head()
            client.read_body(answer)
            watch.note(answer)
            assert answer.status == 200, f'cut at {cut}: {answer}'
    watch.check()
    crcs = {entry['request_crc32'] for entry in watch.served()}
    assert len(crcs) == 1 and len(watch.served()) == len(body) - 1, crcs
