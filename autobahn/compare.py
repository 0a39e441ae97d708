#!/usr/bin/env python3
"""Compares reports of the Autobahn test suite with expected.json.

    compare.py AGENT [--cases PATTERNS] [--exclude PATTERNS] INDEX_JSON...
    compare.py --list [--cases PATTERNS] [--exclude PATTERNS]
    compare.py --self-test

Prints one line that counts the results of AGENT over all the given index.json files, and one line for each case that
differs from what is expected, is missing, or was not asked for. The exit status is 0 when there is no such case.
Patterns are separated by commas (`*`, `9.*`, `12.*.1`). `--list` prints the cases they select as a JSON array.
"""

import argparse
import json
import pathlib
import sys
from fnmatch import fnmatchcase

EXPECTED = pathlib.Path(__file__).with_name("expected.json")
COUNTED = ("OK", "INFORMATIONAL", "UNIMPLEMENTED")


def case_key(case):
    return [int(number) for number in case.split(".")]


def expand(expected):
    """The map from each case to its [behavior, behaviorClose]. The last pattern that matches decides."""
    cases = {}
    for group, count in expected["groups"].items():
        for number in range(1, count + 1):
            case = f"{group}.{number}"
            cases[case] = [result for pattern, result in expected["results"].items() if fnmatchcase(case, pattern)][-1]
    return cases


def select(cases, include, exclude):
    def matches(case, patterns):
        return any(fnmatchcase(case, pattern) for pattern in patterns)

    return {case: result for case, result in cases.items() if matches(case, include) and not matches(case, exclude)}


def compare(agent, wanted, report):
    """The summary line and the lines of the differences."""
    counts = dict.fromkeys([*COUNTED, "other"], 0)
    lines = []
    for case, entry in report.items():
        got = [entry["behavior"], entry["behaviorClose"]]
        closed_well = got[1] in ("OK", "INFORMATIONAL")
        counts[got[0] if got[0] in COUNTED and closed_well else "other"] += 1
        want = wanted.get(case)
        if got != want:
            want = f"expected {want[0]} (closing {want[1]})" if want else "not asked for"
            code = entry.get("remoteCloseCode")
            lines.append((case, f"{want}, got {got[0]} (closing {got[1]}, close code {code or 'none'})"))
    missing = wanted.keys() - report.keys()
    lines += [(case, f"expected {wanted[case][0]}, got no result") for case in missing]
    lines.sort(key=lambda line: case_key(line[0]))
    if wanted and not report:
        lines = [("*", "no case was run")]

    summary = f"{agent}: {counts['OK']} ok, {counts['INFORMATIONAL']} informational, "
    if counts["UNIMPLEMENTED"]:
        summary += f"{counts['UNIMPLEMENTED']} unimplemented, "
    summary += f"{counts['other']} other"
    if missing:
        summary += f", {len(missing)} missing"
    return summary, [f"  {agent} {case}: {text}" for case, text in lines]


def load(agent, paths):
    report = {}
    for path in paths:
        try:
            index = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            print(f"{agent}: there is no report {path}", file=sys.stderr)
            continue
        report.update(index.get(agent, {}))
    return report


def self_test():
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    every = expand(expected)
    assert len(every) == 517, len(every)
    assert [c for c, r in every.items() if r[0] == "INFORMATIONAL"] == ["7.1.6", "7.13.1", "7.13.2"]
    assert not set(select(every, ["*"], ["9.*"])) & {"9.1.1", "9.8.6"}
    assert set(select(every, ["1.*"], [])) == {f"1.{a}.{b}" for a in (1, 2) for b in range(1, 9)}
    assert set(select(every, ["12.*", "2.10"], ["12.2.*", ""])) >= {"2.10", "12.1.1", "12.5.18"}
    assert len(select(every, ["12.*.1", "13.*.1"], [])) == 12

    wanted = {
        "1.1.1": ["OK", "OK"],
        "2.1": ["OK", "OK"],
        "7.1.6": ["INFORMATIONAL", "INFORMATIONAL"],
        "12.1.1": ["UNIMPLEMENTED", "OK"],
    }

    def entry(result):
        return {"behavior": result[0], "behaviorClose": result[1], "remoteCloseCode": 1000}

    good = {case: entry(result) for case, result in wanted.items()}
    assert compare("a", wanted, good) == ("a: 2 ok, 1 informational, 1 unimplemented, 0 other", [])

    def changed(case, *result):
        summary, lines = compare("a", wanted, {**good, case: entry(result)})
        assert len(lines) == 1 and lines[0].startswith(f"  a {case}: "), lines
        return summary

    # A worse result, a worse closing, a better result than expected, a case nobody asked for.
    assert changed("1.1.1", "NON-STRICT", "OK") == "a: 1 ok, 1 informational, 1 unimplemented, 1 other"
    assert changed("1.1.1", "OK", "UNCLEAN") == "a: 1 ok, 1 informational, 1 unimplemented, 1 other"
    assert changed("12.1.1", "OK", "OK") == "a: 3 ok, 1 informational, 0 other"
    assert changed("2.2", "OK", "OK") == "a: 3 ok, 1 informational, 1 unimplemented, 0 other"
    # Cases that did not run.
    summary, lines = compare("a", wanted, {"2.1": good["2.1"]})
    assert summary == "a: 1 ok, 0 informational, 0 other, 3 missing", summary
    assert [line.split()[1] for line in lines] == ["1.1.1:", "7.1.6:", "12.1.1:"], lines
    assert compare("a", wanted, {})[1] == ["  a *: no case was run"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--cases", default="*")
    parser.add_argument("--exclude", default="")
    parser.add_argument("agent", nargs="?")
    parser.add_argument("index", nargs="*")
    arguments = parser.parse_args()
    if arguments.self_test:
        self_test()
        return 0

    every = expand(json.loads(EXPECTED.read_text(encoding="utf-8")))
    wanted = select(every, arguments.cases.split(","), arguments.exclude.split(","))
    if arguments.list:
        print(json.dumps(list(wanted)))
        return 0
    if not arguments.agent or not arguments.index:
        parser.error("an agent and at least one index.json are needed")
    summary, lines = compare(arguments.agent, wanted, load(arguments.agent, arguments.index))
    print("\n".join([summary, *lines]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
