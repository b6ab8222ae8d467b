"""llama.cpp's server as backend: another implementation of the API, with habits of its own."""
import json
import os

from harness import net
from harness.client import CHAT, Client, chat
from harness.proc import Process, wait_for
from harness.suite import Skip, test

HERE = os.path.dirname(os.path.abspath(__file__))
BACKEND = os.path.join(HERE, '../../../tools/llama/backend')
PORT = 9010


def answers():
    try:
        with Client(net.HOST4, PORT, timeout=2) as client:
            return client.request('GET', '/health').status == 200
    except OSError:
        return False


class Server:
    """Runs it and sells it as the model "tiny" while the test lasts."""

    def __init__(self, cluster):
        if not os.path.exists(os.path.join(HERE, '../../../.deps/llama')):
            raise Skip(os.environ.get('SLUICE_NO_LLAMA') or 'tools/llama/backend --install has not run')
        self.cluster = cluster
        self.process = Process('llama', [BACKEND, '--listen', net.HOST4, '--port', PORT],
                               os.path.join(cluster.root, 'llama.log'))

    def __enter__(self):
        self.process.start()
        wait_for(lambda: answers() or not self.process.is_alive(), 30, 'llama-server does not answer')
        assert self.process.is_alive(), self.process.log_text()[-300:]
        self.cluster.put('pod', 'llama', address=net.HOST4, port=PORT)
        self.cluster.model('tiny', mv=['llama'])
        wait_for(lambda: self.cluster.pod_is_up('llama'), 10, 'the probes do not find it well')
        return self

    def __exit__(self, *_):
        self.cluster.put('pod', 'llama', state='maint')
        self.process.stop()

    def direct(self, body):
        with Client(net.HOST4, PORT) as client:
            return client.request('POST', CHAT, body=body)

    def direct_events(self, body):
        with Client(net.HOST4, PORT) as client:
            return list(client.read_events(client.start('POST', CHAT, body=body)))


def text_of(events):
    """What a stream says, its finish reason, and how many events had choices."""
    text, finish, count = '', None, 0
    for event in events:
        if event.startswith(b'data: {'):
            chunk = json.loads(event[6:])
            if chunk['choices']:
                count += 1
                text += chunk['choices'][0]['delta'].get('content') or ''
                finish = chunk['choices'][0]['finish_reason'] or finish
    return text, finish, count


@test('llama.same-as-direct')
def same_as_direct(cluster):
    with Server(cluster) as server:
        body = chat('What is a sluice?', model='tiny', max_tokens=40, temperature=0, seed=1)
        direct = server.direct(body).json()
        with cluster.client() as client:
            routed = client.ask(cluster.key, body)
            assert routed.status == 200, routed
            same = routed.json()
            assert same['choices'] == direct['choices']
            assert same['usage']['completion_tokens'] == direct['usage']['completion_tokens']
            assert routed.field('x-ecolink-region') == 'mv'
            response = client.begin(cluster.key, {**body, 'stream': True})
            events = list(client.read_events(response))
            text, finish, count = text_of(events)
            # Tokens that are parts of a character come together in one event, so it is fewer than 42.
            assert (text, finish, count) == text_of(server.direct_events({**body, 'stream': True}))
            assert text == direct['choices'][0]['message']['content'] and finish == 'length'
            assert events[-1] == b'data: [DONE]\n\n'
            assert not any(b'"usage"' in event for event in events), 'usage was not asked for'
            asked = {**body, 'stream': True, 'stream_options': {'include_usage': True}}
            response = client.begin(cluster.key, asked)
            events = list(client.read_events(response))
            assert b'"completion_tokens":40' in events[-2], events[-2]
            wrong = client.ask(cluster.key, {**body, 'messages': [{'role': 'user'}]})
            assert 400 <= wrong.status < 600 and wrong.complete, wrong
        row = wait_for(lambda: cluster.ledger('request_id = ?', bytes.fromhex(
            response.field('x-request-id').replace('-', ''))), 10, 'it is not in the ledger')[0]
        assert row['completion_tokens'] == 40
        assert row['prompt_tokens'] == direct['usage']['prompt_tokens']
