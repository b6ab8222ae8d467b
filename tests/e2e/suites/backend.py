"""The simulated backend itself: it must do what its scripts say, or the other tests prove nothing."""
import json
import os
import zlib

from harness.backend import Backend, expected, header
from harness.client import CHAT, Client, Closed, chat, elapsed, sim
from harness.proc import wait_for
from harness.suite import test


class Bench:
    """A backend of its own on loopback, and a connection to it."""

    def __init__(self, runner, *options):
        program = os.path.join(os.path.abspath(runner.options.build), 'tools/backend/sluice-sim-backend')
        self.backend = Backend(program, runner.folder, 'bench', 9100, 'bench', '127.0.0.1', options)
        self.program = program

    def __enter__(self):
        if os.path.exists(self.backend.log_path):
            os.unlink(self.backend.log_path)
        self.backend.start()
        return self

    def __exit__(self, *_):
        code = self.backend.process.stop()
        assert code == 0, f'the backend ended with {code}'

    def client(self, **options):
        return Client('127.0.0.1', 9100, **options)

    def post(self, words='', client=None, **more):
        with client or self.client() as c:
            return c.request('POST', CHAT, body=chat(sim(words) if words else 'hi', **more))

    def last(self, count=1):
        wait_for(lambda: len(self.backend.served()) >= count, why='nothing was logged')
        return self.backend.served()[count - 1]


@test('backend.answers', layout=None, direct=True)
def answers(runner):
    with Bench(runner) as b, b.client() as c:
        body = chat(sim('tokens=5'))
        answer = c.request('POST', '/142/v1/chat/completions', body=body, fields=[('x-request-id', 'abc')])
        assert answer.status == 200 and answer.json()['usage']['completion_tokens'] == 5
        assert c.request('GET', '/health').json() == {'status': 'ok'}
        assert c.request('GET', '/v1/models').json()['data'][0]['id'] == 'sim'
        echo = c.request('PUT', '/any/path?x=1', body=b'\x00\xffbytes')
        assert echo.body == b'\x00\xffbytes' and echo.field('x-sim-path') == '/any/path?x=1'
        vector = c.request('POST', '/v1/embeddings', body={'model': 'e', 'input': ['a', 'b']}).json()
        assert [len(item['embedding']) for item in vector['data']] == [8, 8]
        entry = b.last()
        assert entry['id'] == 'abc' and entry['path'] == '/142/v1/chat/completions'
        assert entry['request_crc32'] == f'{zlib.crc32(json.dumps(body).encode()):08x}'
        assert entry['body_crc32'] == f'{zlib.crc32(answer.body):08x}'
        assert header(entry, 'content-type') == ['application/json']
        assert b.last(4)['request_on_connection'] == 5, 'the log counts the requests of a connection'


@test('backend.prints-what-it-streams', layout=None, direct=True)
def prints_what_it_streams(runner):
    with Bench(runner, '--seed', '9') as b, b.client() as c:
        for words in ('tokens=300', 'tokens=300 chunk=7 frame=13', 'tokens=3 event_bytes=70000', 'tokens=0'):
            for usage in (False, True):
                options = {'stream_options': {'include_usage': True}} if usage else {}
                body = chat(sim(words), stream=True, **options)
                response = c.start('POST', CHAT, body=body)
                events = list(c.read_events(response))
                content = len(json.dumps(body['messages'][0]['content'])) - 2
                words_of_print = f'{words} seed=9 prompt_bytes={content}' + (' usage' if usage else '')
                wanted = expected(b.program, words_of_print)
                assert response.body == wanted, f'{words}: {response.body[:200]} is not {wanted[:200]}'
                assert events[-1] == b'data: [DONE]\n\n'


@test('backend.paces', layout=None, direct=True)
def paces(runner):
    with Bench(runner) as b, b.client() as c:
        clock = elapsed()
        response = c.start('POST', CHAT, body=chat(sim('ttft=200ms tps=100 tokens=50'), stream=True))
        first = clock()
        list(c.read_events(response))
        assert 0.2 <= first < 0.5, f'first byte after {first:.3f} s'
        assert 0.65 <= clock() < 1.2, f'everything after {clock():.3f} s'


@test('backend.fails-as-told', layout=None, direct=True)
def fails_as_told(runner):
    with Bench(runner) as b:
        for words, wanted in (('reset_after=3', 'reset'), ('close_after=3', 'closed')):
            with b.client() as c:
                response = c.start('POST', CHAT, body=chat(sim(words), stream=True))
                events = []
                try:
                    for event in c.read_events(response):
                        events.append(event)
                    raise AssertionError('a cut stream looks complete')
                except Closed as how:
                    assert len(events) == 3, f'{words}: {len(events)} events, {how}'
            assert b.last(len(b.backend.served()))['end'] == wanted
        error = b.post('error=429 retry_after=7')
        assert error.status == 429 and error.field('retry-after') == '7'
        assert 'message' in error.json()['error']
        for words in ('reset', 'close_early', 'close_after_headers', 'long_length=5',
                      'bad_chunk=0 close_after=1'):
            try:
                b.post(words, client=b.client(timeout=1))
                raise AssertionError(f'{words}: a whole answer')
            except (Closed, TimeoutError):
                pass
        for words in ('hang', 'hang_after_headers', 'hang_after=0'):
            try:
                b.post(words, client=b.client(timeout=0.3))
                raise AssertionError(f'{words}: a whole answer')
            except TimeoutError:
                pass
            wait_for(lambda: b.backend.served()[-1]['end'] == 'peer_closed')
        with b.client() as c:
            c.send(c.head('GET', '/x', fields=[('x-sim-script', 'endless_headers')]))
            got = 0
            while got < 5_000_000:
                got += len(c.receive())
        with b.client() as c:
            assert c.request('POST', CHAT, body=chat(sim('informational=500'))).status == 200
            assert c.request('POST', CHAT, body=chat(sim('extra_bytes=10'))).status == 200
            assert c.read_exactly(10) == b'X' * 10
        with b.client() as c:
            short = c.request('POST', CHAT, body=chat(sim('short_length=9')))
            assert len(c.read_exactly(9)) == 9 and short.body[-1:] != b'}'


@test('backend.refuses-what-is-ambiguous', layout=None, direct=True)
def refuses(runner):
    wrong = (b'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
             b'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
             b'GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n', b'GET / HTTP/1.1\r\n\r\n',
             b'GET  / HTTP/1.1\r\nHost: a\r\n\r\n', b'GET / HTTP/1.1\r\nHost : a\r\n\r\n',
             b'GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', b'GET / HTTP/1.1\nHost: a\n\r\n\r\n',
             b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
             b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n')
    with Bench(runner) as b:
        for count, data in enumerate(wrong, 1):
            with b.client() as c:
                c.send(data)
                assert c.read_head().status == 400, data
            entry = b.last(count)
            assert entry['end'] == 'refused' and entry['refusal'], entry
        answer = b.post(client=b.client(), stream='yes')
        assert answer.status == 400 and 'boolean' in answer.json()['error']['message']
        with b.client() as c:
            bad = c.request('POST', CHAT, body=b'{"model":"m",}')
            assert bad.status == 400
            assert c.request('GET', '/health').status == 200, 'a bad body does not end the connection'


@test('backend.notices-that-the-peer-leaves', layout=None, direct=True)
def notices(runner):
    with Bench(runner) as b:
        for leave, wanted in ((Client.reset, 'peer_reset'), (Client.close, 'peer_closed')):
            c = b.client()
            response = c.start('POST', CHAT, body=chat(sim('tokens=10000 tps=50'), stream=True))
            events = c.read_events(response)
            for _ in range(5):
                next(events)
            leave(c)
            entry = b.last(1 if wanted == 'peer_reset' else 2)
            assert entry['end'] == wanted and 5 <= entry['events'] < 40, entry


@test('backend.waits-for-a-slow-peer', layout=None, direct=True)
def waits(runner):
    with Bench(runner) as b:
        c = b.client(window=4096)
        c.start('POST', CHAT, body=chat(sim('tokens=2000000'), stream=True))
        before = b.backend.process.rss_bytes()
        wait_for(lambda: True)
        assert b.client().request('GET', '/health').status == 200, 'others are served meanwhile'
        assert b.backend.process.rss_bytes() - before < 2_000_000
        c.reset()
        entry = b.last()
        assert entry['end'] == 'peer_reset' and entry['unsent_bytes'] < 70_000, entry


@test('backend.holds-2000-connections', layout=None, direct=True)
def holds(runner):
    with Bench(runner) as b:
        clients = [b.client() for _ in range(2000)]
        body = chat(sim('ttft=500ms tokens=3'), stream=True)
        for c in clients:
            data = json.dumps(body).encode()
            c.send(c.head('POST', CHAT, length=len(data)) + data)
        for c in clients:
            response = c.read_head()
            assert len(list(c.read_events(response))) == 6
            c.close()
        wait_for(lambda: len(b.backend.served()) == 2000)
        assert all(entry['end'] == 'complete' for entry in b.backend.served())


@test('backend.reads-slowly', layout=None, direct=True)
def reads_slowly(runner):
    with Bench(runner, '--read-bps', '20000') as b, b.client(timeout=20) as c:
        clock = elapsed()
        assert c.request('POST', '/echo', body=b'x' * 30000).body == b'x' * 30000
        assert 1.0 < clock() < 4, f'{clock():.2f} s'
    with Bench(runner, '--requests-max', '2', '--idle-close', '100') as b:
        with b.client() as c:
            clock = elapsed()  # an answer may be read late, but is never there before it was asked for
            assert c.request('GET', '/health').status == 200
            assert c.is_closed() and clock() >= 0.09
        with b.client() as c:
            assert c.request('GET', '/health').status == 200
            assert c.request('GET', '/health').status == 200
            assert c.is_closed(0.09), 'closed after its second request'
