"""Control's admin API."""
import json
import re
import urllib.error
import urllib.parse
import urllib.request

SAMPLE = re.compile(r'^(\w+)(?:\{(.*)\})? (\S+)$')


class Admin:
    def __init__(self, url, token):
        self.url = url
        self.token = token

    def open(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f'{self.url}{path}', data, method=method, headers={
            'authorization': f'Bearer {self.token}', 'content-type': 'application/json'})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def call(self, method, path, body=None):
        """An answer as an object; a refusal fails the test with what it says."""
        if body is None and method == 'POST':
            body = {}
        try:
            return json.loads(self.open(method, f'/admin/v1/{urllib.parse.quote(path, safe="/:")}', body))
        except urllib.error.HTTPError as why:
            raise AssertionError(f'{method} {path}: {why.code} {why.read()[:300]!r}') from why

    def answers(self):
        try:
            self.call('GET', 'status')
            return True
        except (OSError, AssertionError):
            return False

    def metrics(self):
        """(name, labels, value) of each sample."""
        for line in self.open('GET', '/metrics').decode().splitlines():
            found = SAMPLE.match(line)
            if found:
                labels = dict(re.findall(r'(\w+)="([^"]*)"', found.group(2) or ''))
                yield found.group(1), labels, float(found.group(3))
