"""Request bodies: long ones, odd ones, and the edits that the router makes in them, byte for byte."""
import json
import threading
import time
import zlib

from harness.backend import header
from harness.client import CHAT, chat, elapsed, sim
from harness.proc import wait_for
from harness.suite import test

BLOCK_BYTES = 16384  # dataplane/bounds.h


def crc(data):
    return f'{zlib.crc32(data):08x}'


def sent_to(cluster, body, model_backend='solo', fields=()):
    """Posts a body; returns the answer and what the backend received."""
    backend = cluster.backends[model_backend]
    backend.mark()
    with cluster.client(timeout=50) as client:
        answer = client.ask(cluster.key, body, fields)
    assert answer.status == 200, answer
    return answer, backend.wait_served()[0]


@test('bodies.20-megabytes')
def twenty_megabytes(cluster):
    """A picture as a data: URL, the model behind it."""
    picture = b'data:image/png;base64,' + b'QUJD' * (5 * 1024 * 1024)
    body = b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"' + picture + \
        b'"}}]},{"role":"user","content":"' + sim('tokens=3 ttft=2s').encode() + b'"}],"model":"solo"}'
    clock = elapsed()
    wait_for(lambda: cluster.counter('pool_blocks_used') == 0, 10, 'blocks of others')
    got = []
    asking = threading.Thread(target=lambda: got.extend(sent_to(cluster, body)))
    asking.start()
    blocks = 0
    while asking.is_alive():
        blocks = max(blocks, cluster.counter('pool_blocks_used'))
        time.sleep(0.3)
    asking.join()
    assert got, 'no answer'
    answer, entry = got
    assert answer.json()['usage']['completion_tokens'] == 3
    assert entry['request_bytes'] == len(body) and entry['request_crc32'] == crc(body), entry
    # Once, whole, while its backend thinks; and nothing of it when that has answered.
    assert len(body) // BLOCK_BYTES <= blocks <= len(body) // BLOCK_BYTES + 2, blocks
    wait_for(lambda: cluster.counter('pool_blocks_used') == 0, 10, 'the body is kept')
    assert clock() < 40, f'{clock():.0f} s'


@test('bodies.instance-name')
def instance_name(cluster):
    name = cluster.instances['my-llama']
    body = b'{ "messages" : [{"role":"user","content":"\\u00e9 model \\"model\\":\\"x\\""}],\n' + \
        b'"model"\t:  "' + name.encode() + b'" , "user":"u", "unknown" : [1, 2.50e1, null] }'
    wanted = body.replace(f'"{name}"'.encode(), b'"served-llama"')
    _, entry = sent_to(cluster, body)
    assert entry['path'] == f'/{name.split(":")[1]}/v1/chat/completions', entry['path']
    assert entry['model'] == 'served-llama'
    assert entry['request_crc32'] == crc(wanted), 'more was changed than the name'
    escaped = b'{"mod\\u0065l":"' + name.replace(':', '\\u003a').encode() + \
        b'","messages":[{"role":"user","content":"x"}]}'
    _, entry = sent_to(cluster, escaped)
    assert entry['model'] == 'served-llama'


@test('bodies.untouched')
def untouched(cluster):
    for body in (b' \r\n\t{"model":"solo","messages":[{"role":"user","content":"x"}]}\n ',
                 b'{"model":"solo","messages":[{"role":"user","content":"x"}],"stream":false}',
                 b'{"model":"solo","messages":[{"role":"user","content":"x"}],"stream":true,'
                 b'"stream_options":{"include_usage":true}}',
                 b'{"model":"solo","nested":{"model":"a","stream":true},"messages":[{"a":1}],"n":1}',
                 json.dumps(chat('\u00e9\u6c34\U0001f30a', model='solo'), ensure_ascii=False).encode()):
        _, entry = sent_to(cluster, body)
        assert entry['request_bytes'] == len(body) and entry['request_crc32'] == crc(body), body
        assert header(entry, 'content-length') == [str(len(body))] or \
            header(entry, 'transfer-encoding') == ['chunked']


@test('bodies.usage-is-asked-for')
def usage_is_asked_for(cluster):
    for more in ({}, {'stream_options': {}}, {'stream_options': {'include_usage': False}},
                 {'stream_options': None}, {'stream_options': {'other': 1}}):
        answer, entry = sent_to(cluster, chat(sim('tokens=4'), model='solo', stream=True, **more))
        assert entry['include_usage'], f'{more}: the backend was not asked'
        assert b'"usage"' not in answer.body, f'{more}: {answer.body[-400:]}'
        assert answer.body.endswith(b'data: [DONE]\n\n')
        assert answer.body.count(b'data: ') == 7
    backend = cluster.backends['solo']
    backend.mark()
    with cluster.client() as client:  # an API that has no such member
        body = json.dumps({'model': 'solo', 'input': 'x', 'stream': True}).encode()
        assert client.request('POST', '/v1/responses', cluster.key, body).status == 200
    assert backend.wait_served()[0]['request_crc32'] == crc(body), 'something was added'
    asked = {'stream_options': {'include_usage': True}}
    answer, _ = sent_to(cluster, chat(sim('tokens=4'), model='solo', stream=True, **asked))
    assert b'"completion_tokens":4' in answer.body


@test('bodies.chunked-request')
def chunked_request(cluster):
    body = json.dumps(chat(sim('tokens=3'), model='solo')).encode()
    backend = cluster.backends['solo']
    backend.mark()
    with cluster.client() as client:
        client.send(client.head('POST', CHAT, cluster.key, [('Transfer-Encoding', 'chunked'),
                                                            ('Content-Type', 'application/json')]))
        for start in range(0, len(body), 7):
            part = body[start:start + 7]
            client.send(b'%x;ext=1\r\n%s\r\n' % (len(part), part))
        client.send(b'0\r\n\r\n')
        answer = client.read_head()
        client.read_body(answer)
        assert answer.status == 200, answer
        assert client.request('GET', '/healthz').status == 200
    assert backend.wait_served()[0]['request_crc32'] == crc(body)


@test('bodies.other-endpoints')
def other_endpoints(cluster):
    with cluster.client() as client:
        words = {'model': 'solo', 'input': ['a', 'b']}
        vector = client.request('POST', '/v1/embeddings', cluster.key, words)
        assert vector.status == 200 and len(vector.json()['data']) == 2, vector
        prompt = {'model': 'solo', 'prompt': sim('tokens=6')}
        text = client.request('POST', '/v1/completions', cluster.key, prompt)
        assert text.json()['usage']['completion_tokens'] == 6, text
        models = client.request('GET', '/v1/models', cluster.key)
        ids = [model['id'] for model in models.json()['data']]
        assert {'sim', 'solo', 'pair'} <= set(ids), ids
        assert client.ask(cluster.key, chat(model='simulated')).status == 200, 'the alias'


@test('bodies.eight-of-4-megabytes')
def many_large(cluster):
    """Eight bodies of 4 MB at once: more than any window, each whole."""
    body = json.dumps(chat('y' * (4 << 20) + sim('tokens=1'), model='solo')).encode()
    backend = cluster.backends['solo']
    backend.mark()
    clients = [cluster.client(timeout=50) for _ in range(8)]
    answers = []

    def post(client):
        answers.append(client.ask(cluster.key, body).status)
    threads = [threading.Thread(target=post, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8, answers
    assert all(entry['request_crc32'] == crc(body) for entry in backend.wait_served(8))
