"""Threads that keep asking, and what became of each request."""
import ssl
import threading
import time

from harness.client import Closed, chat, sim


class Load:
    """Used in a with statement; afterwards `failures` holds every request that failed before its answer
    began, `cut` those whose answer broke off, `done` the number of whole ones.
    """

    def __init__(self, cluster, model='sim', words='tokens=5', threads=8, stream=None, pause=0.0,
                 requests_per_connection=20):
        self.cluster = cluster
        self.model = model
        self.words = words
        self.stream = stream  # None: every other request
        self.pause = pause
        self.requests_per_connection = requests_per_connection
        self.done = 0
        self.failures = []
        self.cut = []
        self.ids = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(40)
            assert not thread.is_alive(), 'a request of the load never ended'

    def work(self, number):
        while not self.stopping.is_set():
            try:
                with self.cluster.client(timeout=30) as client:
                    for _ in range(self.requests_per_connection):
                        if self.stopping.is_set() or not self.one(client, number):
                            break
                        number += 1
                        time.sleep(self.pause)
            except (OSError, ssl.SSLError, Closed) as why:
                self.note(self.failures, f'connecting: {type(why).__name__} {why}')
                time.sleep(0.2)

    def note(self, where, what):
        with self.lock:
            where.append(f'{time.monotonic():.3f} {what}')

    def one(self, client, number):
        """One request; False where the connection is of no more use."""
        streams = number % 2 == 0 if self.stream is None else self.stream
        more = {'stream': True} if streams else {}
        response = None
        try:
            response = client.begin(self.cluster.key,
                                    chat(sim(self.words), model=self.model, **more))
            if response.status != 200:
                client.read_body(response)
                self.note(self.failures, f'{response!r}')
                return True
            if streams:
                last = b''
                for last in client.read_events(response):
                    pass
                if last != b'data: [DONE]\n\n':
                    raise AssertionError(f'a whole stream ends with {last!r}')
            else:
                client.read_body(response)
                response.json()
        except (OSError, ssl.SSLError, Closed) as why:
            what = f'{"stream" if streams else "whole"}: {type(why).__name__} {why}'
            self.note(self.cut if response else self.failures, what)
            return False
        with self.lock:
            self.done += 1
            self.ids.append(response.field('x-request-id'))
        return True
