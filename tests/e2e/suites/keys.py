"""Keys while they are in use: revoked, rotated, expired and mistyped, as both workers see it."""
import time

from harness.proc import wait_for
from harness.suite import test


def connections(cluster, key):
    """A connection of each worker, which has had one request; the caller closes them."""
    counts = [worker['requests'] for worker in cluster.workers_counters()]
    clients = {}
    for _ in range(64):
        client = cluster.client()
        assert status(client, key) == 200
        grown = wait_for(lambda: [worker for worker, counters in enumerate(cluster.workers_counters())
                                  if counters['requests'] > counts[worker]], 10, 'a request is not counted')
        assert len(grown) == 1, f'one request is counted by workers {grown}'
        counts[grown[0]] += 1
        if grown[0] in clients:
            client.close()
        else:
            clients[grown[0]] = client
        if len(clients) == len(counts):
            return list(clients.values())
    raise AssertionError('64 connections came to one worker')


def status(client, key):
    return client.request('GET', '/v1/models', key).status


def seconds_until(clients, key, wanted):
    """How long it took from now until the last of the connections was answered so; each must stay so."""
    began = time.monotonic()
    for client in clients:
        while status(client, key) != wanted:
            assert time.monotonic() - began < 10, f'{key[:8]}… is not answered {wanted}'
        assert status(client, key) == wanted, 'the answer changed back'
    return time.monotonic() - began


def new_key(cluster, **more):
    return cluster.admin.call('POST', 'keys', {'account': 'main', 'plan': 'wide', 'surface': 'ecolink', **more})


@test('keys.revoked-within-a-second')
def revoked(cluster):
    key = new_key(cluster)
    clients = connections(cluster, key['key'])
    cluster.admin.call('POST', f'keys/{key["id"]}/revoke')
    took = seconds_until(clients, key['key'], 401)
    for client in clients:
        client.close()
    print(f'# revoked for {len(clients)} connections of both workers after {took * 1000:.0f} ms, 2 requests each')
    assert took <= 1, f'a revoked key was let in for {took:.2f} s'


@test('keys.rotated')
def rotated(cluster):
    """Without a grace the old text ends at once; with one both are let in until control revokes the old one."""
    key = new_key(cluster)
    new = cluster.admin.call('POST', f'keys/{key["id"]}/rotate')
    with cluster.client() as client:
        assert status(client, key['key']) == 401 and status(client, new['key']) == 200
        assert new['id'] == key['id']
        last = cluster.admin.call('POST', f'keys/{key["id"]}/rotate', {'grace_s': 4})
        assert last['old_id'] == key['id'] != last['id']
        for _ in range(3):
            assert status(client, last['key']) == 200 and status(client, new['key']) == 200
        wait_for(lambda: status(client, new['key']) == 401, 15, 'the old text did not end')
        assert status(client, last['key']) == 200
    old = wait_for(lambda: revoked_row(cluster, key['id']), 15, 'control has not revoked the old key')
    assert old['expires_at'] <= time.time(), old


def revoked_row(cluster, key_id):
    """The key as the store has it, if it is revoked there."""
    row = cluster.admin.call('GET', f'keys/{key_id}')
    return row if row['revoked'] else None


@test('keys.expire-without-control')
def expires_without_control(cluster):
    """Control is dead when the key's time comes: workers refuse it by themselves."""
    key = new_key(cluster, expires_at=int(time.time()) + 5)
    other = new_key(cluster)
    with cluster.client() as client:
        assert status(client, key['key']) == 200
        cluster.control.kill()
        try:
            wait_for(lambda: status(client, key['key']) == 401, 15, 'the key did not expire')
            assert time.time() >= key['expires_at'] - 1, 'it expired too soon'
            assert status(client, other['key']) == 200
        finally:
            cluster.start_control()
        assert status(client, key['key']) == 401 and status(client, other['key']) == 200


@test('keys.mistyped')
def mistyped(cluster):
    """Told by the checksum, without a look into the tables; the answer is that of any unknown key."""
    text = new_key(cluster)['key']
    wrong = text[:-8] + ('a' if text[-8] != 'a' else 'b') + text[-7:]
    before = cluster.counter('refused_key_mistyped')
    with cluster.client() as client:
        answers = [client.request('GET', '/v1/models', key) for key in (wrong, 'eco_no-such-key-of-any-form')]
        assert status(client, text) == 200
    assert [answer.status for answer in answers] == [401, 401]
    assert answers[0].json()['error']['code'] == answers[1].json()['error']['code']
    assert cluster.counter('refused_key_mistyped') == before + 1
