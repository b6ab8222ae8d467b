"""The simulated backend as a process, and what it says it has served."""
import json
import os
import subprocess
import time

from harness.proc import Process, wait_for


class Backend:
    def __init__(self, program, folder, name, port, region, listen='10.77.0.1', options=()):
        self.program = program
        self.name = name
        self.region = region
        self.listen = listen
        self.port = port
        self.log_path = os.path.join(folder, f'{name}.served')
        command = [program, '--listen', listen, '--port', port, '--region', region,
                   '--log', self.log_path, *options]
        self.process = Process(name, command, os.path.join(folder, f'{name}.log'))
        self.seen = 0
        self.since = 0.0

    def start(self):
        before = self.process.log_text().count('listening')
        self.process.start()
        wait_for(lambda: self.process.log_text().count('listening') > before or not self.process.is_alive(),
                 why=f'{self.name} does not listen')
        assert self.process.is_alive(), f'{self.name} did not start: {self.process.log_text()[-300:]}'
        return self

    def served(self):
        """All requests that have ended, oldest first."""
        if not os.path.exists(self.log_path):
            return []
        with open(self.log_path, encoding='utf-8', errors='surrogateescape') as log:
            text = log.read()
        return [json.loads(line) for line in text[:text.rfind('\n') + 1].splitlines()]

    def mark(self):
        """What begins after this is what new_served() shows."""
        self.seen = len(self.served())
        self.since = time.time() - 0.001  # the log's resolution

    def new_served(self):
        # A test before this one may have left a stream whose line comes only now.
        return [entry for entry in self.served()[self.seen:] if entry['at'] - entry['ms'] / 1000 >= self.since]

    def wait_served(self, count=1, seconds=10):
        wait_for(lambda: len(self.new_served()) >= count, seconds,
                 f'{self.name} has {len(self.new_served())} of {count} requests in its log')
        return self.new_served()


def header(entry, name):
    """The values of one field that the backend received."""
    return [value for field, value in entry['headers'] if field.lower() == name]


def expected(program, words, is_stream=True):
    """The body that a backend sends for these words."""
    option = '--print-stream' if is_stream else '--print-whole'
    return subprocess.run([program, option, words], check=True, capture_output=True, timeout=60).stdout
