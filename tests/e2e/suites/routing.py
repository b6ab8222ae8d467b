"""Which pod gets a request: policies, pods that the operator takes away, ejection and its way back, budgets, timers."""
import http.server
import json
import threading
import time

from harness import net
from harness.client import Closed, chat, elapsed, sim
from harness.load import Load
from harness.proc import wait_for
from harness.suite import test
from suites.endpoints import catalogue

NAMES = ('mv-a', 'mv-b', 'tx-c')


def pod(cluster, name):
    return {pod['name']: pod for pod in cluster.admin.call('GET', 'status')['pods']}[name]


def wait_in(cluster, *names, models=('sim', 'pair', 'fault', 'fault-over')):
    """A pod that was ejected comes back with its first good answer."""
    def is_in():
        with cluster.client() as client:
            for model in models:
                client.ask(cluster.key, chat(model=model))
        return all(pod(cluster, name)['passive'] == 'in' and pod(cluster, name)['probe'] == 'up' for name in names)
    wait_for(is_in, 15, f'{names} are not in')


def asked(cluster, names=NAMES):
    return {name: len(cluster.backends[name].new_served()) for name in names}


def mark(cluster, names=NAMES):
    for name in names:
        cluster.backends[name].mark()


def scripted(backend, words):
    """Started anew, and from now on every answer is like that; no words: as usual."""
    backend.process.stop()
    command = backend.process.command
    if '--script' in command:
        del command[command.index('--script'):command.index('--script') + 2]
    if words:
        command += ['--script', words]
    backend.start()


@test('routing.prefix')
def prefix(cluster):
    """A conversation stays with its pod as it grows; conversations are divided among the pods."""
    cluster.model('kept', mv=['mv-a', 'mv-b', 'tx-c'])
    cluster.ctl('model', 'set', 'kept', '--policy', 'prefix')
    assert cluster.ctl('model', 'show', 'kept')['policy'] == 'prefix'
    wait_in(cluster, *NAMES)
    homes = {}
    for number in range(32):
        mark(cluster)
        messages = [{'role': 'system', 'content': f'You are number {number}.'}]
        for turn in range(3):
            messages.append({'role': 'user', 'content': sim('tokens=1', f'turn {turn}')})
            with cluster.client() as client:
                answer = client.ask(cluster.key, {'model': 'kept', 'messages': messages})
            assert answer.status == 200, answer
            messages.append({'role': 'assistant', 'content': 'yes'})
        wait_for(lambda: sum(asked(cluster).values()) == 3, 5)
        got = asked(cluster)
        assert sorted(got.values()) == [0, 0, 3], f'conversation {number}: {got}'
        home = max(got, key=got.get)
        homes[home] = homes.get(home, 0) + 1
    assert len(homes) == 3 and max(homes.values()) <= 24, homes


@test('routing.least-loaded')
def least_loaded(cluster):
    """Of two pods, the one that is held up by long answers gets no others."""
    cluster.model('lazy', mv=['mv-a', 'mv-b'])
    cluster.ctl('model', 'set', 'lazy', '--policy', 'least-loaded')
    cluster.model('only-a', mv=['mv-a'])
    wait_in(cluster, 'mv-a', 'mv-b')
    clients = [cluster.client() for _ in range(6)]
    try:
        for client in clients:
            # And slow to begin, so that no stall of this machine makes the other one look slower.
            client.begin(cluster.key, chat(sim('tokens=200 tps=5 ttft=500ms'), model='only-a', stream=True))
        wait_for(lambda: pod(cluster, 'mv-a')['in_flight'] == 6, 5)
        mark(cluster)
        with cluster.client() as client:  # all within the 40 s of the others
            for _ in range(20):
                assert client.ask(cluster.key, chat(sim('tokens=1'), model='lazy')).status == 200
        wait_for(lambda: asked(cluster)['mv-b'] == 20, 5, f'{asked(cluster)}')
    finally:
        for client in clients:
            client.close()
    wait_for(lambda: pod(cluster, 'mv-a')['in_flight'] == 0, 5)
    with cluster.client() as client:
        client.ask(cluster.key, chat(sim('tokens=3 first_event=120ms'), model='only-a', stream=True))
    assert pod(cluster, 'mv-a')['first_token_us'] > 10000, 'time to the first token is not measured'


@test('routing.drain-and-maint', seconds=90)
def drain_and_maint(cluster):
    """drain: what runs ends, nothing new. maint: what runs ends now, kept connections are closed, no probes."""
    wait_in(cluster, 'mv-a', 'mv-b')
    slow = chat(sim('tokens=40 tps=20'), model='only-b', stream=True)
    cluster.model('only-b', mv=['mv-b'])
    with cluster.client() as running, cluster.client() as client:
        mark(cluster)
        response = running.begin(cluster.key, slow)
        assert response.status == 200
        cluster.ctl('pod', 'drain', 'mv-b')
        try:
            assert pod(cluster, 'mv-b')['state'] == 'drain'
            assert ('sluice_pods_by_state', {'state': 'drain'}, 1) in \
                [(name, labels, int(float(value))) for name, labels, value in cluster.admin.metrics()]
            for _ in range(10):
                assert client.ask(cluster.key, chat(model='pair')).status == 200
            alone = client.ask(cluster.key, chat(model='only-b'))
            assert alone.status == 503 and alone.json()['error']['code'] == 'no_healthy_region', alone
            assert alone.field('retry-after') == '1'
            events = list(running.read_events(response))
            assert events[-1] == b'data: [DONE]\n\n', 'a running stream was cut by a drain'
            assert asked(cluster) == {'mv-a': 10, 'mv-b': 1, 'tx-c': 0}, asked(cluster)
        finally:
            cluster.ctl('pod', 'ready', 'mv-b')
    wait_in(cluster, 'mv-b')
    with cluster.client() as running:
        response = running.begin(cluster.key, chat(sim('tokens=600 tps=20'), model='only-b', stream=True))
        assert response.status == 200
        removed = cluster.counter('pod_removals')
        cluster.ctl('pod', 'maint', 'mv-b')
        try:
            events = []
            try:
                for event in running.read_events(response):
                    events.append(event)
                raise AssertionError('a pod in maintenance goes on serving')
            except Closed:
                pass
            assert json.loads(events[-1][6:])['error']['code'] == 'upstream_failed', events[-1]
            wait_for(lambda: cluster.counter('pod_removals') > removed, 5)
            assert pod(cluster, 'mv-b')['in_flight'] == 0
            mark(cluster)
            with cluster.client() as client:
                for _ in range(6):
                    assert client.ask(cluster.key, chat(model='pair')).status == 200
            wait_for(lambda: asked(cluster)['mv-a'] == 6, 5)
            assert asked(cluster)['mv-b'] == 0
        finally:
            cluster.ctl('pod', 'ready', 'mv-b')
    wait_in(cluster, 'mv-a', 'mv-b')


@test('routing.half-open', seconds=90)
def half_open(cluster):
    """A pod that resets every request is out after three, and is asked once per ejection, twice as long each time."""
    fault = cluster.backends['fault']
    wait_in(cluster, 'fault')
    scripted(fault, 'reset')
    try:
        fault.mark()
        clock = elapsed()
        with Load(cluster, model='fault-over', threads=6, words='tokens=1', pause=0.01) as load:
            load.stopping.wait(6)
        seconds = clock()
        assert not load.failures and not load.cut, load.failures[:3]
        assert load.done > 100, load.done
        # Out at once, then probes after 1, 3 and 7 s; requests that were under way at the third failure count too.
        tries = len(fault.new_served())
        assert 4 <= tries <= 3 + 6 + 3, f'{tries} tries in {seconds:.1f} s'
        assert pod(cluster, 'fault')['passive'] in ('ejected', 'half-open')
        assert cluster.counter('pod_ejections') > 0 and cluster.counter('pod_probes') > 0
    finally:
        scripted(fault, '')
    returns = cluster.counter('pod_returns')
    def is_back():
        with cluster.client() as client:
            client.ask(cluster.key, chat(model='fault-over'))
        return pod(cluster, 'fault')['passive'] == 'in'
    wait_for(is_back, 12, 'the pod does not come back')
    assert cluster.counter('pod_returns') > returns


@test('routing.retry-budget', seconds=90)
def retry_budget(cluster):
    """However many requests fail, backends get a fifth more of them at most, and what was saved up once."""
    fault, other = cluster.backends['fault'], cluster.backends['fault2']
    cluster.model('storm', mv=['fault'], tx=['fault2'])
    wait_in(cluster, 'fault')
    for backend in (fault, other):
        scripted(backend, 'error=502')
        backend.mark()
    try:
        statuses = []
        with cluster.client() as client:
            for _ in range(200):
                answer = client.ask(cluster.key, chat(model='storm'))
                statuses.append(answer.status)
                assert answer.field('x-should-retry') == 'false', answer
        assert set(statuses) == {502}, set(statuses)
        tries = len(fault.wait_served(0)) + len(other.wait_served(0))
        assert 200 < tries <= 200 * 1.2 + 10 * cluster.workers, f'{tries} tries of 200 requests'
        assert cluster.counter('retries_denied') > 0
        # A model may have its own share: none.
        cluster.ctl('model', 'set', 'storm', '--retry-percent', '0')
        for backend in (fault, other):
            backend.mark()
        with cluster.client() as client:
            for _ in range(50):
                assert client.ask(cluster.key, chat(model='storm')).status == 502
        wait_for(lambda: len(fault.new_served()) + len(other.new_served()) == 50, 5)
    finally:
        for backend in (fault, other):
            scripted(backend, '')
    cluster.model('only-fault2', tx=['fault2'])
    wait_in(cluster, 'fault', 'fault2', models=('fault', 'only-fault2'))


@test('routing.busy')
def busy(cluster):
    """429 and 503 of a pod: asked elsewhere, passed over for a while, never ejected; all busy: say so and when."""
    fault, other = cluster.backends['fault'], cluster.backends['mv-a']
    wait_in(cluster, 'fault', 'mv-a')
    scripted(fault, 'error=429 retry_after=4')
    try:
        wait_for(lambda: cluster.pod_is_up('fault'), 5)
        fault.mark()
        other.mark()
        clock = elapsed()
        with cluster.client() as client:
            for _ in range(12):
                answer = client.ask(cluster.key, chat(model='fault-over'))
                assert answer.status == 200 and answer.field('x-ecolink-region') == 'tx', answer
        assert len(other.wait_served(12)) == 12
        assert len(fault.new_served()) <= 2 + clock() / 4, 'a busy pod is asked again and again'
        with cluster.client() as client:
            for _ in range(4):
                answer = client.ask(cluster.key, chat(model='fault'))
                assert answer.status == 503 and answer.json()['error']['code'] == 'overloaded', answer
                assert answer.field('retry-after') == '4', answer.fields
                assert answer.field('x-should-retry') is None
        assert pod(cluster, 'fault')['passive'] == 'busy' and pod(cluster, 'fault')['errors'] == 0
    finally:
        scripted(fault, '')
    wait_in(cluster, 'fault')


@test('routing.busy-instance')
def busy_instance(cluster):
    """What passes through says busy, too: the client gets it as it is, and the pod is not blamed."""
    path = f'/inference-instances/{catalogue(cluster)}/proxy/x'
    with cluster.client() as client:
        wait_for(lambda: client.request('GET', path, cluster.key).status == 200, 10)
        for status in (429, 503):
            answer = client.request('GET', path, cluster.key, fields=[('x-sim-script', f'error={status}')])
            assert answer.status == status and answer.json()['error']['code'] == 'simulated', answer
            assert pod(cluster, 'solo')['passive'] == 'busy' and pod(cluster, 'solo')['errors'] == 0
            assert client.request('GET', path, cluster.key).status == 200, 'nobody else can be asked'
            wait_for(lambda: pod(cluster, 'solo')['passive'] == 'in', 5)


def time_of(cluster, model, words, stream):
    """Seconds until the answer is over, its status, and the code of its error."""
    clock = elapsed()
    with cluster.client(timeout=15) as client:
        response = client.begin(cluster.key, chat(sim(words), model=model, stream=stream))
        if response.status != 200:
            client.read_body(response)
            return clock(), response.status, response.json()['error']['code']
        last = None
        try:
            for event in client.read_events(response):
                last = event
            raise AssertionError(f'{words}: a stream that fell silent looks complete')
        except Closed:
            return clock(), 200, json.loads(last[6:])['error']['code']


@test('routing.timers-of-a-model', seconds=120)
def timers(cluster):
    """Each timer fires by itself, at the model's time and not at the configured three seconds."""
    cases = (
        ('response_head_ms', 700, 'hang', False, 504),
        ('first_event_ms', 800, 'hang_after_headers', True, 200),
        ('between_events_ms', 900, 'tokens=9 hang_after=2', True, 200),
        ('request_ms', 1200, 'tokens=1000 tps=10', True, 200),
        ('request_ms', 1300, 'hang', False, 504),
    )
    cluster.model('quick', mv=['fault'])
    for name, ms, words, stream, wanted in cases:
        cluster.put('model', 'quick', **{name: ms})
        seconds, status, code = time_of(cluster, 'quick', words, stream)
        assert status == wanted and code == 'upstream_timeout', f'{name}: {status} {code}'
        assert ms / 1000 - 0.05 <= seconds < 2.9, f'{name}: after {seconds:.2f} s'
        cluster.put('model', 'quick', **{name: 0})
        wait_in(cluster, 'fault')


@test('routing.connect-timer', seconds=60)
def connect_timer(cluster):
    """A pod whose host is gone costs its connect time, and the next region answers."""
    address = net.HOST4.rsplit('.', 1)[0] + '.99'  # nobody is there
    cluster.put('pod', 'void', address=address, port=9001)
    cluster.model('quick-void', mv=['void'], tx=['mv-a'])
    cluster.model('void', mv=['void'])
    wait_in(cluster, 'mv-a')
    try:
        for ms in (300, 1500):  # configured is one second
            cluster.put('model', 'void', connect_ms=ms)
            took = []
            for _ in range(3):
                with cluster.client() as client:
                    clock = elapsed()
                    answer = client.ask(cluster.key, chat(model='void'))
                    took.append(clock())
                assert answer.status == 503 and answer.json()['error']['code'] == 'no_healthy_region', answer
            assert ms / 1000 - 0.05 <= min(took) < ms / 1000 + 0.65, f'after {took} s'
        with cluster.client() as client:
            answer = client.ask(cluster.key, chat(model='quick-void'))
            assert answer.status == 200 and answer.field('x-ecolink-region') == 'tx', answer
    finally:
        for model in ('void', 'quick-void'):
            for region in ('mv', 'tx') if model == 'quick-void' else ('mv',):
                cluster.ctl('deployment', 'rm', f'{model}-{region}')
            cluster.ctl('model', 'rm', model)
        cluster.ctl('pod', 'rm', 'void')


class Probed:
    """A backend of which only the answers to probes matter; they can be changed while it runs."""

    def __init__(self, host, port):
        self.status, self.delay, self.paths = 200, 0, []
        probed = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                time.sleep(probed.delay)
                probed.paths.append(self.path)
                self.send_response(probed.status)
                self.send_header('content-length', '0')
                self.end_headers()

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer((host, port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def seen_until(self, cluster, state):
        """How many probes it takes until the pod is called that."""
        before = len(self.paths)
        wait_for(lambda: pod(cluster, 'probed')['probe'] == state, 15, f'the pod is not called {state}')
        return len(self.paths) - before


class Telling(Probed):
    """A backend that tells its load as vLLM does, and answers requests at once."""

    def __init__(self, host, port):
        super().__init__(host, port)
        self.load, self.asked = None, 0
        telling, handler = self, self.server.RequestHandlerClass

        class Handler(handler):
            def answer(self, body):
                self.send_response(200)
                self.send_header('content-length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == '/metrics' and telling.load is not None:
                    running, waiting = telling.load
                    return self.answer(f'vllm:num_requests_running{{engine="0"}} {running}.0\n'
                                       f'vllm:num_requests_waiting{{engine="0"}} {waiting}.0\n'
                                       'vllm:kv_cache_usage_perc{engine="0"} 0.25\n'.encode())
                return super().do_GET()

            def do_POST(self):
                self.rfile.read(int(self.headers['content-length']))
                telling.asked += 1
                self.answer(b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}')
        self.server.RequestHandlerClass = Handler


@test('routing.backends-tell-their-load', seconds=90)
def backends_tell_their_load(cluster):
    """Who has others' requests gets none of ours while another pod is free; old news counts no more."""
    pods = {name: Telling(net.HOST4, port) for name, port in (('tells-a', 9101), ('tells-b', 9102))}
    for name, telling in pods.items():
        cluster.put('pod', name, address=net.HOST4, port=telling.server.server_address[1], metrics_path='/metrics',
                    probe_interval_ms=200)
    cluster.model('telling', mv=list(pods))
    cluster.put('model', 'telling', policy='least-loaded')

    def told(name):
        return pod(cluster, name).get('running'), pod(cluster, name).get('waiting')
    try:
        for busy, calm in (('tells-a', 'tells-b'), ('tells-b', 'tells-a')):
            pods[busy].load, pods[calm].load = (50, 20), (0, 0)
            for name in pods:
                wait_for(lambda: pod(cluster, name)['probe'] == 'up' and told(name) == pods[name].load, 20,
                         f'{name} is not asked for its load')
            assert pod(cluster, busy)['cache_permille'] == 250
            before = pods[busy].asked, pods[calm].asked
            with cluster.client() as client:
                for _ in range(20):
                    assert client.ask(cluster.key, chat(model='telling')).status == 200
            # 71 times as many, so that a calm one's slow first answer does not matter.
            assert pods[calm].asked - before[1] >= 18, (pods[busy].asked - before[0], pods[calm].asked - before[1])
        pods['tells-a'].load = pods['tells-b'].load = None
        for name in pods:
            wait_for(lambda: told(name) == (None, None), 20, f'what {name} said is not forgotten')
    finally:
        cluster.ctl('deployment', 'rm', 'telling-mv')
        cluster.ctl('model', 'rm', 'telling')
        for name, telling in pods.items():
            cluster.ctl('pod', 'rm', name)
            telling.close()


@test('routing.active-probes', seconds=90)
def active_probes(cluster):
    """A pod's own path, rise, fall and timeout; none in maintenance; who is called down is asked by nobody."""
    probed = Probed(net.HOST4, 9100)
    cluster.put('pod', 'probed', address=net.HOST4, port=9100, probe_path='/alive', probe_interval_ms=500,
                probe_timeout_ms=400, rise=4, fall=5)
    cluster.model('probed', mv=['probed'], tx=['mv-a'])
    try:
        probed.seen_until(cluster, 'up')
        probed.status = 500
        assert probed.seen_until(cluster, 'down') >= 4
        wait_in(cluster, 'mv-a')
        with cluster.client() as client:
            answer = client.ask(cluster.key, chat(model='probed'))
        assert answer.status == 200 and answer.field('x-ecolink-region') == 'tx', answer
        probed.status = 200
        assert probed.seen_until(cluster, 'up') >= 3
        probed.delay = 0.8
        probed.seen_until(cluster, 'down')
        probed.delay = 0
        probed.seen_until(cluster, 'up')
        cluster.ctl('pod', 'drain', 'probed')
        before = len(probed.paths)
        wait_for(lambda: len(probed.paths) > before + 2, 5, 'a pod that drains is not probed')
        cluster.ctl('pod', 'maint', 'probed')
        time.sleep(1)  # one may be on its way
        before = len(probed.paths)
        time.sleep(1.5)
        assert len(probed.paths) == before, 'a pod in maintenance is probed'
        cluster.ctl('pod', 'ready', 'probed')
        wait_for(lambda: len(probed.paths) > before, 5, 'it is not probed any more')
        assert set(probed.paths) == {'/alive'}, set(probed.paths)
    finally:
        for region in ('mv', 'tx'):
            cluster.ctl('deployment', 'rm', f'probed-{region}')
        cluster.ctl('model', 'rm', 'probed')
        cluster.ctl('pod', 'rm', 'probed')
        probed.close()
