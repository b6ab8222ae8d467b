"""kill -9 of either process: the other does not mind, and nothing is lost. And a stop that was asked for."""
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from datetime import datetime

from harness import net
from harness.client import CHAT, Closed, chat, elapsed, sim
from harness.cluster import NAME, PORT
from harness.load import Load
from harness.proc import run, wait_for
from harness.suite import test
from suites.http2 import have
from suites.usage import plain


@test('crash.control', seconds=90)
def control(cluster):
    with Load(cluster, threads=8, words='tokens=10 ttft=2ms') as load:
        time.sleep(1)
        for _ in range(2):
            cluster.control.kill()
            time.sleep(2)
            cluster.start_control()
            time.sleep(1)
    assert not load.failures and not load.cut, f'{load.failures[:3]} {load.cut[:3]}'
    assert load.done > 300, load.done
    key = cluster.new_key()
    with cluster.client() as client:
        wait_for(lambda: client.ask(key, chat()).status == 200, 2,
                 'a new key is not known after control came back')
    rows = wait_for(lambda: {row['request_id'].hex() for row in cluster.ledger()} >=
                    {name.replace('-', '') for name in load.ids}, 15, 'requests are missing in the ledger')
    assert rows


@test('crash.changes-arrive-fast')
def changes(cluster):
    """A change of a key or a pod is seen by requests at most 100 ms after it was stored. Of several the middle one
    counts: one alone may have waited for the machine."""
    def took(what):
        clock = elapsed()
        wait_for(what, 10, every=0.002)
        return clock()

    def middle(times):
        print(f'# {", ".join(f"{took * 1000:.0f}" for took in sorted(times))} ms')
        return sorted(times)[len(times) // 2]
    with cluster.client() as client:
        keys = []
        for _ in range(9):
            key = cluster.new_key()
            keys.append(took(lambda: client.request('GET', '/v1/models', key).status == 200))
        assert middle(keys) < 0.1, 'a new key takes longer than 100 ms'
        cluster.model('changing', mv=['solo'])
        pods = []
        for _ in range(5):
            wait_for(lambda: client.ask(cluster.key, chat(model='changing')).status == 200, 10)
            cluster.put('pod', 'solo', state='maint')
            try:
                pods.append(took(lambda: client.ask(cluster.key, chat(model='changing')).status == 503))
            finally:
                cluster.put('pod', 'solo', state='ready')
        assert middle(pods) < 0.1, 'taking a pod out takes longer than 100 ms'
        wait_for(lambda: client.ask(cluster.key, chat(model='changing')).status == 200, 10)


@test('crash.paused')
def paused(cluster):
    """Nothing of the dataplane runs for five seconds (F2, F16): it is told so in time, and what runs goes on."""
    def is_up(name, up):
        values = [value for metric, _, value in cluster.admin.metrics() if metric == name]
        return values and all(value == up for value in values)
    with cluster.client(timeout=30) as client, cluster.client(timeout=30) as other:
        response = client.begin(cluster.key, chat(sim('tokens=60 tps=20'), stream=True, model='patient', max_tokens=60))
        assert response.status == 200, response
        events = client.read_events(response)
        next(events)
        stopped = elapsed()
        os.kill(cluster.dataplane.pid, signal.SIGSTOP)
        try:
            for name in ('sluice_worker_up', 'sluice_dataplane_up'):
                wait_for(lambda: is_up(name, 0), 10, f'{name} is 1 while nobody runs')
            other.send(other.head('GET', '/v1/models', cluster.key))
            time.sleep(max(0, 5 - stopped()))
        finally:
            os.kill(cluster.dataplane.pid, signal.SIGCONT)
        answer = other.read_head()
        other.read_body(answer)
        assert answer.status == 200, answer
        assert sum(event.startswith(b'data: {') for event in events) >= 60, 'the stream did not go on'
        for name in ('sluice_worker_up', 'sluice_dataplane_up'):
            wait_for(lambda: is_up(name, 1), 10, f'{name} stays 0')
    row, = wait_for(lambda: cluster.ledger('request_id = ?', bytes.fromhex(plain(response.field('x-request-id')))), 15,
                    'it is not billed')
    assert row['outcome'] == 0 and row['completion_tokens'] == 60, row


@test('crash.a-second-dataplane', seconds=60)
def second_dataplane(cluster):
    """It is told that there is one already, and takes nothing from that one: no hold, no count."""
    with cluster.client() as client:
        response = client.begin(cluster.key, chat(sim('tokens=10000 tps=50'), stream=True, max_tokens=10000))
        assert response.status == 200, response
        held = re.findall(r'held=([1-9][0-9]*)', cluster.dump('accounts'))
        assert held, 'nothing is held for a stream'
        second = subprocess.run([*net.in_edge(), *cluster.dataplane_words], capture_output=True, text=True,
                                timeout=30)
        assert second.returncode == 1 and 'another sluice-dataplane' in second.stderr, second
        assert re.findall(r'held=([1-9][0-9]*)', cluster.dump('accounts')) == held, 'the hold is gone'
        client.reset()
    wait_for(lambda: not re.search(r'held=[^0]', cluster.dump('accounts')), 5, 'something is still held')


@test('crash.a-second-control', seconds=60)
def second_control(cluster):
    """It says what it may not have, and takes no record, no port and no key of the first one's."""
    with open(cluster.config, encoding='utf-8') as file:
        same = file.read()
    with tempfile.TemporaryDirectory(dir=cluster.root) as folder:
        own = {'instance: e2e\n': 'instance: other\n',
               f'path: {cluster.root}/spool\n': f'path: {folder}/spool\n',
               f'path: {cluster.root}/sluice.db\n': f'path: {folder}/other.db\n'}
        for kept, why in (((), 'store_locked'), (('instance', 'store'), 'spool_locked'),
                          (('store',), 'spool_locked'), (('instance', 'store', 'spool'), 'admin_cannot_listen')):
            text = same
            for before, after in own.items():
                assert before in same, f'the configuration has no {before}'
                mine = 'instance' if before.startswith('instance') else 'spool' if 'spool' in before else 'store'
                text = text.replace(before, after) if mine in kept else text
            path = os.path.join(folder, 'second.yaml')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(text)
            second = subprocess.run([*cluster.control.command[:-1], path], capture_output=True, text=True, timeout=30)
            assert second.returncode == 1 and why in second.stderr, (kept, second)
    for name in ('other', '.other.new'):  # its tables; the harness knows one shared file
        if os.path.exists(f'/dev/shm/{name}'):
            os.unlink(f'/dev/shm/{name}')
    assert os.path.exists(os.path.join(cluster.root, 'spool', 'control.lock'))
    assert cluster.admin.call('GET', 'status')['ledger'] is not None


@test('crash.dataplane', seconds=90)
def dataplane(cluster):
    with cluster.client() as client:
        answers = [client.ask(cluster.key, chat(sim('tokens=3'))) for _ in range(20)]
    cluster.dataplane.kill()
    clock = elapsed()
    cluster.start_dataplane()
    took = clock()
    with Load(cluster, threads=4) as load:
        load.stopping.wait(1)
    assert load.done > 20 and not load.failures and not load.cut, f'{load.done} {load.failures[:3]}'
    assert took < 10, f'it served again after {took:.1f} s'
    wanted = {answer.field('x-request-id').replace('-', '') for answer in answers} | \
        {name.replace('-', '') for name in load.ids}
    wait_for(lambda: {row['request_id'].hex() for row in cluster.ledger()} >= wanted, 15,
             'requests from before the crash are missing in the ledger')
    ids = [row['request_id'].hex() for row in cluster.ledger()]
    assert len(ids) == len(set(ids)), 'a request was billed twice'


@test('crash.dataplane-with-streams', seconds=90)
def dataplane_with_streams(cluster):
    """What runs when the dataplane dies has one record each, of what was served, and is paid. The backends hang behind
    so many events: what was sent and what its client has are the same."""
    streams, names, began = 8, [], int(time.time()) - 1
    account = cluster.account('main')
    clients = [cluster.client(timeout=20) for _ in range(streams)]
    runs, seen = [], []
    for number, client in enumerate(clients):
        response = client.begin(cluster.key, chat(sim(f'tokens=2000 hang_after={4 + number}'), stream=True,
                                                  model='patient', max_tokens=2000))
        assert response.status == 200, response
        names.append(response.field('x-request-id').replace('-', ''))
        runs.append(client.read_events(response))
    for number, events in enumerate(runs):
        for _ in range(4 + number):
            next(events)
        seen.append(4 + number)
    cluster.dataplane.kill()
    for number, events in enumerate(runs):
        # Nobody is there who would end a connection: what has come is all.
        clients[number].socket.settimeout(0.2)
        try:
            for _ in events:
                seen[number] += 1
            raise AssertionError('a stream that was cut looks complete')
        except (OSError, Closed):
            pass
    cluster.start_dataplane()
    wanted = [bytes.fromhex(name) for name in names]
    where = f'request_id IN ({",".join("?" * streams)})'
    wait_for(lambda: len(cluster.ledger(where, *wanted)) >= streams, 15, 'what was open is not in the ledger')
    rows = cluster.ledger(where, *wanted)
    assert len(rows) == streams, rows
    for row in rows:
        got = seen[names.index(row['request_id'].hex())]
        assert row['outcome'] == 4 and row['source'] in (1, 2) and row['status'] == 200 and row['stream'] == 1, row
        # The role that comes before the first word is an event, too.
        assert got - 1 <= row['completion_tokens'] <= got, (got, row)
    shown = [row for row in cluster.ctl('usage', '--by', 'request', '--account', 'main', '--since', began,
                                        '--limit', 10000)['data']
             if row['outcome'] == 'crashed']
    assert {row['request_id'] for row in shown} >= set(names), 'sluicectl usage does not show them'
    paid = sum(row['cost_nano'] for row in rows)
    assert paid > 0
    wait_for(lambda: cluster.account('main')['spent_nano'] >= account['spent_nano'] + paid, 5, 'nobody paid')
    time.sleep(0.5)
    again = cluster.ledger(where, *wanted)
    assert len(again) == streams, again


def restart_with(cluster, text):
    """Both programs with another configuration; the spool's folder may change while nobody runs."""
    with open(cluster.config, 'w', encoding='ascii') as config:
        config.write(text)
    cluster.start_control()
    cluster.start_dataplane()


def stop_both(cluster):
    cluster.dataplane.stop()
    wait_for(lambda: cluster.admin.call('GET', 'status')['ledger']['pending'] == 0, 15, 'the spool is not drained')
    cluster.control.stop()


def press(cluster, key, requests):
    """So many requests over HTTP/2; how many were answered with 200 and with 503."""
    path = os.path.join(cluster.root, f'press-{requests}.json')
    with open(path, 'w', encoding='ascii') as file:
        json.dump(chat(sim('tokens=1'), max_tokens=1, model='patient'), file)
    text = run('h2load', '-n', str(requests), '-c', '8', '-m', '20', '-d', path, '-H', f'authorization: Bearer {key}',
               '-H', 'content-type: application/json', f'--connect-to={cluster.host4}:{PORT}',
               f'https://{NAME}:{PORT}{CHAT}')
    found = re.search(r'status codes: ([0-9]+) 2xx, [0-9]+ 3xx, ([0-9]+) 4xx, ([0-9]+) 5xx', text)
    assert found and found[2] == '0', text
    return int(found[1]), int(found[3])


@test('crash.disk-full', seconds=180)
def disk_full(cluster):
    """The spool on a disk of 6 MiB, and nobody who empties it (F5, F11): an alarm, 503 in time, what runs ends and
    is recorded; and it goes on by itself when control is back."""
    have('h2load')
    spool = os.path.join(cluster.root, 'spool')
    with open(cluster.config, encoding='ascii') as config:
        before = config.read()
    cluster.put('account', 'flood')
    cluster.top_up('flood', 1000)
    key = cluster.new_key('flood')
    account = cluster.account('flood')['id']
    stop_both(cluster)
    run('mount', '-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', spool)
    try:
        restart_with(cluster, before.replace('segment: 4MiB', 'segment: 1MiB'))
        cluster.control.kill()
        client = cluster.client(timeout=60)
        stream = client.begin(key, chat(sim('tokens=1000 tps=120'), stream=True, max_tokens=1000, model='patient'))
        events = client.read_events(stream)
        next(events)
        good, refused = 0, 0
        for _ in range(20):
            more, refused = press(cluster, key, 2000)
            good += more
            if more == 0:
                break
        assert refused == 2000, f'{good} were served, and it still serves'
        with cluster.client() as other:
            answer = other.ask(key, chat(sim('tokens=1'), max_tokens=1, model='patient'))
            assert answer.status == 503 and answer.json()['error']['code'] == 'overloaded', answer
            assert int(answer.field('retry-after')) >= 1, answer
        said = cluster.dataplane.log_text()
        assert '"event":"spool_filling"' in said and '"event":"spool_failing"' in said, said[-2000:]
        assert cluster.dataplane.is_alive()
        cluster.start_control()
        with cluster.client() as other:
            wait_for(lambda: other.ask(key, chat(sim('tokens=1'), max_tokens=1, model='patient')).status == 200, 30,
                     'it does not go on', every=0.2)
        assert sum(1 for _ in events) >= 1000 and stream.complete
        wait_for(lambda: len(cluster.ledger('account_id = ? AND outcome = 0', account)) == good + 2, 30,
                 f'{good} and two were served')
        assert cluster.ctl('reconcile')['difference_records'] == 0
        stop_both(cluster)
    finally:
        for process in (cluster.dataplane, cluster.control):
            if process.is_alive():
                process.kill()
        run('umount', '-l', spool)
        restart_with(cluster, before)


@test('crash.stop-lets-requests-end', seconds=60)
def stop(cluster):
    """SIGTERM: a stream that runs ends whole, new connections are not taken, the exit code is 0."""
    client = cluster.client(timeout=10)
    response = client.begin(cluster.key, chat(sim('tokens=100 tps=100'), stream=True))
    events = client.read_events(response)
    next(events)
    code = []
    stopper = threading.Thread(target=lambda: code.append(cluster.dataplane.stop()))
    stopper.start()
    try:
        count = 1 + sum(1 for _ in events)
    except Closed as how:
        raise AssertionError(f'the stream was cut by the stop: {how}') from how
    finally:
        stopper.join()
        cluster.start_dataplane()
    assert count == 103 and response.complete
    assert code == [0], code


def moments(cluster, event):
    """When the dataplane said so, in seconds."""
    lines = [json.loads(line) for line in cluster.dataplane.log_text().splitlines() if f'"event":"{event}"' in line]
    return [datetime.fromisoformat(line['at'].replace('Z', '+00:00')).timestamp() for line in lines]


def cut_by_stop(cluster, twice):
    """The seconds that what runs was waited for."""
    said = len(moments(cluster, 'draining'))
    with cluster.client(timeout=20) as waiting, cluster.client(timeout=20) as running, cluster.client() as idle:
        assert idle.ask(cluster.key, chat()).status == 200
        response = running.begin(cluster.key, chat(sim('tokens=1000 tps=20'), stream=True))
        events = running.read_events(response)
        next(events)
        body = json.dumps(chat(sim('hang'), model='held')).encode()
        waiting.send(waiting.head('POST', CHAT, cluster.key, length=len(body)) + body)
        wait_for(lambda: cluster.counter('pool_exchanges_used') == 2, 10)
        code = []
        stopper = threading.Thread(target=lambda: code.append(cluster.dataplane.stop()))
        stopper.start()
        try:
            wait_for(lambda: len(moments(cluster, 'draining')) > said, 10)
            if twice:
                cluster.dataplane.child.terminate()
            last = next(events)
            try:
                for event in events:
                    last = event
                raise AssertionError('a stream that was cut looks complete')
            except Closed:
                assert json.loads(last[6:])['error']['code'] == 'overloaded', last
            refused = waiting.read_head()
            waiting.read_body(refused)
            assert refused.status == 503 and refused.json()['error']['code'] == 'overloaded', refused
            assert refused.field('retry-after') == '1' and refused.field('connection') == 'close', refused.fields
            assert idle.is_closed(), 'a connection without a request is left alone'
        finally:
            stopper.join()
            cluster.start_dataplane()
    assert code == [0], code
    wanted = bytes.fromhex(response.field('x-request-id').replace('-', ''))
    rows = wait_for(lambda: cluster.ledger('request_id = ?', wanted), 15, 'what was served is not billed')
    assert len(rows) == 1 and rows[0]['completion_tokens'] > 0, rows
    return moments(cluster, 'stopping')[-1] - moments(cluster, 'draining')[-1]


@test('crash.stop-cuts-what-is-left', seconds=120)
def stop_cuts(cluster):
    """After timeouts.drain, or at a second SIGTERM: who got no byte gets 503, a stream an error event."""
    cluster.model('held', mv=['mv-a'])
    cluster.put('model', 'held', response_head_ms=30000)
    assert cut_by_stop(cluster, twice=False) >= 3.99, 'timeouts.drain was not waited for'
    assert cut_by_stop(cluster, twice=True) < 3.9, 'asked twice, it waited all the same'
