"""Sluice, nginx and HAProxy behind the same link, with the same certificate and one thread each, for tls-veth and tls-idle.

    bench-tls-clients ── veth ── the server, in a namespace of its own

nginx and HAProxy are Debian's: those that are installed, or unpacked into .deps/rivals, where nothing starts them.
"""
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path as File

import path

BENCH = path.BUILD / 'tools/benchmark'
UNPACKED = path.ROOT / '.deps/rivals'
# With what Debian 12 and 13 have of them.
PACKAGES = {'nginx': ['nginx'], 'haproxy': ['haproxy', 'liblua5.3-0', 'liblua5.4-0', 'libopentracing-c-wrapper0', 'libopentracing-c-wrapper0t64',
                                            'libopentracing1', 'libopentracing1t64']}
CLIENTS, SERVER = 'tls-clients', 'tls-server'  # namespaces
ADDRESS = '10.9.0.1'
FIRST_CLIENT = '10.9.1.1'
ADDRESSES = 8
START_S = 60
HOUR = '3600s'
TOKEN = 'bench-token-0123456789abcdef0123456789ab'

SLUICE = '''
instance: bench
workers: 1
idle: sleep
memory: {{huge_pages: no, size: 256MiB}}
ports:
  - device: "net_af_packet0,iface=v0"
    addresses: [{address}/16]
listeners:
  - port: 443
    http2: no
    certificates: [{{chain: {folder}/chain.pem, key: {folder}/key.pem}}]
limits:
  clients: {connections}
  upstreams: 64
  requests: 64
  handshakes: 256
  per_source: {connections}
timeouts: {{handshake: 30s, idle: {hour}}}
spool: {{path: {folder}/spool, segment: 4MiB}}
store: {{path: {folder}/sluice.db}}
admin: {{address: 127.0.0.1, port: 9900, token_file: {folder}/token}}
'''

NGINX = '''
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log crit;
worker_processes {processes};
worker_rlimit_nofile {files};
events {{ worker_connections {each}; }}
http {{
  access_log off;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  keepalive_timeout {hour}; keepalive_requests 1000000; client_header_timeout {hour};
  server {{
    listen 443 ssl reuseport backlog=4096;
    ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off;
    location / {{ return 200 "ok\\n"; }}
  }}
}}
'''

HAPROXY = '''
global
  nbthread 1
  maxconn {connections}
  tune.ssl.default-dh-param 2048
defaults
  mode http
  timeout connect 5s
  timeout client {hour}
  timeout server {hour}
  timeout http-keep-alive {hour}
frontend all
  bind {address}:443 ssl crt {folder}/both.pem alpn http/1.1 ssl-min-ver TLSv1.2 backlog 4096
  http-request return status 200 content-type text/plain string "ok\\n"
'''


def files_max():
    """Descriptors that a process may have; more than it has, where that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (1 << 20, 200000, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return wanted
        except (ValueError, OSError):
            pass
    return soft


def build():
    """The programs of these measurements."""
    if not (path.BUILD / 'build.ninja').exists():
        subprocess.run(['meson', 'setup', str(path.BUILD), str(path.ROOT)], check=True, stdout=subprocess.DEVNULL)
    names = ['tools/benchmark/bench-tls-clients', 'control/sluice-control', 'dataplane/sluice-dataplane']
    done = subprocess.run(['ninja', '-C', str(path.BUILD), *names], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise path.Failed(done.stdout[-3000:])


def program_of(name):
    """Its path and the folder of its libraries, None if it is installed; fetched where it is not there."""
    found = shutil.which(name, path=f'{os.environ["PATH"]}:/usr/sbin')
    if found:
        return found, None
    program = UNPACKED / 'usr/sbin' / name
    if not program.exists():
        UNPACKED.mkdir(parents=True, exist_ok=True)
        for package in PACKAGES[name]:  # of the libraries each release has some
            subprocess.run(['apt-get', '-qq', 'download', package], cwd=UNPACKED, check=False, capture_output=True)
        for package in UNPACKED.glob('*.deb'):
            subprocess.run(['dpkg-deb', '-x', str(package), str(UNPACKED)], check=True)
            package.unlink()
    if not program.exists():
        raise path.Failed(f'{name} is neither installed nor to be had from Debian')
    return str(program), next(iter(UNPACKED.glob('usr/lib/*-linux-gnu')), None)


def make_certificate(folder):
    """ECDSA P-256, and what each server wants to see of it."""
    chain, key = folder / 'chain.pem', folder / 'key.pem'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '7', '-subj',
                    '/CN=bench.test', '-keyout', str(key), '-out', str(chain)], check=True, capture_output=True)
    (folder / 'both.pem').write_text(chain.read_text() + key.read_text())
    token = folder / 'token'
    token.write_text(f'{TOKEN}\n')
    token.chmod(0o600)
    (folder / 'spool').mkdir(exist_ok=True)


class Link:
    """Both namespaces and the veth between them. Ours takes whole packets as a card would give them; the kernel's has
    what a veth gives it."""

    def __init__(self, is_ours):
        self.is_ours = is_ours

    def __enter__(self):
        for space in (CLIENTS, SERVER):
            path.ip('netns', 'add', space)
        path.ip('link', 'add', 'v0', 'netns', CLIENTS, 'type', 'veth', 'peer', 'name', 'v0', 'netns', SERVER)
        for space in (CLIENTS, SERVER):
            inside(space, 'sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1')
            if self.is_ours:
                inside(space, 'ethtool', '-K', 'v0', 'rx', 'off', 'tx', 'off', 'sg', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'off')
            path.ip('-n', space, 'link', 'set', 'lo', 'up')
            path.ip('-n', space, 'link', 'set', 'v0', 'up', 'txqueuelen', '20000')
        first = FIRST_CLIENT.rsplit('.', 1)
        for i in range(ADDRESSES):
            path.ip('-n', CLIENTS, 'address', 'add', f'{first[0]}.{int(first[1]) + i}/16', 'dev', 'v0')
        inside(CLIENTS, 'sysctl', '-qw', 'net.ipv4.ip_local_port_range=1024 65535')
        if not self.is_ours:
            path.ip('-n', SERVER, 'address', 'add', f'{ADDRESS}/16', 'dev', 'v0')
            inside(SERVER, 'sysctl', '-qw', 'net.core.somaxconn=4096')
        return self

    def __exit__(self, *_):
        for space in (CLIENTS, SERVER):
            path.ip('netns', 'delete', space)


def inside(space, *words):
    """A command in a namespace, to its end."""
    done = subprocess.run(['ip', 'netns', 'exec', space, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise path.Failed(f'{" ".join(words)}: {done.stderr.strip()}')


def tree(pid):
    """A process and all below it."""
    found = [pid]
    for task in File(f'/proc/{pid}/task').glob('*/children'):
        for child in task.read_text().split():
            found += tree(int(child))
    return found


class Server:
    """One of the three, for so many connections, answering."""

    def __init__(self, name, folder, connections):
        self.name = name
        self.folder = folder
        self.connections = connections
        self.programs = []

    def __enter__(self):
        try:
            getattr(self, f'start_{self.name}')()
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, *words, libraries=None):
        env = {**os.environ, **({'LD_LIBRARY_PATH': str(libraries)} if libraries else {})}
        with open(self.folder / f'{self.name}.out', 'ab') as out:
            program = subprocess.Popen(['ip', 'netns', 'exec', SERVER, *words], stdout=out, stderr=out, env=env)
        self.programs.append(program)
        return program

    def write(self, text, **more):
        config = self.folder / f'{self.name}.conf'
        config.write_text(text.format(folder=self.folder, address=ADDRESS, connections=self.connections, hour=HOUR, **more))
        return str(config)

    def start_sluice(self):
        for old in [*self.folder.glob('sluice.db*'), *File('/dev/shm').glob('*bench*')]:
            old.unlink()
        config = self.write(SLUICE)
        self.start(str(path.BUILD / 'control/sluice-control'), '--config', config)
        time.sleep(1)  # it makes the shared file that the other one opens
        self.start(str(path.BUILD / 'dataplane/sluice-dataplane'), '--config', config)

    def start_nginx(self):
        program, libraries = program_of('nginx')
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        processes = -(-self.connections // (files - 1000))
        each = self.connections // processes + self.connections // processes // 4 + 512
        config = self.write(NGINX, processes=processes, each=each, files=files)
        self.start(program, '-p', str(self.folder), '-c', config, libraries=libraries)

    def start_haproxy(self):
        program, libraries = program_of('haproxy')
        self.start(program, '-f', self.write(HAPROXY), libraries=libraries)

    def wait(self):
        """Until it answers."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if any(program.poll() is not None for program in self.programs):
                break
            done = subprocess.run(['ip', 'netns', 'exec', CLIENTS, 'curl', '-sk', '--max-time', '2', f'https://{ADDRESS}/healthz'],
                                  capture_output=True, check=False)
            if done.stdout == b'ok\n':
                return
            time.sleep(0.1)
        said = (self.folder / f'{self.name}.out').read_text()[-1000:]
        raise path.Failed(f'{self.name} does not answer: {said}')

    def look(self):
        """When, and of each of its threads (of Sluice the dataplane's) how long it has run and how long it waited to."""
        threads = {stat.parent.name: [int(word) for word in stat.read_text().split()[:2]] for pid in tree(self.programs[-1].pid)
                   for stat in File(f'/proc/{pid}/task').glob('*/schedstat')}
        return time.monotonic_ns(), threads

    def turns_ns(self):
        """Of Sluice's worker, the time of turns that found work, as it tells it; None of the others."""
        if self.name != 'sluice':
            return None
        said = subprocess.run(['ip', 'netns', 'exec', SERVER, 'curl', '-s', '-H', f'authorization: Bearer {TOKEN}',
                               'http://127.0.0.1:9900/metrics'], capture_output=True, text=True, check=True).stdout
        return float(re.search(r'^sluice_worker_busy_seconds_total\{worker="0"\} (\S+)', said, re.M).group(1)) * 1e9

    def memory_bytes(self):
        """Proportional set size of all its processes."""
        sum_kib = 0
        for program in self.programs:
            for pid in tree(program.pid):
                for line in File(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
                    if line.startswith('Pss:'):
                        sum_kib += int(line.split()[1])
        return sum_kib * 1024

    def __exit__(self, *_):
        for program in reversed(self.programs):
            if program.poll() is None:
                program.send_signal(signal.SIGTERM)
        for program in reversed(self.programs):
            try:
                program.wait(timeout=20)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


def asleep(before, after, thread):
    """How long it ran, and how long it neither ran nor waited to, in nanoseconds."""
    ran, waited = (new - old for old, new in zip(before[1][thread], after[1][thread]))
    return ran, max(after[0] - before[0] - ran - waited, 1)


def busy_ns(looks):
    """Of three looks, an idle time and a busy one between them: what the threads ran in the busy one, less what they
    run to see whether there is work; that goes with the time that they sleep, and who has work does not."""
    first, second, third = looks
    busy = 0
    for thread in third[1].keys() & first[1].keys() & second[1].keys():
        polled, slept = asleep(first, second, thread)
        ran, slept_then = asleep(second, third, thread)
        busy += ran - polled * slept_then / slept
    return busy


class Clients:
    """bench-tls-clients, as a process that answers lines."""

    def __init__(self, what, amount, at_once):
        self.process = subprocess.Popen(
            ['ip', 'netns', 'exec', CLIENTS, str(BENCH / 'bench-tls-clients'), what, ADDRESS, FIRST_CLIENT, str(ADDRESSES), str(amount),
             str(at_once)], text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise path.Failed(f'bench-tls-clients ended with {self.process.wait()}')
        return json.loads(line)

    def ask(self):
        self.process.stdin.write('\n')
        return self.line()

    def end(self):
        self.process.stdin.close()
        self.process.wait()
