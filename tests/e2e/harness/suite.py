"""Tests by name, the clusters they share, and the lines that they print."""
import fcntl
import os
import signal
import sys
import tempfile
import time
import traceback

from harness.cluster import Cluster

TESTS = []
SHARE = 5  # tests that one row takes at a time: a cluster takes seconds to start, a suite may take minutes


class Skip(Exception):
    """This machine cannot run the test."""


class Test:
    def __init__(self, name, function, layout, seconds, direct):
        self.name = name
        self.function = function
        self.layout = layout
        self.seconds = seconds
        self.direct = direct

    def is_like(self, other):
        return self.layout == other.layout and self.function.__module__ == other.function.__module__


def test(name, layout='two-workers', seconds=60, direct=False):
    """layout: which cluster; direct: makes sense without a router too; seconds: a hang is a failure."""
    def add(function):
        TESTS.append(Test(name, function, layout, seconds, direct))
        return function
    return add


def choose(names):
    return [t for t in TESTS if not names or any(t.name.startswith(name) for name in names)]


def tell(*lines):
    """In one write: rows of tests that run side by side share the terminal."""
    sys.stdout.write(''.join(f'{line}\n' for line in lines))
    sys.stdout.flush()


def take(queue, tests):
    """The next tests that nobody has taken: of one suite, for one cluster, at most SHARE."""
    with open(queue, 'r+') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        first = last = int(file.read())
        while last < len(tests) and last - first < SHARE and tests[last].is_like(tests[first]):
            last += 1
        file.seek(0)
        file.write(str(last))
    return tests[first:last]


class Runner:
    def __init__(self, options):
        self.options = options
        self.folder = tempfile.mkdtemp(prefix='row-', dir=os.path.join(os.path.abspath(options.build), 'e2e'))
        self.cluster = None
        self.layout = None
        self.passed = self.failed = self.skipped = 0

    def cluster_for(self, test):
        layout = 'direct' if self.options.direct and test.layout else test.layout
        if layout is None:
            return None
        if self.cluster and (self.layout != layout or not self.cluster.is_whole()):
            self.drop_cluster()
        if not self.cluster:
            self.cluster = Cluster(self.options.build, self.folder, layout)
            self.layout = layout
            self.cluster.start()
        return self.cluster

    def drop_cluster(self):
        cluster, self.cluster, self.layout = self.cluster, None, None
        if cluster:
            cluster.stop()

    def run_one(self, test):
        started = time.monotonic()
        signal.alarm(test.seconds + (30 if not self.cluster else 0))
        try:
            cluster = self.cluster_for(test)
            test.function(cluster or self)
            if cluster:
                cluster.check_health()
        finally:
            signal.alarm(0)
        return time.monotonic() - started

    def report(self, test):
        try:
            seconds = self.run_one(test)
        except Skip as why:
            self.skipped += 1
            tell(f'skip {test.name}: {why}')
        except KeyboardInterrupt:
            raise
        except BaseException as why:
            self.failed += 1
            text = ' '.join(str(why).split()) or type(why).__name__
            tell(f'not ok {test.name}: {text[:400]}', *self.explanation(why))
            self.drop_after_failure()
        else:
            self.passed += 1
            tell(f'ok {test.name} ({seconds:.1f} s)')

    def explanation(self, why):
        lines = ''.join(traceback.format_tb(why.__traceback__)[-3:]).splitlines()
        words = self.cluster.last_words() if self.cluster else []
        return [f'    {line}' for line in lines] + [f'    | {line}' for line in words]

    def drop_after_failure(self):
        """The next test must not suffer for this one."""
        try:
            self.drop_cluster()
        except Exception as why:
            tell(f'    and then: {why}')


def time_is_up(_number, _frame):
    raise TimeoutError('took too long')


def run(tests, options):
    signal.signal(signal.SIGALRM, time_is_up)
    runner = Runner(options)
    while share := take(options.queue, tests):
        for test in share:
            if not options.direct or test.direct:
                runner.report(test)
    try:
        runner.drop_cluster()
    except AssertionError as why:
        runner.failed += 1
        tell(f'not ok stop: {why}')
    tell(f'{runner.passed} passed, {runner.failed} failed')
    return 1 if runner.failed or not runner.passed else 0
