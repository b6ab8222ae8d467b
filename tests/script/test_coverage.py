#!/usr/bin/env python3
"""COVERAGE.md, the threats of tests/README.md and lib/tcp/README.md's FEATURES name tests that exist, and forget no rule.

usage: test_coverage.py TESTS_FOLDER
"""

import pathlib
import re
import sys

# RFC 9293, appendix B: how many of each kind there are.
RULES = {"MUST": 69, "SHLD": 31, "MAY": 18, "REC": 1}
# The threats against TCP and IP, TLS, HTTP, bodies, and money.
THREATS = range(1, 101)


def functions_of(source):
    """The tests of a cmocka program."""
    for function in re.findall(r"cmocka_unit_test(?:_\w+)?\(\s*(\w+)", source.read_text()):
        yield f"{source.stem}:{function}"


def known_tests(tests):
    """Every name that a row may have."""
    names = {"tcp_sim", "tcp_model", "worker_sim"}
    listed = (tests / "script/meson.build").read_text()
    for script in tests.glob("script/*.pkt"):
        if f"'{script.stem}'" not in listed:
            yield f"{script.name} is not listed in script/meson.build", None
        names.add(script.stem)
    for source in tests.glob("unit/**/test_*.c"):
        if f"'{source.name}'" not in (source.parent / "meson.build").read_text():
            yield f"{source.name} is not listed in the meson.build beside it", None
        names |= {source.stem, *functions_of(source)}
    for source in tests.glob("sim/test_*.c"):
        if f"'{source.name}'" not in (source.parent / "meson.build").read_text():
            yield f"{source.name} is not listed in sim/meson.build", None
        names |= set(functions_of(source))
    for source in tests.glob("fuzz/fuzz_*.c"):
        corpus = tests / "fuzz/corpus" / source.stem.removeprefix("fuzz_")
        if corpus.is_dir() and any(corpus.iterdir()):
            names.add(source.stem)
    for suite in tests.glob("e2e/suites/*.py"):
        names.update(re.findall(r"^@test\('([\w.-]+)'", suite.read_text(), re.M))
    names.update(source.stem for source in tests.glob("diff/*_diff.c"))
    names.update(f"contract.{table.stem}" for table in tests.glob("e2e/contract/*.rows"))
    yield None, names


def rows(path, columns):
    """(line number, cells) of the tables that have so many columns."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.startswith("| ") or set(line) <= set("|- "):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == columns:
            yield number, cells


def complaints_of_row(path, number, what, cell, names):
    tests = re.findall(r"`([^`]+)`", cell)
    if not tests:
        yield f"{path.name}:{number}: {what} has no test"
    for test in tests:
        if test not in names:
            yield f"{path.name}:{number}: {what}: there is no test {test}"


def coverage(path, names):
    seen = []
    for columns in (4, 3):
        for number, cells in rows(path, columns):
            if cells[-1] == "tests":
                continue
            yield from complaints_of_row(path, number, cells[0], cells[-1], names)
            seen += re.findall(r"\b(?:MUST|SHLD|MAY|REC)-\d+\b", cells[0])
    for kind, count in RULES.items():
        for rule in (f"{kind}-{n}" for n in range(1, count + 1)):
            if seen.count(rule) != 1:
                yield f"{path.name}: {rule} is in {seen.count(rule)} rows"


def is_known_threat_test(tests, names, name):
    """tests/README.md names scripts as files, with globs, functions without their file, and tests of e2e."""
    if name.endswith(".pkt"):
        return any(tests.glob(f"script/{name}"))
    if "/" in name:
        return name.startswith("tools/bench ") or (tests / name).exists() or (tests / f"{name}.c").exists()
    return name in names or any(known.endswith(f":{name}") for known in names)


def threats(tests, names):
    path = tests / "README.md"
    seen = []
    for number, cells in rows(path, 3):
        if not re.fullmatch(r"T\d+", cells[0]):
            continue
        seen.append(int(cells[0][1:]))
        shown = re.findall(r"`([^`]+)`", cells[2])
        if all(name.startswith("tools/bench ") for name in shown):
            yield f"{path.name}:{number}: {cells[0]} has no test that always runs"
        for name in shown:
            if not is_known_threat_test(tests, names, name):
                yield f"{path.name}:{number}: {cells[0]}: there is no test {name}"
    for threat in THREATS:
        if seen.count(threat) != 1:
            yield f"{path.name}: T{threat} is in {seen.count(threat)} rows"


def features(tests, names):
    """lib/tcp/README.md: what is done of an RFC, and what happens instead of the rest, is shown by tests."""
    path = tests.parent / "lib/tcp/README.md"
    lines = path.read_text().splitlines()
    begin = lines.index("## FEATURES") + 1
    end = next(n for n, line in enumerate(lines) if n > begin and line.startswith("## "))
    found = [(n, cells) for n, cells in rows(path, 5) if begin < n <= end and cells[0] != "RFC"]
    if not found:
        yield f"{path.name}: no rows in FEATURES"
    for number, cells in found:
        if cells[-1] != "`COVERAGE.md`, rule by rule":
            yield from complaints_of_row(path, number, cells[0], cells[-1], names)


def main():
    tests = pathlib.Path(sys.argv[1]).resolve()
    names, wrong = set(), []
    for complaint, found in known_tests(tests):
        if complaint is not None:
            wrong.append(complaint)
        else:
            names = found
    wrong += coverage(tests / "script/COVERAGE.md", names)
    wrong += threats(tests, names)
    wrong += features(tests, names)
    for complaint in wrong:
        print(complaint)
    print(f"{len(names)} tests known, {len(wrong)} complaints")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
