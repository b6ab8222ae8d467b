"""Two routers on one PostgreSQL server, which goes away under load."""
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error

from harness.client import CHAT, chat, sim
from harness.load import Load
from harness.proc import run, wait_for
from harness.second import Second
from harness.suite import test

OUTAGE_S = int(os.environ.get('SLUICE_OUTAGE', '1'))  # how long the store stays away, each time

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


def within_a_second(what, why):
    """What is asked from then on must be so; a busy machine may take long to ask."""
    until = time.monotonic() + 1
    while True:
        is_late = time.monotonic() > until
        if what():
            return
        assert not is_late, f'{why} within a second'
        time.sleep(0.02)


def under_load(cluster, second):
    """Both at once: no row is lost or doubled. A key made or revoked on one is so on both within a second; money is common."""
    with cluster.client() as first_client, second.client() as second_client:
        clients = (first_client, second_client)

        def answer_both(key, status):
            return all(client.ask(key, chat(sim('tokens=1'))).status == status for client in clients)
        with Load(cluster, model='patient', threads=2, pause=0.05) as load, \
                Load(second, model='patient', threads=2, pause=0.05) as second_load:
            for admin in (second.admin, cluster.admin):
                made = admin.call('POST', 'keys', {'account': 'main', 'plan': 'wide', 'surface': 'ecolink'})
                within_a_second(lambda: answer_both(made['key'], 200), 'a new key does not work on both')
                admin.call('POST', f'keys/{made["id"]}/revoke')
                within_a_second(lambda: answer_both(made['key'], 401), 'a revoked key still works on one')
            poor = cluster.keys['poor']
            assert answer_both(poor, 402), 'an account without money is served'
            for admin in (second.admin, cluster.admin):
                admin.call('POST', 'accounts/poor/top-up', {'amount_nano': 10**9})
                within_a_second(lambda: answer_both(poor, 200), 'a top-up is not seen by both')
                admin.call('POST', 'accounts/poor/top-up', {'amount_nano': -10**9})
                within_a_second(lambda: answer_both(poor, 402), 'money that was taken away is still there')
            wait_for(lambda: load.done > 50 and second_load.done > 50, 30, 'there is no load')
        for one in (load, second_load):
            assert not one.failures and not one.cut, f'{one.failures[:3]} {one.cut[:3]}'
        wait_for_ledger(cluster, load.ids + second_load.ids)
        rows = dict(cluster.postgres.rows('SELECT node, count(*) FROM ledger GROUP BY node'))
        assert int(rows['e2e']) >= load.done and int(rows['e2e2']) >= second_load.done, rows
        spent = cluster.postgres.number("SELECT node_spending.spent_nano FROM node_spending JOIN accounts ON id = account_id"
                                        " WHERE node = 'e2e' AND name = 'main'")
        within_a_second(lambda: account_of(cluster, second.name, 'main')['elsewhere'] == spent,
                        f'the second router does not know that {spent} were spent')


def account_of(cluster, router, name):
    """What a router's shared memory has of an account."""
    number = cluster.account(name)['id']
    text = run(os.path.join(cluster.build, 'tools/shmdump/shmdump'), f'/dev/shm/{router}', 'accounts')
    line, = re.findall(rf'\] id={number} .*', text)
    return {key: int(value) for key, value in re.findall(r'(\w+)=(-?\d+)', line)}


def ask_all_at_once(router, key, body, count):
    """Refusals and answers of so many requests that are all there before the first answer is read."""
    clients = [router.client(timeout=60) for _ in range(count)]
    for client in clients:
        client.send(client.head('POST', CHAT, key, length=len(body)) + body)
    for client in clients:
        answer = client.read_head()
        client.read_body(answer)
        client.close()
        yield answer


def overspend(cluster, second):
    """Two routers, one prepaid account, money for ten: each admits ten at the most, which is the bound; then both know."""
    paid_in, each, count = 600000, 60000, 40
    body = json.dumps(chat(sim('tokens=100 prompt_tokens=0 ttft=2s'), max_tokens=100, model='patient')).encode()
    routers = (cluster, second)
    cluster.put('account', 'crowd')
    key = cluster.new_key(account='crowd')
    clients = [router.client() for router in routers]
    wait_for(lambda: all(client.request('GET', '/v1/models', key).status == 200 for client in clients), 2)
    cluster.top_up('crowd', paid_in / 1e9)
    for name in ('e2e', second.name):
        within_a_second(lambda name=name: account_of(cluster, name, 'crowd')['credited'] == paid_in,
                        f'{name} has not heard of the money')
    answers = [[], []]
    threads = [threading.Thread(target=lambda i=i: answers[i].extend(ask_all_at_once(routers[i], key, body, count)))
               for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good = [sum(answer.status == 200 for answer in some) for some in answers]
    codes = {answer.json()['error']['code'] for some in answers for answer in some if answer.status != 200}
    assert sum(map(len, answers)) == 2 * count and codes <= {'insufficient_balance', 'balance_in_flight'}, codes
    spent = each * sum(good)
    print(f'  served by each: {good}; paid in {paid_in}, spent {spent}: over by {spent - paid_in},'
          f' bound {paid_in * (len(routers) - 1)}')
    assert all(0 < served * each <= paid_in for served in good), f'a router has spent more than there was: {good}'
    wait_for(lambda: cluster.account('crowd')['balance_nano'] == paid_in - spent, 10, 'the ledger says otherwise')
    short = chat(sim('tokens=1 prompt_tokens=0'), max_tokens=1)
    within_a_second(lambda: all(client.ask(key, short).status == 402 for client in clients),
                    'a router does not know what the other has spent')
    cluster.top_up('crowd', (spent - paid_in + each) / 1e9)
    within_a_second(lambda: all(client.ask(key, short).status == 200 for client in clients),
                    'the debt is paid and a router refuses')
    for client in clients:
        client.close()
    for name in ('e2e', second.name):
        wait_for(lambda name=name: account_of(cluster, name, 'crowd')['held'] == 0, 5, f'{name} still holds something')


@test('postgres.two-routers', layout='postgres', seconds=200)
def two_routers(cluster):
    """Keys, money and ledger are common to both; what an account can spend too much is bounded; a name lives once."""
    with Second(cluster) as second:
        under_load(cluster, second)
        overspend(cluster, second)
    refused = subprocess.run(Second(cluster, 'e2e', 'third', False).control.command, capture_output=True, text=True,
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


def metric(cluster, name):
    value, = (value for found, _, value in cluster.admin.metrics() if found == name)
    return value


def watch_outage(cluster):
    """Control goes on without its store, and says so."""
    assert metric(cluster, 'sluice_store_up') == 0
    good = probes(cluster)
    wait_for(lambda: probes(cluster) > good, 5, 'probes do not go on while the store is away')
    time.sleep(OUTAGE_S)
    assert not store_answers(cluster), 'there is an answer while the store is away'
    with cluster.client() as client:
        answer = client.request('GET', '/readyz')
    assert answer.status == 200, answer
    if OUTAGE_S > 45:
        assert b'stale' in answer.body, answer
        lag, age = metric(cluster, 'sluice_spool_lag_seconds'), metric(cluster, 'sluice_publish_age_seconds')
        assert lag > OUTAGE_S and age > OUTAGE_S, (lag, age)
        print(f'  after {OUTAGE_S} s: spool lag {lag:.0f} s, tables {age:.0f} s old, {answer.body!r}')


@test('postgres.server-restarts', layout='postgres', seconds=150 + 4 * OUTAGE_S)
def restarts(cluster):
    """Stopped, and killed, under load: no request fails, nothing is lost or doubled."""
    with Load(cluster, model='patient', threads=4, words='tokens=5 ttft=2ms', pause=0.02) as load:
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            done = load.done
            wait_for(lambda: load.done > done, 20, 'there is no load')
            cluster.postgres.end(how)
            wait_for(lambda: not store_answers(cluster), 10, 'there is an answer while the store is away')
            watch_outage(cluster)
            cluster.postgres.start()
            wait_for(lambda: store_answers(cluster), 10, 'control has not come back to its store', every=0.1)
            wait_for(lambda: metric(cluster, 'sluice_spool_lag_seconds') < 1, 30, 'the ledger does not catch up', every=0.1)
        key = cluster.new_key()
        done = load.done
        wait_for(lambda: load.done > done, 20, 'the load has ended')
    check_load(cluster, load)
    with cluster.client() as client:
        within_a_second(lambda: client.ask(key, chat()).status == 200, 'a new key is not known')


def check_load(cluster, load):
    assert not load.failures and not load.cut, f'{load.failures[:3]} {load.cut[:3]}'
    assert load.done > 50, load.done
    wait_for_ledger(cluster, load.ids)


@test('postgres.server-silent', layout='postgres', seconds=150 + OUTAGE_S)
def silent(cluster):
    """Its connections stay and nothing comes: control waits 6 s for it, once; no request fails, nothing is lost or doubled."""
    server = cluster.postgres
    with Load(cluster, model='patient', threads=4, words='tokens=5 ttft=2ms', pause=0.02) as load:
        wait_for(lambda: load.done > 50, 30, 'there is no load')
        lives = cluster.control.log_text().count('store_back')
        try:
            server.tell(signal.SIGSTOP)
            began, longest = time.monotonic(), 0
            while time.monotonic() - began < 8 or store_answers(cluster):
                asked = time.monotonic()
                cluster.admin.open('GET', '/healthz')
                longest = max(longest, time.monotonic() - asked)
                assert asked - began < 20, 'control does not notice that its store is silent'
                time.sleep(0.05)
            print(f'  the longest turn of control: {longest:.1f} s')
            watch_outage(cluster)
        finally:
            server.tell(signal.SIGCONT)
        wait_for(lambda: store_answers(cluster), 10, 'control has not come back to its store', every=0.1)
        wait_for(lambda: cluster.control.log_text().count('store_back') > lives, 2, 'it does not say so')
        key = cluster.new_key()
    check_load(cluster, load)
    with cluster.client() as client:
        within_a_second(lambda: client.ask(key, chat()).status == 200, 'a new key is not known')


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


@test('postgres.tls', layout='postgres', seconds=90)
def tls(cluster):
    """sslmode=verify-full; who does not trust the server, or knows it by another name, is told which setting says so."""
    ca = cluster.postgres.speak_tls('db.sluice.test')

    def connection(ca_file, name='db.sluice.test'):
        return f'host={name} hostaddr=127.0.0.1 dbname=postgres user=sluice sslmode=verify-full sslrootcert={ca_file}'

    def comes_up():
        with Second(cluster, 'e2e3', 'tls', False, connection(ca)) as second:
            key = second.admin.call('POST', 'keys', {'account': 'main', 'plan': 'wide', 'surface': 'ecolink'})['key']
            with cluster.client() as client:
                within_a_second(lambda: client.ask(key, chat()).status == 200, 'its key does not work on the other')
            return cluster.postgres.rows("SELECT version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                                         " WHERE ssl AND application_name = 'sluice-control'")
    # A reload takes a moment.
    wait_for(lambda: run(f'{cluster.postgres.bin}/psql', '-X', '-d', connection(ca), '-c', 'SELECT 1', check=False), 10,
             'the server does not speak TLS')
    (version,), = comes_up()
    assert version == 'TLSv1.3', version
    for wrong, word in ((connection(cluster.ca), 'sslrootcert is not the CA'), (connection('/nowhere'), 'sslrootcert must'),
                        (connection(ca, 'db2.sluice.test'), 'host must be a name')):
        began = time.monotonic()
        second = Second(cluster, 'e2e3', 'tls', False, wrong)
        refused = subprocess.run(second.control.command, capture_output=True, text=True, timeout=30, check=False)
        assert refused.returncode == 1 and 'store.connection' in refused.stderr and word in refused.stderr, refused
        assert time.monotonic() - began < 10, 'it waits for what time does not help'
