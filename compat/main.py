"""Builds ws-rs's programs and tries them one after the other; see the file `run`."""

import argparse
import os
import pathlib
import resource
import shutil
import signal
import sys
import time

import build
import programs
from exercise import Exercise

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    allow_open_files()

    work = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute() / "compat"
    package = build.fetch(work)
    library = package if options.library == "original" else pathlib.Path(options.library).resolve()
    build.generate(work, package, library, ROOT / "Cargo.lock")

    known = {path.stem for folder in ("examples", "tests") for path in (package / folder).glob("*.rs")}
    tried = {name for names, _, _ in programs.EXERCISES for name in names}
    if tried != known:
        sys.exit(f"compat/run: not the programs that are published: {sorted(tried ^ known)}")
    if unknown := set(options.programs) - known:
        sys.exit(f"compat/run: no such program: {sorted(unknown)}")
    selected = [entry for entry in programs.EXERCISES if not options.programs or set(entry[0]) & set(options.programs)]

    built = {}
    for variant in dict.fromkeys(variant for _, variant, _ in selected):
        shutil.rmtree(work / variant, ignore_errors=True)
        built[variant] = build.build(work, variant)

    failed = [name for entry in selected for name in attempt(*entry, built, library == package)]
    print(f"failed: {', '.join(failed)}" if failed else "all work")
    sys.exit(1 if failed else 0)


def parse():
    parser = argparse.ArgumentParser(prog="compat/run", description="Runs ws-rs's programs on wireline.")
    parser.add_argument("--library", default=ROOT / "compat" / "ws", metavar="DIRECTORY|original")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM")
    return parser.parse_args()


def allow_open_files():
    """As many as may be, for the 10 000 connections of bench."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def attempt(names, variant, function, built, original):
    """Tries what is listed in EXERCISES and returns the names that fail: all of these or none."""
    started = time.monotonic()
    exercise = Exercise(names, built[variant], original)
    try:
        with exercise:
            function(exercise)
        failure = None
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - started
    for name in names:
        print(f"{'FAILED' if failure else 'ok':6} {seconds:6.1f} s  {name}, {variant}", flush=True)
    if failure:
        print(f"  {failure}")
        print("".join(f"  | {line}\n" for line in exercise.transcript().splitlines()), end="", flush=True)
    return names if failure else []


if __name__ == "__main__":
    main()
