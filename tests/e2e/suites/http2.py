"""HTTP/2 as clients use it: curl, nghttp, h2load, and a client of bare frames that looks at every one."""
import json
import os
import shutil
import subprocess
import threading
import time

from harness import net
from harness.backend import expected
from harness.client import CHAT, chat, elapsed, sim
from harness.cluster import NAME, PORT
from harness.h2 import (CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE,
                        INTERNAL_ERROR, MAX_CONCURRENT_STREAMS, NO_ERROR, H2Client, block, frame)
from harness.proc import run, wait_for
from harness.suite import Skip, test
from suites import endpoints

FIRST_WINDOW = 65535


def at_rest(cluster):
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 10, 'a request is still under way')


def wanted(cluster, words, model='sim'):
    return expected(cluster.sim, f'{words} model={model}')


@test('http2.curl')
def curl(cluster):
    body = json.dumps(chat(sim('tokens=9')))
    show = ('-w', '\n%{http_code} %{http_version}', '-H', 'content-type: application/json')
    for host in (cluster.host4, cluster.host6):
        for version in (('--tls-max', '1.2'), ('--tlsv1.3',)):
            text = cluster.curl('--http2', *version, *show, '-d', body, f'https://{NAME}{CHAT}', host=host)
            answer, last = text.rsplit('\n', 1)
            assert last == '200 2', f'{host} {version}: {last}'
            assert json.loads(answer)['usage']['completion_tokens'] == 9
    text = cluster.curl('--http2', '-N', *show, '-d', json.dumps(chat(sim('tokens=50 seed=5'), stream=True)),
                        f'https://{NAME}{CHAT}')
    assert text.rsplit('\n', 1)[0].encode() == wanted(cluster, 'tokens=50 seed=5')
    text = cluster.curl('--http2', *show, f'https://{NAME}/v1/models')
    assert text.endswith('\n200 2') and '"sim"' in text
    assert cluster.curl('--http2', '-I', f'https://{NAME}/v1/models').startswith('HTTP/2 405')
    assert cluster.curl('--http1.1', *show, f'https://{NAME}/healthz') == 'ok\n\n200 1.1'


@test('http2.answers')
def answers(cluster):
    """The same words as over HTTP/1.1, but for what frames a message."""
    with H2Client(cluster) as client, cluster.client() as old:
        for method, path, key, body in (('POST', CHAT, cluster.key, chat(sim('tokens=3'))),
                                        ('POST', CHAT, 'eco_wrong', chat()),
                                        ('POST', CHAT, cluster.key, {'messages': []}),
                                        ('POST', CHAT, cluster.key, chat(model='nope')),
                                        ('GET', '/healthz', None, None),
                                        ('GET', '/v1/models', cluster.key, None),
                                        ('GET', '/v1/models/sim', cluster.key, None),
                                        ('GET', '/v1/nothing', cluster.key, None),
                                        ('DELETE', CHAT, cluster.key, None),
                                        ('GET', '/x' * 3000, cluster.key, None)):
            if path != '/x' * 3000:
                first = old.request(method, path, key, body)
                names = {name for name, _ in first.fields} - {'connection', 'transfer-encoding'}
            second = client.request(method, path, key, body)
            if path == '/x' * 3000:
                assert second.status == 414, second
                continue
            assert second.status == first.status, f'{method} {path}: {second} and {first}'
            assert path == '/healthz' or len(second.field('x-request-id') or '') == 32, f'{method} {path}: {second.fields}'
            assert names <= {name for name, _ in second.fields}, f'{path}: {names} {second.fields}'
            if second.status != 200 or not path.endswith('completions'):
                assert second.body == first.body, f'{path}: {second.body} {first.body}'
            assert second.reset in (None, NO_ERROR)
        assert client.settings[MAX_CONCURRENT_STREAMS] == 100
        assert client.settings[INITIAL_WINDOW_SIZE] == 65536
        head = client.request('HEAD', '/v1/models', cluster.key)
        assert head.status == 405 and head.body == b''


@test('http2.events-one-by-one')
def events(cluster):
    """Frames of whole events, as the backend says them (the very turn, and how many: tests/sim/test_turn.c)."""
    with H2Client(cluster) as client:
        since = elapsed()
        stream = client.begin_chat(chat(sim('tokens=5 seed=8 tps=2'), stream=True))
        client.read_until(lambda: stream.frames)
        first = since()
        client.finish(stream)
        # Two seconds lie between them at the backend.
        assert since() - first > 1, f'the first event came after {first:.1f} s, the last after {since():.1f} s'
        assert len(stream.frames) >= 5, f'{len(stream.frames)} frames'
        for piece in stream.frames:
            assert piece.startswith(b'data: ') and piece.endswith(b'\n\n'), piece
        assert stream.body == wanted(cluster, 'tokens=5 seed=8')


@test('http2.100-streams-with-cancels', seconds=90)
def hundred(cluster):
    """Every third is cancelled in the middle; the others are whole, byte by byte."""
    before = cluster.counter('client_aborts')
    cancelled = cancel_a_third(cluster)
    at_rest(cluster)
    assert cluster.counter('client_aborts') - before == cancelled


def cancel_a_third(cluster):
    with H2Client(cluster, timeout=40) as client:
        streams = []
        for number in range(100):
            tokens = 40 + number if number % 3 else 100000
            words = f'tokens={tokens} seed={number} tps=50'
            streams.append((words, client.begin_chat(chat(sim(words), model='patient', stream=True))))
        cancelled = streams[::3]
        client.read_until(lambda: all(stream.frames for _, stream in streams))
        for _, stream in cancelled:
            client.cancel(stream)
        for words, stream in streams:
            if stream.reset == CANCEL:
                continue
            client.finish(stream)
            assert stream.complete and stream.body == wanted(cluster, words.replace(' tps=50', ''), 'patient'), \
                f'{words}: {stream.status} {stream.reset} {len(stream.body)} bytes, {stream.body[-200:]}'
        assert client.ping()
    return len(cancelled)


@test('http2.cancel-reaches-the-backend')
def cancel(cluster):
    backend = cluster.backends['solo']
    backend.mark()
    with H2Client(cluster) as client:
        stream = client.begin_chat(chat(sim('tokens=1000 tps=50'), model='solo', stream=True))
        client.read_until(lambda: len(stream.frames) > 2)
        client.cancel(stream)
        since = elapsed()
        entry = backend.wait_served()[0]
        assert since() < 2 and entry['end'] == 'peer_reset', entry
        assert client.request('GET', '/healthz').status == 200
    at_rest(cluster)


@test('http2.a-cut-stream-never-looks-complete')
def cut(cluster):
    with H2Client(cluster) as client:
        other = client.begin_chat(chat(sim('tokens=100 seed=7 tps=50'), stream=True))
        stream = client.begin_chat(chat(sim('tokens=50 reset_after=10'), model='fault', stream=True))
        client.finish(stream)
        assert stream.status == 200 and not stream.complete and stream.reset == INTERNAL_ERROR, stream.reset
        assert b'"upstream_failed"' in stream.body.split(b'\n\n')[-2], stream.body[-300:]
        assert b'[DONE]' not in stream.body
        client.finish(other)
        assert other.complete and other.body == wanted(cluster, 'tokens=100 seed=7'), 'another stream suffered'
    wait_for(lambda: cluster.pod_is_up('fault'), 10)


@test('http2.windows-are-kept')
def windows(cluster):
    """A stream whose window is shut waits alone, and its backend with it."""
    with H2Client(cluster, credit=False) as client:
        shut = client.begin_chat(chat(sim('tokens=600 event_bytes=1000 seed=1'), model='solo', stream=True))
        client.read_until(lambda: len(shut.body) == FIRST_WINDOW)
        assert client.ping() and len(shut.body) == FIRST_WINDOW, 'more than the window allows'
        # The connection's window is used up as well: it opens for the other stream alone.
        client.send(frame(8, 0, 0, (1 << 20).to_bytes(4, 'big')))
        other = client.request('POST', CHAT, cluster.key, chat(sim('tokens=20 seed=3'), stream=True))
        assert other.complete and other.body == wanted(cluster, 'tokens=20 seed=3')
        assert len(shut.body) == FIRST_WINDOW
        client.send(frame(8, 0, shut.number, (1 << 30).to_bytes(4, 'big')) +
                    frame(8, 0, 0, (1 << 30).to_bytes(4, 'big')))
        client.finish(shut)
        assert shut.complete and shut.body == wanted(cluster, 'tokens=600 event_bytes=1000 seed=1', 'solo')


@test('http2.large-bodies')
def large(cluster):
    """A request of megabytes through our windows, an answer of megabytes through the client's."""
    text = 'x' * 3000000
    path = os.path.join(cluster.root, 'large.json')
    with open(path, 'w', encoding='ascii') as file:
        json.dump(chat(sim('tokens=2', text=text)), file)
    show = ('-w', '\n%{http_code} %{http_version}', '-H', 'content-type: application/json')
    answer = cluster.curl('--http2', *show, '--data-binary', f'@{path}', f'https://{NAME}{CHAT}')
    assert answer.endswith('\n200 2'), answer[-200:]
    assert json.loads(answer.rsplit('\n', 1)[0])['usage']['prompt_tokens'] > 100000
    with H2Client(cluster) as client:
        stream = client.ask(cluster.key, chat(sim('tokens=1000 event_bytes=1000 seed=2'), stream=True))
        assert stream.complete and stream.body == wanted(cluster, 'tokens=1000 event_bytes=1000 seed=2')


@test('http2.beside-http1', seconds=90)
def beside(cluster):
    """Both versions at once, to the same pods."""
    wrong = []

    def over_1():
        for number in range(30):
            with cluster.client() as client:
                if client.ask(cluster.key, chat(sim(f'tokens=30 seed={number}'), stream=True)).body != \
                        wanted(cluster, f'tokens=30 seed={number}'):
                    wrong.append(('1.1', number))

    def over_2():
        with H2Client(cluster) as client:
            streams = [(number, client.begin_chat(chat(sim(f'tokens=30 seed={number}'), stream=True)))
                       for number in range(60)]
            for number, stream in streams:
                if client.finish(stream).body != wanted(cluster, f'tokens=30 seed={number}'):
                    wrong.append(('2', number))

    threads = [threading.Thread(target=target) for target in (over_1, over_2, over_1, over_2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def pour(client, stream, data, until):
    """Sends as the stream's window allows, and reads what comes, until so many bytes were sent or nothing moves."""
    sent = moved = 0
    while sent < until:
        size = min(stream.window, 16384, until - sent)
        if size > 0:
            client.send(frame(DATA, 0, stream.number, data[sent:sent + size]))
            sent, stream.window, moved = sent + size, stream.window - size, 0
        # Two answers to pings without a byte more: the router has seen all, and asks for none.
        elif moved == 2:
            break
        else:
            moved += 1
            client.ping()
            time.sleep(0.2)
        while client.socket.pending():
            client.read_frame()
    return sent


@test('http2.bodies-wait-for-their-backend', seconds=90)
def bodies_wait(cluster):
    """Ping and pong inside one stream; and a body that its backend does not take waits alone, for itself."""
    instance = endpoints.catalogue(cluster)
    base = f'/inference-instances/{instance}/proxy/echo'
    echo = endpoints.Echo()
    try:
        cluster.put('pod', 'echo', address=net.HOST4, port=echo.port)
        cluster.put('deployment', 'tool-mv', pods=['echo'])
        with H2Client(cluster, timeout=30) as client:
            wait_for(lambda: client.request('GET', base, cluster.key).field('x-kept') == '2', 5)
            stream = client.new_stream()
            client.send(frame(HEADERS, END_HEADERS, stream.number, block(client.fields('POST', base, cluster.key))))
            for turn in range(5):
                client.send(frame(DATA, END_STREAM if turn == 4 else 0, stream.number, b'ping%d' % turn))
                client.read_until(lambda: stream.body.endswith(b'ping%d' % turn))
            assert client.finish(stream).complete and stream.body == b'ping0ping1ping2ping3ping4'
            data = os.urandom(24 << 20)
            echo.received = 0
            echo.reads.clear()
            stream = client.new_stream()
            head = client.fields('PUT', base, cluster.key) + [('content-length', str(len(data)))]
            client.send(frame(HEADERS, END_HEADERS, stream.number, block(head)))
            sent = pour(client, stream, data, len(data))
            blocks = cluster.counter('pool_blocks_used')
            assert sent < 12 << 20, f'{sent} bytes were taken for a backend that takes none'
            assert blocks < 32, f'{blocks} blocks are held'
            other = client.request('POST', CHAT, cluster.key, chat(sim('tokens=20 seed=3'), stream=True))
            assert other.complete and other.body == wanted(cluster, 'tokens=20 seed=3')
            echo.reads.set()
            while sent < len(data):
                client.read_until(lambda: stream.window > 0)
                sent += pour(client, stream, memoryview(data)[sent:], min(stream.window, len(data) - sent))
            client.send(frame(DATA, END_STREAM, stream.number))
            client.finish(stream)
            assert stream.complete and stream.body == data and echo.received == len(data)
    finally:
        cluster.put('deployment', 'tool-mv', pods=['solo'])
        echo.close()


def have(program):
    if not shutil.which(program):
        raise Skip(f'{program} is not installed')


@test('http2.nghttp')
def nghttp(cluster):
    have('nghttp')
    path = os.path.join(cluster.root, 'nghttp.json')
    with open(path, 'w', encoding='ascii') as file:
        json.dump(chat(sim('tokens=5 seed=9'), stream=True), file)
    text = run('nghttp', '-v', '-m', '20', '-t', '20', '-H', f':authority: {NAME}', '-H',
               f'authorization: Bearer {cluster.key}', '-H', 'content-type: application/json', '-d', path,
               f'https://{cluster.host4}:{PORT}{CHAT}')
    assert text.count(':status: 200') == 20, text[-2000:]
    assert text.count('[DONE]') == 20 and 'RST_STREAM' not in text


def load_in_background(cluster, requests, clients, *options):
    """h2load with a stream of ten events for each request. It maps its file: one of its own, that nobody writes again."""
    path = os.path.join(cluster.root, f'h2load-{requests}.json')
    with open(path, 'w', encoding='ascii') as file:
        json.dump(chat(sim('tokens=10 seed=9'), model='patient', stream=True), file)
    return subprocess.Popen(['h2load', '-n', str(requests), '-c', str(clients), *options, '-d', path, '-H',
                             f'authorization: Bearer {cluster.key}', '-H', 'content-type: application/json',
                             f'--connect-to={cluster.host4}:{PORT}', f'https://{NAME}:{PORT}{CHAT}'],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def check_load(load, requests):
    text = load.communicate(timeout=60)[0]
    said = text[max(text.find('requests:'), 0):]
    assert f'{requests} done, {requests} succeeded, 0 failed, 0 errored' in said, said
    assert f'{requests} 2xx' in said, said


@test('http2.h2load', seconds=90)
def h2load(cluster):
    """100 streams on each connection; none fails."""
    have('h2load')
    check_load(load_in_background(cluster, 1600, 4, '-m', '100'), 1600)


@test('http2.h2load-beside-others', seconds=120)
def h2load_mixed(cluster):
    """h2load with 100 streams on a connection and over HTTP/1.1, beside 100 streams of which a third is cancelled."""
    have('h2load')
    loads = [load_in_background(cluster, 600, 1, '-m', '100'), load_in_background(cluster, 200, 10, '--h1')]
    try:
        cancel_a_third(cluster)
        check_load(loads[0], 600)
        check_load(loads[1], 200)
    finally:
        for load in loads:
            load.kill()
            load.wait()
    at_rest(cluster)


@test('http2.1000-requests-then-goaway', seconds=90)
def thousand(cluster):
    with H2Client(cluster) as client:
        assert client.request('GET', '/v1/models', client.key).status == 200  # who has no key has fewer at once
        for count in [99] + [100] * 9:
            for stream in [client.begin('GET', '/healthz') for _ in range(count)]:
                assert client.finish(stream).status == 200
        last, code = client.read_until_closed()
        assert (last, code) == (1999, NO_ERROR), (last, code)


@test('http2.drain')
def drain(cluster):
    """SIGTERM: GOAWAY at once, what runs has its time, new connections go elsewhere."""
    with H2Client(cluster) as client, H2Client(cluster) as idle:
        assert idle.ping()
        stream = client.begin_chat(chat(sim('tokens=20 seed=6 tps=50'), stream=True))
        client.read_until(lambda: stream.frames)
        cluster.dataplane.child.terminate()
        assert idle.read_until_closed()[1] == NO_ERROR
        client.finish(stream)
        assert stream.complete and stream.body == wanted(cluster, 'tokens=20 seed=6')
        assert client.read_until_closed() == (stream.number, NO_ERROR)
    assert cluster.dataplane.child.wait(10) == 0
    cluster.start_dataplane()


@test('http2.curl-gets-early-answers', seconds=60)
def curl_early(cluster):
    """It drops an answer whose stream is reset while it still sends, so that the reset comes later."""
    path = os.path.join(cluster.root, 'early.json')
    for size, key, status, count in ((70, 'eco_wrong', '401', 40), (1 << 20, 'eco_wrong', '401', 5),
                                     (36 << 20, None, '413', 2)):
        with open(path, 'w', encoding='ascii') as file:
            file.write('x' * size)
        for _ in range(count):
            text = cluster.curl('--http2', '-w', '%{http_code}', '-H', 'content-type: application/json',
                                '--data-binary', f'@{path}', f'https://{NAME}{CHAT}', key=key)
            assert text.endswith('}' + status) and '"error"' in text, f'{size} bytes: {text[-200:]}'


@test('http2.early-answer')
def early(cluster):
    """An answer before the request is whole: the rest of it is not wanted, and the connection goes on."""
    with H2Client(cluster) as client:
        stream = client.new_stream()
        client.send(frame(HEADERS, END_HEADERS, stream.number, block_of(client, 'eco_wrong', 50000)) +
                    frame(DATA, 0, stream.number, b'x' * 1000))
        client.finish(stream)
        client.read_until(lambda: stream.reset is not None)
        assert stream.status == 401 and stream.complete and stream.reset == NO_ERROR
        client.send(frame(DATA, 0, stream.number, b'x' * 1000))
        assert client.request('GET', '/healthz').status == 200
        # What still comes of the request ends it in peace.
        stream = client.new_stream()
        client.send(frame(HEADERS, END_HEADERS, stream.number, block_of(client, 'eco_wrong', 2000)) +
                    frame(DATA, 0, stream.number, b'x' * 1000))
        client.read_until(lambda: stream.complete)
        client.send(frame(DATA, END_STREAM, stream.number, b'x' * 1000))
        time.sleep(3.5)  # longer than its reset would take
        assert client.request('GET', '/healthz').status == 200 and stream.reset is None
        # Only a part of the body, and nothing more: the client is slow (3 s), not the connection.
        slow = client.new_stream()
        client.send(frame(HEADERS, END_HEADERS, slow.number, block_of(client, cluster.key, 100)) +
                    frame(DATA, 0, slow.number, b'{"model":'))
        client.finish(slow)
        assert slow.reset == CANCEL and slow.status is None
        assert client.request('GET', '/healthz').status == 200


def block_of(client, key, length):
    return block(client.fields('POST', CHAT, key, (), length))


@test('http2.expect-continue')
def expect(cluster):
    with H2Client(cluster) as client:
        body = json.dumps(chat(sim('tokens=1'))).encode()
        stream = client.new_stream()
        client.send(frame(HEADERS, END_HEADERS, stream.number, block(client.fields(
            'POST', CHAT, cluster.key, (('expect', '100-continue'),), len(body)))))
        client.read_until(lambda: stream.interim)
        client.send(frame(DATA, END_STREAM, stream.number, body))
        assert stream.interim == [100] and client.finish(stream).status == 200


@test('http2.client-leaves')
def leaves(cluster):
    """A connection that ends takes all its requests with it, and they are billed as far as they went."""
    at_rest(cluster)
    before = cluster.counter('client_aborts')
    for how in ('fin', 'tcp'):
        client = H2Client(cluster)
        streams = [client.begin_chat(chat(sim('tokens=1000 tps=50'), stream=True)) for _ in range(10)]
        client.read_until(lambda: all(stream.frames for stream in streams))
        if how == 'fin':
            client.socket.shutdown(1)
        client.close()
        at_rest(cluster)
    assert cluster.counter('client_aborts') - before == 20
