"""The npm SDK `openai` on Node: what most clients are."""
import json
import os
import shutil
import subprocess

from harness import net
from harness.backend import expected
from harness.cluster import PORT
from harness.proc import wait_for
from harness.suite import Skip, test

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def node(cluster, name, **given):
    if not shutil.which('node'):
        raise Skip('node is not installed')
    if not os.path.exists(os.path.join(HERE, 'node_modules/openai')):
        raise Skip('npm could not install the SDK')
    url = f'http://{net.HOST4}:9001/v1' if cluster.is_direct else f'https://{cluster.host4}:{PORT}/v1'
    given = {'url': url, 'key': cluster.key, 'routed': not cluster.is_direct, **given}
    env = {**os.environ, 'SLUICE_E2E': json.dumps(given), 'NODE_EXTRA_CA_CERTS': cluster.ca}
    done = subprocess.run(['node', os.path.join(HERE, 'sdk.mjs'), name], env=env, capture_output=True,
                          text=True, timeout=50)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip() and 'Warning' not in line]
        reason = next((line for line in said if 'Error' in line), said[0] if said else 'it said nothing')
        raise AssertionError(f'{reason.strip()} | {" / ".join(said[:6])[:300]}')


def text_of(cluster, words):
    body = json.loads(expected(cluster.sim, f'{words} model=sim', is_stream=False))
    return body['choices'][0]['message']['content']


@test('sdk.chat', direct=True)
def chat(cluster):
    node(cluster, 'chat', text=text_of(cluster, 'tokens=20'))


@test('sdk.stream', direct=True)
def stream(cluster):
    node(cluster, 'stream', text=text_of(cluster, 'tokens=200'))
    node(cluster, 'stream_usage')


@test('sdk.abort', direct=True)
def abort(cluster):
    backends = [b for name, b in cluster.backends.items() if name in ('mv-a', 'mv-b')]
    for backend in backends:
        backend.mark()
    node(cluster, 'abort')
    served = wait_for(lambda: [entry for b in backends for entry in b.new_served()], 5,
                      'the backend still serves a stream that its reader has left')
    assert served[0]['end'] in ('peer_reset', 'peer_closed'), served[0]['end']
    assert served[0]['events'] < 300, f'{served[0]["events"]} events were made for nobody'
    if not cluster.is_direct:
        assert served[0]['end'] == 'peer_reset', 'the router closed politely where it had to reset'


@test('sdk.tools', direct=True)
def tools(cluster):
    node(cluster, 'tools')


@test('sdk.json', direct=True)
def json_mode(cluster):
    node(cluster, 'json')


@test('sdk.vision', direct=True)
def vision(cluster):
    """Megabytes in one field; both requests reach a backend whole."""
    backends = [cluster.backends['mv-a'], cluster.backends['mv-b']]
    for backend in backends:
        backend.mark()
    node(cluster, 'vision', megabytes=6)
    served = wait_for(lambda: two_of(backends), 5, 'the backends have not served two')
    for entry in served:
        assert entry['request_bytes'] > 6 << 20 and entry['end'] == 'complete', entry['request_bytes']


def two_of(backends):
    served = [entry for backend in backends for entry in backend.new_served()]
    return served if len(served) == 2 else None


@test('sdk.images', direct=True)
def images(cluster):
    node(cluster, 'images')


@test('sdk.speech', direct=True)
def speech(cluster):
    node(cluster, 'speech')


@test('sdk.transcription', direct=True)
def transcription(cluster):
    backends = [cluster.backends['mv-a'], cluster.backends['mv-b']]
    for backend in backends:
        backend.mark()
    node(cluster, 'transcription', file_bytes=3 << 20)
    served = wait_for(lambda: [e for b in backends for e in b.new_served()], 5, 'no backend got it')
    assert len(served) == 1 and served[0]['request_bytes'] > 3 << 20, served


@test('sdk.lost')
def lost(cluster):
    node(cluster, 'lost')


@test('sdk.repeats-what-can-help')
def repeats(cluster):
    """One region, one pod: what fails there fails for good, and the SDK is told so."""
    solo = cluster.backends['solo']
    cluster.put('pod', 'alone', address=solo.listen, port=solo.port)
    cluster.model('alone', mv=['alone'])
    wait_for(lambda: cluster.pod_is_up('alone'), 5, 'the pod is not up')
    with cluster.client() as client:
        wait_for(lambda: 'alone' in str(client.request('GET', '/v1/models', cluster.key).json()), 5)
    solo.mark()
    node(cluster, 'repeats', alone='alone')
    served = solo.wait_served(3)
    assert len(served) == 3, f'three requests were tried {len(served)} times'
    node(cluster, 'pauses')


@test('sdk.embeddings', direct=True)
def embeddings(cluster):
    node(cluster, 'embeddings')


@test('sdk.models', direct=True)
def models(cluster):
    node(cluster, 'models', model='sim')


def counts_of(backends):
    return [sum(entry['completion_tokens'] == 30 for entry in backend.served()) for backend in backends]


@test('sdk.200-calls-at-50', direct=True)
def calls(cluster):
    pair = [cluster.backends['mv-a'], cluster.backends['mv-b']]
    # A backend writes down what it has served once it is sent: the last test's may still come, and so may ours.
    before = counts_of(pair)
    node(cluster, 'calls')
    wait_for(lambda: sum(counts_of(pair)) >= sum(before) + 200, 10, 'the backends have not served 200')
    counts = [after - count for after, count in zip(counts_of(pair), before)]
    if cluster.is_direct:
        assert counts == [200, 0], counts
    else:
        assert sum(counts) == 200 and min(counts) >= 80, f'not round robin: {counts}'


@test('sdk.errors')
def errors(cluster):
    spent = cluster.new_key(plan='burst')
    with cluster.client() as client:
        for _ in range(60):
            client.request('GET', '/v1/models', key=spent)
    node(cluster, 'errors', other=cluster.keys['other'], poor=cluster.keys['poor'], spent=spent,
         instance=cluster.instances['my-llama'])


@test('sdk.retries-when-told')
def retries(cluster):
    key = cluster.new_key(plan='minute')
    with cluster.client() as client:
        while client.request('GET', '/v1/models', key=key).status == 200:
            pass
    node(cluster, 'retries', refilled=key)
