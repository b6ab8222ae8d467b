"""kill -9 at random moments, of the dataplane, of control, of both, under a load of whole answers, streams and
clients that leave; then the ledger against what the backends and the clients have written down (F1, F4, F8).

A request that a backend has got has one row, whoever died; one that its client has whole is billed as its backend
says; one that was cut is billed for what was served, within one event of what its client has and its backend sent.
Rows, accounts and balance cells add up to the same, and nothing is held when nothing runs.

SLUICE_KILLS=1000 tests/e2e/run kill: that many kills instead of as many as 8 seconds allow.
SLUICE_SEED=N: the moments and requests of that run, as far as processes can repeat anything.
"""
import glob
import os
import random
import re
import ssl
import threading
import time

from harness.client import Closed, chat, elapsed, sim
from harness.cluster import INPUT_NANO, OUTPUT_NANO
from harness.proc import wait_for
from harness.suite import test
from suites.usage import plain

KILLS = int(os.environ.get('SLUICE_KILLS', '0'))
SECONDS = 8  # of a run without SLUICE_KILLS
HITS = 2  # kills of the dataplane, at least, that met three streams or more; a slow machine takes longer for them
SECONDS_MAX = 60
THREADS = 10
SILENCE = 2.0  # seconds after which a client takes a connection for dead: nobody is there to end it
BACKENDS = ('mv-a', 'mv-b', 'tx-c')
OK, CRASHED = 0, 4  # enum usage_outcome


class Asker(threading.Thread):
    """Keeps asking, and writes down what it got: its truth."""

    def __init__(self, cluster, key, seed):
        super().__init__()
        self.cluster = cluster
        self.key = key
        self.chance = random.Random(seed)
        self.stopping = threading.Event()
        self.whole = []  # request ids
        self.parts = {}  # request id -> events that came
        self.wrong = []
        self.client = None
        self.is_reading = False  # a stream of which something has come

    def run(self):
        while not self.stopping.is_set():
            try:
                if self.client is None:
                    self.client = self.cluster.client(timeout=SILENCE)
                self.ask()
            except (OSError, ssl.SSLError, Closed):
                self.is_reading = False
                self.drop()
                self.stopping.wait(0.02)
        self.drop()

    def drop(self):
        if self.client:
            try:
                self.client.reset()
            except OSError:
                pass
        self.client = None

    def ask(self):
        streams = self.chance.randrange(3) > 0
        leaves_at = self.chance.randrange(30) if self.chance.randrange(5) == 0 else None
        words = f'tokens={self.chance.randrange(1, 40)} tps={self.chance.choice((60, 200, 5000))}'
        body = chat(sim(words, 'x' * self.chance.randrange(200)), model='patient', max_tokens=50, stream=streams)
        answer = self.client.begin(self.key, body)
        if answer.status != 200:
            # Between two lives of a process a pod may be taken for dead, or the spool be behind.
            self.client.read_body(answer)
            if answer.status not in (502, 503):
                self.wrong.append(repr(answer))
            return
        name = plain(answer.field('x-request-id'))
        if not streams:
            self.client.read_body(answer)
        else:
            self.parts[name] = 0
            for event in self.client.read_events(answer):
                self.parts[name] += event.startswith(b'data: {')
                self.is_reading = True
                if self.parts[name] == leaves_at:
                    self.is_reading = False
                    self.drop()
                    return
            self.is_reading = False
            del self.parts[name]
        self.whole.append(name)


def kill_and_start(cluster, chance, counts, askers):
    """True: what was killed had streams."""
    victim = chance.choice(('dataplane', 'control', 'both'))
    counts[victim] += 1
    streams = sum(asker.is_reading for asker in askers)
    if victim != 'control':
        cluster.dataplane.kill()
    if victim != 'dataplane':
        cluster.control.kill()
    # Either may be back first, or be killed again before it has done anything.
    if victim != 'dataplane':
        cluster.control.start()
        if chance.randrange(3) == 0:
            time.sleep(chance.uniform(0, 0.3))
            cluster.control.kill()
            counts['again'] += 1
            cluster.control.start()
    if victim != 'control':
        cluster.start_dataplane(wait=False)
    if victim != 'dataplane':
        wait_for(cluster.control_answers, 20, 'control does not come back')
    cluster.wait_serving(60)
    return victim != 'control' and streams >= 3


def settled(cluster):
    """Everything that was written down anywhere is in the ledger."""
    ledger = cluster.admin.call('GET', 'status')['ledger']
    tabs = glob.glob(os.path.join(cluster.root, 'spool', '*.tab'))
    return ledger['pending'] == 0 and ledger['crashed_pending'] == 0 and len(tabs) == cluster.workers


def backends_are_idle(cluster):
    """One whose client died writes its line when it has sent all, or hears of it: no new line for a second."""
    seen = [0, 0.0]

    def look():
        lines = sum(len(cluster.backends[name].served()) for name in BACKENDS)
        if lines != seen[0]:
            seen[:] = lines, time.monotonic()
        return time.monotonic() - seen[1] > 1
    return look


def judge_row(row, entries, seen, whole):
    cost = (row['prompt_tokens'] * INPUT_NANO + row['completion_tokens'] * OUTPUT_NANO + 500000) // 1000000
    assert row['cost_nano'] == cost, f'its price is not {cost}: {row}'
    if row['outcome'] == OK:
        # Of several tries the one that answered.
        assert any(entry['prompt_tokens'] == row['prompt_tokens'] and
                   entry['completion_tokens'] == row['completion_tokens'] for entry in entries), (row, entries)
        return
    assert not whole, f'its client has all of it: {row}'
    sent = max([entry['events'] for entry in entries], default=0)
    assert row['completion_tokens'] <= sent + 1, f'{sent} events were sent: {row}'
    assert row['completion_tokens'] >= seen - 1, f'{seen} events arrived: {row}'


def judge(cluster, askers, account):
    rows = {}
    for row in cluster.ledger('account_id = ?', account['id']):
        rows.setdefault(row['request_id'].hex(), []).append(row)
    truth = {}
    for backend in (cluster.backends[name] for name in BACKENDS):
        for entry in backend.new_served():
            if entry.get('id'):
                truth.setdefault(plain(entry['id']), []).append(entry)
    whole = {name for asker in askers for name in asker.whole}
    parts = {name: seen for asker in askers for name, seen in asker.parts.items()}
    twice = [name for name, found in rows.items() if len(found) > 1]
    assert not twice, f'{len(twice)} requests are billed twice: {rows[twice[0]]}'
    # What a test before this one cut off is written down by its backend when that hears of it.
    others = {row['request_id'].hex() for row in cluster.ledger('account_id <> ?', account['id'])}
    lost = (whole | set(truth) - others | {name for name, seen in parts.items() if seen > 0}) - set(rows)
    assert not lost, f'{len(lost)} requests are not in the ledger: {[truth.get(name) for name in list(lost)[:3]]}'
    for name, (row,) in rows.items():
        judge_row(row, truth.get(name, []), parts.get(name, 0), name in whole)
    judge_money(cluster, account, sum(row['cost_nano'] for row, in rows.values()))
    return {'requests': len(rows), 'whole': len(whole), 'cut': len(parts),
            'crashed': sum(row['outcome'] == CRASHED for row, in rows.values())}


def judge_money(cluster, account, cost_nano):
    now = cluster.account('killed')
    assert now['spent_nano'] == cost_nano, f'rows cost {cost_nano}, paid were {now["spent_nano"]}'
    assert now['balance_nano'] == now['credited_nano'] - cost_nano, now
    cell = wait_for(lambda: re.search(rf'id={account["id"]} .*credited=(\d+) spent=(\d+) .*held=0 ',
                                      cluster.dump('accounts')), 10, 'something is held, and nothing runs')
    assert int(cell[1]) == now['credited_nano'], cell[0]
    # A kill between a debit and its record is repaired by control, within one round over the accounts.
    wait_for(lambda: re.search(rf'id={account["id"]} .* spent={cost_nano} ', cluster.dump('accounts')), 60,
             f'the cell says {cell[0]} and the rows {cost_nano}')


@test('kill.at-random', seconds=210 + KILLS * 12)
def at_random(cluster):
    seed = int(os.environ.get('SLUICE_SEED', time.time_ns() % 1000000))
    chance = random.Random(seed)
    print(f'# seed {seed}')
    cluster.put('account', 'killed')
    cluster.top_up('killed', 1000)
    key = cluster.new_key('killed')
    account = cluster.account('killed')
    with cluster.client() as client:
        wait_for(lambda: client.request('GET', '/v1/models', key).status == 200, 5)
    for name in BACKENDS:
        cluster.backends[name].mark()
    askers = [Asker(cluster, key, seed * 100 + number) for number in range(THREADS)]
    for asker in askers:
        asker.start()
    counts = {'dataplane': 0, 'control': 0, 'both': 0, 'again': 0}
    hits, clock = 0, elapsed()

    def goes_on():
        if KILLS:
            return sum(counts.values()) < KILLS
        return clock() < (SECONDS if hits >= HITS else SECONDS_MAX)
    try:
        while goes_on():
            time.sleep(chance.uniform(0, 0.7))
            hits += kill_and_start(cluster, chance, counts, askers)
    finally:
        for asker in askers:
            asker.stopping.set()
        for asker in askers:
            asker.join(60)
    wrong = [what for asker in askers for what in asker.wrong]
    assert not wrong, f'{len(wrong)} odd answers: {wrong[:3]}'
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 20, 'requests still run')
    wait_for(lambda: settled(cluster), 60, 'spool and tabs are not in the ledger')
    wait_for(backends_are_idle(cluster), 30, 'a backend still sends')
    found = judge(cluster, askers, account)
    assert found['whole'] > 20, f'no load: {found}'
    assert hits > 0, f'no stream was under way when the dataplane was killed: {counts}'
    assert found['crashed'] > 0 and found['cut'] > 0, f'{hits} kills met streams: {found}'
    reconciled = cluster.ctl('reconcile')
    assert reconciled['difference_records'] == reconciled['difference_cost_nano'] == 0, reconciled
    print(f'# {sum(counts.values())} kills {counts}: {found}, none lost, none twice')
