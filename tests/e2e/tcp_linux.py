#!/usr/bin/env python3
"""Our TCP and the kernel's, the same applications over the same bad network: tcp_linux.py [--list] [NAME…]

Each script runs between two kernels, and with our stack at either end, through the impairment relay. What the two
applications see must be the same: every byte, who saw the end, who saw a reset. Prints "ok NAME" or
"not ok NAME: why" for each.
"""
import argparse
import concurrent.futures
import sys
from pathlib import Path as File

sys.path.insert(0, str(File(__file__).resolve().parents[2] / 'tools/benchmark'))
import path  # pylint: disable=wrong-import-position

JOBS = 8
SECONDS = 30  # until an end counts as stuck
LINGER_MS = 2500  # ours answers so long after its end; longer than a lost FIN or reset takes to come again

# What the network does, as lists for sluice-relay: both directions.
NETWORKS = {
    'clean': 'delay=2ms',
    'loss': 'delay=10ms,loss=3%',
    'burst': 'delay=10ms,burst=1%:50%:90%',
    'reorder': 'delay=10ms,reorder=25%:5ms',
    'duplicate': 'delay=5ms,duplicate=5%,reorder=10%:3ms',
    'corrupt': 'delay=5ms,corrupt=2%',
    'slow': 'delay=5ms,rate=10mbit,queue=30kB',
    'blackout': 'delay=10ms,blackout=1s:2500ms',
    'mtu': 'delay=5ms,mtu=1300B,mtu-report=yes',
    'all': 'delay=10ms,jitter=3ms,loss=1%,reorder=5%:5ms,duplicate=1%,corrupt=1%',
}

# name: (connecting end's writing and reading track, listening end's, networks beside "clean", what is compared).
# Resets are not repeated by anyone if the peer is silent, so scripts in which only a reset tells the end stay
# where nothing is lost; and how much arrives before a reset is a matter of timing.
ALL = ('end', 'eof', 'sent', 'received')
ENDS = ('end', 'eof')
SCRIPTS = {
    'nothing': (('shutdown', 'eof'), ('shutdown', 'eof'), ('loss', 'duplicate'), ALL),
    'one-byte': (('send:1,shutdown', 'eof'), ('send:1,shutdown', 'eof'), ('corrupt', 'all'), ALL),
    'both-ways': (('send:400000,shutdown', 'eof'), ('send:500000,shutdown', 'eof'),
                  ('loss', 'reorder', 'mtu', 'all', 'slow'), ALL),
    'upload': (('send:1500000,shutdown', 'eof'), ('shutdown', 'eof'), ('burst', 'slow', 'blackout', 'mtu'), ALL),
    'download': (('shutdown', 'eof'), ('send:1500000,shutdown', 'eof'), ('loss', 'duplicate', 'corrupt', 'mtu'), ALL),
    'request-and-answer': (('send:700', 'receive:90000,close'), ('wait:200ms,send:90000', 'eof,close'),
                           ('loss', 'burst', 'reorder'), ALL),
    'half-closed': (('send:20000,shutdown', 'eof'), ('wait:600ms,send:200000,shutdown', 'eof'),
                    ('loss', 'reorder', 'blackout'), ALL),
    'listener-closes-first': (('wait:500ms,shutdown', 'eof'), ('send:60000,shutdown', 'eof'),
                              ('burst', 'corrupt', 'all'), ALL),
    'both-close-at-once': (('wait:400ms,shutdown', 'eof'), ('wait:400ms,shutdown', 'eof'),
                           ('loss', 'reorder', 'duplicate'), ALL),
    'small-pieces': (('events:7:150:5ms,shutdown', 'eof'), ('events:113:150:5ms,shutdown', 'eof'),
                     ('loss', 'duplicate', 'all'), ALL),
    'reader-sleeps': (('send:6000000,shutdown', 'eof'), ('shutdown', 'wait:2s,eof'), ('loss', 'all'), ALL),
    'reader-dozes': (('shutdown', 'receive:20000,wait:300ms,receive:90000,wait:700ms,receive:5,wait:200ms,eof'),
                     ('send:3000000,shutdown', 'eof'), ('burst', 'reorder'), ALL),
    'aborted-by-connector': (('send:20000,wait:300ms,abort', ''), ('send:90000000', 'eof'),
                             ('loss', 'reorder', 'all'), ENDS),
    'aborted-by-listener': (('send:90000000', 'eof'), ('wait:300ms,abort', ''), ('loss', 'duplicate'), ENDS),
    'closed-with-unread-data': (('send:50000', 'eof'), ('', 'receive:1000,wait:500ms,close'), (), ENDS),
    'data-for-a-closed-end': (('wait:500ms,send:300000', 'eof,wait:2s'), ('', 'wait:200ms,close'), (), ('end',)),
    'refused': (('send:5', 'eof'), ('', 'eof'), ('duplicate',), ENDS),
}
# Who connects and who listens; Linux alone is the measure.
PAIRS = {'connecting': ('sluice', 'linux'), 'listening': ('linux', 'sluice')}
SCRIPTS_V6 = ('both-ways', 'half-closed')
NO_LISTENER = ['--connect', '10.7.0.2:7001']


def cases():
    """(name, script, network, is IPv6) of all."""
    for script, (_, _, networks, _) in SCRIPTS.items():
        for network in ('clean', *networks):
            yield f'{script}.{network}', script, network, False
    for script in SCRIPTS_V6:
        yield f'{script}.all.v6', script, 'all', True


def tracks(track):
    return ['--write', track[0], '--read', track[1], '--linger', str(LINGER_MS)]


def observe(name, ends, script, network, v6):
    """What both applications saw, the connecting one first."""
    connects, listens, _, compared = SCRIPTS[script]
    with path.Path(name, ends, ['--both', NETWORKS[network], '--seed', '7'], v6) as wire:
        left, right = tracks(connects), tracks(listens)
        seconds = SECONDS
        if script == 'refused':
            left += NO_LISTENER
            seconds = 3  # nobody comes to the listener
        results = wire.run(left, right, seconds)
    seen = []
    for result in results:
        if result['wrong_at'] is not None:
            raise path.Failed(f'byte {result["wrong_at"]} of what {result["stack"]} received is wrong')
        seen.append({key: result[key] for key in (*compared, 'stuck')})
    return seen


def compare(number, case):
    """Lines of one case."""
    name, script, network, v6 = case
    lines = []
    try:
        measure = observe(f't{number}l', ('linux', 'linux'), script, network, v6)
    except path.Failed as failed:
        return [f'not ok {name}: between two kernels: {failed}']
    for pair, ends in PAIRS.items():
        try:
            seen = observe(f't{number}{pair[0]}', ends, script, network, v6)
        except path.Failed as failed:
            lines.append(f'not ok {name}.{pair}: {failed}')
            continue
        differences = [f'{who} sees {key} {seen[i][key]}, between kernels {measure[i][key]}'
                       for i, who in enumerate(('the connecting end', 'the listening end'))
                       for key in seen[i] if seen[i][key] != measure[i][key]]
        lines.append(f'not ok {name}.{pair}: {"; ".join(differences)}' if differences else f'ok {name}.{pair}')
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', help='only cases whose name begins so')
    parser.add_argument('--list', action='store_true')
    args = parser.parse_args()
    chosen = [case for case in cases() if not args.names or case[0].startswith(tuple(args.names))]
    if args.list or not chosen:
        print('\n'.join(case[0] for case in cases()))
        return 0 if args.list else 2
    path.enter()
    path.build()
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for lines in pool.map(compare, range(len(chosen)), chosen):
            for line in lines:
                print(line, flush=True)
                failed += line.startswith('not ok')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
