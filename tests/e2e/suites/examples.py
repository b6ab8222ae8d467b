"""The commands that the documentation shows to users, run as printed; only host and key are ours.

`examples.txt` holds them, a name before each and an empty line behind it.
"""
import json
import os
import re
import subprocess

from harness.cluster import NAME, PORT
from harness.proc import wait_for
from harness.suite import test

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOSTS = re.compile(r'https://(api\.ecohash\.com|inferexchange\.com)/')
INSTANCE = 142  # of the documents
MODELS = ('meta-llama/Llama-3.1-8B-Instruct', 'Qwen/Qwen2.5-VL-7B-Instruct', 'flux-1-schnell', 'large-v3',
          'llama-3.1-8b')


def commands():
    """(name, command) of each example."""
    with open(os.path.join(HERE, 'examples.txt'), encoding='utf-8') as file:
        for block in file.read().strip().split('\n\n'):
            name, command = block.split('\n', 1)
            assert name.startswith('# ') and command.startswith('curl '), block
            yield name[2:], command


def ours(cluster, command):
    """The command with our host and our keys."""
    command, hosts = HOSTS.subn(f'https://{NAME}:{PORT}/', command)
    command = command.replace('sk-infer-YOUR_KEY', cluster.keys['infer'])
    command = re.sub(r'eco_YOUR_KEY(_HERE)?', cluster.key, command)
    assert hosts == 1 and 'YOUR_KEY' not in command, command
    return command


def catalogue(cluster):
    """What the documents call: their models, and an instance whose id is theirs."""
    call = cluster.admin.call
    for model in MODELS:
        call('PUT', f'models/{model}', {'price': 'normal'})
        call('PUT', f'deployments/{model.split("/")[-1]}-mv', {
            'model': model, 'region': 'mv', 'pods': ['solo']})
    made = 0
    while made < INSTANCE:
        made = call('POST', 'instances', {'name': 'my-llama', 'account': 'main', 'price': 'each'})['id']
    assert made == INSTANCE, f'the instance got the id {made}'
    call('PUT', 'deployments/documented', {'instance': made, 'region': 'mv', 'pods': ['solo'],
                                           'served_name': 'served-llama', 'base_path': f'/{made}'})
    with cluster.client() as client:
        wait_for(lambda: is_there(cluster, client), 5, 'the catalogue does not arrive')


def is_there(cluster, client):
    listed = {model['id'] for model in client.request('GET', '/v1/models', cluster.key).json()['data']}
    path = f'/inference-instances/{INSTANCE}/proxy/x'
    return listed.issuperset(MODELS) and client.request('GET', path, cluster.key).status == 200


def curl(cluster, command, folder):
    """What the command prints; the shell's curl knows our CA and address and fails on an error."""
    host = f'{NAME}:{PORT}:{cluster.host4}'
    script = f'curl() {{ command curl -sS --fail-with-body --max-time 20 --cacert "{cluster.ca}" ' \
        f'--resolve "{host}" "$@"; }}\n{ours(cluster, command)}\n'
    done = subprocess.run(['bash', '-c', script], cwd=folder, capture_output=True, timeout=30)
    assert done.returncode == 0, f'exit code {done.returncode}: {done.stderr[-200:]!r} {done.stdout[-300:]!r}'
    return done.stdout


def check_stream(text):
    events = text.split(b'\n\n')
    assert events[-2:] == [b'data: [DONE]', b''], events[-2:]
    deltas = [json.loads(event[6:])['choices'][0]['delta'] for event in events[:-2]]
    assert deltas[0]['role'] == 'assistant' and any(delta.get('content') for delta in deltas), deltas


def check_chat(text):
    answer = json.loads(text)
    assert answer['object'] == 'chat.completion' and answer['choices'][0]['message']['content'], answer
    usage = answer['usage']
    assert usage['total_tokens'] == usage['prompt_tokens'] + usage['completion_tokens'], usage


@test('examples.curl', seconds=90)
def examples(cluster):
    catalogue(cluster)
    solo = cluster.backends['solo']
    with open(os.path.join(cluster.root, 'recording.mp3'), 'wb') as recording:
        recording.write(os.urandom(200000))
    seen = []
    for name, command in commands():
        solo.mark()
        text = curl(cluster, command, cluster.root)
        try:
            if name.endswith('stream'):
                check_stream(text)
            elif name == 'image':
                assert json.loads(text)['data'][0]['b64_json'], text[:200]
            elif name == 'transcription':
                assert json.loads(text)['text'], text[:200]
            elif name == 'instance-proxy':
                assert text == b'{ "prompt": "Hello", "max_tokens": 100 }', text
            else:
                check_chat(text)
        except (AssertionError, ValueError, KeyError, IndexError) as why:
            raise AssertionError(f'{name}: {type(why).__name__} {why}') from why
        entry = solo.wait_served()[0]
        if name == 'instance':
            assert entry['model'] == 'served-llama' and entry['path'] == f'/{INSTANCE}/v1/chat/completions', entry
        elif name == 'instance-proxy':
            assert entry['path'] == f'/{INSTANCE}/generate', entry['path']
        seen.append(name)
    assert len(seen) == 11, seen
