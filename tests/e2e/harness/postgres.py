"""A PostgreSQL server of a test's own, and a proxy that loses an answer of it."""
import glob
import os
import shutil
import socket
import subprocess
import tempfile
import threading

from harness.proc import run, wait_for


def programs():
    """The folder of the newest server that is installed; None: there is none."""
    found = [path for path in glob.glob('/usr/lib/postgresql/*/bin') if os.path.exists(f'{path}/initdb')]
    return max(found, key=lambda path: int(path.split('/')[4])) if found else None


class Postgres:
    """It refuses to be root's and wants a name: root of the tests' namespace is nobody in one of the server's own."""

    def __init__(self, listen=''):
        self.listen = listen
        self.bin = programs()
        self.folder = tempfile.mkdtemp(prefix='sluice-pg-', dir='/tmp')
        self.words = ['unshare', '--user', '--map-user=nobody', '--map-group=nogroup'] if os.getuid() == 0 else []
        self.child = None
        self.do('initdb', '-D', f'{self.folder}/data', '-U', 'sluice', '-A', 'trust', '--no-sync', '-E', 'UTF8')

    def do(self, program, *words):
        done = subprocess.run([*self.words, f'{self.bin}/{program}', *words], cwd='/', capture_output=True, text=True,
                              timeout=60, env={**os.environ, 'LC_ALL': 'C.UTF-8'})
        assert done.returncode == 0, f'{program}: {done.stdout[-300:]} {done.stderr[-300:]}'
        return done.stdout

    def connection(self, host=None):
        return f'host={host or self.folder} dbname=postgres user=sluice'

    def start(self):
        wait_for(self.comes_up, 60, 'PostgreSQL does not answer', every=0.1)

    def comes_up(self):
        """Processes of a server that was killed may hold its memory for a moment: then it is to be asked again."""
        if self.child is None or self.child.poll() is not None:
            self.begin()
        return self.answers()

    def begin(self):
        with open(f'{self.folder}.log', 'ab') as log:
            self.child = subprocess.Popen(
                [*self.words, f'{self.bin}/postgres', '-D', f'{self.folder}/data', '-c',
                 f'listen_addresses={self.listen}', '-c', f'unix_socket_directories={self.folder}', '-c', 'shared_buffers=16MB'],
                cwd='/', stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def answers(self):
        return subprocess.run([f'{self.bin}/pg_isready', '-q', '-h', self.folder], check=False).returncode == 0

    def speak_tls(self, name):
        """With a certificate for this name; the path of its CA."""
        curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '7']
        ca, data = f'{self.folder}/ca', f'{self.folder}/data/server'
        run('openssl', 'req', '-x509', *curve, '-subj', '/CN=Sluice e2e database CA', '-keyout', f'{ca}.key', '-out',
            f'{ca}.pem', '-addext', 'basicConstraints=critical,CA:TRUE')
        run('openssl', 'req', '-x509', *curve, '-subj', f'/CN={name}', '-keyout', f'{data}.key', '-out', f'{data}.crt',
            '-CA', f'{ca}.pem', '-CAkey', f'{ca}.key', '-addext', f'subjectAltName=DNS:{name}')
        os.chmod(f'{data}.key', 0o600)
        self.rows('ALTER SYSTEM SET ssl = on')
        self.rows('SELECT pg_reload_conf()')
        return f'{ca}.pem'

    def processes(self):
        """The server's, the one that starts the others first."""
        parents = {}
        for name in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{name}/stat', encoding='ascii', errors='replace') as file:
                    parents[int(name)] = int(file.read().rsplit(')', 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has ended meanwhile
        return [self.child.pid] + [pid for pid, parent in parents.items() if parent == self.child.pid]

    def tell(self, what):
        """A signal to all of them: SIGSTOP makes the server silent, its connections stay."""
        for pid in self.processes():
            try:
                os.kill(pid, what)
            except ProcessLookupError:
                pass

    def end(self, how):
        self.child.send_signal(how)
        self.child.wait(60)

    def remove(self):
        self.child.kill()
        self.child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.unlink(f'{self.folder}.log')

    def rows(self, sql):
        """Lists of texts."""
        text = run(f'{self.bin}/psql', '-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-d', self.connection(), '-c', sql)
        return [line.split('|') for line in text.splitlines()]

    def number(self, sql):
        return int(self.rows(sql)[0][0])


class Proxy:
    """Stands between control and the server. `lose`: the answer to the next COMMIT does not come, the connection
    ends instead; what was committed stays.
    """

    def __init__(self, server):
        self.server = f'{server.folder}/.s.PGSQL.5432'
        self.folder = tempfile.mkdtemp(prefix='sluice-proxy-', dir='/tmp')
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f'{self.folder}/.s.PGSQL.5432')
        self.listener.listen()
        self.lose = 0
        self.lost = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.server)
            except OSError:
                client.close()
                continue
            for source, target, judge in ((client, server, None), (server, client, self.is_to_be_lost)):
                threading.Thread(target=self.carry, args=(source, target, judge), daemon=True).start()

    def is_to_be_lost(self, data):
        with self.lock:
            if self.lose and b'C\x00\x00\x00\x0bCOMMIT\x00' in data:
                self.lose -= 1
                self.lost += 1
                return True
        return False

    def carry(self, source, target, judge):
        try:
            while data := source.recv(65536):
                if judge and judge(data):
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)
