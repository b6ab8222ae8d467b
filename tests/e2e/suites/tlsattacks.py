"""Attacks on TLS: tls_rows.py, and what needs more than one connection."""
import collections
import itertools
import json
import os
import re
import time

from harness.client import CHAT, Client, chat, sim, tls_context
from harness.cluster import NAME, PORT
from harness.h2 import SETTINGS, frame
from harness.proc import Process, run, wait_for
from harness.suite import Skip, test
from harness.tls import ALERT, ALERTS, DATA, FATAL, HANDSHAKE, SERVER_HELLO, TLS12, TLS13, Raw
from suites import tls_rows
from suites.attacks import in_threads, none_of

PAGE_BYTES = 4096
SEALED_ALERT_BYTES_MAX = 16 + 16  # mbedTLS fills the record up


def verdicts(cluster):
    """Of the whole dataplane, by name."""
    return {labels['verdict']: int(value) for name, labels, value in cluster.admin.metrics()
            if name == 'sluice_dataplane_verdicts_total'}


def play(cluster, row):
    """A row; what is wrong with it, or None."""
    with Raw(cluster, row.version) as conn:
        said = speak(conn, row)
        if row.alert is None and row.at == 'hello':
            # OpenSSL does not know what was sent in its name, so this is as far as it comes.
            found = [data[0] if kind == HANDSHAKE else (kind, data) for kind, data in first(conn)]
            return None if found == [SERVER_HELLO] else f'{row}: no ServerHello, but {found}'
        if row.alert is None:
            return None if conn.is_open and conn.ask() else f'{row}: the connection does not go on: {said or alert_of(conn)}'
        alert = said or alert_of(conn)
    return None if alert == row.alert else f'{row}: {alert}, not {row.alert}'


def speak(conn, row):
    """Sends what the row has to say. An alert that comes where OpenSSL waited for something else."""
    data = conn.first_hello = conn.hello()
    try:
        conn.send(row.make(conn, data) if row.at == 'hello' else data)
        if row.at == 'hello':
            return None
        data = conn.flight()
        if row.at == 'flight':
            data = row.make(conn, data)
        conn.send(data)
        if row.at == 'flight' and row.alert is not None:
            return None
        conn.open()
        if row.at == 'open':
            conn.send(row.make(conn))
    except Exception as why:
        return f'{type(why).__name__}: {why}'
    return None


def first(conn):
    """The first thing that the server says, in a list; empty where it ends without a word."""
    return list(itertools.islice(conn.contents(), 1))


def alert_of(conn):
    """The fatal alert that ends it, 'none' where there is none."""
    found = 'none'
    try:
        for kind, data in conn.contents():
            if kind == ALERT:
                level, what = data if len(data) == 2 else (FATAL, f'sealed {data.hex()}')
                if level == FATAL:
                    found = ALERTS.get(what, what)
            elif kind == DATA and len(data) <= SEALED_ALERT_BYTES_MAX:
                found = 'sealed'
    except TimeoutError:
        return 'it stays open'
    return found


@test('tlsattacks.rows', layout='certificates', seconds=120)
def table(cluster):
    assert len(tls_rows.rows) >= 120
    wanted = collections.Counter(row.verdict for row in tls_rows.rows if row.verdict)
    before = verdicts(cluster)
    none_of(in_threads(lambda row: play(cluster, row), tls_rows.rows))

    def counted():
        now = verdicts(cluster)
        # Raw ends without close_notify, and by a reset where it has not read everything: no number of that is right.
        return {name: now[name] - before[name] for name in now
                if name.startswith('TLS_') and name != 'TLS_TRUNCATED' and now[name] != before[name]}
    try:
        wait_for(lambda: counted() == wanted, 5)
    except AssertionError:
        raise AssertionError(f'counted: {counted()}, not {dict(wanted)}') from None
    with cluster.client() as client:
        assert client.request('GET', '/healthz').status == 200
    wait_for(lambda: cluster.counter('pool_clients_used') <= 1, 10, 'connections stay')


@test('tlsattacks.alert-in-the-middle', layout='certificates')
def alert_in_the_middle(cluster):
    """What is under way is given up, and the alert arrives though more had been sent than was read."""
    body = json.dumps(chat(sim('hang'), model='solo')).encode()
    head = f'POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {cluster.key}\r\nContent-Length: '.encode()
    cases = {
        'behind the preface of HTTP/2': ('h2', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + frame(SETTINGS, 0, 0)),
        'in a body': ('http/1.1', head + b'%d\r\n\r\n' % (len(body) + 1) + body),
        'in a head': ('http/1.1', head),
    }
    for version in (TLS12, TLS13):
        for where, (protocol, data) in cases.items():
            with Raw(cluster, version, alpn=(protocol,)) as conn:
                conn.connect()
                conn.send(conn.seal(DATA, data))
                time.sleep(0.05)  # so that it is read first
                conn.send(conn.seal(DATA, b'x')[:-1] + b'\0' + bytes(40000))
                alert = alert_of(conn)
                assert alert == 'bad_record_mac', f'{version.name} {where}: {alert}'
    wait_for(lambda: cluster.counter('pool_exchanges_used') == 0, 5, 'requests stay')


@test('tlsattacks.downgrade', layout='certificates')
def downgrade(cluster):
    """RFC 8446 4.1.3: who could have had TLS 1.3 and gets 1.2 is told so by the random number, which is signed."""
    for version, mark in ((TLS12, b'DOWNGRD\1'), (TLS13, None)):
        with Raw(cluster, version) as conn:
            conn.connect()
            end = conn.server_hello()[26:34]
            assert end == mark if mark else not end.startswith(b'DOWNGRD'), end


@test('tlsattacks.randoms', layout='certificates')
def randoms(cluster):
    """Of both workers, full and resumed: no two alike (10^4 from each of 8: tests/unit/tls/test_threads.c)."""
    seen = set()
    for turn in range(200):
        with Raw(cluster, (TLS12, TLS13)[turn % 2]) as conn:
            conn.send(conn.hello())
            conn.flight()
            seen.add(conn.server_hello()[2:26])
    assert len(seen) == 200, f'{200 - len(seen)} of 200 random numbers came twice'


def places_of(pid, needles):
    """(address, flags of its mapping) of each needle in what a process has in memory."""
    mapping, found = None, []
    with open(f'/proc/{pid}/smaps', encoding='ascii', errors='replace') as smaps, open(f'/proc/{pid}/mem', 'rb') as memory, \
            open(f'/proc/{pid}/pagemap', 'rb') as pagemap:
        for line in smaps:
            head = re.match(r'([0-9a-f]+)-([0-9a-f]+) r', line)
            if re.match(r'[0-9a-f]+-[0-9a-f]+ ', line):
                mapping = head and (int(head.group(1), 16), int(head.group(2), 16))
            elif line.startswith('VmFlags:') and mapping:
                for start, data in present(memory, pagemap, *mapping):
                    found += [(hex(start + match.start()), line.split()[1:]) for needle in needles
                              for match in re.finditer(re.escape(needle), data)]
    return found


def present(memory, pagemap, start, end):
    """The runs of pages that are there: to read others would make them."""
    pagemap.seek(start // PAGE_BYTES * 8)
    entries = pagemap.read((end - start) // PAGE_BYTES * 8)[7::8]  # of each the byte with the bits 63 and 62
    for run_of in re.finditer(rb'[\x40-\xff]+', entries):
        at = start + run_of.start() * PAGE_BYTES
        memory.seek(at)
        try:
            yield at, memory.read((run_of.end() - run_of.start()) * PAGE_BYTES)
        except OSError:  # a device's or the kernel's own
            pass


@test('tlsattacks.keys-in-memory', layout='certificates')
def keys_in_memory(cluster):
    """T44: as text, as DER, as numbers of either order of bytes: in locked memory that no core dump has, and nowhere else."""
    for name in ('edge', 'edge-rsa'):
        path = os.path.join(cluster.root, f'{name}.key')
        with open(path, encoding='ascii') as file:
            text = file.read().splitlines()
        shown = run('openssl', 'pkey', '-in', path, '-noout', '-text')
        secret = bytes.fromhex(re.search(r'(?:priv|prime1):\n((?: +[0-9a-f:]+\n)+)', shown).group(1).replace(':', '').replace(' ', '')
                               .replace('\n', '')).lstrip(b'\0')
        needles = [secret, secret[::-1], text[2].encode()]
        found = places_of(cluster.dataplane.pid, needles)
        assert found, f'{name}: the test finds nothing'
        open_ones = [place for place in found if not {'lo', 'dd'} <= set(place[1])]
        assert not open_ones, f'{name}: {len(open_ones)} of {len(found)} copies can be swapped or dumped: {open_ones[0]}'
        assert not places_of(cluster.control.pid, needles), f'{name}: control keeps it'


@test('tlsattacks.secrets-in-memory', layout='certificates')
def secrets_in_memory(cluster):
    """Of open connections: what they need is in no core dump, what was the handshake's is gone, and none is in shared memory."""
    log = os.path.join(cluster.root, 'secrets.log')
    clients = []
    for version in (TLS12, TLS13):
        context = tls_context(cluster.ca, (version, version))
        context.keylog_filename = log
        clients += [cluster.client(context=context) for _ in range(4)]
    for client in clients:
        assert client.request('GET', '/healthz').status == 200
    with open(log, encoding='ascii') as file:
        lines = [line.split() for line in file if not line.startswith('#')]
    secrets = collections.defaultdict(list)
    for label, _, secret in lines:
        secrets[label].append(bytes.fromhex(secret))
    needed = secrets.pop('CLIENT_TRAFFIC_SECRET_0') + secrets.pop('SERVER_TRAFFIC_SECRET_0')
    over = secrets.pop('CLIENT_RANDOM') + secrets.pop('CLIENT_HANDSHAKE_TRAFFIC_SECRET') + \
        secrets.pop('SERVER_HANDSHAKE_TRAFFIC_SECRET')
    assert len(needed) == 8 and len(over) == 12
    found = places_of(cluster.dataplane.pid, needed)
    assert len(found) >= len(needed), 'the test finds nothing'
    open_ones = [place for place in found if 'dd' not in place[1]]
    assert not open_ones, f'{len(open_ones)} of {len(found)} can be dumped: {open_ones[0]}'
    left = places_of(cluster.dataplane.pid, over)
    assert not left, f'{len(left)} secrets of handshakes that are over: {left[0]}'
    shared = {}
    for name in os.listdir('/dev/shm'):
        path = os.path.join('/dev/shm', name)
        if os.path.isfile(path):
            with open(path, 'rb') as file:
                shared[name] = file.read()
    assert any(b'solo' in data for data in shared.values()), 'the test reads nothing'
    told = [name for name, data in shared.items() if any(secret in data for secret in needed + over)]
    assert not told, told
    for client in clients:
        client.close()


@test('tlsattacks.core-dumps', layout='certificates')
def core_dumps(cluster):
    """dumpable: no. What is asked and answered, and what the store has read, is in nobody's file after a crash."""
    if not Process('any', ['sleep', '60'], os.path.join(cluster.root, 'any.log')).start().abort():
        raise Skip('this machine makes no core dumps')
    os.unlink('core') if os.path.exists('core') else None
    try:
        dumped = [process.name for process in (cluster.control, cluster.dataplane) if process.abort()]
    finally:
        cluster.start_control()
        cluster.start_dataplane()
    assert not dumped, f'a core dump of {dumped}'


@test('tlsattacks.tickets', layout='certificates')
def tickets(cluster):
    """T33: another name, another version, a changed byte: a full handshake, not a resumed one and not a failure."""
    for version in (TLS12, TLS13):
        context = tls_context(cluster.ca, (version, version))
        with cluster.client(context=context) as client:
            assert client.request('GET', '/healthz').status == 200
            session = client.socket.session
        for name, resumes in ((NAME, True), ('p384.sluice.test', False), ('a.wild.sluice.test', False)):
            with Client(cluster.host4, PORT, ca=cluster.ca, name=name, context=context, session=session) as client:
                assert client.socket.session_reused == resumes, f'{version.name} {name}: {client.socket.session_reused}'
                assert client.request('GET', '/healthz').status == 200


def storm(host, count, data, **options):
    """Connections that say data and then nothing; some are pushed out before they have said it."""
    clients = []
    for _ in range(count):
        try:
            clients.append(Client(host, PORT, **options))
            clients[-1].send(data)
        except ConnectionError:
            pass
    return clients


@test('tlsattacks.storms', layout='certificates')
def storms(cluster):
    """T37, T39: ClientHellos without end, halves of them, connections that fall silent behind the handshake, all from one network:
    what was open goes on, the others get in, and each storm has its counter."""
    with Raw(cluster, TLS13) as conn:
        whole = conn.hello()
    before = verdicts(cluster)
    grown = lambda name: verdicts(cluster)[name] - before[name]  # noqa: E731
    clients = []
    with cluster.client() as old:
        try:
            for data in (whole, whole[:len(whole) // 2], b''):
                known = grown('SOURCE_HANDSHAKES_FULL')
                clients += storm(cluster.host4, 150, data)
                wait_for(lambda: grown('SOURCE_HANDSHAKES_FULL') - known >= 150 - 48 * cluster.workers, 5, 'they all fit')  # noqa: B023
                with cluster.client(cluster.host6) as client:
                    assert client.request('GET', '/healthz').status == 200
                assert old.request('GET', '/healthz').status == 200
            assert grown('HANDSHAKES_FULL') == 0, 'a network takes from another one'
            # Their places are free when they are done, whether they say more or not.
            done = storm(cluster.host6, 100, b'', ca=cluster.ca, name=NAME, context=cluster.tls)
            clients += done
            assert len(done) == 100, f'{len(done)} of 100 got in'
            assert grown('HANDSHAKES_FULL') == 0 and grown('CLIENTS_FULL') == 0
        finally:
            for client in clients:
                client.close()
    assert grown('HANDSHAKE_SLOW') == 0
    wait_for(lambda: cluster.counter('pool_clients_used') <= 1, 10, 'connections stay')
