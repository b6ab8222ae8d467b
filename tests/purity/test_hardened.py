#!/usr/bin/env python3
"""What the programs that users run are built with (tests/README.md T99), read from their bytes with readelf.

test_hardened.py [--fortified] PROGRAM...

Position-independent, all relocations done and read-only before main(), no page both writable and executable, no
executable stack, canaries in stack frames; with --fortified also the C library's checked copies.
Exit codes: 0 all are so, 1 complaints, 2 wrong use.
"""
import argparse
import re
import subprocess
import sys


def readelf(*words):
    return subprocess.run(['readelf', '-W', *words], capture_output=True, text=True, check=True).stdout


def complaints(program, is_fortified):
    header, segments = readelf('-h', program), readelf('-l', program)
    dynamic, symbols = readelf('-d', program), readelf('-s', program)
    flags = re.findall(r'^ +(LOAD|GNU_STACK|GNU_RELRO)(?: +0x[0-9a-f]+){5} ([R ][W ][E ]) 0x[0-9a-f]+$',
                       segments, re.M)
    kinds = [kind for kind, _ in flags]
    if not re.search(r'Type: +DYN', header) or not re.search(r'FLAGS_1.*\bPIE\b', dynamic):
        yield 'it is not position-independent'
    if 'LOAD' not in kinds or 'GNU_STACK' not in kinds or any('W' in mode and 'E' in mode for _, mode in flags):
        yield 'a page or its stack is writable and executable'
    if 'GNU_RELRO' not in kinds or not re.search(r'FLAGS.*\bNOW\b|BIND_NOW', dynamic):
        yield 'its relocations are not read-only before main()'
    if '__stack_chk_fail' not in symbols:
        yield 'its stack frames have no canaries'
    if is_fortified and not re.search(r'__(mem|str|snp?|vsn?p|fp|vfp)\w*_chk', symbols):
        yield 'it has no checked copies'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--fortified', action='store_true')
    parser.add_argument('programs', nargs='+')
    options = parser.parse_args()
    found = [f'{program}: {text}' for program in options.programs for text in complaints(program, options.fortified)]
    print('\n'.join(found) or f'{len(options.programs)} programs, 0 complaints')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
