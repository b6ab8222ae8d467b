"""Answers event by event: whole streams, slow readers, and streams that break on either side."""
import json
import time
from contextlib import suppress

from harness.backend import expected
from harness.client import CHAT, Closed, chat, elapsed, sim
from harness.proc import wait_for
from harness.suite import test

QUEUED_BYTES_MAX = 256 * 1024
# A window counts bytes, and a segment of a few events does not fill its packet.
HELD_BYTES_MAX = 2 * QUEUED_BYTES_MAX
PACKET_BYTES = 2048


def wait_fault_pod(cluster):
    """After a fault the pod may be down until the next good probe."""
    def works():
        with cluster.client() as client:
            return client.ask(cluster.key, chat(sim('tokens=1'), model='fault')).status == 200
    wait_for(works, 10, 'the pod of the fault tests does not come back')


def packets_at_rest(cluster):
    """Packet buffers in use when no request is under way."""
    wait_for(lambda: cluster.counter('pool_exchanges_used') + cluster.counter('pool_clients_used') == 0, 10,
             'something is still under way')
    return cluster.counter('pool_packets_used')


@test('streams.20000-events')
def twenty_thousand(cluster):
    body = chat(sim('tokens=20000 seed=42'), stream=True)
    content = len(body['messages'][0]['content'])
    with cluster.client() as client:
        response = client.begin(cluster.key, body)
        count = sum(1 for _ in client.read_events(response))
        assert response.status == 200 and response.field('content-type').startswith('text/event-stream')
        wanted = expected(cluster.sim, f'tokens=20000 seed=42 model=sim prompt_bytes={content}')
        assert count == 20003, f'{count} events'
        assert response.body == wanted, 'the bytes differ'
        assert client.request('GET', '/healthz').status == 200, 'the connection lives on'


@test('streams.usage-passes-byte-for-byte')
def with_usage(cluster):
    for words in ('tokens=500 seed=3', 'tokens=500 seed=4 frame=11', 'tokens=40 event_bytes=20000',
                  'tokens=300 chunk=5 no_done', 'tokens=0'):
        body = chat(sim(words), stream=True, stream_options={'include_usage': True})
        content = len(body['messages'][0]['content'])
        with cluster.client() as client:
            response = client.ask(cluster.key, body)
        wanted = expected(cluster.sim, f'{words} usage model=sim prompt_bytes={content}')
        assert response.body == wanted, words
        body.pop('stream_options')
        with cluster.client() as client:
            response = client.ask(cluster.key, body)
        assert response.body == expected(cluster.sim, f'{words} model=sim'), f'{words}, not asked for usage'


@test('streams.running-usage')
def running_usage(cluster):
    """Of a pod marked so, every event is asked to carry usage, and none of it is seen."""
    cluster.put('pod', 'fault2', running_usage=True)
    cluster.model('running', tx=['fault2'])
    backend = cluster.backends['fault2']
    try:
        with cluster.client() as client:
            wait_for(lambda: client.ask(cluster.key, chat(model='running')).status == 200, 5)
            backend.mark()
            response = client.ask(cluster.key, chat(sim('tokens=9'), model='running', stream=True))
            assert response.body == expected(cluster.sim, 'tokens=9 model=running')
    finally:
        cluster.put('pod', 'fault2', running_usage=False)


@test('streams.slow-reader', seconds=90)
def slow_reader(cluster):
    """One byte a second: the router holds a bounded piece of a stream of megabytes, the backend the rest."""
    backend = cluster.backends['solo']
    backend.mark()
    idle = packets_at_rest(cluster)
    client = cluster.client(window=4096, timeout=10)
    client.begin(cluster.key, chat(sim('tokens=200000'), model='solo', stream=True))
    taken = []
    for _ in range(6):
        taken.append(len(client.socket.recv(1)))
        time.sleep(1)
    queued = max(worker['tcp_unacked_bytes_max'] for worker in cluster.workers_counters())
    assert 0 < queued <= QUEUED_BYTES_MAX, f'{queued} bytes wait for one client'
    held = (cluster.counter('pool_packets_used') - idle) * PACKET_BYTES
    assert held <= HELD_BYTES_MAX, f'{held} bytes of packets are held on both sides together'
    with cluster.client() as other:
        assert other.ask(cluster.key, chat(model='solo')).status == 200
    client.reset()
    entries = wait_for(lambda: [e for e in backend.new_served() if e['stream']], 5,
                       'the backend still serves a reader that has left')
    assert entries[0]['end'] == 'peer_reset' and entries[0]['events'] < 30000, entries[0]


@test('streams.slow-reader-gets-everything')
def slow_but_whole(cluster):
    body = chat(sim('tokens=20000 seed=5'), stream=True)
    with cluster.client(window=4096, timeout=30) as client:
        response = client.begin(cluster.key, body)
        time.sleep(1.5)
        try:
            for _ in client.read_events(response):
                pass
        except Closed as how:
            raise AssertionError(f'{how} behind {len(response.body)} bytes: {response.body[-300:]}') from how
    assert response.body == expected(cluster.sim, 'tokens=20000 seed=5 model=sim')


@test('streams.slow-but-steady-readers', seconds=120)
def slow_but_steady(cluster):
    """Who takes a little all the time is not cut by the timer between events, which is the backend's; and of a stream
    that its backend cut long ago takes all that came before, and the reason."""
    wait_fault_pod(cluster)
    words = 'tokens=20000 seed=6'
    with cluster.client(window=4096, timeout=30) as client, cluster.client(window=4096, timeout=30) as other:
        response = client.begin(cluster.key, chat(sim(words), stream=True))
        broken_off = other.begin(cluster.key, chat(sim(f'{words} reset_after=600'), model='fault', stream=True))
        for _ in range(26):
            client.buffer += client.receive(2000)
            other.buffer += other.receive(2000)
            time.sleep(0.3)
        with suppress(Closed):
            other.read_body(broken_off)
        client.read_body(response)
    assert response.complete and response.body == expected(cluster.sim, f'{words} model=sim')
    events = broken_off.body.split(b'\n\n')
    assert len(events) > 100 and events[-2].startswith(b'data: {"error":'), broken_off.body[-400:]
    assert not broken_off.complete and 'upstream_failed' in str(events[-2]), events[-2]


@test('streams.client-gone')
def client_gone(cluster):
    """The backend is told within a second over a real wire; within the turn: tests/sim/test_turn.c."""
    backend = cluster.backends['solo']
    for leave in ('reset', 'close'):
        backend.mark()
        client = cluster.client()
        response = client.begin(cluster.key,
                                chat(sim('tokens=100000 tps=200'), model='solo', stream=True))
        events = client.read_events(response)
        for _ in range(10):
            next(events)
        clock = elapsed()
        getattr(client, leave)()
        entry = backend.wait_served(1, 3)[0]
        assert clock() < 1, f'{leave}: the backend learned it after {clock():.2f} s'
        assert entry['end'] == 'peer_reset', f'{leave}: {entry["end"]}'
    backend.mark()
    client = cluster.client()
    body = json.dumps(chat(sim('ttft=2s'), model='solo')).encode()
    client.send(client.head('POST', CHAT, cluster.key, length=len(body)) + body)
    time.sleep(0.3)
    client.reset()
    assert backend.wait_served(1, 1)[0]['end'] == 'peer_reset', 'gone before the answer began'


def broken(cluster, words, timeout=10):
    """A stream that breaks: its events, and how the connection ended."""
    wait_fault_pod(cluster)
    with cluster.client(timeout=timeout) as client:
        response = client.begin(cluster.key, chat(sim(words), model='fault', stream=True))
        assert response.status == 200, response
        events = []
        try:
            for event in client.read_events(response):
                events.append(event)
        except Closed as how:
            return response, events, how
        raise AssertionError(f'{words}: a broken stream looks complete: {response.body[-200:]}')


@test('streams.backend-gone')
def backend_gone(cluster):
    for words in ('tokens=100 reset_after=5', 'tokens=100 close_after=5', 'tokens=100 bad_chunk=5'):
        response, events, _ = broken(cluster, words)
        assert len(events) == 6, f'{words}: {len(events)} events'
        assert all(b'"delta"' in event for event in events[:5])
        last = events[5]
        assert last.startswith(b'data: {"error":'), f'{words}: {last}'
        error = json.loads(last[6:])['error']
        assert error['type'] == 'server_error' and error['code'] == 'upstream_failed', error
        assert b'[DONE]' not in response.body and not response.complete


@test('streams.backend-silent', seconds=90)
def backend_silent(cluster):
    clock = elapsed()
    response, events, _ = broken(cluster, 'tokens=100 hang_after=5')
    assert 2.5 < clock() < 6, f'cut after {clock():.1f} s; three were configured'
    assert len([e for e in events if not e.startswith(b':')]) == 6
    assert json.loads(events[-1][6:])['error']['code'] == 'upstream_timeout', events[-1]
    assert b'[DONE]' not in response.body


@test('streams.keep-alive-comments')
def keep_alive_comments(cluster):
    with cluster.client() as client:
        response = client.begin(cluster.key,
                                chat(sim('tokens=3 first_event=2500ms'), stream=True))
        events = list(client.read_events(response))
    comments = [event for event in events if event.startswith(b':')]
    assert comments and all(event == b': keep-alive\n\n' for event in comments), events[:3]
    data = b''.join(event for event in events if not event.startswith(b':'))
    assert data == expected(cluster.sim, 'tokens=3 model=sim')


@test('streams.whole-answers-that-break', seconds=120)
def whole_that_break(cluster):
    """Nothing sent yet: 502 or 504. Something sent: cut, never a short answer that looks whole."""
    cases = (('reset', 502), ('close_early', 502), ('bad_head', 502), ('endless_headers', 502), ('hang', 504),
             ('informational=100000', 502))
    for words, status in cases:
        wait_fault_pod(cluster)
        with cluster.client(timeout=15) as client:
            answer = client.ask(cluster.key, chat(sim(words), model='fault'))
            assert answer.status == status, f'{words}: {answer}'
            code = 'upstream_timeout' if status == 504 else 'upstream_failed'
            assert answer.json()['error']['code'] == code, f'{words}: {answer}'
            assert client.request('GET', '/healthz').status == 200, f'{words}: the connection is good'
    wait_fault_pod(cluster)
    for words in ('tokens=5 long_length=10', 'tokens=100000 close_after_headers'):
        with cluster.client(timeout=15) as client:
            try:
                answer = client.ask(cluster.key, chat(sim(words), model='fault'))
                assert answer.status == 502, f'{words}: {answer.status} {len(answer.body)} bytes'
            except Closed:
                pass
        wait_fault_pod(cluster)


@test('streams.odd-answers')
def odd_answers(cluster):
    """What is allowed, or harmless once the connection is given up."""
    text = expected(cluster.sim, 'tokens=9 model=fault', is_stream=False)
    for words in ('informational=3', 'chunked', 'chunked frame=3', 'until_close', 'close', 'extra_bytes=100'):
        wait_fault_pod(cluster)
        content = sim(f'tokens=9 prompt_tokens=0 {words}')
        with cluster.client() as client:
            answer = client.ask(cluster.key, chat(content, model='fault'))
            assert answer.status == 200 and answer.complete, f'{words}: {answer}'
            assert answer.body == text, f'{words}: {answer.body[:300]}'
            again = client.ask(cluster.key, chat(content, model='fault'))
            assert again.status == 200 and again.body == text, f'{words}, the second time: {again}'


@test('streams.500-at-once', seconds=90)
def five_hundred(cluster):
    """Five hundred streams that begin and run together, each with a text of its own, each whole."""
    clients = [cluster.client(timeout=40) for _ in range(500)]
    for number, client in enumerate(clients):
        body = json.dumps(chat(sim(f'tokens=40 tps=20 seed={number}'), stream=True)).encode()
        client.send(client.head('POST', CHAT, cluster.key, length=len(body)) + body)
    for number, client in enumerate(clients):
        response = client.read_head()
        assert response.status == 200, response
        for _ in client.read_events(response):
            pass
        assert response.body == expected(cluster.sim, f'tokens=40 seed={number} model=sim no_usage'), number
        client.close()
