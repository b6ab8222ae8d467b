"""Ten thousand requests leave nothing behind that one thousand did not."""
import os
import threading

from harness.client import Closed, chat, sim
from harness.proc import wait_for
from harness.suite import test

# Sanitizers never give memory back to the system: their own report at the end is the measure there.
GROWTH_BYTES_MAX = 3 << 20
GAUGES = ('pool_clients_used', 'pool_exchanges_used', 'pool_heads_used', 'pool_blocks_used',
          'pool_packets_used', 'tcp_connections', 'tcp_half_open')


def mixed(cluster, count, threads=8):
    """Whole answers, streams, refusals, aborts and new connections, in fixed parts."""
    share = count // threads
    wrong = []

    def work(start):
        client = cluster.client(timeout=30)
        for number in range(start, start + share):
            try:
                if number % 10 == 9:
                    client.close()
                    client = cluster.client(timeout=30)
                if number % 50 == 17:
                    response = client.begin(cluster.key, chat(sim('tokens=5000'), stream=True))
                    next(client.read_events(response))
                    client.reset()
                    client = cluster.client(timeout=30)
                elif number % 10 == 3:
                    status = client.ask(cluster.key, b'{"model":').status
                    wrong.extend([status] if status != 400 else [])
                else:
                    body = chat(sim(f'tokens={number % 40}'), stream=number % 2 == 0)
                    status = client.ask(cluster.key, body).status
                    wrong.extend([status] if status != 200 else [])
            except (OSError, Closed) as why:
                wrong.append(repr(why))
                client = cluster.client(timeout=30)
        client.close()
    workers = [threading.Thread(target=work, args=(number * share,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, f'{len(wrong)} went wrong: {wrong[:3]}'


def settled(cluster):
    """Gauges once nothing is under way; TIME-WAIT and idle upstream connections may stay."""
    wait_for(lambda: cluster.counter('pool_exchanges_used') + cluster.counter('pool_clients_used') == 0, 20,
             'something is still under way')
    counters = cluster.counters()
    return {name: counters[name] for name in GAUGES}


@test('leak.1000-to-10000-requests', seconds=240)
def leak(cluster):
    mixed(cluster, 1000)
    gauges, rss = settled(cluster), cluster.dataplane_rss_bytes()
    control = cluster.control.rss_bytes()
    mixed(cluster, 9000)
    after, rss_after = settled(cluster), cluster.dataplane_rss_bytes()
    idle = cluster.counter('pool_upstreams_used')
    for name in GAUGES:
        slack = idle + 64 if name in ('tcp_connections', 'pool_packets_used') else 0
        assert after[name] <= gauges[name] + slack, f'{name}: {gauges[name]}, then {after[name]}'
    if 'asan' not in os.path.basename(cluster.build):
        assert rss_after - rss < GROWTH_BYTES_MAX, f'dataplane: {rss} bytes, then {rss_after}'
        assert cluster.control.rss_bytes() - control < 4 * GROWTH_BYTES_MAX, 'control grows'
