"""What others make of our TLS: OpenSSL, GnuTLS, curl, Node, Java, sslscan; versions, suites, groups, certificates,
resumption, names, protocols. Each asks for one thing, gets it, and an answer through it. And what they show of themselves
where clients need a certificate.
"""
import collections
import json
import os
import re
import shutil
import subprocess

from harness.client import CHAT, chat, sim
from harness.cluster import CLIENTS_PORT, NAME, P256, PORT
from harness.proc import run, wait_for
from harness.suite import Skip, test
from suites.attacks import in_threads, none_of

GET = f'GET /healthz HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n'
SUITES13 = ('TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256')
SUITES12 = {f'TLS_ECDHE_{kind}_WITH_{cipher}': f'ECDHE-{kind}-{name}' for kind in ('ECDSA', 'RSA') for cipher, name in (
    ('AES_128_GCM_SHA256', 'AES128-GCM-SHA256'), ('AES_256_GCM_SHA384', 'AES256-GCM-SHA384'),
    ('CHACHA20_POLY1305_SHA256', 'CHACHA20-POLY1305'))}
# The first is taken. RFC 8422 5.1: in TLS 1.2 a curve that is not listed is not that of a certificate either.
GROUPS = {'X25519': 'X25519:prime256v1', 'prime256v1': 'prime256v1'}
KINDS = {'p384.sluice.test': ('ECDSA', 384), 'rsa4096.sluice.test': ('RSA', 4096), NAME: ('ECDSA', 256)}
# Asked for, and the name in the certificate that comes; who is unknown gets the first one's.
NAMES = ((NAME, NAME), (NAME.upper(), NAME), ('p384.sluice.test', 'p384.sluice.test'), ('rsa4096.sluice.test', 'rsa4096.sluice.test'),
         ('a.wild.sluice.test', '*.wild.sluice.test'), ('exact.wild.sluice.test', 'exact.wild.sluice.test'),
         ('wild.sluice.test', NAME), ('a.b.wild.sluice.test', NAME), ('nobody.example', NAME), ('x' * 63, NAME), (None, NAME))


def need(program):
    if not shutil.which(program):
        raise Skip(f'{program} is not installed')


def in_words_of_3_0(said):
    """From OpenSSL 3.5 on s_client has other names for keys, signatures and subjects."""
    said = said.replace('Peer Temp Key:', 'Server Temp Key:').replace('subject=CN=', 'subject=CN = ')
    for new, old in (('ecdsa', 'ECDSA'), ('rsa_pss', 'RSA-PSS'), ('rsa_pkcs1', 'RSA')):
        said = re.sub(f'(Peer signature type: ){new}_\\w+', rf'\g<1>{old}', said)
    return said


def s_client(cluster, *words, name=NAME, ask=GET, check=True, port=PORT):
    named = ('-servername', name) if name else ('-noservername',)
    return in_words_of_3_0(run('openssl', 's_client', '-connect', f'{cluster.host4}:{port}', *named, '-CAfile', cluster.ca, '-ign_eof',
                               *words, input=ask, check=check))


def openssl_rows():
    """Words for s_client, and what its output has then; the certificate's name where it is not the usual one."""
    for suite in SUITES13:
        yield ('-tls1_3', '-ciphersuites', suite), (f'Cipher is {suite}', 'Server Temp Key: X25519'), NAME
    for suite in SUITES12.values():
        yield ('-tls1_2', '-cipher', suite), (f'Cipher is {suite}', f'Peer signature type: {suite.split("-")[1]}\n'), NAME
    for version, rsa in (('-tls1_2', 'RSA'), ('-tls1_3', 'RSA-PSS')):
        for group, words in (('X25519:P-256', 'X25519'), ('P-256', 'ECDH, prime256v1'), ('P-384:P-256', 'ECDH, prime256v1'),
                             ('P-521:P-384:P-256:X25519', 'X25519')):
            # With what a client sends a share for, there is no second ClientHello.
            wanted = 'ECDH, prime256v1' if group.endswith('P-256:X25519') and rsa == 'RSA-PSS' else words
            yield (version, '-groups', group), (f'Server Temp Key: {wanted}',), NAME
        for name, (kind, bits) in KINDS.items():
            yield (version,), (f'Peer signature type: {rsa if kind == "RSA" else kind}\n', f'Server public key is {bits} bit'), name
        # Side by side: who cannot check ECDSA gets the RSA certificate for the same name.
        yield (version, '-sigalgs', f'{rsa}+SHA256'), ('Server public key is 2048 bit', f'Peer signature type: {rsa}\n'), NAME
        yield (version, '-sigalgs', f'ECDSA+SHA256:{rsa}+SHA256'), ('Server public key is 256 bit',), NAME
        yield (version, '-alpn', 'h2,http/1.1'), ('ALPN protocol: h2',), NAME
        yield (version, '-alpn', 'spdy/3,http/1.1'), ('ALPN protocol: http/1.1',), NAME
        yield (version,), ('No ALPN negotiated',), NAME
        yield (version, '-max_send_frag', '512'), (), NAME


@test('interop.openssl', layout='certificates')
def openssl(cluster):
    def wrong(row):
        words, wanted, name = row
        said = s_client(cluster, *words, '-verify_return_error', '-verify_hostname', name, name=name, check=False)
        speaks_h2 = 'ALPN protocol: h2' in said
        missing = [what for what in (*wanted, *(() if speaks_h2 else ('HTTP/1.1 200 OK',)), 'Verify return code: 0 (ok)')
                   if what not in said]
        return f'{" ".join(words)} {name}: no {missing} in {said[-300:]!r}' if missing else None
    none_of(in_threads(wrong, list(openssl_rows())))


@test('interop.names', layout='certificates')
def names(cluster):
    """SNI: exact before wildcard before the first certificate, in both versions."""
    def wrong(row):
        version, asked, served = row
        said = s_client(cluster, version, name=asked)
        found = re.search(r'subject=CN = (.*)', said)
        if not found or found.group(1) != served or 'HTTP/1.1 200 OK' not in said:
            return f'{version} {asked}: {found and found.group(1)}, not {served}: {said[-300:]!r}'
        return None
    none_of(in_threads(wrong, [(version, *row) for version in ('-tls1_2', '-tls1_3') for row in NAMES]))


@test('interop.key-update', layout='certificates')
def key_update(cluster):
    """OpenSSL's K asks for our new key, its k does not; behind each the connection goes on."""
    client = subprocess.Popen(['openssl', 's_client', '-connect', f'{cluster.host4}:{PORT}', '-servername', NAME, '-CAfile',
                               cluster.ca, '-tls1_3', '-msg'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    os.set_blocking(client.stdout.fileno(), False)
    said = bytearray()

    def answers():
        said.extend(client.stdout.read() or b'')
        return said.count(b'HTTP/1.1 200')
    try:
        for turn, command in enumerate(('', 'k', 'K', 'k', 'K', 'K'), 1):
            if command:
                client.stdin.write(f'{command}\n'.encode())
                client.stdin.flush()
                wait_for(lambda: answers() is not None and said.count(b'KEYUPDATE') >= turn - 1, 5, 'no KeyUpdate is made')
            client.stdin.write(GET.replace('Connection: close\r\n', '').encode())
            client.stdin.flush()
            wait_for(lambda: answers() >= turn, 5, f'no answer {turn}, behind {command or "nothing"}')
        ours = said.count(b'<<< TLS 1.3, Handshake [length 0005], KeyUpdate')
        assert ours == 3, f'{ours} KeyUpdates of ours for 3 that were asked for'
    finally:
        client.kill()
        client.communicate()


GNUTLS = 'NONE:+MAC-ALL:+COMP-NULL:+SIGN-ALL:+CTYPE-SRV-X509'


def gnutls_rows():
    for cipher in ('AES-128-GCM', 'AES-256-GCM', 'CHACHA20-POLY1305'):
        for group in ('X25519', 'SECP256R1'):
            words = f'{GNUTLS}:+{cipher}:+GROUP-{group}'
            yield ('--priority', f'{words}:+VERS-TLS1.3:+ECDHE-ECDSA'), ('TLS1.3', f'ECDHE-{group}', cipher), NAME
            for kind in ('ECDSA', 'RSA'):
                yield ('--priority', f'{words}:+GROUP-SECP256R1:+VERS-TLS1.2:+ECDHE-{kind}'), \
                    ('TLS1.2', f'ECDHE-{group}', kind, cipher), NAME
    for name, (kind, _) in KINDS.items():
        # GnuTLS likes RSA better, and in TLS 1.3 mbedTLS goes by the client's order.
        yield (), ('TLS1.3', 'RSA' if name == NAME else kind), name


def gnutls(cluster, *words, name=NAME, ask=GET, port=PORT):
    done = subprocess.run(['gnutls-cli', '--x509cafile', cluster.ca, '--sni-hostname', name, '--verify-hostname', name, '-p', str(port),
                           *words, cluster.host4], input=ask, capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


@test('interop.gnutls', layout='certificates')
def gnutls_cli(cluster):
    need('gnutls-cli')

    def wrong(row):
        words, wanted, name = row
        said = gnutls(cluster, *words, name=name)
        found = re.search(r'Description: (.*)', said)
        missing = [word for word in wanted if not found or word not in found.group(1)]
        whole = 'HTTP/1.1 200' in said and 'The certificate is trusted' in said
        return None if whole and not missing else f'{wanted}: {found and found.group(1)} {said[-300:]!r}'
    none_of(in_threads(wrong, list(gnutls_rows())))
    before = cluster.counter('handshakes_resumed')
    for version in ('1.2', '1.3'):
        said = gnutls(cluster, '--resume', '--waitresumption', '--priority', f'NORMAL:-VERS-ALL:+VERS-TLS{version}')
        assert 'This is a resumed session' in said, f'{version}: {said[-500:]}'
    wait_for(lambda: cluster.counter('handshakes_resumed') == before + 2, 2, 'they are not counted')


@test('interop.curl', layout='certificates')
def curl(cluster):
    def wrong(row):
        words, wanted = row
        said = run('curl', '-sSv', '--max-time', '10', '--cacert', cluster.ca, '--resolve', f'{NAME}:{PORT}:{cluster.host4}',
                   '--stderr', '-', *words, f'https://{NAME}/healthz', check=False)
        return None if f'/ {wanted}' in said and '\nok\n' in said else f'{words}: {said[-400:]!r}'
    none_of(in_threads(wrong, [
        (('--curves', group, *words, suite), suite) for group in GROUPS.values() for words, suites in (
            (('--tlsv1.3', '--tls13-ciphers'), SUITES13), (('--tls-max', '1.2', '--ciphers'), SUITES12.values()))
        for suite in suites]))


def body_of(words):
    """A request for an answer of a given size, and as many bytes on its own."""
    return json.dumps(chat(sim(words, text='x' * 60000), model='solo'))


@test('interop.node', layout='certificates')
def node(cluster):
    need('node')
    body = body_of('tokens=9000')
    head = f'POST {CHAT} HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {cluster.key}\r\nConnection: close\r\n' \
        f'Content-Length: {len(body)}\r\n\r\n'
    rows = [{'version': version, 'suite': name, 'standard': suite, 'group': group, 'groups': GROUPS[group], 'name': NAME, 'head': head, 'body': body}
            for version, suites in (('TLSv1.3', {suite: suite for suite in SUITES13}), ('TLSv1.2', SUITES12))
            for suite, name in suites.items() for group in GROUPS]
    rows += [{**rows[0], 'name': name} for name in KINDS]
    done = run('node', os.path.join(os.path.dirname(__file__), '../interop.mjs'),
               input=json.dumps({'host': cluster.host4, 'port': PORT, 'ca': cluster.ca, 'rows': rows}))
    seen = [json.loads(line) for line in done.splitlines()]
    assert len(seen) == len(rows)

    def wrong():
        for row, saw in zip(rows, seen):
            whole = saw.get('answer', '').startswith('HTTP/1.1 200') and '"completion_tokens":9000' in saw['answer']
            told = [saw.get(key) for key in ('version', 'suite', 'group', 'name', 'alpn', 'resumed', 'reused')]
            if not whole or told != [row['version'], row['standard'], row['group'], row['name'], 'http/1.1', True, False]:
                yield f'{row["version"]} {row["suite"]} {row["group"]} {row["name"]}: {told} {saw.get("error")}'
    none_of(list(wrong()))


@test('interop.java', layout='certificates', seconds=90)
def java(cluster):
    """And it renews its keys in the middle of what it sends, behind each 32 KB: more than 16 times at once is a flood."""
    need('javac')
    rows = [('TLSv1.3', suite, NAME) for suite in SUITES13] + [('TLSv1.2', suite, NAME) for suite in SUITES12]
    rows += [('TLSv1.3', SUITES13[0], name) for name in KINDS]
    lines = ['\t'.join((*row, '0', '/healthz')) for row in rows]
    renewing = [('TLSv1.3', suite, NAME, size) for suite in SUITES13 for size in (200000, 1000000)]
    lines += ['\t'.join((*row, str(size), CHAT, '', cluster.key, json.dumps(chat(sim('tokens=1'), model='solo')))) for *row, size in renewing]
    before = verdicts(cluster)['TLS_FLOOD']
    said = run('java', os.path.join(os.path.dirname(__file__), '../Interop.java'), cluster.host4, str(PORT), cluster.ca,
               input='\n'.join(lines))

    def wrong():
        seen = [line.split('\t') for line in said.splitlines()]
        for (version, suite, name), saw in zip(rows, seen):
            if saw != [version, suite, f'CN={name}', 'http/1.1', 'true', '200', '3']:
                yield f'{version} {suite} {name}: {saw}'
        for (_, suite, _, size), saw in zip(renewing, seen[len(rows):], strict=True):
            if (saw[5] == '200' if len(saw) == 7 else saw[0] != 'error') != (size < 16 << 15):
                yield f'{suite}, {size} bytes: {saw}'
    none_of(list(wrong()))
    wait_for(lambda: verdicts(cluster)['TLS_FLOOD'] == before + len(SUITES13), 2, 'the floods are not counted')


@test('interop.sslscan', layout='certificates', seconds=90)
def sslscan(cluster):
    """Nothing beyond what tests above ask for, and nothing missing."""
    need('sslscan')
    said = re.sub(r'\x1b\[[0-9;]*m', '', run('sslscan', '--no-heartbleed', '--show-sigs', f'--sni-name={NAME}',
                                              f'{cluster.host4}:{PORT}'))
    versions = dict(re.findall(r'^(SSLv\d|TLSv1\.\d) +(enabled|disabled)$', said, re.M))
    assert {version for version, state in versions.items() if state == 'enabled'} == {'TLSv1.2', 'TLSv1.3'}, versions
    ciphers = set(re.findall(r'^(?:Preferred|Accepted) +(TLSv1\.\d) +\d+ bits +(\S+)', said, re.M))
    assert ciphers == {('TLSv1.3', suite) for suite in SUITES13} | {('TLSv1.2', suite) for suite in SUITES12.values()}, ciphers
    preferred = re.findall(r'^Preferred +(?:TLSv1\.\d) +\d+ bits +(\S+)', said, re.M)
    assert preferred == ['TLS_AES_128_GCM_SHA256', 'ECDHE-ECDSA-AES128-GCM-SHA256'], preferred
    groups = set(re.findall(r'^TLSv1\.\d +\d+ bits +(\w+)(?: \(NIST.*)?$', said, re.M))
    assert {group.lower() for group in groups} == {'x25519', 'secp256r1'}, groups
    assert 'Session renegotiation not supported' in said and 'Compression enabled' not in said, said


# ---- client authentication

# What a client has to show, and what it is told; in gnutls-cli's words the number of the alert.
ALERTS = {116: 'certificate required', 40: 'handshake failure', 48: 'unknown ca', 45: 'certificate expired',
          43: 'unsupported certificate'}
NONE = {'1.2': 'handshake failure', '1.3': 'certificate required'}
NOTHING = ''
SHOWN = {'good': None, NOTHING: NONE, 'stranger': 'unknown ca', 'old': 'certificate expired'}
VERDICTS = {'certificate required': 'TLS_PEER_WITHOUT', 'handshake failure': 'TLS_PEER_WITHOUT', 'unknown ca': 'TLS_PEER_UNKNOWN',
            'certificate expired': 'TLS_PEER_EXPIRED', 'unsupported certificate': 'TLS_PEER_UNFIT'}
OF_CLIENTS = 'extendedKeyUsage=clientAuth\n'
IS_CA = 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n'


def at(cluster, file):
    return os.path.join(cluster.root, file)


def make_clients(cluster):
    """Once for a cluster; all of it also as PKCS 12, which is what Java reads."""
    if os.path.exists(at(cluster, 'good.p12')):
        return
    run('openssl', 'req', '-x509', '-newkey', *P256, '-nodes', '-days', '7', '-subj', '/CN=strangers', '-keyout', at(cluster, 'strangers.key'),
        '-out', at(cluster, 'strangers.pem'), '-addext', 'keyUsage=critical,keyCertSign')
    make = lambda file, kind=P256, **more: cluster.make_certificate(file, kind, f'{file}.client', extensions=OF_CLIENTS, **more)  # noqa: E731
    make('stranger', by='strangers')
    make('old', days=0)
    make('good-rsa', ('rsa:2048',))
    make('good-p384', ('ec', '-pkeyopt', 'ec_paramgen_curve:P-384'))
    cluster.make_certificate('middle', P256, 'middle', extensions=IS_CA)
    make('good-chain', by='middle')
    with open(at(cluster, 'good-chain.pem'), 'a', encoding='ascii') as chain, open(at(cluster, 'middle.pem'), encoding='ascii') as middle:
        chain.write(middle.read())
    cluster.make_certificate('server', P256, 'server')
    make('good')
    for file in SHOWN:
        if file:
            run('openssl', 'pkcs12', '-export', '-in', at(cluster, f'{file}.pem'), '-inkey', at(cluster, f'{file}.key'), '-passout', 'pass:client',
                '-out', at(cluster, f'{file}.p12'))


def outcome(said):
    """None where it was answered, else the alert that it was told."""
    if 'HTTP/1.1 200' in said or '\nok\n' in said:
        return None
    number = re.search(r'Received alert \[(\d+)\]', said)
    words = re.sub('[_ ]+', ' ', said.lower())
    found = [ALERTS.get(int(number.group(1)), number.group(1))] if number else [name for name in ALERTS.values() if name in words]
    return found[0] if found else said[-300:]


def verdicts(cluster):
    return {labels['verdict']: int(value) for name, labels, value in cluster.admin.metrics()
            if name == 'sluice_dataplane_verdicts_total'}


def each(ask):
    """Of a client that is a process for each row."""
    def ask_all(rows):
        said = {}
        none_of(in_threads(lambda row: said.update({row: ask(*row)}), rows))
        return [said[row] for row in rows]
    return ask_all


def show_all(cluster, ask_all, shown, asks_first=False):
    """ask_all(rows of version and file) is what was said to each: an answer, or why there is none, which is counted.
    asks_first: the client shows only what the server asked for; in TLS 1.2, where ours names its CA, a stranger has nothing."""
    make_clients(cluster)
    before = verdicts(cluster)
    rows = {(version, file): alert for file, wanted in shown.items()
            for version, alert in (wanted if isinstance(wanted, dict) else dict.fromkeys(NONE, wanted)).items()}
    if asks_first:
        rows['1.2', 'stranger'] = NONE['1.2']
    told = dict(zip(rows, map(outcome, ask_all(list(rows))), strict=True))
    none_of([f'{row}: {told[row]!r}, not {wanted}' for row, wanted in rows.items() if told[row] != wanted])
    wanted = collections.Counter(VERDICTS[alert] for alert in rows.values() if alert)

    def counted():
        now = verdicts(cluster)
        return {name: now[name] - before[name] for name in set(VERDICTS.values()) if now[name] != before[name]}
    try:
        wait_for(lambda: counted() == wanted, 5)
    except AssertionError:
        raise AssertionError(f'counted: {counted()}, not {dict(wanted)}') from None


@test('interop.clients-openssl', layout='certificates')
def clients_openssl(cluster):
    """Certificates of each kind, by a CA below ours, for servers; and what is resumed needs none, but for the same listener."""
    def ask(version, file, *words, port=CLIENTS_PORT):
        shown = ('-cert', at(cluster, f'{file}.pem'), '-key', at(cluster, f'{file}.key'), '-cert_chain', at(cluster, f'{file}.pem')) if file else ()
        done = subprocess.run(['openssl', 's_client', '-connect', f'{cluster.host4}:{port}', '-servername', NAME, '-CAfile', cluster.ca,
                               '-ign_eof', f'-tls{version.replace(".", "_")}', *shown, *words], input=GET, capture_output=True, text=True,
                              timeout=20, check=False)
        return done.stdout + done.stderr
    show_all(cluster, each(ask), {**SHOWN, 'good-rsa': None, 'good-p384': None, 'good-chain': None, 'server': 'unsupported certificate'})
    for version in NONE:
        session = at(cluster, f'session-{version}')
        for port, file, name in ((CLIENTS_PORT, 'good', 'mine'), (PORT, None, 'anybodys')):
            assert outcome(ask(version, file, '-sess_out', f'{session}-{name}', port=port)) is None, f'{version} {name}'
        said = ask(version, None, '-sess_in', f'{session}-mine')
        assert outcome(said) is None and '\nReused, ' in said, f'{version}: {said[-500:]}'
        said = ask(version, None, '-sess_in', f'{session}-anybodys')
        assert outcome(said) == NONE[version], f'{version}: {said[-500:]}'


@test('interop.clients-gnutls', layout='certificates')
def clients_gnutls(cluster):
    need('gnutls-cli')

    def ask(version, file):
        shown = ('--x509certfile', at(cluster, f'{file}.pem'), '--x509keyfile', at(cluster, f'{file}.key')) if file else ()
        return gnutls(cluster, '--priority', f'NORMAL:-VERS-ALL:+VERS-TLS{version}', *shown, port=CLIENTS_PORT)
    show_all(cluster, each(ask), SHOWN)


@test('interop.clients-curl', layout='certificates')
def clients_curl(cluster):
    def ask(version, file):
        shown = ('--cert', at(cluster, f'{file}.pem'), '--key', at(cluster, f'{file}.key')) if file else ()
        return run('curl', '-sSv', '--max-time', '10', '--cacert', cluster.ca, '--resolve', f'{NAME}:{CLIENTS_PORT}:{cluster.host4}',
                   '--stderr', '-', f'--tlsv{version}', '--tls-max', version, *shown, f'https://{NAME}:{CLIENTS_PORT}/healthz', check=False)
    show_all(cluster, each(ask), SHOWN)


@test('interop.clients-node', layout='certificates')
def clients_node(cluster):
    need('node')

    def ask_all(rows):
        rows = [{'version': f'TLSv{version}', 'name': NAME, 'head': GET, 'body': '', 'once': True,
                 **({'cert': at(cluster, f'{file}.pem'), 'key': at(cluster, f'{file}.key')} if file else {})} for version, file in rows]
        return run('node', os.path.join(os.path.dirname(__file__), '../interop.mjs'),
                   input=json.dumps({'host': cluster.host4, 'port': CLIENTS_PORT, 'ca': cluster.ca, 'rows': rows})).splitlines()
    show_all(cluster, ask_all, SHOWN)


@test('interop.clients-java', layout='certificates', seconds=90)
def clients_java(cluster):
    need('javac')

    def ask_all(rows):
        lines = ['\t'.join((f'TLSv{version}', (SUITES13 if version == '1.3' else tuple(SUITES12))[0], NAME, '0', '/healthz',
                            at(cluster, f'{file}.p12') if file else '')) for version, file in rows]
        said = run('java', os.path.join(os.path.dirname(__file__), '../Interop.java'), cluster.host4, str(CLIENTS_PORT), cluster.ca,
                   input='\n'.join(lines)).splitlines()
        return [line.replace('\t200\t', 'HTTP/1.1 200') for line in said]
    show_all(cluster, ask_all, SHOWN, asks_first=True)
