"""Runs the end-to-end suites inside the namespaces that tests/e2e/run has made."""
import argparse
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness import net, suite  # noqa: E402
import suites  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--build', required=True)
    parser.add_argument('--queue', required=True)
    parser.add_argument('--keep', action='store_true')
    parser.add_argument('--direct', action='store_true')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()

    suites.load()
    chosen = suite.choose(options.names)
    if not chosen:
        print(f'e2e: no test is called {" or ".join(options.names)}', file=sys.stderr)
        return 2
    if options.list:
        for test in chosen:
            print(test.name)
        return 0
    net.set_up()
    return suite.run(chosen, options)


if __name__ == '__main__':
    sys.exit(main())
