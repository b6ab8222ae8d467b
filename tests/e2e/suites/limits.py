"""Rate limits, exact although the workers do not talk to each other; and every bound where it is configured."""
import json
import socket
import threading
import time

from harness.client import Closed, chat, elapsed, sim
from harness.proc import wait_for
from harness.h2 import H2Client
from harness.suite import test
from suites.routing import pod, scripted


def in_parallel(cluster, key, count):
    """Answers to count requests sent at once over connections of their own."""
    clients = [cluster.client(timeout=30) for _ in range(count)]
    together = threading.Barrier(count)
    answers = []

    def ask(client):
        together.wait()
        answers.append(client.ask(key, chat(sim('tokens=1'))))
        client.close()
    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@test('limits.burst-is-exact')
def burst_is_exact(cluster):
    """The limit's clock is one a minute, so that the burst of 60 does not grow while the test runs."""
    answers = in_parallel(cluster, cluster.new_key(plan='burst'), 100)
    passed = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(passed) + len(refused) == 100, sorted(answer.status for answer in answers)
    assert len(passed) == 60, f'{len(passed)} of 100 passed'
    for answer in refused:
        assert answer.json()['error']['code'] == 'rate_limit_exceeded'
        assert 0 < int(answer.field('retry-after')) <= 60
        assert answer.field('x-ratelimit-remaining-requests') == '0'
        assert answer.field('x-ratelimit-limit-requests') == passed[0].field('x-ratelimit-limit-requests')
    assert all(0 <= int(answer.field('x-ratelimit-remaining-requests')) < 60 for answer in passed)
    per_worker = [worker['refused_rate'] + worker['answers_2xx'] for worker in cluster.workers_counters()]
    assert all(count > 0 for count in per_worker), f'one worker had it all: {per_worker}'


@test('limits.sixty-a-minute')
def sixty_a_minute(cluster):
    """With the plan of one a second, what passes beyond the burst is what the time gave."""
    start = time.monotonic()
    answers = in_parallel(cluster, cluster.new_key(plan='minute'), 100)
    seconds = time.monotonic() - start
    passed = sum(answer.status == 200 for answer in answers)
    assert 60 <= passed <= 60 + int(seconds), f'{passed} of 100 in {seconds:.2f} s'


@test('limits.both-versions-share')
def both_versions_share(cluster):
    """One cell for a key, whichever HTTP its connections speak."""
    key = cluster.new_key(plan='burst')
    with cluster.client() as one, H2Client(cluster) as two:
        for _ in range(30):
            for client in (one, two):
                assert client.request('GET', '/v1/models', key).status == 200
        for client in (one, two):
            assert client.request('GET', '/v1/models', key).status == 429


@test('limits.keys-are-apart')
def keys_are_apart(cluster):
    spent, fresh = cluster.new_key(plan='burst'), cluster.new_key(plan='burst')
    with cluster.client() as client:
        for _ in range(60):
            assert client.request('GET', '/v1/models', spent).status == 200
        assert client.request('GET', '/v1/models', spent).status == 429
        assert client.request('GET', '/v1/models', fresh).status == 200
        answer = client.ask(spent, b'no json at all')
        assert answer.status == 429, 'the limit comes before the body'


@test('limits.in-flight')
def in_flight(cluster):
    """Of an account, whichever of its keys asks; what is refused or has ended does not count."""
    cluster.put('plan', 'pair', requests_per_minute=6000000, concurrent_requests=2)
    cluster.put('account', 'pair')
    cluster.top_up('pair', 10)
    key, same_account = cluster.new_key('pair', 'pair'), cluster.new_key('pair', 'pair')
    slow = chat(sim('tokens=10000 tps=20'), stream=True)
    streams = [cluster.client(timeout=30) for _ in range(2)]
    with cluster.client() as client:
        try:
            for stream in streams:
                assert stream.begin(key, slow).status == 200
            for other in (key, same_account):
                for _ in range(3):
                    answer = client.ask(other, chat())
                    assert answer.status == 429, answer
                    assert answer.json()['error']['code'] == 'rate_limit_exceeded'
                    assert answer.field('retry-after') == '1'
            assert client.request('GET', '/v1/models', key).status == 200, 'the list is no request in flight'
            streams.pop().close()
            wait_for(lambda: client.ask(same_account, chat()).status == 200, 5, 'the slot does not come back')
            assert client.ask(key, chat()).status == 200
        finally:
            for stream in streams:
                stream.close()
        wait_for(lambda: len({client.ask(key, chat()).status for _ in range(3)} - {200}) == 0, 5, 'a slot is lost')


def verdicts(cluster, name):
    for metric, labels, value in cluster.admin.metrics():
        if metric == 'sluice_dataplane_verdicts_total' and labels['verdict'] == name:
            return int(value)
    raise AssertionError(f'there is no verdict {name}')


@test('limits.requests-of-a-connection', seconds=90)
def requests_of_a_connection(cluster):
    """The thousandth answer says that it is the last one, and it is."""
    with cluster.client() as client:
        for number in range(1, 1001):
            answer = client.request('GET', '/healthz')
            assert answer.status == 200
            assert (answer.field('connection') == 'close') == (number == 1000), f'answer {number}'
        assert client.is_closed()


@test('limits.handshakes')
def handshakes(cluster):
    """Of each worker 48 of one network, and 64 of all: more push out their own oldest, and who has something to say gets in."""
    before = {name: verdicts(cluster, name) for name in ('SOURCE_HANDSHAKES_FULL', 'HANDSHAKES_FULL')}
    gone = lambda name: verdicts(cluster, name) - before[name]  # noqa: E731
    silent = [cluster.client(connect_tls=False) for _ in range(200)]
    try:
        wait_for(lambda: gone('SOURCE_HANDSHAKES_FULL') >= 200 - 48 * cluster.workers, 3, 'a network has more than it may have')
        assert gone('HANDSHAKES_FULL') == 0, 'there was room for all'
        assert silent[0].is_closed(1), 'the oldest one is still there'
        others = [cluster.client(cluster.host6, connect_tls=False) for _ in range(200)]
        silent += others
        wait_for(lambda: gone('HANDSHAKES_FULL') >= 200 - 16 * cluster.workers, 3, 'there are more than there may be')
        assert others[0].is_closed(1) and not silent[199].is_closed(0.1), 'a network with its share pushes others out'
        for host in (cluster.host4, cluster.host6):
            with cluster.client(host) as client:
                assert client.ask(cluster.key, chat()).status == 200
    finally:
        for client in silent:
            client.close()


@test('limits.trickled-body')
def trickled_body(cluster):
    """A byte now and then beats the time between bytes and not the rate: cut off after the grace of four seconds."""
    clock = elapsed()
    with cluster.client(timeout=15) as client:
        client.send(client.head('POST', '/v1/chat/completions', cluster.key, length=100000))
        try:
            while clock() < 12:
                client.send(b' ')
                time.sleep(0.3)
        except (OSError, Closed):
            pass
    assert 3.8 < clock() < 8, f'after {clock():.1f} s'
    # A body at the least rate and no faster passes: 4 KiB/s for six seconds.
    body = json.dumps(chat(sim('tokens=1', 'x' * 26000))).encode()
    with cluster.client(timeout=15) as client:
        client.send(client.head('POST', '/v1/chat/completions', cluster.key, length=len(body)))
        for at in range(0, len(body), 2100):
            client.send(body[at:at + 2100])
            time.sleep(0.5)
        answer = client.read_head()
        assert answer.status == 200, answer


# ---- the layout "tight": each bound is met by itself, and is the configured one


def status_of(cluster, path='/healthz', fields=()):
    with cluster.client() as client:
        try:
            return client.request('GET', path, cluster.key, fields=fields).status
        except Closed:
            return 'closed'


@test('limits.heads-as-configured', layout='tight')
def heads_as_configured(cluster):
    """A request line of 200 bytes, a field of 300, 12 fields, a head of 1 KiB; five requests of a connection."""
    assert status_of(cluster, '/healthz?' + 'x' * 160) == 200
    assert status_of(cluster, '/healthz?' + 'x' * 200) == 414
    assert status_of(cluster, fields=[('a', 'x' * 280)]) == 200
    assert status_of(cluster, fields=[('a', 'x' * 310)]) == 431
    many = [(f'a{number}', 'x') for number in range(11)]
    assert status_of(cluster, fields=many[:10]) == 200  # Host and Authorization are two
    assert status_of(cluster, fields=many) == 431
    assert status_of(cluster, fields=[(name, 'x' * 190) for name in 'abcd']) == 200
    assert status_of(cluster, fields=[(name, 'x' * 230) for name in 'abcd']) == 431
    with cluster.client() as client:
        for number in range(1, 6):
            answer = client.request('GET', '/healthz')
            assert (answer.field('connection') == 'close') == (number == 5), f'answer {number}'
        assert client.is_closed()


@test('limits.bodies-as-configured', layout='tight')
def bodies_as_configured(cluster):
    """Six brackets deep, eight members on top; a body has five seconds however fast it comes."""
    def ask(**more):
        with cluster.client() as client:
            return client.ask(cluster.key, chat(**more)).status
    nested = []
    for _ in range(4):
        nested = [nested]
    assert ask(x=nested) == 200
    assert ask(x=[nested]) == 400
    assert ask(**{f'x{number}': 1 for number in range(6)}) == 200
    assert ask(**{f'x{number}': 1 for number in range(7)}) == 400
    clock = elapsed()
    with cluster.client(timeout=15) as client:
        client.send(client.head('POST', '/v1/chat/completions', cluster.key, length=1000000))
        try:
            while clock() < 12:
                client.send(b' ' * 4096)
                time.sleep(0.2)
        except (OSError, Closed):
            pass
    assert 4.9 < clock() < 7.9, f'after {clock():.1f} s'


@test('limits.times-as-configured', layout='tight')
def times_as_configured(cluster):
    """idle, request, upstream_idle and stall, each by itself; and a line of a stream that is too long."""
    with cluster.client() as client:
        assert client.ask(cluster.key, chat()).status == 200
        assert cluster.counter('pool_upstreams_idle') > 0
        clock = elapsed()
        assert client.is_closed(20)
        assert 1.5 < clock() < 20, f'idle for {clock():.1f} s'
    wait_for(lambda: cluster.counter('pool_upstreams_idle') == 0, 5, 'connections to backends are kept')
    for words, low, high, code in (('tokens=1000 tps=10', 7.9, 25, 'upstream_timeout'),
                                   ('tokens=3 event_bytes=20000', 0, 7, 'upstream_failed')):
        clock = elapsed()
        with cluster.client() as client:
            response = client.begin(cluster.key, chat(sim(words), stream=True))
            last = None
            try:
                for event in client.read_events(response):
                    last = event
                raise AssertionError(f'{words}: complete')
            except Closed:
                assert json.loads(last[6:])['error']['code'] == code, last
        assert low <= clock() < high, f'{words}: {clock():.1f} s'
    before = verdicts(cluster, 'CLIENT_STALLED')
    with cluster.client(window=4096) as client:
        clock = elapsed()
        client.begin(cluster.key, chat(sim('tokens=100000 event_bytes=2000'), stream=True))
        wait_for(lambda: verdicts(cluster, 'CLIENT_STALLED') > before, 30, 'a client that takes nothing stays')
        assert 1.9 < clock() < 30, f'it was ended after {clock():.1f} s'


@test('limits.sources-as-configured', layout='tight')
def sources_as_configured(cluster):
    """Forty connections of one network, twenty of each worker; the others are refused, and counted."""
    before = verdicts(cluster, 'SOURCE_FULL')
    clients = []
    try:
        for _ in range(60):
            try:
                clients.append(cluster.client(connect_tls=False))
            except ConnectionError:
                pass
        wait_for(lambda: verdicts(cluster, 'SOURCE_FULL') - before >= 20, 5, 'nobody was refused')
        refused = verdicts(cluster, 'SOURCE_FULL') - before
        assert 20 <= refused <= 40, f'{refused} of 60 were refused'
    finally:
        for client in clients:
            client.close()
    def is_served():
        try:
            return status_of(cluster) == 200
        except (OSError, socket.timeout):
            return False
    wait_for(is_served, 5, 'those who left are still counted')


@test('limits.routing-as-configured', layout='tight', seconds=90)
def routing_as_configured(cluster):
    """Busy lasts three seconds; one try; one failure ejects, for two."""
    fault, other = cluster.backends['fault'], cluster.backends['fault2']
    cluster.model('once', mv=['fault'], tx=['fault2'])
    cluster.model('busy-once', mv=['fault'])
    scripted(fault, 'error=429')
    try:
        wait_for(lambda: pod(cluster, 'fault')['probe'] == 'up', 10)
        clock = elapsed()
        with cluster.client() as client:
            assert client.ask(cluster.key, chat(model='busy-once')).status == 503
        assert pod(cluster, 'fault')['passive'] == 'busy'
        wait_for(lambda: pod(cluster, 'fault')['passive'] == 'in', 8)
        assert 2.9 < clock() < 6, f'busy for {clock():.1f} s'
        for backend in (fault, other):
            scripted(backend, 'error=502')
        wait_for(lambda: all(pod(cluster, name)['probe'] == 'up' for name in ('fault', 'fault2')), 10)
        for backend in (fault, other):
            backend.mark()
        clock = elapsed()
        with cluster.client() as client:
            assert client.ask(cluster.key, chat(model='once')).status == 502
            assert pod(cluster, 'fault')['passive'] == 'ejected'
            for _ in range(3):
                assert client.ask(cluster.key, chat(model='once')).status == 502
        wait_for(lambda: len(fault.new_served()) + len(other.new_served()) == 4, 5)
        wait_for(lambda: pod(cluster, 'fault')['passive'] == 'half-open', 6)
        assert 1.9 < clock() < 5, f'out for {clock():.1f} s'
    finally:
        for backend in (fault, other):
            scripted(backend, '')
