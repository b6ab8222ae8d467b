"""Images, speech, transcription, video jobs and the verbatim pass-through: what passes, what is edited, what it costs."""
import hashlib
import os
import socket
import threading
import time
import zlib

from harness import net
from harness.backend import header
from harness.client import Closed, chat, elapsed, sim
from harness.proc import wait_for
from harness.suite import test
from suites.errors import refused
from suites.usage import plain, rows_of

IMAGES, SPEECH, TRANSCRIBE, VIDEO = ('/v1/images/generations', '/v1/audio/speech', '/v1/audio/transcriptions',
                                     '/v1/video/generations')
NANO = {'request': 500, 'image': 40_000_000, 'second': 100_000, 'character': 15_000_000_000,
        'byte': 250_000_000}  # the last two per million
UNITS = {1: ('request', 1), 2: ('image', 1), 3: ('second', 1000), 4: ('character', 1_000_000),
         5: ('byte', 1_000_000)}


def crc(data):
    return f'{zlib.crc32(data):08x}'


def catalogue(cluster):
    """A price with every rate, and models and an instance that have it."""
    if getattr(cluster, 'media', None):
        return cluster.media
    dollars = {name: f'{nano / 1e9:.9f}' for name, nano in NANO.items()}
    cluster.put('price', 'media', input=0, output=0, request=dollars['request'], image=dollars['image'],
                second=dollars['second'], characters=dollars['character'], bytes=dollars['byte'])
    cluster.model('media', 'media', mv=['solo'])
    cluster.model('video', 'media', mv=['mv-a', 'mv-b'], tx=['tx-c'])
    instance = cluster.ctl('instance', 'add', '--name', 'tool', '--account', 'main', '--price', 'media')['id']
    cluster.put('deployment', 'tool-mv', instance=instance, region='mv', pods=['solo'], served_name='whisper',
                base_path=f'/{instance}')
    cluster.media = instance
    with cluster.client() as client:
        wait_for(lambda: client.request('GET', f'/inference-instances/{instance}/proxy/x', cluster.key).status == 200
                 and client.request('GET', '/v1/models/video', cluster.key).status == 200, 5,
                 'the catalogue does not arrive')
    return instance


def row_of(cluster, answer):
    name = answer.field('x-request-id')
    return rows_of(cluster, [name])[plain(name)]


def check_cost(row, unit, units):
    assert (row['unit'], row['units']) == (unit, units), dict(row)
    name, per = UNITS[unit]
    assert row['cost_nano'] == (NANO[name] * units * 2 + per) // (2 * per), dict(row)
    assert row['prompt_tokens'] == row['completion_tokens'] == 0, dict(row)


def form(parts, boundary='sluice-boundary'):
    """(name, value) or (name, value, file name)."""
    body = b''
    for name, value, *file in parts:
        extra = f'; filename="{file[0]}"\r\nContent-Type: audio/mpeg' if file else ''
        value = value if isinstance(value, bytes) else value.encode()
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + \
            b'\r\n'
    return body + f'--{boundary}--\r\n'.encode()


def post_form(client, cluster, body, path=TRANSCRIBE, key=None, fields=(), pieces=None, boundary='sluice-boundary'):
    own = [('Content-Type', f'multipart/form-data; boundary={boundary}'), ('Content-Length', str(len(body)))]
    client.send(client.head('POST', path, key or cluster.key, own + list(fields)))
    for start in range(0, len(body), pieces or len(body) or 1):
        client.send(body[start:start + (pieces or len(body))])
    answer = client.read_head()
    client.read_body(answer)
    return answer


# ---- images and speech

@test('endpoints.images', seconds=90)
def images(cluster):
    catalogue(cluster)
    for path, key in ((IMAGES, 'main'), ('/api' + IMAGES, 'infer')):
        body = {'model': 'media', 'prompt': sim('bytes=1500000'), 'n': 3, 'size': '1024x1024'}
        with cluster.client(timeout=50) as client:
            answer = client.request('POST', path, cluster.keys[key], body)
        assert answer.status == 200 and answer.field('content-length') == str(len(answer.body)), answer.fields
        assert [len(image['b64_json']) for image in answer.json()['data']] == [1500000] * 3
        check_cost(row_of(cluster, answer), 2, 3)
    for param, code, more in (('prompt', 'missing_field', {}), ('n', 'invalid_value', {'prompt': 'x', 'n': 0}),
                              ('size', 'invalid_value', {'prompt': 'x', 'size': 7}),
                              ('n', 'duplicate_field', b'{"model":"media","prompt":"x","n":1,"n":2}')):
        body = more if isinstance(more, bytes) else {'model': 'media', **more}
        refused(cluster, 400, code, path=IMAGES, body=body, param=param)
    refused(cluster, 404, 'model_not_found', path=IMAGES, body={'model': 'none', 'prompt': 'x'}, param='model')
    assert refused(cluster, 405, 'method_not_allowed', 'GET', IMAGES).field('allow') == 'POST'


@test('endpoints.images-are-not-collected')
def images_are_not_collected(cluster):
    """A client that reads slowly holds the backend back: the router keeps a window's worth, not the image."""
    catalogue(cluster)
    before = cluster.dataplane_rss_bytes()
    client = cluster.client(timeout=30, window=16384)
    answer = client.start('POST', IMAGES, cluster.key, {'model': 'media', 'prompt': sim('bytes=30000000')})
    assert answer.status == 200
    time.sleep(0.5)
    assert cluster.counter('pool_blocks_used') <= 2, cluster.counter('pool_blocks_used')
    assert cluster.dataplane_rss_bytes() - before < 12 << 20
    client.reset()
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 5, 'the request stays behind')


@test('endpoints.speech')
def speech(cluster):
    catalogue(cluster)
    text = 'say \u00e9\u6c34\U0001f30a "this" '
    for words, path, key in (('bytes=300000', SPEECH, 'main'), ('bytes=300000 chunked', '/api' + SPEECH, 'infer'),
                             ('bytes=70000 until_close', SPEECH, 'main')):
        said = sim(words, text)
        backend = cluster.backends['solo']
        backend.mark()
        with cluster.client() as client:
            answer = client.request('POST', path, cluster.keys[key], {'model': 'media', 'voice': 'alloy', 'input': said})
        entry = backend.wait_served()[0]
        assert answer.status == 200 and answer.field('content-type') == 'audio/mpeg', answer.fields
        assert len(answer.body) == int(words.split('=')[1].split()[0])
        assert crc(answer.body) == entry['body_crc32'], 'audio was changed on its way'
        check_cost(row_of(cluster, answer), 4, len(said))
    refused(cluster, 400, 'missing_field', path=SPEECH, body={'model': 'media'}, param='input')
    refused(cluster, 400, 'invalid_value', path=SPEECH, body={'model': 'media', 'input': ['a']}, param='input')


# ---- transcription

@test('endpoints.transcription')
def transcription(cluster):
    instance = catalogue(cluster)
    audio = os.urandom(70000) + b'\r\n--sluice-boundar\r\n--\r\n'
    backend = cluster.backends['solo']
    for parts, path, key in (
            ((('model', 'media'), ('file', audio, 'a.mp3'), ('language', 'en')), TRANSCRIBE, 'main'),
            ((('file', audio, 'a.mp3'), ('prompt', sim('duration_ms=8470')), ('model', 'media')), TRANSCRIBE, 'main'),
            ((('file', audio, 'a.mp3'), ('model', f'tool:{instance}')), TRANSCRIBE, 'main'),
            ((('model', f'tool:{instance}'), ('file', audio, 'a.mp3')), '/api' + TRANSCRIBE, 'infer')):
        for pieces in (None, 1000):
            body = form(parts)
            wanted = form([(name, 'whisper' if name == 'model' and ':' in value else value, *rest)
                           for name, value, *rest in parts])
            backend.mark()
            with cluster.client() as client:
                answer = post_form(client, cluster, body, path, cluster.keys[key], pieces=pieces)
            entry = backend.wait_served()[0]
            assert answer.status == 200 and answer.json()['text'], answer
            assert entry['request_crc32'] == crc(wanted) and entry['file_bytes'] == len(audio), entry
            assert header(entry, 'content-length') == [str(len(wanted))]
            assert header(entry, 'content-type') == ['multipart/form-data; boundary=sluice-boundary']
            if 'duration' in answer.json():
                check_cost(row_of(cluster, answer), 3, 8470)
            else:
                check_cost(row_of(cluster, answer), 5, len(audio))


@test('endpoints.transcription-in-chunks')
def transcription_in_chunks(cluster):
    """A form of no declared length waits in the store, and goes on with one."""
    catalogue(cluster)
    body = form((('model', 'media'), ('file', os.urandom(50000), 'a')))
    backend = cluster.backends['solo']
    backend.mark()
    with cluster.client() as client:
        client.send(client.head('POST', TRANSCRIBE, cluster.key, [
            ('Content-Type', 'multipart/form-data; boundary=sluice-boundary'), ('Transfer-Encoding', 'chunked')]))
        for start in range(0, len(body), 3000):
            client.send(b'%x\r\n%s\r\n' % (len(body[start:start + 3000]), body[start:start + 3000]))
        client.send(b'0\r\n\r\n')
        answer = client.read_head()
        client.read_body(answer)
        assert answer.status == 200, answer
        assert client.request('GET', '/healthz').status == 200
    entry = backend.wait_served()[0]
    assert entry['request_crc32'] == crc(body) and header(entry, 'content-length') == [str(len(body))]


@test('endpoints.transcription-goes-on-at-once', seconds=30)
def transcription_goes_on_at_once(cluster):
    """With the model in front the backend gets the file while it comes; and again, if the first try fails."""
    catalogue(cluster)
    eager = Echo()
    try:
        cluster.put('pod', 'eager', address=net.HOST4, port=eager.port)
        cluster.model('eager', 'media', mv=['eager'])
        cluster.model('eager-over', 'media', mv=['nobody'], tx=['eager'])
        for model in ('eager', 'eager-over'):
            body = form((('model', model), ('file', os.urandom(200000), 'a')))
            with cluster.client() as client:
                client.send(client.head('POST', TRANSCRIBE, cluster.key, [
                    ('Content-Type', 'multipart/form-data; boundary=sluice-boundary'),
                    ('Content-Length', str(len(body)))]) + body[:100000])
                wait_for(lambda: eager.received >= 90000, 5, 'nothing comes before the end')
                client.send(body[100000:])
                answer = client.read_head()
                client.read_body(answer)
            assert answer.status == 200 and answer.body == body
            eager.received = 0
    finally:
        cluster.put('pod', 'eager', state='maint')
        eager.close()


@test('endpoints.transcription-stream')
def transcription_stream(cluster):
    catalogue(cluster)
    body = form((('stream', 'true'), ('file', b'RIFF', 'a'), ('model', 'media'),
                 ('prompt', sim('tokens=5 duration_ms=1500'))))
    with cluster.client() as client:
        answer = post_form(client, cluster, body)
    assert answer.field('content-type') == 'text/event-stream', answer.fields
    assert answer.body.count(b'transcript.text.delta"') == 5 and b'transcript.text.done' in answer.body
    check_cost(row_of(cluster, answer), 3, 1500)


@test('endpoints.transcription-refused', seconds=90)
def transcription_refused(cluster):
    catalogue(cluster)
    good = (('file', b'x' * 100, 'a'), ('model', 'media'))
    cases = (
        (400, 'duplicate_field', 'model', form(good + (('model', 'media'),))),
        (400, 'missing_field', 'model', form(good[:1])),
        (404, 'model_not_found', 'model', form(good[:1] + (('model', 'none'),))),
        (400, 'invalid_value', 'model', form((('model', ''),))),
        (400, 'invalid_value', 'model', form((('model', 'x' * 300),))),
        (400, 'invalid_value', 'model', form((('model', 'media', 'model.txt'),))),
        (400, 'invalid_value', 'stream', form(good + (('stream', 'maybe'),))),
        (400, 'invalid_value', None, form(good)[:-4]),
        (400, 'invalid_value', None, b'preamble\r\n' + form(good)),
        (400, 'invalid_value', None, form(good) + b'epilogue'),
        (400, 'invalid_value', None, form(good).replace(b'sluice-boundary--', b'sluice-boundaryX--')),
        # the same once the backend has a part of it
        (400, 'duplicate_field', 'model', form((('model', 'media'),) + good)),
        (400, 'invalid_value', None, form((('model', 'media'), ('file', b'x' * 300000, 'a')))[:-4]),
    )
    backend = cluster.backends['solo']
    backend.mark()
    for status, code, param, body in cases:
        for pieces in (None, 700):
            with cluster.client() as client:
                answer = post_form(client, cluster, body, pieces=pieces)
                assert answer.status == status and answer.json()['error']['code'] == code, (body[:200], answer)
                assert answer.json()['error']['param'] == param, answer
    assert all(entry['end'] != 'complete' for entry in backend.new_served()), 'a backend believed one of them'
    for kind in ('application/json', 'multipart/form-data', 'multipart/form-data; boundary=a; boundary=b',
                 'multipart/mixed; boundary=sluice-boundary'):
        with cluster.client() as client:
            client.send(client.head('POST', TRANSCRIBE, cluster.key, [('Content-Type', kind), ('Content-Length', '3')]) +
                        b'abc')
            answer = client.read_head()
            client.read_body(answer)
            assert answer.status == 415, (kind, answer)
    with cluster.client() as client:
        client.send(client.head('POST', TRANSCRIBE, cluster.key, [
            ('Content-Type', 'multipart/form-data; boundary=b'), ('Content-Length', str(27 << 20))]))
        answer = client.read_head()
        client.read_body(answer)
        assert answer.status == 413 and answer.json()['error']['code'] == 'payload_too_large', answer


# ---- video

@test('endpoints.video', seconds=60)
def video(cluster):
    """Each job is asked about where it was made, from any worker and after restarts of both programs."""
    catalogue(cluster)
    pods = [cluster.backends[name] for name in ('mv-a', 'mv-b', 'tx-c')]
    for pod in pods:
        pod.mark()
    jobs = []
    for seed in range(6):
        with cluster.client() as client:
            answer = client.request('POST', VIDEO, cluster.key,
                                    {'model': 'video', 'prompt': sim(f'seed={seed}'), 'seconds': '8'})
        assert answer.status == 200 and answer.json()['id'].startswith('video_'), answer
        assert b'job-' not in answer.body, 'the backend\'s own id is shown'
        check_cost(row_of(cluster, answer), 3, 8000)
        assert row_of(cluster, answer)['source'] == 2, 'what the backend did not say is an estimate'
        jobs.append(answer.json()['id'])
    assert len({pod.port for pod in pods if pod.new_served()}) >= 2, 'all at one pod'

    def look(key=cluster.key, path=VIDEO):
        for turn in range(4):  # connections land on either worker
            for job in jobs:
                with cluster.client() as client:
                    answer = client.request('GET', f'{path}/{job}', key)
                assert answer.status == 200 and answer.json()['id'] == job, answer
                assert answer.json()['status'] == 'completed' and answer.field('x-ecolink-region' if path == VIDEO
                                                                               else 'x-infer-region')
    look()
    look(cluster.keys['infer'], '/api' + VIDEO)
    assert row_of(cluster, answer)['cost_nano'] > 0
    with cluster.client() as client:
        asked = client.request('GET', f'{VIDEO}/{jobs[0]}', cluster.key)
    assert row_of(cluster, asked)['cost_nano'] == 0, 'asking costs nothing'
    entry = [e for pod in pods for e in pod.new_served() if e['method'] == 'GET'][0]
    assert entry['path'].startswith('/v1/video/generations/job-90') and entry['request_bytes'] == 0
    cluster.control.stop()
    cluster.dataplane.stop()
    cluster.start_control()
    cluster.start_dataplane()
    look()


@test('endpoints.video-ids-cannot-be-made')
def video_ids(cluster):
    catalogue(cluster)
    with cluster.client() as client:
        answer = client.request('POST', VIDEO, cluster.key, {'model': 'video', 'prompt': 'x', 'duration': 2.5})
        job = answer.json()['id']
        check_cost(row_of(cluster, answer), 3, 3000)  # whole seconds, where the client alone says them
        told = client.request('POST', VIDEO, cluster.key, {'model': 'video', 'prompt': sim('duration_ms=4250')})
        check_cost(row_of(cluster, told), 3, 4250)
        assert row_of(cluster, told)['source'] == 0
    refused(cluster, 404, 'not_found', 'GET', f'{VIDEO}/{job}', key='other', param='id')
    for wrong in (job[:-1], job + 'A', job[:-1] + ('A' if job[-1] != 'A' else 'B'), 'video_', 'job-9001-1', 'x',
                  'video_' + 'A' * 90, job.replace('video_', 'Video_'), job + '/..', '..%2f' + job):
        refused(cluster, 404, 'not_found', 'GET', f'{VIDEO}/{wrong}')
    refused(cluster, 405, 'method_not_allowed', 'POST', f'{VIDEO}/{job}')
    refused(cluster, 400, 'invalid_value', path=VIDEO, body={'model': 'video', 'seconds': 0}, param='seconds')


# ---- pass-through

class Echo:
    """A backend that answers each request with its body as it comes, in chunks, before the request has ended."""

    def __init__(self):
        self.listener = socket.create_server((net.HOST4, 0), backlog=16)
        self.port = self.listener.getsockname()[1]
        self.received = 0
        self.heads = []
        self.trailers = []
        self.reads = threading.Event()
        self.reads.set()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        try:
            with peer, peer.makefile('rb') as source:
                while self.one(peer, source):
                    pass
        except OSError:
            pass

    def body(self, source, fields):
        if fields.get('transfer-encoding') == 'chunked':
            while True:
                size = int(source.readline(), 16)
                data = source.read(size)
                after = source.readline()
                if not size:
                    self.trailers += [] if after == b'\r\n' else [after]
                    return
                assert after == b'\r\n', 'a chunk does not end with its line'
                yield data
        left = int(fields.get('content-length', 0))
        while left:
            self.reads.wait()
            data = source.read1(min(left, 65536))
            if not data:
                raise OSError('cut')
            left -= len(data)
            yield data

    def one(self, peer, source):
        lines = []
        while (line := source.readline()) not in (b'\r\n', b''):
            lines.append(line.decode('latin-1').rstrip('\r\n'))
        if not lines:
            return False
        fields = dict((name.lower(), value.strip()) for name, value in (line.split(':', 1) for line in lines[1:]))
        if '/health' in lines[0]:
            peer.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
            return True
        self.heads.append((lines[0], fields))
        peer.sendall(b'HTTP/1.1 200 OK\r\ncontent-type: x/y\r\ntransfer-encoding: chunked\r\nset-cookie: a=b\r\n'
                     b'connection: x-hop\r\nx-hop: 1\r\nx-kept: 2\r\nx-Ecolink-region: tx\r\nx-other-Region: tx\r\n'
                     b'x-infer-request-id: 1\r\nx-third-region: of nobody\r\n\r\n')
        for data in self.body(source, fields):
            self.received += len(data)
            peer.sendall(b'%x\r\n%s\r\n' % (len(data), data))
        peer.sendall(b'0\r\nx-trailer: 1\r\n\r\n')
        return True

    def close(self):
        self.listener.close()
        self.reads.set()


@test('endpoints.proxy')
def proxy(cluster):
    instance = catalogue(cluster)
    backend = cluster.backends['solo']
    base = f'/inference-instances/{instance}/proxy'
    fields = [('X-Own', 'a'), ('x-own', 'b'), ('Accept', 'x/y;q=1'), ('Cookie', 'secret=1'), ('Connection', 'x-hop'),
              ('x-hop', '1'), ('X-Forwarded-For', '6.6.6.6'), ('X_Own', 'c'), ('Content-Encoding', 'gzip'),
              ('x-request-id', 'mine'), ('Keep-Alive', 'a'), ('TE', 'trailers'), ('X-Ecolink-Region', 'x')]
    for method in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PURGE'):
        for path in ('/generate', '/a/b.c/~d;e=1?x=%2e%2f&y=[1]&&z', '/', '/a%20b/%E2%82%AC/?'):
            body = None if method in ('GET', 'DELETE', 'OPTIONS') else os.urandom(5000)
            backend.mark()
            with cluster.client() as client:
                answer = client.request(method, base + path, cluster.key, body, fields)
            entry = backend.wait_served()[0]
            assert answer.status == 200 and answer.body == (body or b''), (method, path, answer)
            assert entry['method'] == method and entry['path'] == f'/{instance}{path}', entry
            assert entry['request_crc32'] == crc(body or b'')
            assert header(entry, 'x-own') == ['a', 'b'] and header(entry, 'accept') == ['x/y;q=1'], entry
            assert header(entry, 'content-encoding') == ['gzip'] and entry['id'] == answer.field('x-request-id')
            for name in ('authorization', 'cookie', 'x-hop', 'x-forwarded-for', 'x_own', 'te', 'keep-alive',
                         'connection', 'x-ecolink-region'):
                assert not header(entry, name), f'{name} reached the instance'
            assert cluster.key not in str(entry)
            assert answer.field('server') == 'sluice-sim' and answer.field('x-sim-region') == 'mv', 'not verbatim'
            check_cost(row_of(cluster, answer), 1, 1)
    for status in (404, 429, 500, 503):
        with cluster.client() as client:
            answer = client.request('GET', base + '/x', cluster.key, fields=[('x-sim-script', f'error={status}')])
        assert answer.status == status and answer.json()['error']['code'] == 'simulated', 'not the instance\'s answer'
        assert row_of(cluster, answer)['cost_nano'] == 0


@test('endpoints.proxy-head')
def proxy_head(cluster):
    instance = catalogue(cluster)
    with cluster.client() as client:
        answer = client.request('HEAD', f'/inference-instances/{instance}/proxy/x', cluster.key,
                                fields=[('x-sim-script', 'close')])
        assert answer.status == 200 and answer.body == b''
        assert client.request('GET', '/healthz').status == 200, 'the framing of HEAD is off'


@test('endpoints.proxy-refused')
def proxy_refused(cluster):
    instance = catalogue(cluster)
    base = f'/inference-instances/{instance}/proxy'
    for path in ('', '//x', '/../x', '/a/..', '/%2e%2e/x', '/a%2fb', '/a%5cb', '/%252e', '/%00', '/..;/x', '/%c0%ae',
                 '/a\\b', '/./a', '/a//b'):
        refused(cluster, 404, 'not_found', 'GET', base + path)
    for path in (f'/inference-instances/0{instance}/proxy/x', f'/Inference-instances/{instance}/proxy/x',
                 f'/inference-instances/{instance}/Proxy/x', '/inference-instances/x/proxy/y',
                 f'/v1/inference-instances/{instance}/proxy/x'):
        refused(cluster, 404, 'not_found', 'GET', path)
    refused(cluster, 404, 'model_not_found', 'GET', '/inference-instances/99999/proxy/x')
    refused(cluster, 401, 'not_instance_owner', 'GET', base + '/x', key='other')
    refused(cluster, 401, 'invalid_api_key', 'GET', base + '/x', key=None)
    refused(cluster, 401, 'invalid_api_key', 'GET', base + '/x', key='infer')
    refused(cluster, 405, 'method_not_allowed', 'TRACE', base + '/x')
    refused(cluster, 400, 'invalid_value', 'GET', base + '/x', param='upgrade',
            fields=[('Connection', 'upgrade'), ('Upgrade', 'websocket')])
    for state, status, code in (('stopped', 404, 'model_not_found'), ('credit_depleted', 402, 'credit_depleted'),
                                ('running', 200, None)):
        cluster.ctl('instance', 'set', instance, '--state', state)
        with cluster.client() as client:
            wait_for(lambda: client.request('GET', base + '/x', cluster.key).status == status, 2, state)
            answer = client.request('GET', base + '/x', cluster.key)
            assert code is None or answer.json()['error']['code'] == code, answer


@test('endpoints.proxy-streams', seconds=60)
def proxy_streams(cluster):
    """Both ways at once, in either framing, in a bounded amount of memory."""
    instance = catalogue(cluster)
    echo = Echo()
    base = f'/inference-instances/{instance}/proxy/echo'
    try:
        cluster.put('pod', 'echo', address=net.HOST4, port=echo.port)
        cluster.put('deployment', 'tool-mv', pods=['echo'])
        with cluster.client() as client:
            wait_for(lambda: client.request('GET', base, cluster.key).field('x-kept') == '2', 5)
            answer = client.request('GET', base, cluster.key)
            assert answer.field('set-cookie') is None and answer.field('x-hop') is None and answer.complete
            assert sum(name == 'x-ecolink-region' for name, _ in answer.fields) == 1, answer
            # what a surface says of itself, no instance says; nor is it told
            assert answer.field('x-ecolink-region') == 'mv' and answer.field('x-third-region') == 'of nobody', answer
            assert answer.field('x-other-region') is None and answer.field('x-infer-request-id') is None, answer
            client.request('GET', base, cluster.key, fields=[('X-Other-User', 'root'), ('X-Third-User', 'kept')])
            assert 'x-other-user' not in echo.heads[-1][1] and echo.heads[-1][1]['x-third-user'] == 'kept', echo.heads
        with cluster.client() as client:  # ping and pong inside one request
            client.send(client.head('POST', base, cluster.key, [('Transfer-Encoding', 'chunked')]))
            answer = client.read_head()
            pieces = client.chunks(answer)
            for turn in range(5):
                client.send(b'5\r\nping%d\r\n' % turn)
                assert next(pieces) == b'ping%d' % turn
            client.send(b'0\r\nx-trailer: 1\r\n\r\n')
            assert list(pieces) == [] and answer.complete
        assert 'transfer-encoding' in echo.heads[-1][1] and 'x-trailer' not in echo.heads[-1][1]
        assert not echo.trailers, f'these reached the instance: {echo.trailers}'
        echo.received = 0
        echo.reads.clear()  # the backend takes nothing: neither does the router
        size = 40 << 20
        before = cluster.dataplane_rss_bytes()
        client = cluster.client(timeout=30)
        client.send(client.head('PUT', base, cluster.key, [('Content-Length', str(size))]))
        whole = hashlib.sha256()

        def pieces():
            for _ in range(size >> 16):
                data = os.urandom(1 << 16)
                whole.update(data)
                yield data
        client.pour(pieces())
        stuck = client.pump(0.5)  # less than the backend may be silent
        blocks, after = cluster.counter('pool_blocks_used'), cluster.dataplane_rss_bytes()
        echo.reads.set()
        assert stuck < 12 << 20, f'{stuck} bytes were taken for a backend that takes none'
        assert blocks < 32 and after - before < 16 << 20, (blocks, after - before)
        answer = client.read_head()
        back = hashlib.sha256()
        for piece in client.chunks(answer):
            back.update(piece)
        assert back.digest() == whole.digest() and echo.received == size
        check_cost(row_of(cluster, answer), 1, 1)
        client.close()
    finally:
        cluster.put('deployment', 'tool-mv', pods=['solo'])
        echo.close()


@test('endpoints.proxy-is-sent-once', seconds=60)
def proxy_once(cluster):
    """Another pod is tried while no byte was sent; never after."""
    instance = catalogue(cluster)
    base = f'/inference-instances/{instance}/proxy'
    fault, solo = cluster.backends['fault'], cluster.backends['solo']
    try:
        cluster.put('deployment', 'tool-mv', pods=['nobody', 'solo'])
        for _ in range(4):
            with cluster.client() as client:
                answer = client.request('POST', base + '/x', cluster.key, b'once')
            assert answer.status == 200 and answer.body == b'once', answer
        cluster.put('deployment', 'tool-mv', pods=['fault', 'solo'])
        fault.mark()
        solo.mark()
        seen = []
        for script in ('reset', 'close_early', 'bad_head') * 2:
            with cluster.client() as client:
                seen.append(client.request('POST', base + '/x', cluster.key, b'once',
                                           [('x-sim-script', script)]).status)
        assert seen == [502] * 6, seen

        def served():
            return len(fault.new_served()) + len(solo.new_served())
        wait_for(lambda: served() >= 6, 10, 'a request is not in the log')
        time.sleep(0.2)  # a second time would be there by now
        assert served() == 6, 'one was sent twice'
    finally:
        cluster.put('deployment', 'tool-mv', pods=['solo'])


@test('endpoints.proxy-client-left', seconds=30)
def proxy_client_left(cluster):
    instance = catalogue(cluster)
    solo = cluster.backends['solo']
    base = f'/inference-instances/{instance}/proxy/x'
    solo.mark()
    client = cluster.client()
    client.send(client.head('POST', base, cluster.key, [('Content-Length', '1000000')]) + b'x' * 5000)
    time.sleep(0.2)
    client.reset()
    clock = elapsed()
    entry = solo.wait_served()[0]
    assert clock() < 2 and entry['end'] in ('peer_reset', 'peer_closed'), entry
    with cluster.client(timeout=10) as client:  # who sends nothing is cut by the body's timer
        client.send(client.head('POST', base, cluster.key, [('Content-Length', '1000')]) + b'x')
        clock = elapsed()
        try:
            client.read_head()
            raise AssertionError('there is an answer')
        except Closed:
            assert 2 < clock() < 6, clock()
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 5, 'requests stay behind')


@test('endpoints.all-at-once', seconds=120)
def all_at_once(cluster):
    """Every endpoint side by side on few connections: each answer belongs to its request."""
    instance = catalogue(cluster)
    wrong = []

    def work(number):
        try:
            with cluster.client(timeout=30) as client:
                for turn in range(20):
                    mark = f'{number}-{turn}-{os.urandom(8).hex()}'
                    kind = (number + turn) % 5
                    if kind == 0:
                        body = form((('file', mark.encode() * 1000, 'a'), ('model', 'media')))
                        answer = post_form(client, cluster, body)
                    elif kind == 1:
                        answer = client.request('POST', SPEECH, cluster.key,
                                                {'model': 'media', 'input': sim(f'bytes={1000 + number}', mark)})
                        assert len(answer.body) == 1000 + number
                    elif kind == 2:
                        path = f'/inference-instances/{instance}/proxy/{mark}'
                        answer = client.request('POST', path, cluster.key, mark.encode() * 2000)
                        assert answer.body == mark.encode() * 2000, 'another request\'s bytes'
                    elif kind == 3:
                        answer = client.request('POST', IMAGES, cluster.key,
                                                {'model': 'media', 'prompt': sim(f'bytes={500 + number}', mark)})
                        assert len(answer.json()['data'][0]['b64_json']) == 500 + number
                    else:
                        answer = client.ask(cluster.key, chat(sim(f'tokens={turn}', mark)))
                        assert answer.json()['usage']['completion_tokens'] == turn
                    assert answer.status == 200, answer
        except Exception as why:  # noqa: BLE001
            wrong.append(f'{number}: {why!r}')
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 5, 'requests stay behind')
    assert cluster.counter('pool_blocks_used') == 0
