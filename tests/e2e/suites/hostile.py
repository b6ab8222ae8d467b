"""Bad HTTP inside good TLS: refused by name, and no backend hears of it."""
import random
import socket
import threading
import time

from harness import net
from harness.client import CHAT, Closed, chat, elapsed, sim
from harness.proc import wait_for
from harness.suite import test


def head(line, *fields):
    return ('\r\n'.join((line, *fields)) + '\r\n\r\n').encode('latin-1')


def served_by_all(cluster):
    return sum(len(backend.served()) for backend in cluster.backends.values())


def answer_to(cluster, data, timeout=8):
    """Status of the answer, or None where the connection ended without one; it must end."""
    with cluster.client(timeout=timeout) as client:
        try:
            client.send(data)
            answer = client.read_head()
        except (Closed, OSError):
            return None
        try:
            client.read_body(answer)
            assert client.is_closed(), 'the connection goes on after what could not be read'
        except Closed:
            pass
        return answer.status


@test('hostile.malformed-heads', seconds=90)
def malformed_heads(cluster):
    post, host, key = f'POST {CHAT} HTTP/1.1', 'Host: a', f'Authorization: Bearer {cluster.key}'
    body = '{"model":"sim","messages":[{"role":"user","content":"x"}]}'
    length = f'Content-Length: {len(body)}'
    wrong = [
        head(post, host, key, 'Content-Length: 5', 'Transfer-Encoding: chunked') + b'0\r\n\r\n',
        head(post, host, key, 'Transfer-Encoding: chunked', 'Content-Length: 5') + b'0\r\n\r\n',
        head(post, host, key, 'Content-Length: 5', 'Content-Length: 6') + b'xxxxxx',
        head(post, host, key, 'Content-Length: 5, 6') + b'xxxxxx',
        head(post, host, key, 'Content-Length: -1'),
        head(post, host, key, 'Content-Length: +5') + b'xxxxx',
        head(post, host, key, 'Content-Length: 0x5') + b'xxxxx',
        head(post, host, key, 'Content-Length: 99999999999999999999'),
        head(post, host, key, 'Content-Length:'),
        head(post, host, key, 'Transfer-Encoding: xchunked') + b'0\r\n\r\n',
        head(post, host, key, 'Transfer-Encoding: chunked, identity') + b'0\r\n\r\n',
        head(post, host, key, 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked') + b'0\r\n\r\n',
        head(post, host, key, 'Transfer-Encoding : chunked') + b'0\r\n\r\n',
        head(post, host, key, length, ' folded: yes') + body.encode(),
        head(post, key, length) + body.encode(),
        head(post, host, 'Host: b', key, length) + body.encode(),
        head(post, host, key, length, 'bad name: x') + body.encode(),
        head(post, host, key, length, 'bad(name): x') + body.encode(),
        head(post, host, key, length, ': empty') + body.encode(),
        head(post, host, key, length, 'no colon') + body.encode(),
        head(post, host, key, length, 'a: b\x00c') + body.encode(),
        head(post, host, key, length, 'a: b\rc') + body.encode(),
        head(post, host, key, length, 'a: \x7f') + body.encode(),
        head(f'POST  {CHAT} HTTP/1.1', host, key, length) + body.encode(),
        head(f'POST {CHAT}  HTTP/1.1', host, key, length) + body.encode(),
        head(f'POST {CHAT} HTTP/1.2.3', host, key, length) + body.encode(),
        head(f'POST {CHAT} HTTP/3.0', host, key, length) + body.encode(),
        head(f'POST {CHAT} http/1.1', host, key, length) + body.encode(),
        head(f'POST {CHAT}', host, key, length) + body.encode(),
        head(f'P\x01ST {CHAT} HTTP/1.1', host, key, length) + body.encode(),
        head(f'POST {CHAT}\x00 HTTP/1.1', host, key, length) + body.encode(),
        head('POST relative HTTP/1.1', host, key, length) + body.encode(),
        f'POST {CHAT} HTTP/1.1\nHost: a\n{key}\n{length}\n\n{body}'.encode(),
        head(post, host, key, 'Transfer-Encoding: chunked') + b'zz\r\n',
        head(post, host, key, 'Transfer-Encoding: chunked') + b'-1\r\n',
        head(post, host, key, 'Transfer-Encoding: chunked') + b'5\r\nabcdeXX',
        head(post, host, key, 'Transfer-Encoding: chunked') + b'ffffffffffffffffff\r\n',
        head(post, host, key, 'Transfer-Encoding: chunked') + b'5;' + b'a' * 70000 + b'\r\n',
        head(post, host, key, 'Transfer-Encoding: chunked') + b'1 \r\nx\r\n0\r\n\r\n',
        b'\r\n\r\n\r\n' * 20 + b'\x00\r\n\r\n',
    ]
    before = served_by_all(cluster)
    for data in wrong:
        status = answer_to(cluster, data)
        assert status in (400, 501, 505), f'{status} for {data[:160]!r}'
    for data in (head(post, host, key, 'x: ' + 'y' * 40000), head(post, host, key, *['x: y'] * 101),
                 head(f'GET /{"a" * 40000} HTTP/1.1', host)):
        assert answer_to(cluster, data) in (431, 414, 400), data[:60]
    time.sleep(0.3)
    assert served_by_all(cluster) == before, 'a malformed request reached a backend'


@test('hostile.smuggling')
def smuggling(cluster):
    """A second request hidden in the body of the first stays a body."""
    hidden = f'POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {cluster.key}\r\n\r\n'
    body = chat(hidden + sim('tokens=1'), model='solo')
    backend = cluster.backends['solo']
    backend.mark()
    with cluster.client() as client:
        assert client.ask(cluster.key, body).status == 200
        assert client.request('GET', '/healthz').status == 200
    assert len(backend.wait_served()) == 1
    for path in (f'{CHAT}?x=%0d%0aa:b', '/v1/../v1/chat/completions', '//v1/chat/completions',
                 '/v1/chat/completions/', '/v1/chat%2fcompletions'):
        with cluster.client() as client:
            assert client.request('POST', path, cluster.key, chat()).status in (200, 400, 404), path


@test('hostile.random-bytes', seconds=90)
def random_bytes(cluster):
    """Heads and bodies with bytes changed at random: an answer or an end, never a hang, nothing else."""
    chance = random.Random(7)
    good = head(f'POST {CHAT} HTTP/1.1', 'Host: a', f'Authorization: Bearer {cluster.key}',
                'Content-Type: application/json', 'Content-Length: 58') + \
        b'{"model":"sim","messages":[{"role":"user","content":"x"}]}'
    for _ in range(300):
        data = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with cluster.client(timeout=5) as client:
            try:
                client.send(bytes(data))
                client.socket.settimeout(0.4)
                answer = client.read_head()
                assert answer.status in (200, 400, 401, 404, 405, 413, 422, 431, 501, 505), answer
            except (Closed, TimeoutError):
                pass
    with cluster.client() as client:
        assert client.ask(cluster.key, chat()).status == 200
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 15, 'requests of vanished clients stay')


@test('hostile.truncated', seconds=90)
def truncated(cluster):
    """Clients that stop in the middle of a request are let go after their time, and hold nothing."""
    whole = head(f'POST {CHAT} HTTP/1.1', 'Host: a', f'Authorization: Bearer {cluster.key}',
                 'Content-Length: 100') + b'{"model":"sim"'
    clients = []
    for length in (1, 20, 60, len(whole) - 20, len(whole)):
        client = cluster.client(timeout=15)
        client.send(whole[:length])
        clients.append(client)
    clock = elapsed()
    for client in clients:
        try:
            while client.receive():
                pass
        except Closed:
            pass
    assert clock() < 12, f'the last one was let go after {clock():.0f} s'
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 5, 'their requests stay')


@test('hostile.many-connections', seconds=90)
def many_connections(cluster):
    """500 that send nothing hold nobody up, and their going away gives everything back."""
    idle = []
    for _ in range(500):
        idle.append(cluster.client(connect_tls=False))
    with cluster.client() as client:
        clock = elapsed()
        assert client.ask(cluster.key, chat()).status == 200
        assert clock() < 2
    for client in idle:
        client.reset()
    wait_for(lambda: cluster.counter('pool_clients_used') <= 1, 10, 'their connections stay')


class Liar:
    """A backend that sends what it is given, whatever it is asked, and closes."""

    PORT = 9020

    def __init__(self):
        self.answer = b''
        self.listener = socket.create_server((net.HOST4, self.PORT), backlog=64)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            with peer:
                peer.settimeout(1)
                try:
                    asked = peer.recv(65536)
                    healthy = b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
                    peer.sendall(healthy if b'/health' in asked else self.answer)
                except OSError:
                    pass

    def close(self):
        self.listener.close()


@test('hostile.random-answers', seconds=120)
def random_answers(cluster):
    """Answers with bytes changed at random: the client gets an answer or an end, in good HTTP."""
    chance = random.Random(11)
    whole = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 77\r\n\r\n' + \
        b'{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"a":1}}'[:77]
    event = b'data: {"id":"x","choices":[{"delta":{"content":"abc"}}],"usage":null}\n\n'
    stream = b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n' + \
        b'%x\r\n%s\r\n' % (len(event), event) * 3 + b'e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n'
    liar = Liar()
    cluster.put('pod', 'liar', address=net.HOST4, port=Liar.PORT)
    cluster.model('lies', mv=['liar'])
    seen = {}
    try:
        for turn in range(400):
            data = bytearray((whole, stream)[turn % 2])
            for _ in range(chance.randint(1, 5)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            liar.answer = bytes(data[:chance.randrange(len(data))] if turn % 7 == 0 else data)
            with cluster.client(timeout=10) as client:
                try:
                    answer = client.ask(cluster.key, chat(model='lies', stream=turn % 2 == 1))
                    seen[answer.status] = seen.get(answer.status, 0) + 1
                except Closed:
                    seen['cut'] = seen.get('cut', 0) + 1
    finally:
        cluster.put('pod', 'liar', state='maint')
        liar.close()
    assert seen.get(502, 0) > 0 and seen.get(200, 0) > 0, seen
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 15, f'requests stay behind: {seen}')
