#!/usr/bin/env python3
"""House checks, run as a test: tools/tidy.py SOURCE_ROOT [BUILD_ROOT].

Every rule is data at the top; every complaint is `file:line: what (why)`. Headers are compiled alone when a
build folder is given. Exit codes: 0 clean, 1 complaints, 2 wrong use.
"""
import concurrent.futures
import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

LINE_COLUMNS_MAX = 115  # aim at 100; a tab is 8 columns
TAB_COLUMNS = 8

# Who may include whom: first part of the path of an include, by the folder that it stands in.
LIB_LAYERS = {
    'lib/base': {'base'},
    'lib/pkt': {'base', 'pkt'},
    'lib/wire': {'base', 'pkt', 'wire'},
    'lib/ip': {'base', 'pkt', 'wire', 'ip'},
    'lib/tcp': {'base', 'pkt', 'wire', 'tcp'},
    'lib/tls': {'base', 'tls'},
    'lib/http': {'base', 'http'},
    'lib/json': {'base', 'json'},
    'lib/limit': {'base', 'limit'},
    'lib/spread': {'base', 'spread'},
    'lib/meter': {'base', 'meter'},
    'lib/shm': {'base', 'shm'},
    'lib/config': {'base', 'config'},
    'lib/credentials': {'base', 'config', 'tls', 'credentials'},
}
LAYERS = {name.split('/')[1] for name in LIB_LAYERS}
INCLUDE_TABLE = dict(LIB_LAYERS)
INCLUDE_TABLE['dataplane'] = LAYERS | {'dataplane'}
INCLUDE_TABLE['control'] = {'base', 'config', 'credentials', 'json', 'limit', 'meter', 'shm', 'control'}
INCLUDE_TABLE['tools'] = LAYERS | {'tools'}
# Single headers beyond the table, with the reason.
INCLUDE_EXCEPTIONS = {
    ('control', 'tls/keyhash.h'): 'control and workers hash API keys alike',
    ('control', 'tls/ticket_secrets.h'): 'control makes the secrets that workers seal tickets with',
    ('control', 'tls/arena.h'): 'they lie in locked memory',
}
# What the dataplane's main thread does once, before and beside the workers.
MAIN_THREAD_FILES = {f'dataplane/{name}.{suffix}' for suffix in 'ch' for name in
                     ('main', 'budget', 'fleet', 'port', 'eal', 'engine', 'lcore', 'identity', 'attach', 'reload', 'settings', 'spool_files',
                      'spool_sync', 'tap', 'tickets')}

# The files of lib/tls that include mbedTLS: the others, and whoever else works here, need not know it.
MBEDTLS_FILES = [f'lib/tls/{name}' for name in
                 ('aead_mbedtls.c', 'authorities.h', 'cert.c', 'conn.h', 'connect.c', 'connect.h', 'context.c',
                  'crypto_hooks.c', 'derive.c', 'instance.c', 'keys.c', 'keys.h', 'pair.c', 'pair.h', 'protection.c',
                  'reason.c', 'resume.c', 'terms.h', 'ticket.c', 'ticket.h')]

# <system header> pattern, folders it may not be used in, folders or files excepted, what to do instead.
SYSTEM_HEADERS = [
    (r'rte_\w+\.h', ['lib', 'control', 'tools'], [], 'only the dataplane knows DPDK'),
    (r'(mbedtls|psa)/.*', ['lib', 'dataplane', 'control', 'tools'], MBEDTLS_FILES,
     'mbedTLS is used through lib/tls, and there by MBEDTLS_FILES'),
    (r'sluice_mbedtls_hooks\.h', ['lib', 'dataplane', 'control', 'tools'], ['lib/tls/crypto_hooks.c'],
     'it is what our patch makes mbedTLS ask'),
    (r'(immintrin|cpuid)\.h', ['lib', 'dataplane', 'control'],
     ['lib/tls/aead_vaes.c', 'lib/tls/vaes_hash.h', 'lib/tls/crypto_field_avx2.h',
      'lib/tls/crypto_sha256.c'],
     'what a processor has beyond others is used through tls/aead.h and tls/crypto.h'),
    (r'intel-ipsec-mb\.h', ['lib', 'dataplane', 'control'], ['lib/tls/aead_ipsec.c'], 'it is used through tls/aead.h'),
    (r'openssl/.*', ['lib', 'dataplane', 'control'], ['lib/tls/crypto_libcrypto.c'], 'it is used through tls/crypto.h'),
    (r'crypto_mb/.*', ['lib', 'dataplane', 'control'], ['lib/tls/lanes_crypto_mb.c'], 'it is used through tls/lanes.h'),
    (r'nghttp2/.*', ['lib', 'dataplane', 'control', 'tools'], ['dataplane/h2_session.h'],
     'nghttp2 is used through dataplane/h2.h'),
    (r'libfyaml\.h', ['lib', 'dataplane', 'control', 'tools'], ['lib/config', 'tools/sluicectl/apply.c'],
     'configuration is read by lib/config'),
    (r'(microhttpd|curl/\w+)\.h', ['lib', 'dataplane'], [], 'only control has it'),
    (r'sqlite3\.h', ['lib', 'dataplane', 'control', 'tools'], ['control/store_sqlite.c'],
     'SQL is used through control/store.h'),
    (r'libpq-fe\.h', ['lib', 'dataplane', 'control', 'tools'],
     ['control/postgres.h', 'control/postgres.c', 'control/store_postgres.c'], 'SQL is used through control/store.h'),
    (r'(time|sys/time)\.h', ['lib'], ['lib/config'], 'time comes in as now_ns'),
    (r'(sys/socket|netinet/\w+|poll|sys/epoll|pthread|unistd|fcntl)\.h', ['lib'],
     ['lib/config'], 'lib/ does no I/O'),
    (r'(arpa/inet|stdio|stdlib|errno)\.h', ['lib'], ['lib/config', 'lib/credentials', 'lib/tls', 'lib/pkt/heap'],
     'lib/ does no I/O and allocates nothing'),
]
# The files that may include rte_*.h inside dataplane/: ports and workers' threads.
RTE_FILES = {'dataplane/main.c', 'dataplane/port.c', 'dataplane/lcore.c', 'dataplane/eal.c',
             'dataplane/pkt_mbuf.c'}
RTE_FOLDER = 'dataplane/mbuf'

# call, folders where it is banned, folders excepted, replacement
EVERYWHERE = ['lib', 'dataplane', 'control', 'tools', 'tests']
BANNED_CALLS = [
    ('strcpy|strcat|strncpy|strncat|stpcpy', EVERYWHERE, [], 'snprintf, or memcpy with a length'),
    ('sprintf|vsprintf', EVERYWHERE, [], 'snprintf'),
    ('gets', EVERYWHERE, [], 'fgets'),
    ('atoi|atol|atoll|atof', EVERYWHERE, [], 'strtol and a look at where it stopped'),
    ('strtok', EVERYWHERE, [], 'strchr, or struct bytes'),
    ('rand|srand|random|drand48', EVERYWHERE, [], 'base/prng.h with a printed seed'),
    ('alloca', EVERYWHERE, [], 'a bounded array'),
    ('assert', ['lib', 'dataplane', 'control', 'tools'], [], 'CHECK()'),
    ('abort', ['lib', 'dataplane', 'control'], [], 'CHECK()'),
    ('malloc|calloc|realloc|free|strdup', ['lib', 'dataplane'],
     ['lib/config', 'lib/credentials', 'lib/tls', 'lib/pkt/heap', 'dataplane/mbuf', 'dataplane/worker.c',
      *MAIN_THREAD_FILES],
     'a pool that was sized at start'),
    ('printf|fprintf|puts|perror', ['lib', 'dataplane'],
     ['lib/config', *MAIN_THREAD_FILES], 'a verdict of err.def'),
    ('sleep|usleep|nanosleep', ['lib', 'tests/unit', 'tests/sim', 'tests/script', 'tests/fuzz'], [],
     'time as a number'),
    ('gettimeofday|time|clock_gettime', ['lib', 'tests/sim', 'tests/script'],
     ['lib/config', 'tests/sim/storm.c'], 'now_ns, given by the caller'),
    ('system|popen', ['lib', 'dataplane', 'control'], [], 'no shell in the product'),
]

# state machine: field, file pattern, the only function that may write it
STATE_WRITERS = [
    ('state', 'lib/tcp/*.c', {'set_state', 'tcp_conn_set_state'}),
    ('state', 'lib/tls/*.c', {'conn_set_state'}),
    ('state', 'dataplane/*.c', {'set_state', 'exchange_set_state'}),
]

MARKERS = re.compile(r'\b(TODO|FIXME|XXX|HACK)\b|#if 0\b|\b[Ff]or now\b|[Nn]ot implemented')
SUFFIXES_TEXT = {'.c', '.h', '.def', '.py', '.build', '.sh', '.md', '.yaml', '.js', '.mjs'}
SUFFIXES_WIDTH = {'.c', '.h', '.build'}  # tables (.def) are one row a line

complaints = []


def complain(path, line, text):
    complaints.append(f'{path}:{line}: {text}')


def tracked_files(root):
    """Files that git knows or would take; without git, all outside of build folders."""
    command = ['git', '-C', str(root), 'ls-files', '-co', '--exclude-standard']
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode == 0:
        names = found.stdout.splitlines()
    else:
        names = [str(p.relative_to(root)) for p in root.rglob('*') if p.is_file()]
        names = [n for n in names if not re.match(r'(build|\.)|subprojects/[^/]+/', n)]
    return sorted(n for n in set(names) if (root / n).is_file())


def is_under(path, folders):
    return any(path == folder or path.startswith(folder + '/') for folder in folders)


def without_comments_and_texts(source):
    """Same length in lines: comments and literals are blanked, so that patterns see code only."""
    def blank(match):
        text = match.group(0)
        return re.sub(r'[^\n]', ' ', text) if text[0] == '/' else text[0] + text[-1]
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, source,
                  flags=re.S)


def check_text(path, text):
    for number, line in enumerate(text.splitlines(), 1):
        suffix = Path(path).suffix
        if suffix in SUFFIXES_WIDTH and len(line.expandtabs(TAB_COLUMNS)) > LINE_COLUMNS_MAX:
            complain(path, number, f'longer than {LINE_COLUMNS_MAX} columns')
        if line != line.rstrip() and suffix != '.md':
            complain(path, number, 'blanks at the end of the line')
        found = MARKERS.search(line)
        if found and path != 'tools/tidy.py':
            complain(path, number, f'leftover "{found.group(0)}" (finish it or open an issue)')


def check_includes(path, source):
    folder = next((f for f in INCLUDE_TABLE if is_under(path, [f])), None)
    if folder is None:
        return
    for number, line in enumerate(source.splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not found:
            continue
        name = found.group(2)
        if found.group(1) == '"' and '/' in name:
            layer = name.split('/')[0]
            if layer in LAYERS | {'dataplane', 'control', 'tools'} and \
                    layer not in INCLUDE_TABLE[folder] and (folder, name) not in INCLUDE_EXCEPTIONS:
                complain(path, number, f'{folder} must not include {name} '
                         '(include table in tools/tidy.py)')
        if name.startswith('config/') and folder == 'dataplane' and path not in MAIN_THREAD_FILES:
            complain(path, number, 'only the main thread reads configuration (workers get numbers)')
        for pattern, banned, excepted, why in SYSTEM_HEADERS:
            if re.fullmatch(pattern, name) and is_under(path, banned) and \
                    not is_under(path, excepted):
                complain(path, number, f'must not include {name} ({why})')
        if name.startswith('rte_') and folder == 'dataplane' and path not in RTE_FILES and \
                not is_under(path, [RTE_FOLDER]):
            complain(path, number, f'must not include {name} (the rest of dataplane/ runs in the '
                     f'simulator; {", ".join(sorted(RTE_FILES))} and {RTE_FOLDER}/ may)')


def check_calls(path, code):
    for names, banned, excepted, instead in BANNED_CALLS:
        if not is_under(path, banned) or is_under(path, excepted):
            continue
        for number, line in enumerate(code.splitlines(), 1):
            found = re.search(rf'(?<![\w.>])({names})\s*\(', line)
            if found:
                complain(path, number, f'{found.group(1)}() is banned here (use {instead})')


def check_state_writers(path, code):
    for field, pattern, writers in STATE_WRITERS:
        if not fnmatch.fnmatchcase(path, pattern):
            continue
        function = ''
        for number, line in enumerate(code.splitlines(), 1):
            found = re.match(r'(\w+)\(', line)
            if found:
                function = found.group(1)
            if re.search(rf'(->|\.){field}\s*=[^=]', line) and function not in writers:
                complain(path, number, f'{function}() writes .{field} (only '
                         f'{" or ".join(sorted(writers))} does)')


def check_header(path, source):
    if path.endswith('.h') and is_under(path, ['lib', 'dataplane', 'control', 'tools', 'tests']) and \
            not re.search(r'^#pragma once$', source, re.M):
        complain(path, 1, 'has no #pragma once')


def check_listed(root, files):
    """Each source is named in the meson.build of its folder or of one above."""
    builds = {}
    for path in files:
        if path.endswith('meson.build'):
            builds[str(Path(path).parent)] = (root / path).read_text(encoding='utf-8')
    for path in files:
        if not path.endswith('.c') or is_under(path, ['subprojects']):
            continue
        for parent in Path(path).parents:
            relative = str(Path(path).relative_to(parent))
            if re.search(rf"'{re.escape(relative)}'", builds.get(str(parent), '')):
                break
        else:
            complain(path, 1, 'is in no meson.build (nobody compiles it)')


def check_verdicts(root, files):
    """A verdict that nobody returns is a line in the operator's list that can never move."""
    definitions = root / 'lib/base/err.def'
    if not definitions.exists():
        return
    code = ''
    for path in files:
        if path.endswith(('.c', '.h')) and is_under(path, ['lib', 'dataplane', 'control']):
            code += (root / path).read_text(encoding='utf-8')
    used = set(re.findall(r'\bERR_([A-Z0-9_]+)\b', without_comments_and_texts(code)))
    for number, line in enumerate(definitions.read_text(encoding='utf-8').splitlines(), 1):
        found = re.match(r'ERR\((\w+)', line)
        if found and found.group(1) not in used:
            complain('lib/base/err.def', number, f'ERR_{found.group(1)} is never returned')


def check_config_used(root, files):
    """A key that no program reads promises something that does not happen."""
    schema = root / 'lib/config/schema.c'
    mains = [p for p in ('dataplane/main.c', 'control/main.c') if (root / p).exists()]
    if not schema.exists() or len(mains) < 2:
        return
    code = ''
    for path in files:
        # lib/config/certificates.c reads files for both.
        if path.endswith(('.c', '.h')) and is_under(path, ['dataplane', 'control', 'lib/config/certificates.c']):
            code += (root / path).read_text(encoding='utf-8')
    text = schema.read_text(encoding='utf-8')
    fields = re.findall(r'CONFIG\((?:\w+\.)*(\w+)\)|FIELD\(struct \w+, (\w+)\)|'
                        r'CAPACITY\((\w+),|LIST\("\w+", struct \w+, (\w+),', text)
    for field in sorted({name for names in fields for name in names if name} - {'member', 'name'}):
        if not re.search(rf'\b{field}\b', code):
            complain('lib/config/schema.c', 1, f'{field} is read by neither program')


def include_flags(build):
    """Include paths and definitions of the whole build, relative to it."""
    flags = {}  # in the order of their first use
    commands = json.loads((build / 'compile_commands.json').read_text(encoding='utf-8'))
    for command in commands:
        words = shlex.split(command['command'])
        if 'subprojects/' in command['file']:
            continue
        for i, word in enumerate(words):
            if word in ('-isystem', '-include'):
                word += words[i + 1] if word == '-isystem' else '=' + words[i + 1]
            if re.match(r'-(I|isystem|D|march=|include=)', word) and not word.endswith('.p'):
                flags[word] = True
    return [piece for flag in flags for piece in re.sub('^-include=', '-include ', flag).split(' ', 1)]


def compile_alone(root, build, flags, path):
    # Headers beside a body of pkt.h get that body; all others are checked with the malloc one.
    body = 'dataplane/mbuf' if is_under(path, [RTE_FOLDER]) else 'lib/pkt/heap'
    command = ['cc', '-std=gnu11', '-fsyntax-only', '-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE',
               f'-I{root / body}'] + flags + ['-x', 'c', '-']
    text = f'#include "{root / path}"\n'
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=build)
    if done.returncode != 0:
        line = next((l for l in done.stderr.splitlines() if 'error' in l), done.stderr.strip())
        complain(path, 1, f'does not compile alone: {line.replace(str(root) + "/", "")}')


def check_headers_alone(root, build, files):
    headers = [p for p in files if p.endswith('.h') and is_under(p, ['lib', 'dataplane', 'control'])
               and not p.endswith('/pkt_body.h')]  # part of pkt.h
    flags = include_flags(build)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for job in [pool.submit(compile_alone, root, build, flags, p) for p in headers]:
            job.result()


def main():
    if sys.argv[1:] in (['--help'], ['-h']):
        print(__doc__)
        return 0
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    root = Path(sys.argv[1]).resolve()
    if not root.is_dir():
        print(f'tidy: {sys.argv[1]} is no folder', file=sys.stderr)
        return 2
    files = tracked_files(root)
    for path in files:
        suffix = Path(path).suffix
        is_tool = suffix == '' and is_under(path, ['tools'])
        if suffix not in SUFFIXES_TEXT and not is_tool or is_under(path, ['tests/fuzz/corpus']):
            continue
        text = (root / path).read_text(encoding='utf-8')
        check_text(path, text)
        if suffix in ('.c', '.h', '.def') and not is_under(path, ['subprojects']):
            code = without_comments_and_texts(text)
            check_includes(path, text)
            check_calls(path, code)
            check_state_writers(path, code)
            check_header(path, text)
    check_listed(root, files)
    check_verdicts(root, files)
    check_config_used(root, files)
    if len(sys.argv) == 3:
        check_headers_alone(root, Path(sys.argv[2]).resolve(), files)
    for complaint in sorted(complaints):
        print(complaint)
    print(f'{len(files)} files, {len(complaints)} complaints')
    return 1 if complaints else 0


if __name__ == '__main__':
    sys.exit(main())
