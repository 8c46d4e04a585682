#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds proto/compat to upstream's own descriptors, field by field.

proto/compat has subsets of other projects' protocols, written anew under upstream's names. What we
leave out is our choice; whatever is there must be upstream's exactly: package, message, field number,
type, label, oneof, enum value, method, streaming. Upstream's word is taken from the PyPI package
xds-protos (Envoy, google.rpc) and from the Go module istio.io/api (Istio's certificate service and proxy configuration).
"""

import copy
import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

TREE = pathlib.Path(__file__).resolve().parents[2]
COMPAT = TREE / "proto" / "compat"
TOOLS = pathlib.Path(os.environ.get("CAPSTAN_TOOLS_DIR") or TREE / "build" / "tools")
SKIPPED = 77

ISTIO_API = "istio.io/api@v1.31.1"
ISTIO_API_SUM = "h1:5Yb5ihcz4YQsCkciusK7DnFpBMwRB6EFWeUKH1Atuyk="
ISTIO_FILES = ("security/", "mesh/")  # files of proto/compat that come from that module


def enter_venv():
    """Goes on in the Python that has xds-protos: the one of the tools folder, if it is there."""
    python = TOOLS / "venv" / "bin" / "python"
    if python.exists() and pathlib.Path(sys.prefix).resolve() != (TOOLS / "venv").resolve():
        os.execv(python, [str(python), *sys.argv])
    try:
        importlib.import_module("envoy.config.core.v3.base_pb2")
    except ImportError as error:
        print(f"skipped: upstream's descriptors are not here ({error}); ./dev install test brings xds-protos")
        sys.exit(SKIPPED)


if __name__ == "__main__":
    enter_venv()

from google.protobuf import descriptor_pb2  # noqa: E402

Field = descriptor_pb2.FieldDescriptorProto


def compile_protos(root: pathlib.Path, names: list[str]) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Descriptors of the named files below root, as protoc sees them; what they import may be in common-protos."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "set")
        paths = [f"--proto_path={path}" for path in (root, root / "common-protos") if path.is_dir()]
        command = ["protoc", *paths, "--include_imports", f"--descriptor_set_out={out}", *names]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return {file.name: file for file in files if file.name in names}


def our_files() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    return compile_protos(COMPAT, sorted(path.relative_to(COMPAT).as_posix() for path in COMPAT.rglob("*.proto")))


def upstream_python(name: str) -> descriptor_pb2.FileDescriptorProto | None:
    """Upstream's descriptor of a file from the generated Python modules; None: upstream has no such file."""
    try:
        module = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    except ModuleNotFoundError:
        return None
    return descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)


def upstream_istio(names: list[str]) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Upstream's descriptors of those files of istio.io/api; SkipTest where the module cannot be had."""
    if not shutil.which("go"):
        raise unittest.SkipTest(f"Go is not here, which would fetch {ISTIO_API}")
    with tempfile.TemporaryDirectory() as empty:
        run = subprocess.run(
            ["go", "mod", "download", "-json", ISTIO_API], cwd=empty, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=300, env={**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"},
        )  # fmt: skip
    module = json.loads(run.stdout) if run.stdout.startswith("{") else {}
    if run.returncode or "Dir" not in module:
        raise unittest.SkipTest(f"Go cannot fetch {ISTIO_API}: {module.get('Error') or run.stderr.strip()}")
    if module["Sum"] != ISTIO_API_SUM:
        raise AssertionError(f"{ISTIO_API} has the checksum {module['Sum']}, not {ISTIO_API_SUM}")
    return compile_protos(pathlib.Path(module["Dir"]), names)


class Comparison:
    """Collects every way in which a file of ours says something upstream's does not."""

    def __init__(self, ours, theirs):
        self.problems: list[str] = []
        self.ours, self.theirs = ours, theirs
        self.same("", "package", ours.package, theirs.package)
        self.same("", "syntax", ours.syntax, theirs.syntax)
        if ours.extension:
            self.problem("", "extensions are not compared, so there may be none")
        self.messages("", ours.message_type, theirs.message_type)
        self.enums("", ours.enum_type, theirs.enum_type)
        self.services(ours.service, theirs.service)

    def problem(self, where: str, what: str):
        self.problems.append(f"proto/compat/{self.ours.name}: {where}{': ' if where else ''}{what}")

    def same(self, where: str, what: str, ours, theirs):
        if ours != theirs:
            self.problem(where, f"{what} is {ours!r}, upstream's is {theirs!r}")

    def pairs(self, where: str, kind: str, ours, theirs):
        """Ours with upstream's of the same name; one that upstream does not have is a problem."""
        by_name = {item.name: item for item in theirs}
        for item in ours:
            path = f"{where}.{item.name}" if where else item.name
            if item.name in by_name:
                yield path, item, by_name[item.name]
            else:
                self.problem(path, f"upstream has no such {kind}")

    def messages(self, where, ours, theirs):
        for path, mine, other in self.pairs(where, "message", ours, theirs):
            self.same(path, "map_entry", mine.options.map_entry, other.options.map_entry)
            for name, field, upstream in self.pairs(path, "field", mine.field, other.field):
                self.field(name, field, upstream, oneof_of(mine, field), oneof_of(other, upstream))
            self.messages(path, mine.nested_type, other.nested_type)
            self.enums(path, mine.enum_type, other.enum_type)

    def field(self, where, ours, theirs, our_oneof, their_oneof):
        self.same(where, "number", ours.number, theirs.number)
        self.same(where, "type", Field.Type.Name(ours.type), Field.Type.Name(theirs.type))
        self.same(where, "type name", ours.type_name, theirs.type_name)
        self.same(where, "label", Field.Label.Name(ours.label), Field.Label.Name(theirs.label))
        self.same(where, "optional", ours.proto3_optional, theirs.proto3_optional)
        self.same(where, "oneof", our_oneof, their_oneof)
        self.same(where, "packed", packed(ours), packed(theirs))

    def enums(self, where, ours, theirs):
        for path, mine, other in self.pairs(where, "enum", ours, theirs):
            for name, value, upstream in self.pairs(path, "value", mine.value, other.value):
                self.same(name, "number", value.number, upstream.number)

    def services(self, ours, theirs):
        for path, mine, other in self.pairs("", "service", ours, theirs):
            for name, method, upstream in self.pairs(path, "method", mine.method, other.method):
                for what in ("input_type", "output_type", "client_streaming", "server_streaming"):
                    self.same(name, what, getattr(method, what), getattr(upstream, what))


def oneof_of(message, field) -> str:
    return message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""


def packed(field):
    return field.options.packed if field.options.HasField("packed") else None


def every_message(messages):
    for message in messages:
        yield message
        yield from every_message(message.nested_type)


def wrong_field_values(field) -> dict:
    """For each property of a field, a value that is not upstream's."""
    wrong = {
        "number": field.number + 1000,
        "name": field.name + "x",
        "type": Field.TYPE_BYTES if field.type == Field.TYPE_FIXED32 else Field.TYPE_FIXED32,
        "label": Field.LABEL_OPTIONAL if field.label == Field.LABEL_REPEATED else Field.LABEL_REPEATED,
        "proto3_optional": not field.proto3_optional,
    }
    if field.type_name:
        wrong["type_name"] = field.type_name + "X"
    return wrong


def typos(file):
    """Every single property of a descriptor made wrong: (what, how to make it so in a copy)."""
    yield "package", lambda f: setattr(f, "package", f.package + "x")
    for index, message in enumerate(every_message(file.message_type)):

        def there(f, index=index):
            return list(every_message(f.message_type))[index]

        yield f"{message.name}: name", lambda f, there=there: setattr(there(f), "name", there(f).name + "X")
        for at, field in enumerate(message.field):
            for what, value in wrong_field_values(field).items():
                yield (
                    f"{message.name}.{field.name}: {what}",
                    lambda f, there=there, at=at, what=what, value=value: setattr(there(f).field[at], what, value),
                )
            if field.HasField("oneof_index"):
                yield (
                    f"{message.name}.{field.name}: oneof",
                    lambda f, there=there, at=at: there(f).field[at].ClearField("oneof_index"),
                )
        yield from enum_typos(message.enum_type, there)
    yield from enum_typos(file.enum_type, lambda f: f)
    for at, service in enumerate(file.service):
        for number, method in enumerate(service.method):
            for what in ("client_streaming", "server_streaming", "input_type", "output_type"):
                value = getattr(method, what)
                yield (
                    f"{service.name}.{method.name}: {what}",
                    lambda f, at=at, number=number, what=what, value=value: setattr(
                        f.service[at].method[number], what, value + "X" if isinstance(value, str) else not value
                    ),
                )


def enum_typos(enums, owner):
    """Typos in the enums of a file or message; `owner` finds it in a copy of the file."""
    for at, enum in enumerate(enums):
        for number, value in enumerate(enum.value):
            for what, wrong in (("number", value.number + 1000), ("name", value.name + "X")):
                yield (
                    f"{enum.name}.{value.name}: {what}",
                    lambda f, at=at, number=number, what=what, wrong=wrong: setattr(
                        owner(f).enum_type[at].value[number], what, wrong
                    ),
                )


class WireCompatTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.files = our_files()

    def from_istio(self):
        return {name: file for name, file in self.files.items() if name.startswith(ISTIO_FILES)}

    def from_python(self):
        return {name: file for name, file in self.files.items() if not name.startswith(ISTIO_FILES)}

    def compare(self, name, upstream):
        self.assertIsNotNone(upstream, f"proto/compat/{name}: upstream has no file of this name")
        problems = Comparison(self.files[name], upstream).problems
        self.assertFalse(problems, "\n" + "\n".join(problems))

    def plant(self, name, upstream):
        for what, make_wrong in typos(self.files[name]):
            with self.subTest(name, typo=what):
                wrong = copy.deepcopy(self.files[name])
                make_wrong(wrong)
                self.assertTrue(Comparison(wrong, upstream).problems, "the typo was not found")

    def test_envoy_and_google_rpc(self):
        self.assertTrue(self.from_python(), "nothing to compare in proto/compat")
        for name in self.from_python():
            with self.subTest(name):
                self.compare(name, upstream_python(name))

    def test_istio(self):
        upstream = upstream_istio(list(self.from_istio()))
        for name in self.from_istio():
            with self.subTest(name):
                self.compare(name, upstream.get(name))

    def test_every_planted_typo_is_found(self):
        for name in self.from_python():
            self.plant(name, upstream_python(name))

    def test_every_planted_typo_is_found_in_istio(self):
        for name, upstream in upstream_istio(list(self.from_istio())).items():
            self.plant(name, upstream)


if __name__ == "__main__":
    unittest.main()
