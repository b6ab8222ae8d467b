"""A whole Sluice: certificate, configuration, control, dataplane, backends and what is for sale.

Layouts: "two-workers" and "one-worker" on AF_PACKET, "many-pods" as the first but with hundreds of pods at once,
"tap" with two queues of a TAP device, "postgres" with a server of its own as store, "tight" with each limit small enough to be met, "certificates" with one of
each kind (CERTIFICATES) and a listener that wants one of its clients, and "direct", where clients speak to a backend without a router.
"""
import json
import os
import sqlite3
import ssl
import tempfile
import time

from harness import net
from harness.admin import Admin
from harness.backend import Backend
from harness.client import Client, tls_context
from harness.postgres import Postgres, Proxy
from harness.proc import Process, run, wait_for

NAME = 'edge.sluice.test'
PORT = 443
CLIENTS_PORT = 444  # of the layout "certificates": clients show a certificate by our CA
ADMIN_PORT = 9900
TOKEN = 'e2e-token-0123456789abcdef0123456789abcdef'
INPUT_NANO, OUTPUT_NANO = 150000000, 600000000  # per million tokens
REQUEST_NANO = 1000  # of the price `each`

BACKENDS = (  # name, port, region
    ('mv-a', 9001, 'mv'),
    ('mv-b', 9002, 'mv'),
    ('tx-c', 9003, 'tx'),
    ('solo', 9004, 'mv'),
    ('fault', 9005, 'mv'),
    ('fault2', 9006, 'tx'),
)

# A certificate of `-days 0` (OpenSSL 3.5 makes no shorter one) is good through the second of its end: 1 s, and what clocks differ by.
EXPIRES_S = 1.1

P256 = ('ec', '-pkeyopt', 'ec_paramgen_curve:P-256')
# Beside edge.pem, which is the first and of P-256: file, kind of key, the name that it is for.
CERTIFICATES = (
    ('edge-rsa', ('rsa:2048',), NAME),
    ('p384', ('ec', '-pkeyopt', 'ec_paramgen_curve:P-384'), 'p384.sluice.test'),
    ('rsa4096', ('rsa:4096',), 'rsa4096.sluice.test'),
    ('wild', P256, '*.wild.sluice.test'),
    ('exact', P256, 'exact.wild.sluice.test'),
)

CONFIG = '''
instance: e2e
workers: {workers}
idle: sleep
memory:
  huge_pages: no
  size: 512MiB
ports:
  - device: "{device}"
    addresses: [{addresses}]
{gateway}listeners:
  - port: {port}
    certificates:
      - chain: {folder}/edge.pem
        key: {folder}/edge.key
{certificates}limits:
  clients: 2048
  upstreams: 2048
  handshakes: 64
  handshakes_per_source: 48
{limits}surfaces:
  ecolink:
    cors: https://console.example http://localhost:3000
  infer:
    cors: "*"
  third: {{enabled: yes, prefix: /other/v2, key_prefix: oth_, header_prefix: x-other-, errors: codes, overhead: yes, requests_per_minute: 0}}
  fourth: {{enabled: yes, prefix: /mod/v1, key_prefix: mod_, header_prefix: x-mod-, validate: model-only}}
timeouts:
  handshake: 30s
  head: 3s
  body: 3s
  body_grace: 4s
{timeouts}  response_head: {patience}ms
  first_event: {patience}ms
  between_events: {patience}ms
  keep_alive: {keep_alive}ms
  http2_window: 8s
  drain: 4s
routing:
  retry_burst: 10
{routing}spool:
  path: {folder}/spool
  segment: 4MiB
store:
  {store}
admin:
  address: 127.0.0.1
  port: {admin_port}
  token_file: {folder}/admin.token
probes:
  interval: {probe}ms
  timeout: {probe_timeout}ms
  rise: 1
  fall: 2
  resolve: 500ms
{tls}'''


def words_of(members):
    """Members of an object as options of sluicectl."""
    for name, value in members.items():
        yield f'--{name.replace("_", "-")}'
        if isinstance(value, bool):
            yield 'yes' if value else 'no'
        elif isinstance(value, (list, tuple)):
            yield ','.join(value)
        else:
            yield 'none' if value is None else value


class Cluster:
    def __init__(self, build, folder, layout):
        self.build = os.path.abspath(build)
        self.root = tempfile.mkdtemp(prefix=f'{layout}-', dir=folder)
        os.mkdir(os.path.join(self.root, 'spool'))
        self.layout = layout
        self.workers = 1 if layout == 'one-worker' else 2
        self.is_direct = layout == 'direct'
        self.is_tap = layout == 'tap'
        self.is_portable = 'SLUICE_PORTABLE' in os.environ
        self.host4 = net.TAP_EDGE4 if self.is_tap else net.EDGE4
        self.host6 = None if self.is_tap else net.EDGE6
        self.ca = os.path.join(self.root, 'ca.pem')
        self.config = os.path.join(self.root, 'sluice.yaml')
        self.sim = os.path.join(self.build, 'tools/backend/sluice-sim-backend')
        self.sluicectl = os.path.join(self.build, 'tools/sluicectl/sluicectl')
        self.admin = Admin(f'http://127.0.0.1:{ADMIN_PORT}', TOKEN)
        self.backends = {name: Backend(self.sim, self.root, name, port, region, net.HOST4)
                         for name, port, region in BACKENDS}
        self.keys = {}
        self.key_ids = {}
        self.instances = {}
        self.control = self.dataplane = None
        self.tls = None
        self.postgres = self.proxy = None

    # ---- start and stop

    def start(self):
        for backend in self.backends.values():
            backend.start()
        if self.is_direct:
            return
        for program in ('control/sluice-control', 'dataplane/sluice-dataplane', 'tools/sluicectl/sluicectl'):
            assert os.path.exists(os.path.join(self.build, program)), f'{program} is not built'
        for name in os.listdir('/dev/shm'):  # of the cluster before: another store, another pepper
            os.unlink(os.path.join('/dev/shm', name))
        self.make_certificates()
        if self.layout == 'postgres':
            self.postgres = Postgres('127.0.0.1')
            self.postgres.start()
            self.proxy = Proxy(self.postgres)
        self.write_config()
        self.control = Process('control', [os.path.join(self.build, 'control/sluice-control'), '--config',
                                           self.config], os.path.join(self.root, 'control.log'))
        dataplane = [os.path.join(self.build, 'dataplane/sluice-dataplane'), '--config', self.config]
        self.dataplane_words = dataplane
        self.dataplane = Process('dataplane', dataplane if self.is_tap else net.in_edge() + dataplane,
                                 os.path.join(self.root, 'dataplane.log'))
        self.start_control()
        self.fill_catalogue()
        self.start_dataplane()

    def start_control(self):
        self.control.start()
        wait_for(self.control_answers, 20, 'control does not answer')

    def control_answers(self):
        assert self.control.is_alive(), f'control ended with {self.control.child.returncode}: {self.control.log_text()[-400:]}'
        return self.admin.answers()

    def start_dataplane(self, wait=True):
        self.dataplane.start()
        if self.is_tap:
            wait_for(self.give_tap_an_address, 20, 'there is no TAP device')
        if wait:
            self.wait_serving()

    def give_tap_an_address(self):
        assert self.dataplane.is_alive(), f'dataplane ended with {self.dataplane.child.returncode}: {self.dataplane.log_text()[-400:]}'
        if not os.path.exists('/sys/class/net/sluicetap') and 'sluicetap' not in run('ip', 'link'):
            return False
        run('ip', 'address', 'replace', f'{net.TAP_HOST4}/24', 'dev', 'sluicetap')
        run('ip', 'link', 'set', 'sluicetap', 'up')
        return True

    def wait_serving(self, seconds=30):
        wait_for(self.serves, seconds, 'the dataplane does not serve')

    def serves(self):
        assert self.dataplane.is_alive(), f'dataplane ended with {self.dataplane.child.returncode}: {self.dataplane.log_text()[-600:]}'
        try:
            with self.client(timeout=2) as client:
                return client.request('GET', '/readyz').status == 200
        except (OSError, ssl.SSLError, RuntimeError):
            return False
        except Exception as why:
            if type(why).__name__ == 'Closed':
                return False
            raise

    def is_whole(self):
        if self.is_direct:
            return all(b.process.is_alive() for b in self.backends.values())
        return self.control.is_alive() and self.dataplane.is_alive() and \
            all(b.process.is_alive() for b in self.backends.values())

    def check_health(self):
        """After every test: nothing may have died of it."""
        for process in (self.control, self.dataplane):
            if process:
                assert process.is_alive(), f'{process.name} died with {process.child.returncode}'

    def stop(self):
        """Every process, even if one of them does not want to."""
        codes = {}
        for process in (self.dataplane, self.control, *(b.process for b in self.backends.values())):
            try:
                if process and process.child:
                    codes[process.name] = process.stop()
            except AssertionError as why:
                codes[process.name] = str(why)
        if self.postgres:
            self.proxy.close()
            self.postgres.remove()
        wrong = {name: code for name, code in codes.items() if code != 0}
        assert not wrong, f'these did not end with 0: {wrong}'

    def last_words(self):
        for process in (self.control, self.dataplane):
            if process:
                for line in process.log_text().splitlines()[-8:]:
                    yield f'{process.name}: {line[:300]}'

    # ---- what it is made of

    def make_certificates(self):
        """A CA of our own and certificates by it, as an operator would make them."""
        run('openssl', 'req', '-x509', '-newkey', *P256, '-nodes', '-days', '7', '-subj', '/CN=Sluice e2e CA', '-keyout',
            os.path.join(self.root, 'ca.key'), '-out', self.ca, '-addext', 'basicConstraints=critical,CA:TRUE',
            '-addext', 'keyUsage=critical,keyCertSign')
        addresses = [f'IP:{self.host4}'] + ([f'IP:{self.host6}'] if self.host6 else [])
        self.make_certificate('edge', P256, NAME, addresses)
        for file, kind, name in self.certificates():
            self.make_certificate(file, kind, name)
        self.tls = tls_context(self.ca)

    def certificates(self):
        return CERTIFICATES if self.layout == 'certificates' else ()

    def more_certificates(self):
        """What follows the first one in the configuration: those of its listener, and a second listener."""
        line = lambda file: f'      - {{chain: {self.root}/{file}.pem, key: {self.root}/{file}.key}}\n'  # noqa: E731
        lines = ''.join(line(file) for file, _, _ in self.certificates())
        if lines:
            lines += f'  - port: {CLIENTS_PORT}\n    client_ca: {self.ca}\n    certificates:\n{line("edge")}'
        return lines

    def make_certificate(self, file, kind, name, others=(), by='ca', days=7, extensions=None):
        """extensions: others than a server's. days: none makes one that has expired when this returns."""
        path = lambda end: os.path.join(self.root, f'{file}.{end}')  # noqa: E731
        run('openssl', 'req', '-newkey', *kind, '-nodes', '-subj', f'/CN={name}', '-keyout', path('key'), '-out', path('csr'))
        with open(path('ext'), 'w', encoding='ascii') as text:
            text.write(extensions or f'subjectAltName={",".join([f"DNS:{name}", *others])}\nextendedKeyUsage=serverAuth\n')
        run('openssl', 'x509', '-req', '-in', path('csr'), '-CA', os.path.join(self.root, f'{by}.pem'), '-CAkey',
            os.path.join(self.root, f'{by}.key'), '-CAcreateserial', '-days', str(days), '-extfile', path('ext'), '-out', path('pem'))
        if not days:
            time.sleep(EXPIRES_S)

    def write_config(self):
        if self.is_tap:
            device, addresses = 'net_tap0,iface=sluicetap', f'{net.TAP_EDGE4}/24'
            gateway = f'    gateway4: {net.TAP_HOST4}\n'  # the backends are in another network
        else:
            device = f'net_af_packet0,iface=edge0,qpairs={self.workers}'
            addresses, gateway = f'{net.EDGE4}/24, "{net.EDGE6}/64"', ''
        with open(os.path.join(self.root, 'admin.token'), 'w', encoding='ascii') as token:
            token.write(f'{TOKEN}\n')
        os.chmod(os.path.join(self.root, 'admin.token'), 0o600)
        with open(self.config, 'w', encoding='ascii') as config:
            config.write(CONFIG.format(workers=self.workers, device=device, addresses=addresses, port=PORT,
                                       gateway=gateway, folder=self.root, admin_port=ADMIN_PORT,
                                       certificates=self.more_certificates(),
                                       tls=self.tls_section(), store=self.store(), **self.timers(), **self.tightness()))

    def tls_section(self):
        portable = '  records: mbedtls\n  primitives: mbedtls\n' if self.is_portable else ''
        text = portable + self.authorities()
        return f'tls:\n{text}' if text else ''

    def authorities(self):
        """Of backends: the one that makes our certificates, and one that makes none."""
        if self.layout != 'https':
            return ''
        run('openssl', 'req', '-x509', '-newkey', *P256, '-nodes', '-days', '7', '-subj', '/CN=Strangers', '-keyout',
            os.path.join(self.root, 'strangers.key'), '-out', os.path.join(self.root, 'strangers.pem'))
        return (f'  authorities:\n    - {{name: ours, file: {self.ca}}}\n'
                f'    - {{name: strangers, file: {self.root}/strangers.pem}}\n')

    def store(self):
        if self.postgres:
            return f'connection: "{self.postgres.connection(self.proxy.folder)}"'
        return f'path: {self.root}/sluice.db'

    def timers(self):
        """In milliseconds. Of many pods the probes would be the load, and all their backend's requests come at once."""
        if self.layout == 'many-pods':
            return {'patience': 6000, 'keep_alive': 2000, 'probe': 5000, 'probe_timeout': 3000}
        return {'patience': 3000, 'keep_alive': 1000, 'probe': 200, 'probe_timeout': 200}

    def tightness(self):
        """Where each limit can be met by itself: what the suite limits knows of."""
        if self.layout != 'tight':
            return {'limits': '', 'timeouts': '  stall: 60s\n', 'routing': ''}
        sections = {
            'limits': {'per_source': 40, 'requests': 5, 'request_line': '200B', 'head': '1KiB', 'field': '300B',
                       'fields': 12, 'json_depth': 6, 'json_keys': 8, 'event_line': '4KiB'},
            'timeouts': {'stall': '2s', 'idle': '2s', 'request': '8s', 'upstream_idle': '1s', 'body_total': '5s'},
            'routing': {'tries': 1, 'eject_errors': 1, 'eject_time': '2s', 'busy': '3s'},
        }
        return {name: ''.join(f'  {key}: {value}\n' for key, value in keys.items())
                for name, keys in sections.items()}

    def ctl(self, *words):
        """sluicectl, as an operator types it; what it says as an object."""
        text = run(self.sluicectl, '--url', self.admin.url, '--token', TOKEN, '--json',
                   *[str(word) for word in words])
        return json.loads(text) if text.strip() else None

    def dump(self, table):
        """Shared memory, as lines of text."""
        name, = (name for name in os.listdir('/dev/shm') if '.' not in name)  # others are beside it: NAME.settings
        return run(os.path.join(self.build, 'tools/shmdump/shmdump'), os.path.join('/dev/shm', name), table)

    def put(self, noun, name, **members):
        """Made, or changed if it is there."""
        try:
            there = self.admin.call('GET', f'{"aliases" if noun == "alias" else noun + "s"}/{name}')
        except AssertionError:
            return self.ctl(noun, 'add', name, *words_of(members))
        return self.ctl(noun, 'set', name, *words_of(members)) if members else there

    def account(self, name):
        return self.admin.call('GET', f'accounts/{name}')

    def top_up(self, name, dollars):
        self.ctl('account', 'top-up', name, dollars)

    def fill_catalogue(self):
        self.put('plan', 'wide', requests_per_minute=6000000)
        self.put('plan', 'burst', requests_per_minute=1, burst=60)
        self.put('plan', 'minute', requests_per_minute=60, burst=60)
        rates = dict(input=INPUT_NANO / 1e9, output=OUTPUT_NANO / 1e9, image='0.000001', second='0.000001',
                     characters=0.001, bytes=0.001)
        self.put('price', 'normal', **rates)
        self.put('price', 'each', request='0.000001', **rates)
        for region in ('mv', 'tx'):
            self.put('region', region)
        for name, port, _ in BACKENDS:
            self.put('pod', name, address=net.HOST4, port=port)
        self.put('pod', 'nobody', address=net.HOST4, port=9099)
        self.model('sim', mv=['mv-a', 'mv-b'], tx=['tx-c'])
        self.model('pair', mv=['mv-a', 'mv-b'])
        # For what is done beside a load: a router that a busy machine gave no turn for a second finds its timers
        # due before it reads what came meanwhile, and a connection has one second.
        self.model('patient', mv=['mv-a', 'mv-b'], tx=['tx-c'])
        self.put('model', 'patient', connect_ms=30000, response_head_ms=30000, first_event_ms=30000,
                 between_events_ms=30000)
        self.model('solo', 'each', mv=['solo'])
        self.model('fault', mv=['fault'])
        self.model('fault-over', mv=['fault'], tx=['mv-a'])
        self.model('dead', mv=['nobody'])
        self.model('unpriced', mv=['solo'], price=None)
        self.put('alias', 'simulated', model='sim')
        for account, dollars in (('main', 1000), ('other', 1000), ('poor', 0)):
            self.put('account', account)
            if dollars:
                self.top_up(account, dollars)
        words = words_of({'name': 'my-llama', 'account': 'main', 'price': 'each'})
        instance = self.ctl('instance', 'add', *words)['id']
        self.instances['my-llama'] = f'my-llama:{instance}'
        self.put('deployment', 'my-llama-mv', instance=instance, region='mv', pods=['solo'],
                 served_name='served-llama', base_path=f'/{instance}')
        for name, account, plan, surface in (('main', 'main', 'wide', 'ecolink'),
                                             ('other', 'other', 'wide', 'ecolink'),
                                             ('poor', 'poor', 'wide', 'ecolink'),
                                             ('infer', 'main', 'wide', 'infer')):
            self.keys[name] = self.new_key(account, plan, surface)

    def model(self, name, price='normal', **pods_of_region):
        self.put('model', name, price=price)
        for position, (region, pods) in enumerate(pods_of_region.items()):
            self.put('deployment', f'{name}-{region}', model=name, region=region, position=position,
                     pods=pods)

    def new_key(self, account='main', plan='wide', surface='ecolink'):
        made = self.ctl('key', 'add', *words_of({'account': account, 'plan': plan, 'surface': surface}))
        self.key_ids[made['key']] = made['id']
        return made['key']

    def revoke(self, key):
        self.ctl('key', 'revoke', self.key_ids[key])

    # ---- how to reach it

    @property
    def key(self):
        return self.keys.get('main', 'eco_direct')

    @property
    def url(self):
        return f'http://{net.HOST4}:9001/v1' if self.is_direct else f'https://{NAME}:{PORT}/v1'

    def client(self, host=None, **options):
        if self.is_direct:
            return Client(net.HOST4, 9001, **options)
        if 'versions' not in options and 'context' not in options and self.tls:
            options['context'] = self.tls
        return Client(host or self.host4, PORT, ca=self.ca, name=NAME, **options)

    def curl(self, *words, host=None, key=None):
        """curl with name, CA and key set; its output."""
        address = host or self.host4
        address = f'[{address}]' if ':' in address else address
        return run('curl', '-sS', '--max-time', '30', '--cacert', self.ca, '--resolve',
                   f'{NAME}:{PORT}:{address}', '-H', f'authorization: Bearer {key or self.key}', *words)

    # ---- what it says of itself

    def workers_counters(self):
        """Of each worker its counters by name."""
        workers = {}
        for name, labels, value in self.admin.metrics():
            if name.startswith('sluice_dataplane_') and 'worker' in labels:
                short = name.removeprefix('sluice_dataplane_').removesuffix('_total')
                workers.setdefault(int(labels['worker']), {})[short] = int(value)
        return [workers[number] for number in sorted(workers)]

    def counters(self):
        """All counters, summed over the workers."""
        workers = self.workers_counters()
        return {name: sum(worker[name] for worker in workers) for name in workers[0]}

    def counter(self, name):
        counters = self.counters()
        assert name in counters, f'there is no counter {name}'
        return counters[name]

    def pod_is_up(self, name):
        pods = {pod['name']: pod for pod in self.admin.call('GET', 'status')['pods']}
        return pods[name]['probe'] == 'up' and pods[name]['passive'] in ('in', 'half-open')

    def dataplane_rss_bytes(self):
        """nsenter replaces itself by the program, so its process is the dataplane's."""
        return self.dataplane.rss_bytes()

    def ledger(self, where='1', *values):
        """Rows of the usage ledger as dictionaries."""
        store = sqlite3.connect(f'file:{self.root}/sluice.db?mode=ro', uri=True, timeout=5)
        store.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in store.execute(f'SELECT * FROM ledger WHERE {where}', values)]
        finally:
            store.close()
