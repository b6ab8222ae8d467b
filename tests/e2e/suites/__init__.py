"""The suites, in the order in which they run."""
import importlib

NAMES = ('backend', 'sdk', 'examples', 'transport', 'tickets', 'interop', 'tlsattacks', 'http2', 'h2attacks', 'errors', 'contract',
         'bodies', 'streams', 'endpoints', 'hostile', 'attacks', 'limits', 'reload', 'certificates', 'metrics', 'workers', 'keys',
         'failover', 'https', 'routing', 'crash', 'kill', 'usage', 'postgres', 'faults', 'canary', 'leak', 'llama')


def load():
    for name in NAMES:
        importlib.import_module(f'suites.{name}')
