"""Certificates: read again by a reload while streams are open, refused when they are bad, told of before they expire."""
import json
import os
import re
import shutil
import signal
import subprocess

from harness.client import chat, sim
from harness.cluster import NAME, P256, PORT, run
from harness.load import Load
from harness.proc import wait_for
from harness.suite import test
from suites.reload import configured, sluicectl, state, wait_for_dataplane


def path(cluster, file):
    return os.path.join(cluster.root, file)


def print_of(text):
    """SHA-256 of a certificate, as control tells it."""
    done = subprocess.run(['openssl', 'x509', '-noout', '-fingerprint', '-sha256'], input=text, capture_output=True, text=True,
                          check=True, timeout=10)
    return done.stdout.strip().split('=')[1].replace(':', '').lower()


def shown(cluster, name=NAME):
    """Of the certificate that a new connection gets."""
    done = subprocess.run(['openssl', 's_client', '-connect', f'{cluster.host4}:{PORT}', '-servername', name, '-CAfile', cluster.ca],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    return print_of(done.stdout)


def file_print(cluster, file='edge.pem'):
    with open(path(cluster, file), encoding='ascii') as text:
        return print_of(text.read())


def told(cluster):
    return {one['sha256']: one for one in state(cluster)['certificates']}


class Renewed:
    """The certificate's and its key's file, whose contents come back at the end."""

    def __init__(self, cluster):
        self.cluster = cluster

    def __enter__(self):
        for end in ('pem', 'key'):
            shutil.copy(path(self.cluster, f'edge.{end}'), path(self.cluster, f'kept.{end}'))
        return self

    def make(self, file='edge'):
        self.cluster.make_certificate(file, P256, NAME, [f'IP:{self.cluster.host4}'])

    def put_back(self):
        for end in ('pem', 'key'):
            shutil.copy(path(self.cluster, f'kept.{end}'), path(self.cluster, f'edge.{end}'))

    def __exit__(self, *_):
        self.put_back()
        if state(self.cluster)['state'] == 'trial':
            sluicectl(self.cluster, 'reload', '--undo')
        code, _, complaints = sluicectl(self.cluster, 'reload')
        assert code == 0, complaints
        assert shown(self.cluster) == file_print(self.cluster)


@test('certificates.reload-under-load', seconds=120)
def reload_under_load(cluster):
    """Only the contents of the files change, ten times, with requests and streams on their way: nothing is cut or refused."""
    with Renewed(cluster) as files, Load(cluster, model='patient', threads=4) as load:
        with cluster.client() as old:
            assert old.ask(cluster.key, chat(sim('tokens=1'))).status == 200
            for _ in range(10):
                files.make()
                code, said, complaints = sluicectl(cluster, 'reload')
                assert code == 0, complaints
                assert f'certificate {NAME} (ecdsa, listener 0) ' in said, said
                new = file_print(cluster)
                for _ in range(4):  # each worker has some
                    assert shown(cluster) == new
                assert list(told(cluster)) == [new]
            assert old.ask(cluster.key, chat(sim('tokens=1'))).status == 200
        wait_for(lambda: load.done > 50, 30, 'the load does nothing')
    assert not load.failures and not load.cut, (load.failures, load.cut)


def break_key(cluster):
    shutil.copy(path(cluster, 'other.key'), path(cluster, 'edge.key'))


def truncate(cluster):
    os.truncate(path(cluster, 'edge.pem'), os.path.getsize(path(cluster, 'edge.pem')) // 2)


def truncate_key(cluster):
    os.truncate(path(cluster, 'edge.key'), os.path.getsize(path(cluster, 'edge.key')) // 2)


def expire(cluster):
    run('openssl', 'x509', '-req', '-in', path(cluster, 'edge.csr'), '-CA', cluster.ca, '-CAkey', path(cluster, 'ca.key'),
        '-days', '-1', '-extfile', path(cluster, 'edge.ext'), '-out', path(cluster, 'edge.pem'))


def weaken(cluster):
    run('openssl', 'req', '-x509', '-newkey', 'rsa:1024', '-nodes', '-subj', f'/CN={NAME}', '-keyout', path(cluster, 'edge.key'),
        '-out', path(cluster, 'edge.pem'))


BAD = [(break_key, 'does not belong to the certificate'), (truncate, 'cannot be read'), (truncate_key, 'private key'),
       (expire, 'has expired'), (weaken, '2048'),
       (lambda cluster: os.remove(path(cluster, 'edge.key')), 'No such file'),
       (lambda cluster: os.truncate(path(cluster, 'edge.pem'), 0), 'is empty')]


@test('certificates.bad-files', seconds=120)
def bad_files(cluster):
    """Each is refused with its name and the reason, and the old one is served on."""
    with Renewed(cluster) as files:
        files.make()
        assert sluicectl(cluster, 'reload')[0] == 0
        for end in ('pem', 'key'):
            shutil.copy(path(cluster, f'edge.{end}'), path(cluster, f'good.{end}'))
        served = file_print(cluster)
        files.make('other')
        for spoil, reason in BAD:
            spoil(cluster)
            code, _, complaints = sluicectl(cluster, 'reload')
            assert code == 1 and reason in complaints and 'listeners[0].certificates[0]' in complaints, (reason, complaints)
            assert path(cluster, 'edge') in complaints and 'Nothing has changed' in complaints, complaints
            assert shown(cluster) == served and list(told(cluster)) == [served]
            # SIGHUP asks the dataplane alone, which judges by itself.
            said = len(cluster.dataplane.log_text())
            os.kill(cluster.dataplane.pid, signal.SIGHUP)
            wait_for(lambda: 'config_refused' in cluster.dataplane.log_text()[said:], 10, 'the dataplane refuses nothing')  # noqa: B023
            assert reason in cluster.dataplane.log_text()[said:], cluster.dataplane.log_text()[said:]
            assert shown(cluster) == served
            for end in ('pem', 'key'):
                shutil.copy(path(cluster, f'good.{end}'), path(cluster, f'edge.{end}'))
        assert sluicectl(cluster, 'reload')[0] == 0


@test('certificates.undone-in-time', seconds=60)
def undone_in_time(cluster):
    """A trial that nobody confirms brings back the certificate that there was, though its file has another one now."""
    with Renewed(cluster) as files:
        before = shown(cluster)
        files.make()
        assert sluicectl(cluster, 'reload', '--confirm-within', '2s')[0] == 0
        assert shown(cluster) == file_print(cluster) != before
        wait_for(lambda: state(cluster)['state'] == 'undone', 10, 'the trial does not end')
        wait_for_dataplane(cluster)
        wait_for(lambda: shown(cluster) == before, 5, 'the old certificate does not come back')
        # And one that is confirmed stays as it was tried.
        assert sluicectl(cluster, 'reload', '--confirm-within', '60s')[0] == 0
        tried = shown(cluster)
        files.make()
        assert sluicectl(cluster, 'reload', '--confirm')[0] == 0
        assert shown(cluster) == tried != file_print(cluster)


@test('certificates.two-names')
def two_names(cluster):
    """A second certificate comes while we run; two for one name are refused."""
    pair = lambda file: f'{{chain: {cluster.root}/{file}.pem, key: {cluster.root}/{file}.key}}'  # noqa: E731
    first = f'      - chain: {cluster.root}/edge.pem\n        key: {cluster.root}/edge.key\n'
    cluster.make_certificate('second', P256, 'second.sluice.test')
    with configured(cluster) as write:
        write((first, f'{first}      - {pair("second")}\n'))
        code, said, complaints = sluicectl(cluster, 'reload')
        assert code == 0 and 'listeners[0].certificates[1].chain' in said and '(drain)' in said, (said, complaints)
        assert shown(cluster, 'second.sluice.test') == file_print(cluster, 'second.pem')
        assert shown(cluster) == file_print(cluster)
        write((first, f'{first}{first}'))
        code, _, complaints = sluicectl(cluster, 'reload')
        assert code == 1 and NAME in complaints and 'leave one of them out' in complaints, complaints
        assert shown(cluster, 'second.sluice.test') == file_print(cluster, 'second.pem')
    assert shown(cluster, 'second.sluice.test') == file_print(cluster)


@test('certificates.expiry')
def expiry(cluster):
    """The end of each is in the metrics; what ends within two weeks is said in the status and in the log."""
    ends = next(iter(told(cluster).values()))
    line = f'sluice_tls_certificate_not_after_seconds{{listener="0",name="{NAME}",kind="ecdsa"}} {ends["not_after"]}'
    assert line in cluster.admin.open('GET', '/metrics').decode(), line
    code, said, _ = sluicectl(cluster, 'status')
    assert code == 0 and re.search(rf'certificate {NAME} .* EXPIRES IN [67] DAYS', said), said
    assert [entry for entry in map(json.loads, cluster.dataplane.log_text().splitlines())
            if entry['event'] == 'certificate_expires_soon' and entry['name'] == NAME and entry['days_left'] in (6, 7)]


@test('certificates.of-clients', seconds=60)
def of_clients(cluster):
    """mTLS comes and goes with a reload: who shows a certificate by its CA gets in, others are told why not."""
    cluster.make_certificate('client', P256, 'client.sluice.test')
    run('openssl', 'req', '-x509', '-newkey', *P256, '-nodes', '-days', '7', '-subj', '/CN=stranger', '-keyout', path(cluster, 'stranger.key'),
        '-out', path(cluster, 'stranger.pem'), '-addext', 'basicConstraints=critical,CA:TRUE')
    run('openssl', 'x509', '-req', '-in', path(cluster, 'client.csr'), '-CA', cluster.ca, '-CAkey', path(cluster, 'ca.key'), '-days', '7',
        '-out', path(cluster, 'client.pem'))

    def curl(*words):
        done = subprocess.run(['curl', '-sS', '--cacert', cluster.ca, '--resolve', f'{NAME}:{PORT}:{cluster.host4}', *words,
                               '-H', f'authorization: Bearer {cluster.key}', f'https://{NAME}:{PORT}/v1/models'],
                              capture_output=True, text=True, timeout=20, check=False)
        return done.stdout + done.stderr

    mine = ('--cert', path(cluster, 'client.pem'), '--key', path(cluster, 'client.key'))
    strangers = ('--cert', path(cluster, 'stranger.pem'), '--key', path(cluster, 'stranger.key'))
    port = f'  - port: {PORT}\n'
    with cluster.client() as old, configured(cluster) as write:
        assert old.ask(cluster.key, chat(sim('tokens=1'))).status == 200
        write((port, f'{port}    client_ca: {path(cluster, "edge.pem")}\n'))
        code, _, complaints = sluicectl(cluster, 'reload')
        assert code == 1 and 'listeners[0].client_ca' in complaints and "no CA's" in complaints, complaints
        write((port, f'{port}    client_ca: {cluster.ca}\n'))
        code, said, complaints = sluicectl(cluster, 'reload')
        assert code == 0 and 'listeners[0].client_ca' in said, (said, complaints)
        assert old.is_closed(), 'a client who has shown no certificate goes on'
        for version in ('1.2', '1.3'):
            words = (f'--tlsv{version}', '--tls-max', version)
            assert '"data"' in curl(*words, *mine), curl(*words, *mine)
            assert '"data"' in curl(*words, *mine, '--http1.1')
            refused = curl(*words)
            assert 'alert' in refused and ('certificate required' in refused or version == '1.2'), refused
            assert 'unknown ca' in curl(*words, *strangers), curl(*words, *strangers)
    assert '"data"' in curl()
