"""ws-rs's programs as a package below the target directory, built against a crate named `ws`."""

import json
import pathlib
import shutil
import subprocess

VERSION = "0.9.2"

# Cargo's arguments for each way to build.
FEATURES = {"plain": [], "deflate": ["--features", "permessage-deflate"]}

# Only asks cargo for the package: nothing of it is built.
PACKAGE_MANIFEST = f"""\
[workspace]

[package]
name = "package"
edition = "2018"

[lib]
path = "lib.rs"

[dependencies]
ws = "={VERSION}"
"""

# The dependencies are those of the published package's own tests and examples. `ssl` is never on.
PROGRAMS_MANIFEST = """\
[workspace]

[package]
name = "programs"
edition = "2018"
publish = false

[features]
permessage-deflate = ["ws/permessage-deflate"]
ssl = []

[dependencies]
ws = {{ path = {library} }}
clap = "2"
env_logger = "0.6"
log = "0.4"
term = "0.5"
time = "0.1"
url = "2"

[lints.rust]
warnings = "allow"
"""

# What changes in the programs: by file, each line to be replaced, which must be there once.
PATCHES = {
    "pong.rs": {
        "extern crate mio_extras;\n": "",
        "use mio_extras::timer::Timeout;\n": "use ws::util::Timeout;\n",
    },
}


def fetch(work):
    """The directory of cargo's copy of ws-rs, downloaded if it is not there."""
    manifest = work / "package" / "Cargo.toml"
    write(manifest, PACKAGE_MANIFEST)
    write(manifest.with_name("lib.rs"), "")
    host = next(line.split()[1] for line in output("rustc", "-vV").splitlines() if line.startswith("host: "))
    metadata = output(
        "cargo", "metadata", "--format-version", "1", "--filter-platform", host, "--manifest-path", str(manifest)
    )
    package = next(package for package in json.loads(metadata)["packages"] if package["name"] == "ws")
    return pathlib.Path(package["manifest_path"]).parent


def generate(work, package, library, lock):
    """Writes the package of the programs. With `lock`, wireline's, its dependencies are those it is tested with."""
    manifest = work / "programs" / "Cargo.toml"
    write(manifest, PROGRAMS_MANIFEST.format(library=json.dumps(str(library))))
    write(manifest.parent / "src" / "lib.rs", "")
    for folder in ("examples", "tests"):
        for source in (package / folder).glob("*.rs"):
            write(manifest.parent / folder / source.name, patched(source))
    copy = manifest.with_name("Cargo.lock")
    if not copy.exists() or copy.stat().st_mtime < lock.stat().st_mtime:
        shutil.copyfile(lock, copy)


def patched(source):
    text = source.read_text()
    for line, replacement in PATCHES.get(source.name, {}).items():
        if text.count(line) != 1:
            raise SystemExit(f"compat/run: {source} does not have once: {line}")
        text = text.replace(line, replacement)
    return text


def build(work, variant):
    """Builds all programs and copies them to the directory of this name. Returns their paths by name."""
    messages = output(
        *("cargo", "build", "--examples", "--tests", *FEATURES[variant]),
        *("--manifest-path", str(work / "programs" / "Cargo.toml"), "--target-dir", str(work / "build")),
        *("--message-format", "json-render-diagnostics"),
    )
    (work / variant).mkdir()
    paths = {}
    for message in map(json.loads, messages.splitlines()):
        if message["reason"] == "compiler-artifact" and message["target"]["kind"][0] in ("example", "test"):
            name = message["target"]["name"]
            paths[name] = shutil.copy(message["executable"], work / variant / name)
    return paths


def write(path, text):
    """Leaves a file alone that says so already, because cargo goes by the time of the last change."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def output(*command):
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise SystemExit(f"compat/run: {' '.join(command[:2])} failed")
    return result.stdout
