"""sluice.yaml read again while requests run; what is tried and not confirmed goes back, whoever has died."""
import contextlib
import json
import os
import signal
import subprocess
import time

from harness.client import chat, sim
from harness.load import Load
from harness.proc import wait_for
from harness.suite import test


def sluicectl(cluster, *words):
    """Exit code, output and complaints."""
    from harness.cluster import TOKEN
    done = subprocess.run([cluster.sluicectl, '--url', cluster.admin.url, '--token', TOKEN, *words],
                          capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def configured(cluster):
    """Writes sluice.yaml anew as often as it likes; what was there comes back, and runs."""
    with open(cluster.config, encoding='ascii') as file:
        before = file.read()

    def write(*changes, text=None):
        text = text if text is not None else before
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        with open(cluster.config, 'w', encoding='ascii') as file:
            file.write(text)
    try:
        yield write
    finally:
        write()
        if state(cluster)['state'] == 'trial':
            sluicectl(cluster, 'reload', '--undo')
        code, _, complaints = sluicectl(cluster, 'reload')
        assert code == 0, complaints


def state(cluster):
    return cluster.admin.call('GET', 'reload')


def wait_for_dataplane(cluster):
    wait_for(lambda: state(cluster)['sequence'] == state(cluster)['dataplane_sequence'], 10,
             'the dataplane does not take the settings')


def limit_of(cluster, key):
    with cluster.client() as client:
        answer = client.request('GET', '/v1/models', key)
        assert answer.status == 200, answer.status
        return answer.field('x-ratelimit-limit-requests')


ECOLINK = '  ecolink:\n'


def silent_key(cluster):
    """Of a plan that says nothing of requests, so that its surface's limit is shown."""
    cluster.put('plan', 'silent', requests_per_minute=0)
    return cluster.new_key(plan='silent')


@test('reload.under-load', seconds=120)
def under_load(cluster):
    """Twenty of them, each seen by the next request of both workers; nothing fails."""
    key = silent_key(cluster)
    with configured(cluster) as write, Load(cluster, model='patient', threads=4) as load:
        for turn in range(20):
            write((ECOLINK, f'{ECOLINK}    requests_per_minute: {100000 + turn}\n'))
            code, said, complaints = sluicectl(cluster, 'reload')
            assert code == 0, complaints
            assert 'surfaces.ecolink.requests_per_minute' in said and '(live)' in said, said
            for _ in range(4):  # connections of their own: each worker has some
                assert limit_of(cluster, key) == str(100000 + turn)
        wait_for(lambda: load.done > 50, 30, 'the load does nothing')
    assert not load.failures and not load.cut, (load.failures, load.cut)


@test('reload.what-each-class-does')
def what_each_class_does(cluster):
    """live at once, drain for new connections, restart not at all and said so."""
    with configured(cluster) as write, cluster.client() as old:
        assert old.ask(cluster.key, chat(sim('tokens=1'))).status == 200
        write(('    cors: https://console.example http://localhost:3000\n',
               '    cors: https://other.example\n    overhead: yes\n    header_prefix: x-changed-\n'),
              ('limits:\n  clients: 2048\n', 'limits:\n  clients: 1024\n  fields: 6\n'),
              ('timeouts:\n', 'http2: {streams: 3}\ntimeouts:\n'))
        code, said, complaints = sluicectl(cluster, '--json', 'reload')
        assert code == 0, complaints
        classes = {change['key']: change['class'] for change in json.loads(said)['changes']}
        assert classes == {'surfaces.ecolink.cors': 'live', 'surfaces.ecolink.overhead': 'live',
                           'surfaces.ecolink.header_prefix': 'live', 'limits.fields': 'live',
                           'limits.clients': 'restart', 'http2.streams': 'drain'}, classes
        # Of a connection that was there before, too.
        answer = old.ask(cluster.key, chat(sim('tokens=1')), fields=[('origin', 'https://other.example')])
        assert answer.status == 200 and answer.field('access-control-allow-origin') == 'https://other.example'
        assert answer.field('x-sluice-overhead-us') is not None
        assert answer.field('x-changed-region') is not None, answer.fields
        with cluster.client() as client:
            many = [(f'x-{number}', 'v') for number in range(8)]
            assert client.ask(cluster.key, chat(sim('tokens=1')), fields=many).status == 431
        for process in (cluster.control, cluster.dataplane):
            log = [json.loads(line) for line in process.log_text().splitlines() if '"setting_changed"' in line]
            assert {'key': 'limits.clients', 'before': '2048', 'after': '1024', 'class': 'restart'}.items() <= \
                [line for line in log if line['key'] == 'limits.clients'][-1].items()
        running = {item['key']: item['value'] for item in cluster.admin.call('GET', 'config')['data']}
        assert running['limits.clients'] == '2048' and running['limits.fields'] == '6'
        rows = json.loads(cluster.admin.open('GET', '/admin/v1/audit?noun=settings'))['data']
        assert rows[-1]['verb'] == 'reload' and 'admin token' in rows[-1]['who'], rows[-1]
        assert 'limits.fields' in json.dumps(rows[-1]['changed']), rows[-1]
        # What is left is what needs a restart.
        code, said, _ = sluicectl(cluster, 'config', 'diff', cluster.config)
        assert code == 1 and said.split()[:4] == ['limits.clients', '2048', '->', '1024'], said
        assert said.endswith('  (restart of sluice-dataplane)\n'), said


@test('reload.timers-and-log')
def timers_and_log(cluster):
    """Times hold for what begins, and control's own keys hold at once."""
    solo = cluster.backends['solo']
    solo.mark()
    with configured(cluster) as write:
        write(('timeouts:\n', 'log: {level: warn}\ntimeouts:\n  idle: 300ms\n'),
              ('  interval: 200ms\n', '  interval: 200ms\n  path: /nowhere-at-all\n'))
        assert sluicectl(cluster, 'reload')[0] == 0
        said = len(cluster.control.log_text())
        assert sluicectl(cluster, 'reload')[0] == 0
        assert cluster.control.log_text()[said:] == '', 'what is below warn is said'
        with cluster.client() as client:
            assert client.ask(cluster.key, chat(sim('tokens=1'))).status == 200
            assert client.is_closed(20), 'an idle connection lives as long as before'
        # Of a backend's log health probes are no part, other paths are.
        wait_for(lambda: any('/nowhere-at-all' in json.dumps(entry) for entry in solo.new_served()), 20,
                 'probes ask the old path')
        said = len(cluster.control.log_text())
    wait_for(lambda: '"reloaded"' in cluster.control.log_text()[said:], 5, 'what is below warn is not said again')


def rests(pid):
    """How often the threads beside the main one have gone to sleep by themselves."""
    count = 0
    for task in os.listdir(f'/proc/{pid}/task'):
        if task != str(pid):
            with open(f'/proc/{pid}/task/{task}/status', encoding='ascii', errors='replace') as file:
                count += next(int(line.split()[1]) for line in file if line.startswith('voluntary'))
    return count


def rests_in(pid, seconds):
    before = rests(pid)
    time.sleep(seconds)
    return rests(pid) - before


@test('reload.idle-and-drain', seconds=90)
def idle_and_drain(cluster):
    """What the loop around a worker and the main thread look at themselves."""
    pid = cluster.dataplane.pid
    with configured(cluster) as write:
        wait_for(lambda: rests_in(pid, 0.3) > 60, 20, 'workers do not sleep')
        write(('idle: sleep', 'idle: poll'), ('  drain: 4s', '  drain: 100ms'))
        assert sluicectl(cluster, 'reload')[0] == 0
        wait_for_dataplane(cluster)
        wait_for(lambda: rests_in(pid, 0.3) < 20, 20, 'workers sleep on')
        # With the old four seconds it would have ended whole.
        with cluster.client() as client:
            response = client.begin(cluster.key, chat(sim('tokens=1000 tps=20'), stream=True, model='patient'))
            events = client.read_events(response)
            next(events)
            begun = time.monotonic()
            assert cluster.dataplane.stop() == 0
            took = time.monotonic() - begun
        assert took < 1.9, f'timeouts.drain was four seconds still: {took}'
        cluster.start_dataplane()


@test('reload.broken-file')
def broken_file(cluster):
    """Refused whole, with its place; nothing has changed."""
    with configured(cluster) as write:
        before = state(cluster)
        write(('limits:\n  clients: 2048\n', 'limits:\n  clients: 2048\n  requests: 7\n  request_lime: 1KiB\n'))
        code, said, complaints = sluicectl(cluster, 'reload')
        assert code == 1 and said == ''
        with open(cluster.config, encoding='ascii') as file:
            line = [line.startswith('  request_lime') for line in file].index(True) + 1
        place = f"{cluster.config}:{line}:3: error: unknown key 'request_lime'; did you mean 'request_line'?"
        assert place in complaints, complaints
        assert 'Nothing has changed' in complaints
        wait_for(lambda: 'request_lime' in cluster.control.log_text(), 5, 'nobody logs it')
        os.kill(cluster.control.pid, signal.SIGHUP)
        wait_for(lambda: cluster.control.log_text().count('request_lime') > 1, 5, 'SIGHUP says nothing')
        os.kill(cluster.dataplane.pid, signal.SIGHUP)
        wait_for(lambda: 'request_lime' in cluster.dataplane.log_text(), 5, 'the dataplane says nothing')
        assert state(cluster)['sequence'] == before['sequence']
        running = {item['key']: item['value'] for item in cluster.admin.call('GET', 'config')['data']}
        assert running['limits.requests'] == '1000'
        # Fine by itself, but not as long as the second surface has its paths.
        write(('  infer:\n', '  infer:\n    enabled: no\n'), (ECOLINK, f'{ECOLINK}    prefix: /api/v1\n'))
        code, _, complaints = sluicectl(cluster, 'reload')
        assert code == 1 and 'its paths would be those of surface' in complaints, complaints


@test('reload.by-signal')
def by_signal(cluster):
    """To control, for both; to the dataplane, for itself."""
    key = silent_key(cluster)
    with configured(cluster) as write:
        for number, process in ((700, cluster.control), (701, cluster.dataplane)):
            write((ECOLINK, f'{ECOLINK}    requests_per_minute: {number}\n'))
            os.kill(process.pid, signal.SIGHUP)
            wait_for(lambda: limit_of(cluster, key) == str(number), 10, f'SIGHUP to {process.name} does nothing')


@test('reload.undone-in-time', seconds=90)
def undone_in_time(cluster):
    """Without a word the old settings return in both; with one they do not; nothing is tried beside a trial."""
    key = silent_key(cluster)
    with configured(cluster) as write:
        write((ECOLINK, f'{ECOLINK}    requests_per_minute: 900\n'))
        assert sluicectl(cluster, 'reload', '--confirm-within', '2s')[0] == 0
        assert limit_of(cluster, key) == '900'
        code, _, complaints = sluicectl(cluster, 'reload')
        assert code == 1 and 'waits for its confirmation' in complaints, complaints
        wait_for(lambda: state(cluster)['state'] == 'undone', 20, 'control does not go back')
        wait_for(lambda: limit_of(cluster, key) == '200', 20, 'the dataplane does not go back')
        code, _, complaints = sluicectl(cluster, 'reload', '--confirm')
        assert code == 1 and 'No reload waits' in complaints, complaints
        # Confirmed it stays.
        assert sluicectl(cluster, 'reload', '--confirm-within', '60s')[0] == 0
        assert sluicectl(cluster, 'reload', '--confirm')[0] == 0
        assert state(cluster)['state'] == 'firm' and limit_of(cluster, key) == '900'
        # And by a word it goes at once.
        write((ECOLINK, f'{ECOLINK}    requests_per_minute: 901\n'))
        assert sluicectl(cluster, 'reload', '--confirm-within', '60s')[0] == 0
        assert limit_of(cluster, key) == '901'
        assert sluicectl(cluster, 'reload', '--undo')[0] == 0
        assert limit_of(cluster, key) == '900'


@test('reload.undone-though-control-is-dead', seconds=120)
def undone_though_control_is_dead(cluster):
    """The dataplane goes back by itself; control, started later, does not take what was tried."""
    key = silent_key(cluster)
    with configured(cluster) as write:
        write((ECOLINK, f'{ECOLINK}    requests_per_minute: 900\n'))
        assert sluicectl(cluster, 'reload', '--confirm-within', '3s')[0] == 0
        assert limit_of(cluster, key) == '900'
        cluster.control.kill()
        wait_for(lambda: limit_of(cluster, key) == '200', 30, 'the dataplane does not go back alone')
        cluster.start_control()
        assert state(cluster)['state'] == 'undone'
        running = {item['key']: item['value'] for item in cluster.admin.call('GET', 'config')['data']}
        assert running['surfaces.ecolink.requests_per_minute'] == '200'
        wait_for_dataplane(cluster)
        # The file says what was tried still; a dataplane that starts now does not take it either.
        assert sluicectl(cluster, 'config', 'diff', cluster.config)[0] == 1
        cluster.dataplane.kill()
        cluster.start_dataplane()
        assert limit_of(cluster, key) == '200'
        assert 'config_file_not_used' in cluster.dataplane.log_text()
        # Asked for once more, it is taken.
        assert sluicectl(cluster, 'reload')[0] == 0
        assert limit_of(cluster, key) == '900'
        # Control dies in a trial and comes back in time: the trial goes on, and can be confirmed.
        write((ECOLINK, f'{ECOLINK}    requests_per_minute: 901\n'))
        assert sluicectl(cluster, 'reload', '--confirm-within', '60s')[0] == 0
        cluster.control.kill()
        cluster.start_control()
        assert state(cluster)['state'] == 'trial'
        assert sluicectl(cluster, 'reload', '--confirm')[0] == 0
        assert limit_of(cluster, key) == '901'


@test('reload.diff-of-two-files')
def diff_of_two_files(cluster):
    copy = os.path.join(cluster.root, 'copy.yaml')
    with open(cluster.config, encoding='ascii') as file:
        text = file.read()
    try:
        with open(copy, 'w', encoding='ascii') as file:
            file.write(text.replace('segment: 4MiB', 'segment: 8MiB').replace('  body: 3s', '  body: 90s'))
        code, said, _ = sluicectl(cluster, 'config', 'diff', cluster.config, cluster.config)
        assert code == 0 and said == 'nothing differs\n', said
        code, said, _ = sluicectl(cluster, 'config', 'diff', cluster.config, copy)
        assert code == 1, code
        assert [line.split(maxsplit=4) for line in said.splitlines()] == [
            ['timeouts.body', '3s', '->', '90s', '(live)'],
            ['spool.segment', '4MiB', '->', '8MiB', '(restart of sluice-dataplane)']], said
        code, said, _ = sluicectl(cluster, '--json', 'config', 'diff', cluster.config, copy)
        assert code == 1 and json.loads(said)['changes'][0] == {'key': 'timeouts.body', 'before': '3s',
                                                               'after': '90s', 'class': 'live', 'restart_of': None}
        assert sluicectl(cluster, 'config', 'diff')[0] == 2
        assert sluicectl(cluster, 'config', 'diff', cluster.config, '/nowhere.yaml')[0] == 2
        code, said, _ = sluicectl(cluster, 'config', 'diff', cluster.config)
        assert code == 0 and said == 'nothing differs\n', said
    finally:
        if os.path.exists(copy):
            os.unlink(copy)
