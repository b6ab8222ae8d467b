"""Backends that die: a request whose answer has not begun goes elsewhere."""
import time

from harness.client import chat, sim
from harness.load import Load
from harness.proc import wait_for
from harness.suite import test


def all_up(cluster):
    def is_up():
        with cluster.client() as client:
            regions = {client.ask(cluster.key, chat(model=model)).field('x-ecolink-region')
                       for model in ('sim', 'pair', 'fault-over') for _ in range(2)}
        return regions == {'mv'}
    wait_for(is_up, 10, 'the backends are not all up again')


@test('failover.one-of-two-dies-every-2-s', seconds=120)
def one_of_two(cluster):
    """kill -9, alternating, under load of whole answers and streams."""
    pair = [cluster.backends['mv-a'], cluster.backends['mv-b']]
    try:
        with Load(cluster, model='pair', threads=8, words='tokens=20 tps=400 ttft=5ms') as load:
            for turn in range(6):
                time.sleep(1)
                pair[turn % 2].process.kill()
                time.sleep(1)
                pair[turn % 2].start()
    finally:
        for backend in pair:
            if not backend.process.is_alive():
                backend.start()
    assert not load.failures, f'{len(load.failures)} of {load.done} failed: {load.failures[:4]}'
    assert load.done > 300, f'only {load.done} requests'
    assert len(load.cut) <= 6 * 8, f'6 crashes before 8 readers cut {len(load.cut)} answers'
    all_up(cluster)


@test('failover.next-region')
def next_region(cluster):
    """Region mv is down as a whole: tx serves, and mv again when it is back."""
    pair = [cluster.backends['mv-a'], cluster.backends['mv-b']]
    try:
        for backend in pair:
            backend.process.kill()
        with cluster.client() as client:
            for _ in range(10):
                answer = client.ask(cluster.key, chat(sim('tokens=2')))
                assert answer.status == 200 and answer.field('x-ecolink-region') == 'tx', answer
            alone = client.ask(cluster.key, chat(model='pair'))
            assert alone.status in (502, 503), alone
            wait_for(lambda: client.ask(cluster.key, chat(model='pair')).status == 503, 5)
    finally:
        for backend in pair:
            backend.start()
    all_up(cluster)


@test('failover.before-the-first-byte', seconds=90)
def before_the_first_byte(cluster):
    """Each way to fail before an answer leads to the other region, once, and bills once."""
    fault, other = cluster.backends['fault'], cluster.backends['mv-a']
    for words in ('reset', 'close_early', 'error=502', 'error=503', 'error=504', 'error=429', 'bad_head'):
        all_up(cluster)
        fault.mark()
        other.mark()
        # The script follows the request to the other backend too, so only this one is told by its start.
        fault.process.stop()
        fault.process.command += ['--script', words]
        fault.start()
        try:
            wait_for(lambda: cluster.pod_is_up('fault'), 5, 'the pod is not up')
            with cluster.client() as client:
                answer = client.ask(cluster.key, chat(model='fault-over'))
            assert answer.status == 200 and answer.field('x-ecolink-region') == 'tx', f'{words}: {answer}'
            assert len(other.wait_served()) == 1, words
            assert len(fault.wait_served()) == 1, f'{words}: tried {len(fault.new_served())} times'
        finally:
            fault.process.stop()
            del fault.process.command[-2:]
            fault.start()
    all_up(cluster)


@test('failover.500-is-the-answer')
def five_hundred(cluster):
    fault, other = cluster.backends['fault'], cluster.backends['mv-a']
    all_up(cluster)
    fault.mark()
    other.mark()
    for status in (500, 400, 404, 422):
        with cluster.client() as client:
            answer = client.ask(cluster.key, chat(sim(f'error={status}'), model='fault-over'))
        assert answer.status == status and answer.json()['error']['code'] == 'simulated', answer
        wait_for(lambda: cluster.pod_is_up('fault'), 5)
    assert len(fault.wait_served(4)) == 4 and not other.new_served(), 'it was sent again'


@test('failover.stale-connections')
def stale(cluster):
    """A backend that closes kept-alive connections without notice costs nobody a request."""
    solo = cluster.backends['solo']
    solo.process.stop()
    solo.process.command += ['--requests-max', '3', '--idle-close', '30']
    solo.start()
    try:
        wait_for(lambda: cluster.pod_is_up('solo'), 5)
        with Load(cluster, model='solo', threads=6, pause=0.02) as load:
            load.stopping.wait(4)
        assert not load.failures and not load.cut, f'{load.failures[:3]} {load.cut[:3]}'
        assert load.done > 100, load.done
    finally:
        solo.process.stop()
        del solo.process.command[-4:]
        solo.start()
        wait_for(lambda: cluster.pod_is_up('solo'), 5)
