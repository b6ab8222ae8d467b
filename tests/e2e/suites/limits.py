"""Rate limits, exact although the workers do not talk to each other."""
import threading

from harness.client import chat, sim
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
    import time
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
