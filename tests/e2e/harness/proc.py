"""Processes that die with us, and waiting for what they do."""
import ctypes
import os
import resource
import signal
import subprocess
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def wait_for(what, seconds=10.0, why='it did not happen', every=0.02):
    """The first true value of what(), or a failed test."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f'{why} within {seconds:g} s')
        time.sleep(every)


def run(*command, check=True, input=None):
    """The output of a short command; a failure shows what it said."""
    done = subprocess.run(command, capture_output=True, text=True, errors='replace', input=input, timeout=60)
    if check and done.returncode != 0:
        raise AssertionError(f'{" ".join(command)}: exit code {done.returncode}: '
                             f'{(done.stderr or done.stdout).strip()[-400:]}')
    return done.stdout


class Process:
    """A program with its standard output and error in a log file."""

    def __init__(self, name, command, log_path, env=None):
        self.name = name
        self.command = [str(word) for word in command]
        self.log_path = log_path
        self.env = {**os.environ, **(env or {})}
        self.child = None

    def start(self):
        log = open(self.log_path, 'ab')
        self.child = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
            preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        log.close()
        return self

    @property
    def pid(self):
        return self.child.pid

    def is_alive(self):
        return self.child is not None and self.child.poll() is None

    def kill(self):
        """kill -9, as a crash is."""
        self.child.kill()
        self.child.wait()

    def abort(self):
        """As a failed CHECK ends it; whether the kernel has written a core dump (of at most a megabyte)."""
        resource.prlimit(self.pid, resource.RLIMIT_CORE, (1 << 20, 1 << 20))
        os.kill(self.pid, signal.SIGABRT)
        _, status = os.waitpid(self.pid, 0)
        self.child.returncode = -os.WTERMSIG(status)
        return os.WCOREDUMP(status)

    def stop(self, seconds=15):
        """SIGTERM; returns the exit code."""
        if not self.is_alive():
            return self.child.returncode if self.child else 0
        self.child.terminate()
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f'{self.name} did not end within {seconds} s of SIGTERM')

    def log_text(self):
        try:
            with open(self.log_path, encoding='utf-8', errors='replace') as log:
                return log.read()
        except FileNotFoundError:
            return ''

    def rss_bytes(self):
        with open(f'/proc/{self.pid}/status', encoding='ascii') as status:
            for line in status:
                if line.startswith('VmRSS:'):
                    return int(line.split()[1]) * 1024
        raise AssertionError(f'{self.name} has no memory')
