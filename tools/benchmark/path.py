"""Two network namespaces and the relay between them, for measurements and comparisons.

A program that uses it calls enter() first: it goes on in namespaces of its own, where it is root, and all that
it starts or makes is gone when it ends.
"""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path as File

ROOT = File(__file__).resolve().parents[2]
BUILD = ROOT / 'build'
PROGRAMS = {'sluice': BUILD / 'tools/benchmark/host/bench-sluice',
            'linux': BUILD / 'tools/benchmark/host/bench-linux'}
RELAY = BUILD / 'tools/relay/sluice-relay'
VIRTUAL = BUILD / 'tools/benchmark/host/bench-virtual'
PORT = 7000
# Both ends of a path have the same addresses in every path: paths do not see each other.
ADDRESSES = {'left': ('10.7.0.1', 'fd07::1'), 'right': ('10.7.0.2', 'fd07::2')}
# Buffers that never are the limit, and nothing remembered of the run before. CUBIC is chosen by the program.
SYSCTLS = {'net.ipv4.tcp_rmem': '4096 131072 67108864', 'net.ipv4.tcp_wmem': '4096 131072 67108864',
           'net.ipv4.tcp_no_metrics_save': '1'}
# The kernel's TCP works with the priority of whoever brings it a frame, ours with its own: both the same. Real time,
# since what else the machine does would lengthen ours by a hop more than the kernel's.
FIRST = ['chrt', '--fifo', '10'] if os.getuid() == 0 else ['nice', '-n', '-15']
ENTERED = 'SLUICE_BENCH_ENTERED'


class Failed(Exception):
    """What was to be measured could not be."""


def enter():
    """Goes on in namespaces of its own (network, mounts, processes; users if we are not root)."""
    if os.environ.get(ENTERED):
        subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', '/run'], check=True)
        return
    os.environ[ENTERED] = '1'
    users = ['--user', '--map-root-user'] if os.getuid() != 0 else []
    os.execvp('unshare', ['unshare', *users, '--net', '--mount', '--pid', '--fork', '--kill-child',
                          '--mount-proc', sys.executable, *sys.argv])


def build():
    """Builds the programs; the error is the compiler's."""
    if not (BUILD / 'build.ninja').exists():
        subprocess.run(['meson', 'setup', str(BUILD), str(ROOT)], check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run(['ninja', '-C', str(BUILD), *(str(p.relative_to(BUILD)) for p in
                                                        [*PROGRAMS.values(), RELAY, VIRTUAL])],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(done.stdout[-3000:])


def ip(*words):
    """One `ip` command."""
    done = subprocess.run(['ip', *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f'ip {" ".join(words)}: {done.stderr.strip()}')


class Path:
    """left ── relay ── right. ends: 'linux' or 'sluice' for each; relay: its options."""

    def __init__(self, name, ends, options, v6=False):
        self.name = name
        self.ends = dict(zip(('left', 'right'), ends))
        self.options = options
        self.v6 = v6
        self.relay = None
        self.counters = None

    def space(self, side):
        return f'{self.name}-{side}'

    def __enter__(self):
        for side in self.ends:
            ip('netns', 'add', self.space(side))
            if self.ends[side] == 'linux':
                for name, value in SYSCTLS.items():
                    self.inside(side, 'sysctl', '-qw', f'{name}={value}')
            if not self.v6 or self.ends[side] == 'sluice':
                # No frames but the connection's, from the interface's first moment on: which are lost follows
                # from their number.
                self.inside(side, 'sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1')
        self.relay = subprocess.Popen(
            [*FIRST, str(RELAY), *self.options, '--json',
             f'tap:t0@{self.space("left")}', f'tap:t0@{self.space("right")}'],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for side in ADDRESSES:
            self.wait_tap(side)
        for side, (v4, v6) in ADDRESSES.items():
            own = [v6 + '/64', 'dev', 't0', 'nodad'] if self.v6 else [v4 + '/24', 'dev', 't0']
            if self.ends[side] == 'linux':
                ip('-n', self.space(side), 'address', 'add', *own)
            ip('-n', self.space(side), 'link', 'set', 'lo', 'up')
        return self

    def inside(self, side, *words):
        done = subprocess.run(['ip', 'netns', 'exec', self.space(side), *words], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            raise Failed(f'{" ".join(words)}: {done.stderr.strip()}')

    def wait_tap(self, side):
        for _ in range(500):
            if subprocess.run(['ip', '-n', self.space(side), 'link', 'show', 'up', 'dev', 't0'], check=False,
                              capture_output=True).stdout:
                return
            if self.relay.poll() is not None:
                break
            time.sleep(0.01)
        raise Failed(f'the relay does not start: {self.relay.communicate()[1]}')

    def start(self, side, role, *words):
        """The program of one end; role is 'listen' or 'connect'."""
        other = 'right' if side == 'left' else 'left'
        peer = ADDRESSES[other][1 if self.v6 else 0]
        where = ['--listen', str(PORT)] if role == 'listen' else \
            ['--connect', f'[{peer}]:{PORT}' if self.v6 else f'{peer}:{PORT}']
        own = []
        if self.ends[side] == 'sluice':
            v4, v6 = ADDRESSES[side]
            own = ['--interface', 't0', '--address', f'{v6}/64' if self.v6 else f'{v4}/24']
        return subprocess.Popen(['ip', 'netns', 'exec', self.space(side), *FIRST, str(PROGRAMS[self.ends[side]]),
                                 *where, *own, *words],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, left, right, seconds, listens='right'):
        """Both programs with their options, to their ends; their results, left first."""
        deadline = time.monotonic() + seconds + 60
        programs = {}
        try:
            for side in sorted(self.ends, key=lambda side: side != listens):
                words = left if side == 'left' else right
                role = 'listen' if side == listens else 'connect'
                programs[side] = self.start(side, role, '--seconds', str(seconds), *words)
                if role == 'listen':
                    self.wait_listening(side, programs[side])
            return [self.result(programs[side], deadline) for side in ('left', 'right')]
        finally:
            for program in programs.values():
                if program.poll() is None:
                    program.kill()
                    program.wait()

    def wait_listening(self, side, program):
        """Ours listens as soon as its socket is bound; both are seen in /proc."""
        table = ['/proc/net/packet'] if self.ends[side] == 'sluice' else ['/proc/net/tcp6']
        for _ in range(500):
            done = subprocess.run(['ip', 'netns', 'exec', self.space(side), 'cat', *table],
                                  capture_output=True, text=True, check=False)
            if len(done.stdout.splitlines()) > 1:
                return
            if program.poll() is not None:
                raise Failed(program.communicate()[1])
            time.sleep(0.01)
        raise Failed(f'nothing listens at {side}')

    @staticmethod
    def result(program, deadline):
        try:
            out, err = program.communicate(timeout=max(deadline - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            program.kill()
            raise Failed('a program did not end') from None
        if not out.startswith('{'):
            raise Failed(f'{err.strip() or "no result"} (exit code {program.returncode})')
        return json.loads(out)

    def __exit__(self, *_):
        if self.relay.poll() is None:
            self.relay.send_signal(signal.SIGTERM)
        out, err = self.relay.communicate()
        self.counters = json.loads(out) if out.startswith('{') else {}
        if err:
            sys.stderr.write(err)
        for side in self.ends:
            ip('netns', 'delete', self.space(side))


def virtual(*words):
    """One flow between two stacks of ours in virtual time, with options of bench-virtual; its result."""
    done = subprocess.run([str(VIRTUAL), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f'bench-virtual: {done.stderr.strip()} (exit code {done.returncode})')
    return json.loads(done.stdout)


def median(values):
    """The middle one, or the mean of the middle two."""
    values = sorted(values)
    n = len(values)
    return (values[(n - 1) // 2] + values[n // 2]) / 2
