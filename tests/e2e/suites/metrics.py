"""What /metrics says: in Prometheus' own opinion, against what was asked for, and without secrets."""
import os
import re
import shutil
import subprocess

from harness.client import chat, sim
from harness.proc import wait_for
from harness.suite import Skip, test

# Labels, and what may stand in each; a new one is a decision about cardinality and secrets.
LABELS = {'worker', 'verdict', 'table', 'probe', 'state', 'process', 'result', 'model', 'region', 'status', 'outcome',
          'source', 'le', 'gen_ai_operation_name', 'gen_ai_provider_name', 'gen_ai_request_model',
          'gen_ai_token_type', 'listener', 'name', 'kind', 'primitives', 'ciphers'}


def text_of(cluster):
    return cluster.admin.open('GET', '/metrics').decode()


def value(cluster, name, **labels):
    return sum(number for metric, has, number in cluster.admin.metrics()
               if metric == name and labels.items() <= has.items())


def promtool(cluster):
    own = os.path.join(os.path.dirname(cluster.build), '.deps/bin/promtool')
    found = own if os.path.exists(own) else shutil.which('promtool')
    if not found:
        raise Skip('there is no promtool; tools/setup brings it')
    return found


@test('metrics.what-was-asked-for')
def what_was_asked_for(cluster):
    """Ten streams, each once in every distribution, and two refusals."""
    model = {'model': 'solo'}
    names = {'gen_ai_request_model': 'solo', 'gen_ai_operation_name': 'chat'}
    before = value(cluster, 'sluice_model_requests_total', model='solo', region='mv', status='200')
    first = value(cluster, 'gen_ai_server_time_to_first_token_seconds_count', **names)
    tokens = value(cluster, 'gen_ai_client_token_usage_sum', gen_ai_token_type='output', **names)
    with cluster.client() as client:
        for _ in range(10):
            response = client.begin(cluster.key, chat(sim('tokens=7'), stream=True, **model))
            assert response.status == 200
            list(client.read_events(response))
        assert client.ask(cluster.keys['poor'], chat(sim('tokens=1'), **model)).status == 402
    wait_for(lambda: value(cluster, 'sluice_model_requests_total', model='solo', region='mv', status='200') ==
             before + 10, 10, 'the requests are not counted')
    assert value(cluster, 'gen_ai_server_time_to_first_token_seconds_count', **names) == first + 10
    assert value(cluster, 'gen_ai_client_token_usage_sum', gen_ai_token_type='output', **names) == tokens + 70
    wait_for(lambda: value(cluster, 'sluice_request_outcomes_total', outcome='refused') >= 1, 10,
             'the refusal is not counted')


@test('metrics.promtool')
def prometheus_likes_them(cluster):
    done = subprocess.run([promtool(cluster), 'check', 'metrics'], input=text_of(cluster), capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0 and not done.stdout and not done.stderr, f'{done.stdout}{done.stderr}'


@test('metrics.say-what-they-mean-and-no-secrets')
def say_what_they_mean(cluster):
    """Each has a sentence, which sluicectl prints; labels are those that we know, without keys, accounts, prompts."""
    with cluster.client() as client:
        assert client.ask(cluster.key, chat(sim('tokens=1', text='a secret of mine'))).status == 200
    text = text_of(cluster)
    helps = dict(re.findall(r'^# HELP (\S+) (.*)$', text, re.M))
    types = dict(re.findall(r'^# TYPE (\S+) (.*)$', text, re.M))
    assert helps.keys() == types.keys()
    for name, labels, _ in cluster.admin.metrics():
        family = name
        if name not in helps:
            family = re.sub('_(bucket|sum|count)$', '', name)
        assert family in helps and helps[family].endswith('.'), name
        assert labels.keys() <= LABELS, (name, labels)
    for secret in [*cluster.keys.values(), 'secret of mine', 'my-llama:', *(f'"{name}"' for name in
                                                                            ('main', 'poor'))]:
        assert secret not in text, secret
    said = subprocess.run([cluster.sluicectl, '--url', cluster.admin.url, '--token', cluster.admin.token, 'metrics',
                           'spool_lag'], capture_output=True, text=True, timeout=60, check=True).stdout
    assert helps['sluice_spool_lag_seconds'] in said, said
