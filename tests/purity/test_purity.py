#!/usr/bin/env python3
"""What keeps the core of TCP and IP pure (design: no globals, no malloc, no clock, no output).

--core ARCHIVE --base ARCHIVE --impure ARCHIVE
                                reads objects with nm: the core's imports and its writable data. The impure
                                archive, the same on malloc, must be found out.
--lint LIB                      no < or > between sequence numbers outside of seq.h

Exit codes: 0 clean, 1 complaints, 2 wrong use.
"""
import argparse
import re
import subprocess
import sys
from pathlib import Path

# What the core may import: the packet shim (shim/pkt_body.h) and what a compiler may call on its own.
SHIM = re.findall(r'\b(pkt_\w+)\(', (Path(__file__).parent / 'shim/pkt_body.h').read_text(encoding='utf-8'))
LIBC = {'memcpy', 'memset', 'memcmp', 'memmove'}
# __cpu_model is what the processor can do: the compiler's own table, filled before main(). __stack_chk_guard is what
# x86 has in the thread's segment.
COMPILER = {'__memcpy_chk', '__memset_chk', '__memmove_chk', '__stack_chk_fail', '__stack_chk_guard',
            '_GLOBAL_OFFSET_TABLE_', '__sanitizer_cov_trace_pc', '__cpu_model'}
# Members of the second archive that belong to the core: lib/base and lib/wire.
BASE_MEMBERS = re.compile(r'(^|/)(base|wire)_')
# Constants with pointers in them are relocated once, then read-only.
READ_ONLY = re.compile(r'\.data\.rel\.ro|\.rodata|\.text|\*COM\*|\*UND\*')

SEQUENCE_NAMES = re.compile(
    r'(?:^|\W)(\w*(?:snd_una|snd_nxt|snd_max|snd_end|snd_wl1|snd_wl2|rcv_nxt|rcv_adv|rcv_wup|last_ack_sent|fin_seq|'
    r'rto_una|dsack_start|dsack_end|ts_recent|ts_val|ts_ecr|quoted_seq)|recover|iss|irs|seq|ack|edge|'
    r'(?:run|range|r|block|b|s|k)(?:->|\.)(?:start|end|left|right|seq)|h\.(?:seq|ack))$')
RELATION = re.compile(r'(?<![-<>=])(<=|>=|<|>)(?![<>=])')
DELIMITERS = re.compile(r'&&|\|\||[;{}?:,()=!]|\breturn\b')


def symbols(archive):
    """(member, symbol, type, section) of all objects in it."""
    text = subprocess.run(['nm', '--format=sysv', archive], capture_output=True, text=True, check=True).stdout
    member = ''
    for line in text.splitlines():
        found = re.match(r'(?:Undefined symbols|Symbols) from \S*?([^/\s\[]+?)\]?:$', line)
        if found:
            member = found.group(1)
        parts = [part.strip() for part in line.split('|')]
        if len(parts) == 7 and parts[0] != 'Name':
            yield member, parts[0], parts[3], parts[6]


def check_objects(core, base):
    complaints = []
    rows = list(symbols(core))
    rows += [row for row in symbols(base) if BASE_MEMBERS.search(row[0])]
    members = {row[0] for row in rows}
    defined = {name for _, name, _, section in rows if section != '*UND*'}
    for member, name, kind, section in rows:
        if section == '*UND*':
            if name not in defined | set(SHIM) | LIBC | COMPILER:
                complaints.append(f'{member}: imports {name}')
        elif kind == 'OBJECT' and not READ_ONLY.search(section):
            complaints.append(f'{member}: {name} is writable and lives in {section}')
    for wanted in ('tcp_input.c', 'tcp_output.c', 'ip_ip.c', 'pkt_pkt.c', 'base_timer.c', 'wire_tcphdr.c'):
        if not any(wanted in member for member in members):
            complaints.append(f'{wanted} is not among the objects: {sorted(members)}')
    print(f'{len(members)} objects, {len(rows)} symbols')
    return complaints


def operand_before(text):
    return DELIMITERS.split(text)[-1].strip()


def operand_after(text):
    return DELIMITERS.split(text)[0].strip()


def is_sequence(operand):
    """A sequence number, possibly plus something; a difference of two is a length."""
    plain = operand.replace('->', '.')
    if '-' in plain:
        return False
    first = re.split(r'[+]', operand)[0].strip()
    return SEQUENCE_NAMES.search(first) is not None


def lint_line(line):
    for found in RELATION.finditer(line):
        if is_sequence(operand_before(line[:found.start()])) or is_sequence(operand_after(line[found.end():])):
            return True
    return False


def check_lint(lib):
    # The lint itself first: a lint that sees nothing is worse than none.
    for bad in ('if (c->snd_una < ack)', 'while (run->start >= edge)', 'return s->h.seq > c->rcv_nxt;',
                'x = c->rcv_nxt + len <= seq;', 'if (a && seq < c->snd_nxt)', 'if (t->ts_val < c->ts_recent)'):
        if not lint_line(bad):
            return [f'the lint does not see: {bad}']
    for good in ('if (seq_lt(c->snd_una, ack))', 'if (c->snd_max - c->snd_una > 0)', 'for (i = 0; i < 3; i++)',
                 'x = c->mss << shift;', 'if (s->len > c->rcv_adv - c->rcv_nxt)', 'return c->seq >> 3;',
                 'if (n < h->acks)'):
        if lint_line(good):
            return [f'the lint complains about: {good}']
    complaints = []
    count = 0
    for path in sorted([*lib.glob('tcp/*.[ch]'), *lib.glob('ip/*.[ch]')]):
        if path.name == 'seq.h':
            continue
        count += 1
        source = re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"', lambda m: re.sub(r'[^\n]', ' ', m.group(0)),
                        path.read_text(encoding='utf-8'), flags=re.S)
        for number, line in enumerate(source.splitlines(), 1):
            if not line.lstrip().startswith('#') and lint_line(line):
                complaints.append(f'{path}:{number}: compares sequence numbers without seq.h: {line.strip()}')
    print(f'{count} files')
    return complaints if count > 10 else ['lib/tcp is not there']


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--core')
    parser.add_argument('--base')
    parser.add_argument('--impure')
    parser.add_argument('--lint', type=Path)
    args = parser.parse_args()
    complaints = []
    if args.core:
        complaints += check_objects(args.core, args.base)
        if not any('imports malloc' in complaint for complaint in check_objects(args.impure, args.base)):
            complaints.append(f'{args.impure} is taken for pure')
    if args.lint:
        complaints += check_lint(args.lint)
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == '__main__':
    sys.exit(main())
