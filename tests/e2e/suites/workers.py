"""Two workers on one port: both serve, and a packet at the wrong one still arrives."""
from harness.client import chat, sim
from harness.load import Load
from harness.suite import test


def both_serve(cluster):
    before = cluster.workers_counters()
    assert len(before) == 2, 'two workers were configured'
    for _ in range(60):
        with cluster.client() as client:
            answer = client.ask(cluster.key, chat(sim('tokens=300'), stream=True))
            assert answer.status == 200 and answer.complete
    after = cluster.workers_counters()
    grown = [{name: new[name] - old[name] for name in new} for old, new in zip(before, after)]
    for number, worker in enumerate(grown):
        assert worker['requests'] > 5, f'worker {number} served {worker["requests"]} of 60'
        assert worker['frames_in'] > 0, f'worker {number} received nothing'
    return sum(worker['frames_forwarded'] for worker in grown)


@test('workers.af-packet')
def af_packet(cluster):
    """The kernel's fan-out is not ours: it sends about half of the backends' answers to the wrong worker."""
    assert both_serve(cluster) > 0, 'no frame was forwarded'


@test('workers.load')
def load(cluster):
    with Load(cluster, threads=16, words='tokens=20') as running:
        running.stopping.wait(5)
    assert running.done > 200 and not running.failures and not running.cut, \
        f'{running.done} done, {running.failures[:3]}, {running.cut[:3]}'


@test('workers.one', layout='one-worker')
def one(cluster):
    with Load(cluster, threads=8, words='tokens=20') as running:
        running.stopping.wait(3)
    assert running.done > 100 and not running.failures and not running.cut, \
        f'{running.done} done, {running.failures[:3]}, {running.cut[:3]}'
    assert cluster.counter('frames_forwarded') == 0, 'one worker has nobody to forward to'


@test('workers.tap', layout='tap')
def tap(cluster):
    both_serve(cluster)
    with Load(cluster, threads=8, words='tokens=20') as running:
        running.stopping.wait(3)
    assert running.done > 100 and not running.failures and not running.cut, \
        f'{running.done} done, {running.failures[:3]}, {running.cut[:3]}'
