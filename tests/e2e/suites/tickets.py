"""Session tickets: who opens whose, and for how long."""
import os
import signal
import sqlite3
import ssl
import stat

from harness.client import tls_context
from harness.proc import wait_for
from harness.second import Second
from harness.suite import test

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Guest:
    """A client of one version that comes again with what it was given."""

    def __init__(self, cluster, version):
        self.version = version.name
        self.context = tls_context(cluster.ca, (version, version))
        self.session = None

    def come(self, router, keep=True):
        """Whether it was known."""
        with router.client(context=self.context, session=self.session) as client:
            assert client.request('GET', '/healthz').status == 200
            if keep or self.session is None:
                self.session = client.socket.session
            return client.socket.session_reused


def guests(cluster):
    return [Guest(cluster, version) for version in VERSIONS]


def known(router, some):
    return [guest.version for guest in some if guest.come(router, keep=False)]


def newcomers(cluster, router=None):
    """Each has been there once."""
    some = guests(cluster)
    for guest in some:
        assert not guest.come(router or cluster)
    return some


def forget(cluster):
    return cluster.admin.call('POST', 'tickets/revoke')


def numbers(admin):
    return [row['number'] for row in admin.call('GET', 'tickets')['data']]


def handed_over(process):
    return process.log_text().count('tickets_handed_over')


@test('tickets.rotated')
def rotated(cluster):
    """A rotation spares who is out, a revocation nobody; both are told, the secrets are not."""
    both = [version.name for version in VERSIONS]
    old = newcomers(cluster)
    assert known(cluster, old) == both
    before = numbers(cluster.admin)
    seen = handed_over(cluster.dataplane)
    assert [row['number'] for row in cluster.ctl('tickets', 'rotate')['data'] if row['seals']] == before[-1:]
    wait_for(lambda: handed_over(cluster.dataplane) > seen, 2, 'the dataplane has not heard of it')
    assert numbers(cluster.admin)[-1] == before[-1] + 1
    assert known(cluster, old) == both, 'a rotation has made tickets void'
    new = newcomers(cluster)
    assert known(cluster, new) == both
    seen = handed_over(cluster.dataplane)
    cluster.ctl('tickets', 'revoke')
    wait_for(lambda: handed_over(cluster.dataplane) > seen, 2, 'the dataplane has not heard of it')
    wait_for(lambda: known(cluster, old + new) == [], 1, 'a revoked ticket still opens')
    assert known(cluster, newcomers(cluster)) == both
    verbs = [row['verb'] for row in cluster.admin.call('GET', 'audit')['data'] if row['noun'] == 'tickets']
    assert verbs[-2:] == ['rotate', 'revoke'], verbs


@test('tickets.secret')
def secret(cluster):
    """In the store and nowhere else: no log, no answer, no shared memory. Nobody else may ask for them."""
    path = '/dev/shm/e2e.tickets'
    status = os.stat(path)
    assert stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == os.geteuid()
    store = sqlite3.connect(f'file:{cluster.root}/sluice.db?mode=ro', uri=True, timeout=5)
    rows = store.execute('SELECT secret FROM ticket_secrets').fetchall()
    store.close()
    assert len(rows) >= 2
    places = {'tickets': repr(cluster.admin.call('GET', 'tickets')), 'audit': repr(cluster.admin.call('GET', 'audit')),
              'metrics': repr(list(cluster.admin.metrics())), 'status': repr(cluster.admin.call('GET', 'status'))}
    places = {name: text.encode() for name, text in places.items()}
    for path in ('/dev/shm/e2e', '/dev/shm/e2e.settings', f'{cluster.root}/control.log', f'{cluster.root}/dataplane.log'):
        if os.path.exists(path):
            with open(path, 'rb') as file:
                places[path] = file.read()
    for (blob,) in rows:
        key = blob[16:]
        for name, data in places.items():
            assert key[:12] not in data and key.hex()[:24].encode() not in data, f'a secret is left in {name}'


@test('tickets.deaths', seconds=120)
def deaths(cluster):
    """Whoever dies and comes back in whatever order: who can be known is known, and everybody is served."""
    both = [version.name for version in VERSIONS]
    old = newcomers(cluster)
    cluster.dataplane.kill()
    cluster.start_dataplane()
    assert known(cluster, old) == both, 'after a start of the dataplane its clients are strangers'

    cluster.control.kill()
    assert known(cluster, old) == both, 'without control nobody is known'
    cluster.dataplane.kill()
    cluster.start_dataplane()
    assert 'tickets_own' in cluster.dataplane.log_text()
    assert known(cluster, old) == [], 'the dataplane has secrets that nobody gave it'
    alone = newcomers(cluster)
    assert known(cluster, alone) == both, 'a dataplane that is alone does not know its own'

    cluster.start_control()
    wait_for(lambda: known(cluster, old) == both, 5, 'the secrets of the store are not handed over')
    cluster.control.kill()
    cluster.start_control()
    wait_for(lambda: cluster.admin.call('GET', 'tickets')['readers'] == 1, 5, 'the dataplane does not ask again')
    seen = handed_over(cluster.dataplane)
    forget(cluster)
    wait_for(lambda: handed_over(cluster.dataplane) > seen, 2, 'the dataplane has not heard of it')
    wait_for(lambda: known(cluster, old) == [], 1, 'a revoked ticket still opens')


@test('tickets.two-routers', layout='postgres', seconds=150)
def two_routers(cluster):
    """Both open what either has sealed; a revocation at one is one at the other; a store that is away changes nothing."""
    both = [version.name for version in VERSIONS]
    with Second(cluster) as second:
        routers = (cluster, second)
        assert numbers(cluster.admin) == numbers(second.admin)
        for here, there in (routers, routers[::-1]):
            some = newcomers(cluster, here)
            assert known(there, some) == both, 'the other router does not know them'
            there.admin.call('POST', 'tickets/rotate')
            wait_for(lambda: numbers(cluster.admin) == numbers(second.admin), 1, 'the other router has not rotated')
            for router in routers:
                assert known(router, some) == both, 'a rotation has made tickets void'
            seen = [handed_over(router.dataplane) for router in routers]
            there.admin.call('POST', 'tickets/revoke')
            wait_for(lambda: all(handed_over(router.dataplane) > count for router, count in zip(routers, seen)), 1,
                     'a dataplane has not heard of the revocation within a second')
            for router in routers:
                wait_for(lambda router=router: known(router, some) == [], 1, 'a revoked ticket still opens')
        some = newcomers(cluster, second)
        cluster.postgres.end(signal.SIGKILL)
        for router in routers:
            assert known(router, some) == both, 'without the store nobody is known'
        cluster.postgres.start()
        wait_for(lambda: cluster.admin.answers() and second.admin.answers(), 10)
