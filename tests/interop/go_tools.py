#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Go programs that tests run against or compare Capstan with.

    go_tools.py kubelite|istio

builds that module's programs, unless the cache has them, and links them into build/tools. Where they
cannot be had it prints why and ends with 77; dependents say the same (`why_not`). Small programs are
built into build/tools/go/bin by the tests that need them.

Environment: CAPSTAN_TOOLS_DIR (default build/tools), CAPSTAN_CACHE_DIR (default
${XDG_CACHE_HOME:-~/.cache}/capstan), CAPSTAN_GO (the go command, in place of the one that is found).
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = pathlib.Path(os.environ.get("CAPSTAN_TOOLS_DIR") or ROOT / "build" / "tools").absolute()
GO_BIN = TOOLS / "go" / "bin"
SKIPPED = 77
KEPT_SECONDS = 14 * 86400  # an entry of the cache that nobody used for that long goes when a new one comes


class Skipped(SystemExit):
    """Ends a test that cannot run here; the reason is printed."""

    def __init__(self, reason: str):
        super().__init__(SKIPPED)
        self.reason = reason


def skip(reason: str):
    print(f"skipped: {reason}", flush=True)
    raise Skipped(reason)


def find_go() -> str:
    if wanted := os.environ.get("CAPSTAN_GO"):
        go = shutil.which(wanted)
    else:
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if not go:
        skip("Go is not installed, and what this needs is built from Go modules")
    return go


def installed(name: str, package: str) -> pathlib.Path:
    """The program `name` of the Go package "path@version"; a second call costs nothing."""
    program, stamp = GO_BIN / name, GO_BIN / f"{name}.version"
    if program.exists() and stamp.exists() and stamp.read_text() == package:
        return program
    GO_BIN.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(GO_BIN), "GOFLAGS": "-mod=mod"}
    built = subprocess.run([find_go(), "install", package], env=environment, capture_output=True, text=True,
                           timeout=1500, check=False)
    if built.returncode != 0:
        skip(f"go install {package} failed: {built.stderr.strip().splitlines()[-1:] or 'no reason'}")
    stamp.write_text(package)
    return program


def built(name: str, source: pathlib.Path) -> pathlib.Path:
    """A program from one file that needs the standard library alone; built again when the file changes."""
    program = GO_BIN / name
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    GO_BIN.mkdir(parents=True, exist_ok=True)
    result = subprocess.run([find_go(), "build", "-o", str(program), str(source)], capture_output=True, text=True,
                            env={**os.environ, "GO111MODULE": "off"}, timeout=600, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"go build {source}: {result.stderr}")
    return program


def module_folder(module: str) -> pathlib.Path:
    """Where the source of a Go module "path@version" is, downloaded if need be."""
    cache = subprocess.run([find_go(), "env", "GOMODCACHE"], capture_output=True, text=True, check=True).stdout.strip()
    folder = pathlib.Path(cache, module)
    if not folder.is_dir():
        subprocess.run([find_go(), "mod", "download", module], capture_output=True, check=False, cwd=TOOLS)
    if not folder.is_dir():
        skip(f"Go module {module} is not to be had")
    return folder


def cache_folder() -> pathlib.Path:
    if cache := os.environ.get("CAPSTAN_CACHE_DIR"):
        return pathlib.Path(cache).absolute()
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "capstan")


@dataclasses.dataclass(frozen=True)
class GoModule:
    """A Go module of this tree whose build takes minutes: its programs are built once for all trees of a machine.

    In build/tools a link `name` leads to the program of that name; where `sources` names a module, it is a
    folder of links to the programs, with a file `module_dir` that says where that module's own folder is.
    """

    name: str
    folder: pathlib.Path
    packages: dict[str, str]  # program: the package it is built from
    cost: str
    ld_flags: str = "-s -w"
    sources: str = ""

    def flags(self) -> list[str]:
        return ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", self.ld_flags]

    def go(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
        return subprocess.run([find_go(), *arguments], cwd=self.folder, env=environment, text=True,
                              stdin=subprocess.DEVNULL, check=False, **options)

    def version(self) -> str:
        answer = self.go("version", stdout=subprocess.PIPE)
        if answer.returncode != 0:
            skip(f"{find_go()} does not run")
        return answer.stdout.strip()

    def check_version(self, version: str):
        wanted = re.search(r"^go (\S+)$", (self.folder / "go.mod").read_text(), re.MULTILINE)[1]
        has = re.search(r"\bgo(\d+(?:\.\d+)*)", version)
        if has and numbers(has[1]) < numbers(wanted):
            skip(f"Go {has[1]} is too old for {self.name}, which wants {wanted}")

    def key(self, version: str) -> str:
        digest = hashlib.sha256(repr((version, self.flags(), sorted(self.packages.items()))).encode())
        for path in sorted([self.folder / "go.mod", self.folder / "go.sum", *self.folder.glob("*.go")]):
            digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:16]

    def entry(self) -> pathlib.Path:
        """The folder of the cache that has the programs, which are built if need be."""
        version = self.version()
        self.check_version(version)
        cache = cache_folder()
        entry = cache / f"{self.name}-{self.key(version)}"
        if not entry.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            with locked(cache / f"{self.name}.lock", f"another build of {self.name}"):
                if not entry.is_dir():
                    self.build(cache, entry)
                    self.remove_old(cache, entry)
        os.utime(entry)
        return entry

    def build(self, cache: pathlib.Path, entry: pathlib.Path):
        """Makes the entry whole or not at all. The caller holds the lock: what an earlier build left is nobody's."""
        for left in cache.glob(f".{self.name}-*"):
            shutil.rmtree(left)
        fetched = self.go("mod", "download", stderr=subprocess.PIPE)
        if fetched.returncode != 0:
            skip(f"the Go modules of {self.name} are not to be had: {last_line(fetched.stderr)}")
        print(f"building {self.name} from Go modules, {self.cost}, once", flush=True)
        unfinished = pathlib.Path(tempfile.mkdtemp(prefix=f".{self.name}-", dir=cache))
        try:
            unfinished.chmod(0o755)
            parallel = ["-p", os.environ["JOBS"]] if os.environ.get("JOBS") else []
            for program, package in self.packages.items():
                began = time.monotonic()
                made = self.go("build", *parallel, *self.flags(), "-o", str(unfinished / program), package,
                               stderr=subprocess.PIPE)
                if made.returncode != 0:
                    raise RuntimeError(f"go build {package} in {self.folder}: {made.stderr}")
                print(f"built {program} in {time.monotonic() - began:.0f} s", flush=True)
            unfinished.rename(entry)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def remove_old(self, cache: pathlib.Path, new: pathlib.Path):
        """Other trees of the machine may be in use with other sources: only what nobody uses goes."""
        for entry in cache.glob(f"{self.name}-*"):
            if entry != new and entry.stat().st_mtime < time.time() - KEPT_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)

    def provide(self):
        """Links the programs into build/tools. The reason of a skip stays there for `why_not`."""
        TOOLS.mkdir(parents=True, exist_ok=True)
        try:
            entry = self.entry()
            link = TOOLS / self.name
            if self.sources:
                link.mkdir(exist_ok=True)
                for program in self.packages:
                    replace_link(link / program, entry / program)
                (link / "module_dir").write_text(f"{self.source_folder()}\n")
            else:
                replace_link(link, entry / self.name)
        except Skipped as skipped:
            note(self.name).write_text(skipped.reason)
            raise
        note(self.name).unlink(missing_ok=True)
        print(f"{link} is from {entry}")

    def source_folder(self) -> str:
        """Where the sources of `sources` are; Go's own cache of modules may have been emptied meanwhile."""
        listed = ("list", "-m", "-f", "{{.Dir}}", self.sources)
        folder = self.go(*listed, stdout=subprocess.PIPE).stdout.strip()
        if not pathlib.Path(folder or "/nonexistent").is_dir():
            self.go("mod", "download", self.sources)
            folder = self.go(*listed, stdout=subprocess.PIPE).stdout.strip()
        if not pathlib.Path(folder or "/nonexistent").is_dir():
            skip(f"Go module {self.sources} is not to be had")
        return folder


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason was given"])[-1]


@contextlib.contextmanager
def locked(path: pathlib.Path, holder: str):
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for {holder}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def replace_link(link: pathlib.Path, target: pathlib.Path):
    new = link.with_name(f".{link.name}.{os.getpid()}")
    new.symlink_to(target)
    new.replace(link)


def note(name: str) -> pathlib.Path:
    return TOOLS / f"{name}.skipped"


def why_not(name: str) -> str:
    """Why build/tools/NAME is not there, for the message of a skip; "" if it is."""
    if (TOOLS / name).exists():
        return ""
    if note(name).exists():
        return f"no {name}: {note(name).read_text()}"
    return f"no {TOOLS / name}; `python3 tests/interop/go_tools.py {name}` makes it"


KUBERNETES = "v1.36.3"  # as tests/kubelite/go.mod says
KUBERNETES_FLAGS = " ".join([
    "-s -w",
    f"-X k8s.io/component-base/version.gitVersion={KUBERNETES}",
    "-X k8s.io/component-base/version.gitMajor=1",
    "-X k8s.io/component-base/version.gitMinor=36",
    "-X k8s.io/component-base/version.gitTreeState=clean",
    f"-X k8s.io/client-go/pkg/version.gitVersion={KUBERNETES}",
])  # fmt: skip

MODULES = {module.name: module for module in (
    GoModule("kubelite", ROOT / "tests" / "kubelite", {"kubelite": "."}, "about five minutes on two cores",
             KUBERNETES_FLAGS),
    GoModule("istio", ROOT / "tests" / "interop" / "istio", {
        "pilot-agent": "istio.io/istio/pilot/cmd/pilot-agent",
        "pilot-discovery": "istio.io/istio/pilot/cmd/pilot-discovery",
        "istioctl": "istio.io/istio/istioctl/cmd/istioctl",
    }, "about five minutes on two cores", sources="istio.io/istio"),
)}  # fmt: skip


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in MODULES:
        print(f"usage: go_tools.py {'|'.join(MODULES)}", file=sys.stderr)
        return 2
    MODULES[sys.argv[1]].provide()
    return 0


if __name__ == "__main__":
    sys.exit(main())
