"""Two routers on one PostgreSQL server, which goes away under load. The second has a control process only: its tables
are looked at with shmdump.
"""
import os
import re
import signal
import subprocess
import time
import urllib.error

from harness.admin import Admin
from harness.client import chat, sim
from harness.load import Load
from harness.proc import Process, run, wait_for
from harness.suite import test

SECOND_PORT = 9901


class Second:
    """Another router: the same file but for its name, its spool and its port."""

    def __init__(self, cluster, name='e2e2', folder='second'):
        self.cluster = cluster
        self.name = name
        root = os.path.join(cluster.root, folder)
        os.makedirs(f'{root}/spool', exist_ok=True)
        with open(cluster.config, encoding='ascii') as file:
            text = file.read()
        text = text.replace('instance: e2e\n', f'instance: {name}\n').replace(f'{cluster.root}/spool', f'{root}/spool')
        text = re.sub(r'(admin:\n.*\n  port: )\d+', rf'\g<1>{SECOND_PORT}', text)
        text = re.sub(r'  connection: .*\n', f'  connection: "{cluster.postgres.connection()}"\n', text)
        with open(f'{root}/sluice.yaml', 'w', encoding='ascii') as file:
            file.write(text)
        self.admin = Admin(f'http://127.0.0.1:{SECOND_PORT}', cluster.admin.token)
        self.process = Process('control2', [os.path.join(cluster.build, 'control/sluice-control'), '--config',
                                            f'{root}/sluice.yaml'], f'{root}/control.log')

    def __enter__(self):
        self.process.start()
        wait_for(self.admin.answers, 20, 'the second control does not answer')
        return self

    def __exit__(self, *_):
        self.process.stop()
        os.unlink(f'/dev/shm/{self.name}')

    def dump(self, table):
        return run(os.path.join(self.cluster.build, 'tools/shmdump/shmdump'), f'/dev/shm/{self.name}', table)


def wait_for_ledger(cluster, ids):
    """Each request is there once, and what the accounts have spent is what the rows cost."""
    wanted = {name.replace('-', '') for name in ids}
    server = cluster.postgres

    def are_there():
        return {row[0] for row in server.rows("SELECT encode(request_id, 'hex') FROM ledger")} >= wanted
    wait_for(are_there, 30, 'requests are missing in the ledger', every=0.2)
    doubled = server.number('SELECT count(*) - count(DISTINCT request_id) FROM ledger')
    assert doubled == 0, f'{doubled} requests are in the ledger twice'
    ledger, accounts, nodes = (server.number(f'SELECT coalesce(sum({column}), 0) FROM {table}') for column, table in
                               (('cost_nano', 'ledger'), ('spent_nano', 'accounts'), ('spent_nano', 'node_spending')))
    assert ledger == accounts == nodes, (ledger, accounts, nodes)


@test('postgres.two-routers', layout='postgres', seconds=90)
def two_routers(cluster):
    """A key made on one works on the other within a second, and a revoked one on neither; money is common."""
    with Second(cluster) as second, cluster.client() as client:
        made = second.admin.call('POST', 'keys', {'account': 'main', 'plan': 'wide', 'surface': 'ecolink'})
        started = time.monotonic()
        wait_for(lambda: client.ask(made['key'], chat()).status == 200, 1, 'a key of the other router does not work')
        appeared = time.monotonic() - started
        second.admin.call('POST', f'keys/{made["id"]}/revoke')
        wait_for(lambda: client.ask(made['key'], chat()).status == 401, 1, 'a key that the other revoked still works')
        own = cluster.new_key()
        number = cluster.key_ids[own]
        wait_for(lambda: str(number) in second.dump('keys'), 1, f'the second router lacks the key {number}')
        answers = [client.ask(own, chat(sim('tokens=50'))) for _ in range(5)]
        assert all(answer.status == 200 for answer in answers)
        wait_for_ledger(cluster, [answer.field('x-request-id') for answer in answers])
        spent = cluster.account('main')['spent_nano']
        assert spent > 0
        wait_for(lambda: f'elsewhere={spent}' in second.dump('accounts'), 1,
                 f'the second router does not know that {spent} were spent')
        cluster.top_up('poor', 1)
        wait_for(lambda: 'credited=1000000000 ' in second.dump('accounts'), 1, 'a top-up is not seen by the other')
        assert appeared < 1
        refused = subprocess.run(Second(cluster, 'e2e', 'third').process.command, capture_output=True, text=True,
                                 timeout=30, check=False)
        assert refused.returncode == 1 and 'another router named' in refused.stderr, refused


def probes(cluster):
    return sum(value for name, _, value in cluster.admin.metrics() if name == 'sluice_probe_good_total')


def store_answers(cluster):
    """False: 503, and a code that says why."""
    try:
        cluster.admin.open('GET', '/admin/v1/accounts')
        return True
    except urllib.error.HTTPError as why:
        assert why.code == 503 and b'store_away' in why.read(), why
        return False


@test('postgres.server-restarts', layout='postgres', seconds=150)
def restarts(cluster):
    """Stopped, and killed, under load: no request fails, nothing is lost or doubled."""
    with Load(cluster, model='patient', threads=4, words='tokens=5 ttft=2ms', pause=0.02) as load:
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            time.sleep(1)
            cluster.postgres.end(how)
            time.sleep(2)
            assert not store_answers(cluster), 'there is an answer while the store is away'
            good = probes(cluster)
            wait_for(lambda: probes(cluster) > good, 5, 'probes do not go on while the store is away')
            cluster.postgres.start()
            wait_for(lambda: store_answers(cluster), 10, 'control has not come back to its store', every=0.1)
        key = cluster.new_key()
        time.sleep(1)
    assert not load.failures and not load.cut, f'{load.failures[:3]} {load.cut[:3]}'
    assert load.done > 50, load.done
    with cluster.client() as client:
        wait_for(lambda: client.ask(key, chat()).status == 200, 1, 'a new key is not known')
    wait_for_ledger(cluster, load.ids)


@test('postgres.answer-lost', layout='postgres', seconds=90)
def answer_lost(cluster):
    """A commit whose answer is lost is made again, and counts once."""
    with Load(cluster, model='patient', threads=2, words='tokens=5', pause=0.02) as load:
        for _ in range(3):
            lost = cluster.proxy.lost
            cluster.proxy.lose = 1
            wait_for(lambda: cluster.proxy.lost > lost, 15, 'no answer was there to be lost')
            time.sleep(1)
    assert not load.failures and not load.cut, f'{load.failures[:3]} {load.cut[:3]}'
    wait_for_ledger(cluster, load.ids)
    cluster.proxy.lose = 1
    body = {'amount_nano': 7000, 'reference': 'one invoice'}
    before = cluster.account('other')['credited_nano']
    for _ in range(20):
        try:
            cluster.admin.open('POST', '/admin/v1/accounts/other/top-up', body)
            break
        except urllib.error.HTTPError as why:
            assert why.code == 503, why
            time.sleep(0.3)
    assert cluster.account('other')['credited_nano'] == before + 7000
