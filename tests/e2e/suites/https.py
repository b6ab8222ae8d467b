"""Backends over TLS: answers as over clear text, and nobody is believed who is not the one that was named."""
import base64
import hashlib
import os
import shutil
import signal
import ssl
import subprocess
import time

from harness import net
from harness.backend import expected, header
from harness.client import Closed, chat, sim
from harness.cluster import EXPIRES_S, P256
from harness.front import Front
from harness.proc import run, wait_for
from harness.suite import test
from suites.reload import configured, sluicectl, wait_for_dataplane

NAME = 'pod.sluice.test'
FIRST_PORT = 9100
TO = 9004  # the simulated backend called solo


def path(cluster, file):
    return os.path.join(cluster.root, file)


def pin_of(cluster, file):
    key = subprocess.run(['openssl', 'x509', '-in', path(cluster, f'{file}.pem'), '-noout', '-pubkey'], check=True,
                         capture_output=True).stdout
    der = subprocess.run(['openssl', 'pkey', '-pubin', '-outform', 'DER'], input=key, check=True, capture_output=True).stdout
    return f'sha256//{base64.b64encode(hashlib.sha256(der).digest()).decode()}'


class Street:
    """Fronts and pods of one test; taken away behind it."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.fronts = []

    def __enter__(self):
        if not os.path.exists(path(self.cluster, 'pod.pem')):
            self.cluster.make_certificate('pod', P256, NAME, [f'IP:{net.HOST4}'])
            self.cluster.make_certificate('pod-rsa', ('rsa:2048',), NAME)
            run('openssl', 'req', '-x509', '-newkey', *P256, '-nodes', '-days', '7', '-subj', '/CN=self', '-addext',
                f'subjectAltName=DNS:{NAME}', '-keyout', path(self.cluster, 'self.key'), '-out', path(self.cluster, 'self.pem'))
            run('openssl', 'x509', '-req', '-in', path(self.cluster, 'pod.csr'), '-CA', self.cluster.ca, '-CAkey',
                path(self.cluster, 'ca.key'), '-days', '0', '-extfile', path(self.cluster, 'pod.ext'), '-out',
                path(self.cluster, 'old.pem'))
            os.link(path(self.cluster, 'pod.key'), path(self.cluster, 'old.key'))
            time.sleep(EXPIRES_S)
        return self

    def __exit__(self, *_):
        for front in self.fronts:
            front.close()

    def front(self, certificate='pod', to=TO, versions=None):
        port = FIRST_PORT + Street.used
        Street.used += 1
        front = Front(net.HOST4, port, to, path(self.cluster, f'{certificate}.pem'),
                      path(self.cluster, f'{certificate}.key'), versions)
        self.fronts.append(front)
        return front

    def model(self, *fronts, other=None, **members):
        """A model that these fronts serve, by pods with these members."""
        name = f'https-{Street.used}'
        members = {'scheme': 'https', 'tls_ca': 'ours', 'tls_name': NAME, **members}
        for number, front in enumerate(fronts):
            self.cluster.put('pod', f'{name}-{number}', address=net.HOST4, port=front.address[1], **members)
        self.cluster.model(name, mv=[f'{name}-{n}' for n in range(len(fronts))] + ([other] if other else []))
        return name

    used = 0


def ask(cluster, model, words='tokens=3', **more):
    with cluster.client() as client:
        return client.ask(cluster.key, chat(sim(words), model=model, **more))


def verdicts(cluster, name):
    return sum(value for metric, labels, value in cluster.admin.metrics()
               if metric == 'sluice_dataplane_verdicts_total' and labels['verdict'].lower() == name.lower())


@test('https.answers', layout='https')
def answers(cluster):
    """Whole answers, streams and long ones are those of clear text, in both versions, of both kinds of key."""
    with Street(cluster) as street:
        for certificate, versions in (('pod', (ssl.TLSVersion.TLSv1_3,) * 2), ('pod', (ssl.TLSVersion.TLSv1_2,) * 2),
                                      ('pod-rsa', None)):
            front = street.front(certificate, versions=versions)
            model = street.model(front)
            for words in ('tokens=5 seed=7', 'tokens=400 seed=8'):
                plain, over = ask(cluster, 'solo', words), ask(cluster, model, words)
                assert over.status == plain.status == 200, over
                assert over.json()['choices'] == plain.json()['choices'] and over.json()['usage'] == plain.json()['usage']
            body = chat(sim('tokens=2000 seed=42'), model=model, stream=True)
            with cluster.client() as client:
                response = client.begin(cluster.key, body)
                assert sum(1 for _ in client.read_events(response)) > 2000, response
            assert set(front.names) == {NAME}, front.names


@test('https.uploads', layout='https', seconds=120)
def uploads(cluster):
    """A body of 20 MB arrives, and the connection is used again."""
    backend = cluster.backends['solo']
    with Street(cluster) as street:
        front = street.front()
        model = street.model(front, probe_interval_ms=3600000)
        for _ in range(4):
            ask(cluster, model)
        before = front.connections
        backend.mark()
        with cluster.client(timeout=60) as client:
            answer = client.ask(cluster.key, chat('x' * 20_000_000, model=model))
        assert answer.status == 200, answer
        entry, = backend.wait_served(1)
        assert int(header(entry, 'content-length')[0]) > 20_000_000
        assert front.connections - before <= 1, 'each worker keeps its connection'


@test('https.not-believed', layout='https', seconds=120)
def not_believed(cluster):
    """Each reason has its counter, no byte of a request goes out, and the pod's probes say the same."""
    backend = cluster.backends['solo']
    rows = (
        ('pod', {'tls_ca': 'strangers'}, 'TLS_PEER_UNKNOWN'),
        ('self', {}, 'TLS_PEER_UNKNOWN'),
        ('pod', {'tls_name': 'other.sluice.test'}, 'TLS_PEER_NAME'),
        ('pod', {'tls_name': '10.77.0.9'}, 'TLS_PEER_NAME'),
        ('old', {}, 'TLS_PEER_EXPIRED'),
        ('pod', {'tls_pin': pin_of(cluster, 'edge')}, 'TLS_PEER_PIN'),
        ('self', {'tls_ca': '', 'tls_pin': pin_of(cluster, 'edge')}, 'TLS_PEER_PIN'),
    )
    with Street(cluster) as street:
        for certificate, members, counter in rows:
            front = street.front(certificate)
            model = street.model(front, **members)
            backend.mark()
            before = verdicts(cluster, counter)
            answer = ask(cluster, model)
            assert answer.status == 503, f'{members}: {answer}'
            wait_for(lambda name=counter, past=before: verdicts(cluster, name) > past, 5,
                     f'{certificate} {members}: {counter}')
            assert not backend.new_served(), f'{certificate} {members}: it was asked'
            wait_for(lambda name=f'{model}-0': not cluster.pod_is_up(name), 5, f'{members}: its probes are good')
        for certificate, members in (('pod', {'tls_pin': pin_of(cluster, 'pod')}), ('pod', {'tls_name': net.HOST4}),
                                     ('pod', {'tls_name': ''}),
                                     ('self', {'tls_ca': '', 'tls_pin': pin_of(cluster, 'self')}),
                                     ('old', {'tls_ca': '', 'tls_pin': f'{pin_of(cluster, "edge")};{pin_of(cluster, "old")}'})):
            model = street.model(street.front(certificate), **members)
            answer = ask(cluster, model)
            assert answer.status == 200, f'{certificate} {members}: {answer}'
            wait_for(lambda name=f'{model}-0': cluster.pod_is_up(name), 5, f'{members}: its probes are bad')


@test('https.refused-settings', layout='https')
def refused_settings(cluster):
    """Nobody is believed without a reason, and what cannot be meant is said so."""
    for members, words in (({'scheme': 'https'}, '--tls-ca, --tls-pin or both'), ({'scheme': 'ftp'}, 'none of http, https'),
                           ({'scheme': 'https', 'tls_pin': 'sha256//abc'}, 'sha256//BASE64'),
                           ({'scheme': 'https', 'tls_ca': 'our'}, 'has no "our"; did you mean "ours"?'),
                           ({'scheme': 'https', 'tls_ca': 'ours', 'tls_name': '-x-'}, 'neither an IP address nor a host name')):
        try:
            cluster.ctl('pod', 'add', 'refused', '--address', net.HOST4, '--port', 9100,
                        *(word for name, value in members.items() for word in (f'--{name.replace("_", "-")}', value)))
        except AssertionError as problem:
            assert words in str(problem), f'{members}: {problem}'
        else:
            raise AssertionError(f'{members} was taken')


@test('https.resumes', layout='https')
def resumes(cluster):
    """A connection to a pod that was there before takes up the session, in both versions; another pin does not."""
    with Street(cluster) as street:
        for versions in ((ssl.TLSVersion.TLSv1_3,) * 2, (ssl.TLSVersion.TLSv1_2,) * 2):
            front = street.front(versions=versions)
            model = street.model(front, probe_interval_ms=3600000)
            for _ in range(8):  # each worker has sessions of its own
                assert ask(cluster, model).status == 200
                front.drop()
            wait_for(lambda front=front: front.resumed >= 2, 5, f'{versions}: {front.full} in full, {front.resumed} resumed')
            assert cluster.counter('upstream_handshakes_resumed') > 0
            resumed = front.resumed
            cluster.put('pod', f'{model}-0', tls_pin=pin_of(cluster, 'pod'))
            full = front.full
            time.sleep(0.5)
            assert ask(cluster, model).status == 200
            assert front.full > full and front.resumed == resumed, 'a session was resumed under another pin'


@test('https.fails-over', layout='https', seconds=120)
def fails_over(cluster):
    """A pod whose handshake fails is one that cannot be connected to: another one serves, once, and it is blamed."""
    backend = cluster.backends['solo']
    with Street(cluster) as street:
        for fault in ('close', 'reset', 'garbage', 'silent'):
            bad, good = street.front(), street.front()
            bad.fault = fault
            model = street.model(bad, good, probe_interval_ms=3600000)
            backend.mark()
            for _ in range(6):
                start = time.monotonic()
                answer = ask(cluster, model)
                assert answer.status == 200, f'{fault}: {answer}'
                assert time.monotonic() - start < 8, fault
            assert len(backend.wait_served(6)) == 6, fault
            assert bad.full == 0 and bad.connections > 0, fault
        # A probe may have been first to find out that it is silent: one that was well until now.
        silent, good = street.front(), street.front()
        model = street.model(silent, good, probe_interval_ms=3600000)
        names = [f'{model}-0', f'{model}-1']
        wait_for(lambda: all(pod['probe'] == 'up' for pod in cluster.ctl('status')['pods'] if pod['name'] in names), 10,
                 'pods that answer are not up')
        silent.fault = 'silent'
        for _ in range(20):
            assert ask(cluster, model).status == 200
            if verdicts(cluster, 'UPSTREAM_TLS_TIMED_OUT') > 0:
                return
        raise AssertionError('no handshake with the silent pod timed out')


@test('https.cut', layout='https')
def cut(cluster):
    """An answer that only the connection's end ends is whole with close_notify, and cut without."""
    with Street(cluster) as street:
        front = street.front()
        model = street.model(front, probe_interval_ms=3600000)
        assert ask(cluster, model, 'tokens=50 until_close').status == 200
        front.fault = 'cut'
        front.drop()
        with cluster.client() as client:
            try:
                answer = client.ask(cluster.key, chat(sim('tokens=50 until_close'), model=model))
                assert answer.status in (502, 503), f'a cut answer looks whole: {answer}'
            except Closed:
                pass


@test('https.status', layout='https')
def status(cluster):
    with Street(cluster) as street:
        model = street.model(street.front())
        pods = {pod.get('name'): pod for pod in cluster.ctl('status')['pods']}
        assert pods[f'{model}-0']['scheme'] == 'https' and pods['solo']['scheme'] == 'http'
        row = cluster.ctl('pod', 'show', f'{model}-0')
        assert row['scheme'] == 'https' and row['tls_ca'] == 'ours' and row['tls_name'] == NAME


class Turned:
    """An authority called `turned`, which comes and goes by reloads, as its file's contents do."""

    def __init__(self, cluster, write):
        self.cluster, self.file = cluster, path(cluster, 'turned.pem')
        self.put('strangers')
        line = f'    - {{name: strangers, file: {path(cluster, "strangers.pem")}}}\n'
        write((line, f'{line}    - {{name: turned, file: {self.file}}}\n'))
        self.said = self.reload()

    def put(self, name):
        """The certificates of that one, in a bundle that is no other authority's to the byte."""
        shutil.copy(path(self.cluster, f'{name}.pem'), self.file)
        with open(self.file, 'a', encoding='ascii') as file:
            file.write('turned\n')

    def reload(self):
        code, said, complaints = sluicectl(self.cluster, 'reload')
        assert code == 0, complaints
        wait_for_dataplane(self.cluster)
        return said

    def refused(self):
        """By both, each with its place, its file and the reason."""
        code, _, complaints = sluicectl(self.cluster, 'reload')
        assert code == 1 and 'Nothing has changed' in complaints, complaints
        said = len(self.cluster.dataplane.log_text())
        os.kill(self.cluster.dataplane.pid, signal.SIGHUP)
        wait_for(lambda: 'config_refused' in self.cluster.dataplane.log_text()[said:], 10, 'the dataplane refuses nothing')
        for text in (complaints, self.cluster.dataplane.log_text()[said:]):
            assert 'tls.authorities[2].file' in text and self.file in text, text
        return complaints


def probe(cluster, model):
    """Of the model's only pod, what its probes say."""
    return next(pod['probe'] for pod in cluster.ctl('status')['pods'] if pod['name'] == f'{model}-0')


@test('https.authorities-turn', layout='https', seconds=120)
def authorities_turn(cluster):
    """Bundles come, change and go by reloads: what runs goes on, the next request is judged by the new ones, and so are probes."""
    with Street(cluster) as street, configured(cluster) as write:
        turned = Turned(cluster, write)
        assert 'tls.authorities[2].name' in turned.said and '(live)' in turned.said and 'restart' not in turned.said, turned.said
        probed = street.model(street.front(), tls_ca='turned')
        assert ask(cluster, probed).status == 503
        wait_for(lambda: probe(cluster, probed) == 'down', 5, 'its probes are good')
        turned.put('ca')
        turned.reload()
        wait_for(lambda: cluster.pod_is_up(f'{probed}-0'), 10, 'its probes do not know of the reload')
        front = street.front()
        model = street.model(front, tls_ca='turned', probe_interval_ms=3600000)
        assert ask(cluster, probed).status == ask(cluster, model).status == 200
        for spoil, reason in ((lambda: os.truncate(turned.file, 200), 'certificate'), (lambda: os.truncate(turned.file, 0), 'is empty'),
                              (lambda: os.remove(turned.file), 'No such file')):
            spoil()
            assert reason in turned.refused()
            assert ask(cluster, model).status == 200
        turned.put('ca')
        # Nothing has changed, so that kept connections and sessions are good.
        for _ in range(6):
            assert ask(cluster, model).status == 200
        full = front.full
        turned.reload()
        for _ in range(6):
            assert ask(cluster, model).status == 200
        assert front.full - full <= 1, 'a reload that changes nothing costs handshakes'  # a worker may not have met it yet
        # A stream that runs is the last of its connection, and whole.
        body = chat(sim('tokens=150 tps=100'), model=model, stream=True)
        with cluster.client() as client:
            response = client.begin(cluster.key, body)
            turned.put('strangers')
            turned.reload()
            assert sum(1 for _ in client.read_events(response)) > 150, response
        before = verdicts(cluster, 'TLS_PEER_UNKNOWN')
        for _ in range(4):
            assert ask(cluster, model).status == 503
        wait_for(lambda: verdicts(cluster, 'TLS_PEER_UNKNOWN') > before, 5, 'TLS_PEER_UNKNOWN')
        wait_for(lambda: probe(cluster, probed) == 'down', 5, 'its probes are good')
        turned.put('ca')
        resumed = front.resumed
        turned.reload()
        wait_for(lambda: probe(cluster, probed) == 'up', 10, 'its probes do not know of the reload')
        wait_for(lambda: ask(cluster, model).status == 200, 10, 'it is not served again')
        assert front.resumed == resumed, 'a session of before was resumed'
        write()
        turned.reload()
        assert ask(cluster, model).status == 503
        wait_for(lambda: verdicts(cluster, 'UPSTREAM_NO_TRUST') > 0, 5, 'UPSTREAM_NO_TRUST')
