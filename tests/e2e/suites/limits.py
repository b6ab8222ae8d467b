"""Rate limits, exact although the workers do not talk to each other."""
import json
import threading
import time

from harness.client import Closed, chat, elapsed, sim
from harness.proc import wait_for
from harness.suite import test


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
    """64 of each worker at once: more push out the oldest, and who has something to say gets in."""
    before = verdicts(cluster, 'HANDSHAKES_FULL')
    silent = [cluster.client(connect_tls=False) for _ in range(300)]
    try:
        with cluster.client() as client:
            assert client.ask(cluster.key, chat()).status == 200
        wait_for(lambda: verdicts(cluster, 'HANDSHAKES_FULL') - before >= 300 - 64 * cluster.workers, 3,
                 f'{verdicts(cluster, "HANDSHAKES_FULL") - before} were pushed out')
        assert silent[0].is_closed(1), 'the oldest one is still there'
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
