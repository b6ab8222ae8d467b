"""The suites, in the order in which they run."""
import importlib

NAMES = ('backend',)


def load():
    for name in NAMES:
        importlib.import_module(f'suites.{name}')
