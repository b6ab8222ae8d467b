"""What is billed is what was served: the ledger against the backends' own logs."""
import json
import re
import threading

from contract.checks import check_refusal
from harness.client import CHAT, Closed, chat, sim
from harness.cluster import INPUT_NANO, OUTPUT_NANO, REQUEST_NANO
from harness.proc import wait_for
from harness.suite import test


def plain(name):
    return name.replace('-', '')


def cost_of(row):
    """Rounded half up, once."""
    millionths = row['prompt_tokens'] * INPUT_NANO + row['completion_tokens'] * OUTPUT_NANO
    requests = row['units'] if row['unit'] == 1 else 0
    return (millionths + 500000) // 1000000 + requests * REQUEST_NANO


def rows_of(cluster, ids, seconds=10):
    wanted = {plain(name) for name in ids}

    def found():
        rows = [row for row in cluster.ledger() if row['request_id'].hex() in wanted]
        return rows if {row['request_id'].hex() for row in rows} == wanted else None
    rows = wait_for(found, seconds, f'of {len(wanted)} requests not all are in the ledger')
    assert len(rows) == len(wanted), 'a request has two rows'
    return {row['request_id'].hex(): row for row in rows}


@test('usage.ledger-is-the-truth', seconds=90)
def ledger(cluster):
    backends = [cluster.backends[name] for name in ('mv-a', 'mv-b', 'tx-c', 'solo')]
    for backend in backends:
        backend.mark()
    account = cluster.account('main')
    ids, lock = [], threading.Lock()

    def work(number):
        with cluster.client(timeout=30) as client:
            for turn in range(25):
                words = f'tokens={(number * 25 + turn) % 60} chunk={turn % 3 + 1}'
                body = chat(sim(words, 'x' * turn), model=('sim', 'solo')[turn % 2], stream=turn % 3 == 0)
                answer = client.ask(cluster.key, body)
                assert answer.status == 200, answer
                with lock:
                    ids.append(answer.field('x-request-id'))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 200, f'{len(ids)} of 200 were answered'
    rows = rows_of(cluster, ids)
    truth = {plain(entry['id']): entry for backend in backends for entry in backend.new_served()}
    total = 0
    for name in map(plain, ids):
        row, entry = rows[name], truth[name]
        assert row['prompt_tokens'] == entry['prompt_tokens'], (row, entry)
        assert row['completion_tokens'] == entry['completion_tokens'], (row, entry)
        assert row['cost_nano'] == cost_of(row), row
        assert row['status'] == 200 and row['region'] == entry['region']
        assert bool(row['stream']) == entry['stream']
        total += row['cost_nano']
    wait_for(lambda: cluster.account('main')['spent_nano'] >= account['spent_nano'] + total, 5,
             'the account has not paid')


@test('usage.failures-cost-nothing', seconds=30)
def failures_cost_nothing(cluster):
    """A refused request costs nothing; one that reached a backend and failed there costs nothing either."""
    cluster.put('account', 'unlucky')
    cluster.top_up('unlucky', 1)
    key = cluster.new_key(account='unlucky')
    with cluster.client() as client:
        wait_for(lambda: client.request('GET', '/v1/models', key).status == 200, 10)
        for body in (chat(model='none'), chat(model='dead'), {'model': 'sim'}, chat(model='unpriced')):
            assert client.ask(key, body).status >= 400
        failed = client.ask(key, chat(sim('error=500'), model='solo'))
        assert failed.status == 500
        good = client.ask(key, chat(sim('tokens=10')))
    row = rows_of(cluster, [good.field('x-request-id')])[plain(good.field('x-request-id'))]
    assert row['cost_nano'] > 0, row
    assert cluster.account('unlucky')['spent_nano'] == row['cost_nano'], 'a failure was paid'


@test('usage.client-left', seconds=30)
def client_left(cluster):
    """What was served until the client left is billed by its events, and marked as an estimate."""
    solo = cluster.backends['solo']
    solo.mark()
    client = cluster.client()
    response = client.begin(cluster.key,
                            chat(sim('tokens=10000 tps=200', 'word ' * 40), model='solo', stream=True))
    name = response.field('x-request-id')
    events = client.read_events(response)
    for _ in range(41):
        next(events)
    client.reset()
    entry = solo.wait_served()[0]
    row = rows_of(cluster, [name])[plain(name)]
    assert row['source'] != 0, f'not marked as estimated: {row}'
    assert 35 <= row['completion_tokens'] <= entry['events'], (row, entry['events'])
    assert row['prompt_tokens'] > 0 and row['cost_nano'] == cost_of(row), row


@test('usage.backend-cut', seconds=30)
def backend_cut(cluster):
    with cluster.client() as client:
        response = client.begin(cluster.key,
                                chat(sim('tokens=100 reset_after=21'), model='fault', stream=True))
        assert response.status == 200, response
        try:
            list(client.read_events(response))
        except Closed:
            pass
    row = rows_of(cluster, [response.field('x-request-id')])[plain(response.field('x-request-id'))]
    assert 20 <= row['completion_tokens'] <= 21 and row['source'] != 0, row
    assert row['cost_nano'] == cost_of(row)


@test('usage.balance-runs-out', seconds=60)
def balance_runs_out(cluster):
    """What a request may cost must be there before it begins; what it did cost is taken, and no more."""
    cluster.put('account', 'small')
    cluster.top_up('small', 0.0001)
    key = cluster.new_key(account='small')
    words, too_many = sim('tokens=100 prompt_tokens=0'), sim('tokens=1 prompt_tokens=396')
    with cluster.client() as client:
        wait_for(lambda: client.request('GET', '/v1/models', key).status == 200, 2)
        assert client.ask(key, chat(words, max_tokens=100)).status == 200, '60,000 of 100,000 nano-dollars'
        answer = client.ask(key, chat(words, max_tokens=100))
        assert answer.status == 402 and answer.json()['error']['code'] == 'insufficient_balance', answer
        assert 'max_tokens' in answer.json()['error']['message'], answer
        assert client.ask(key, chat(words)).status == 402, 'without max_tokens 1,024 are held'
        row, = rows_of(cluster, [answer.field('x-request-id')]).values()
        assert (row['outcome'], row['status'], row['cost_nano'], row['pod_id']) == (5, 402, 0, 0), row
        # What a backend counts is paid, though it is more than was held for.
        assert client.ask(key, chat(too_many, max_tokens=1)).status == 200, '40,000 are left'
        answer = client.ask(key, chat(words, max_tokens=1))
        assert answer.status == 402 and answer.json()['error']['code'] == 'insufficient_balance', answer
        wait_for(lambda: cluster.account('small')['balance_nano'] == -20000, 5, 'the ledger says otherwise')
        cluster.top_up('small', 0.0002)
        wait_for(lambda: client.ask(key, chat(words, max_tokens=100)).status == 200, 1,
                 'the top-up does not arrive')


@test('usage.each-request', seconds=60)
def each_request(cluster):
    """A price per request is paid beside the tokens, by whoever got an answer."""
    cluster.model('paid-each', 'each', mv=['mv-a'])
    with cluster.client() as client:
        wait_for(lambda: client.request('GET', '/v1/models/paid-each', cluster.key).status == 200, 2)
        answers = [client.ask(cluster.key, chat(sim('tokens=5'), model='paid-each')) for _ in range(2)]
        refused = client.ask(cluster.key, chat(sim('status=400'), model='paid-each'))
    assert [answer.status for answer in answers] == [200, 200] and refused.status == 400, (answers, refused)
    for row in rows_of(cluster, [answer.field('x-request-id') for answer in answers]).values():
        assert (row['unit'], row['units']) == (1, 1) and row['cost_nano'] == cost_of(row) > REQUEST_NANO, row
    row, = rows_of(cluster, [refused.field('x-request-id')]).values()
    assert row['cost_nano'] == 0, row


@test('usage.credit-depleted', seconds=60)
def credit_depleted(cluster):
    """Who has used up his money has no running instances; a top-up alone brings none back."""
    cluster.put('account', 'spent')
    cluster.top_up('spent', 0.0001)
    key = cluster.new_key(account='spent')
    instance = cluster.ctl('instance', 'add', '--name', 'mine', '--account', 'spent', '--price', 'normal')['id']
    free = cluster.ctl('instance', 'add', '--name', 'free', '--account', 'poor')['id']
    cluster.put('deployment', 'mine-mv', instance=instance, region='mv', pods=['solo'])
    words = chat(sim('tokens=1 prompt_tokens=1000'), model=f'mine:{instance}', max_tokens=1)

    def state(number):
        return cluster.ctl('instance', 'show', number)['state']
    with cluster.client() as client:
        wait_for(lambda: client.request('GET', '/v1/models', key).status == 200, 5)
        assert client.ask(key, words).status == 200, 'it costs more than there is'
        wait_for(lambda: state(instance) == 'credit_depleted', 10, 'the instance runs on')
        answer = client.ask(key, words)
        assert answer.status == 402 and answer.json()['error']['code'] == 'credit_depleted', answer
        row = [row for row in json.loads(cluster.admin.open('GET', '/admin/v1/audit?noun=instance&order=newest'))['data']
               if row['verb'] == 'deplete'][0]
        assert row['who'] == 'control' and row['subject'] == instance, row
        assert state(free) == 'running', 'who never spent anything has not used it up'
        cluster.top_up('spent', 1)
        wait_for(lambda: client.ask(key, chat(sim('tokens=1'), max_tokens=1)).status == 200, 5,
                 'the top-up does not arrive')
        assert state(instance) == 'credit_depleted'
        assert client.ask(key, words).status == 402
        cluster.ctl('instance', 'set', instance, '--state', 'running')
        wait_for(lambda: client.ask(key, words).status == 200, 5, 'it does not come back when it is asked to')


def held_nano(cluster, account):
    """What requests in flight of one account hold, as workers see it."""
    cell = re.search(rf'\bid={cluster.account(account)["id"]} .*\bheld=(-?[0-9]+)', cluster.dump('accounts'))
    assert cell, f'{account} is not in the tables'
    return int(cell[1])


@test('usage.balance-in-flight', seconds=60)
def balance_in_flight(cluster):
    """Who waits for others' holds is told so, on both surfaces, and may come again when they have ended."""
    for surface, path in (('eco', '/v1'), ('inf', '/api/v1')):
        account = f'busy-{surface}'
        cluster.put('account', account)
        cluster.top_up(account, 0.001)
        key = cluster.new_key(account, surface={'eco': 'ecolink', 'inf': 'infer'}[surface])
        with cluster.client() as client, cluster.client() as other:
            wait_for(lambda: client.request('GET', f'{path}/models', key).status == 200, 2)
            body = chat(sim('tokens=10 tps=1', 'a'), max_tokens=1000, stream=True)
            response = client.start('POST', f'{path}/chat/completions', key, body)
            assert response.status == 200, response
            short = chat(sim('tokens=10', 'b'), max_tokens=1000)
            answer = other.request('POST', f'{path}/chat/completions', key, short)
            check_refusal(answer, surface, 'balance_in_flight', None)
            answer = other.request('POST', f'{path}/chat/completions', key, chat('c', max_tokens=2000))
            check_refusal(answer, surface, 'insufficient_balance', None)
            client.reset()
            wait_for(lambda: other.request('POST', f'{path}/chat/completions', key, short).status == 200, 5,
                     'the hold of a request that has ended is not given back')


@test('usage.price-at-admission', seconds=60)
def price_at_admission(cluster):
    """A price that changes while an answer is under way changes the next request's bill, not this one's."""
    def price(output):
        cluster.put('price', 'moving', input=INPUT_NANO / 1e9, output=output / 1e9)

    def cost(row, output):
        return (row['prompt_tokens'] * INPUT_NANO + row['completion_tokens'] * output + 500000) // 1000000
    price(OUTPUT_NANO)
    cluster.model('moving', price='moving', mv=['solo'])
    cluster.put('model', 'moving', hold_tokens=50)
    cluster.put('account', 'mover')
    cluster.top_up('mover', 1)
    key = cluster.new_key(account='mover')
    with cluster.client() as client:
        wait_for(lambda: client.ask(key, chat('a', model='moving', max_tokens=1)).status == 200, 10,
                 'the model is not served')
        wait_for(lambda: held_nano(cluster, 'mover') == 0, 10, 'something is held, and nothing runs')
        response = client.begin(key, chat(sim('tokens=12 tps=10'), model='moving', stream=True))
        assert response.status == 200, response
        events = client.read_events(response)
        next(events)
        held = held_nano(cluster, 'mover')
        assert 50 * OUTPUT_NANO / 1e6 <= held <= 60 * OUTPUT_NANO / 1e6, f'{held} are held for 50 tokens and a prompt'
        price(7 * OUTPUT_NANO)  # published when the call is answered
        list(events)
        later = client.ask(key, chat(sim('tokens=12'), model='moving'))
        assert later.status == 200, later
    names = [plain(answer.field('x-request-id')) for answer in (response, later)]
    rows = rows_of(cluster, names)
    first, second = (rows[name] for name in names)
    assert first['completion_tokens'] == second['completion_tokens'] == 12, (first, second)
    assert second['price_version'] == first['price_version'] + 1, (first, second)
    assert first['cost_nano'] == cost(first, OUTPUT_NANO), first
    assert second['cost_nano'] == cost(second, 7 * OUTPUT_NANO), second


@test('usage.many-at-once', seconds=120)
def many_at_once(cluster):
    """Five hundred requests at once, two workers, money for ten: ten are paid, and nothing stays held (T83)."""
    assert cluster.workers == 2
    threads_count, each = 25, 20
    cluster.put('account', 'crowd')
    cluster.top_up('crowd', 0.0006)
    key = cluster.new_key(account='crowd')
    body = json.dumps(chat(sim('tokens=100 prompt_tokens=0 ttft=2s'), max_tokens=100, model='patient')).encode()
    before = [worker['requests'] for worker in cluster.workers_counters()]
    answers, lock, ready = [], threading.Lock(), threading.Barrier(threads_count)

    def work():
        """The connections are there before the first request, and all requests before the first answer is read."""
        clients = [cluster.client(timeout=60) for _ in range(each)]
        ready.wait(60)
        for client in clients:
            client.send(client.head('POST', CHAT, key, length=len(body)) + body)
        for client in clients:
            answer = client.read_head()
            client.read_body(answer)
            client.close()
            with lock:
                answers.append(answer)
    with cluster.client() as client:
        wait_for(lambda: client.request('GET', '/v1/models', key).status == 200, 2)
    threads = [threading.Thread(target=work) for _ in range(threads_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == threads_count * each, f'{len(answers)} answers'
    after = [worker['requests'] for worker in cluster.workers_counters()]
    assert all(new > old for new, old in zip(after, before)), f'one worker had no request: {before} {after}'
    good = [answer for answer in answers if answer.status == 200]
    codes = {answer.json()['error']['code'] for answer in answers if answer.status != 200}
    assert codes <= {'insufficient_balance', 'balance_in_flight'} and 'balance_in_flight' in codes, codes
    # Each cost 60,000 of 600,000; the estimate of its prompt keeps the last one out.
    assert 9 <= len(good) <= 10, f'{len(good)} were served'
    wait_for(lambda: cluster.account('crowd')['balance_nano'] == 600000 - 60000 * len(good), 5,
             'the ledger says otherwise')
    wait_for(lambda: held_nano(cluster, 'crowd') == 0, 10, 'something is still held')
    with cluster.client() as client:
        answer = client.ask(key, chat(sim('tokens=100 prompt_tokens=0'), max_tokens=100))
        check_refusal(answer, 'eco', 'insufficient_balance', None)
