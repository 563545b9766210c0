"""The floor plan of minigrad/ holds: imports run downwards, and each file is about one thing."""

from __future__ import annotations

import ast
import graphlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "minigrad"

# The floor of each room; a file imports from floors below it, and from its own without cycles.
FLOORS = {
    "backend": 0,
    "gathering": 0,
    "tape": 0,
    "op": 1,
    "ops": 2,
    "tensor": 3,
    "autograd": 4,
    "creation": 4,
    "fuse": 4,
    "random": 4,
    "functional": 5,
    "scans": 5,
    "compiled": 6,
    "nn": 6,
    "optim": 6,
    "data": 7,
    "decode": 7,
    "distributed": 7,
    "inspect": 7,
    "io": 7,
    "train": 7,
    "": 8,  # minigrad/__init__.py, which gathers them all
    "testing": 9,  # may import everything, and nobody imports it
}
AT_IMPORT = sys.stdlib_module_names | {"minigrad", "numpy", "safetensors"}
MAX_LINES = 350


class Import(NamedTuple):
    line: int
    target: str
    at_import_time: bool


class ImportFinder(ast.NodeVisitor):
    """Finds every import of one file, those inside functions and for type checkers included."""

    def __init__(self, module: str, is_package: bool, known: set[str]) -> None:
        self.package = module if is_package else module.rpartition(".")[0]
        self.known = known
        self.deferred = 0
        self.found: list[Import] = []

    def add(self, node: ast.AST, target: str) -> None:
        self.found.append(Import(node.lineno, target, not self.deferred))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self.package.split(".")
            base = ".".join([*parts[: len(parts) + 1 - node.level], *filter(None, [base])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            self.add(node, inner if inner in self.known else base)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in {"import_module", "__import__"}:
            for arg in node.args[:1]:
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str):
                    self.add(node, arg.value)
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        for_types = "TYPE_CHECKING" in ast.unparse(node.test)
        self.deferred += for_types
        self.generic_visit(node)
        self.deferred -= for_types

    def visit_FunctionDef(self, node: ast.AST) -> None:
        self.deferred += 1
        self.generic_visit(node)
        self.deferred -= 1

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef


Sources = dict[str, tuple[bool, str]]  # dotted name: (is it a package's __init__, text)


def read_sources(package: Path) -> Sources:
    sources: Sources = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        sources[name] = (is_package, path.read_text(encoding="utf-8"))
    return sources


def find_imports(sources: Sources) -> Iterator[tuple[str, Import]]:
    for module, (is_package, text) in sources.items():
        finder = ImportFinder(module, is_package, set(sources))
        finder.visit(ast.parse(text))
        for found in finder.found:
            yield module, found


def floor_of(module: str) -> int | None:
    room = (module + "..").split(".")[1]
    return FLOORS.get(room)


def is_ours(target: str) -> bool:
    return target.partition(".")[0] == "minigrad"


def floor_faults(sources: Sources) -> list[str]:
    faults = [f"{module} has no row in FLOORS" for module in sources if floor_of(module) is None]
    for module, (line, target, _) in find_imports(sources):
        own, other = floor_of(module), floor_of(target)
        if is_ours(target) and own is not None and (other is None or other > own):
            faults.append(f"{module}:{line} (floor {own}) imports {target} (floor {other})")
    return faults


def find_cycle(sources: Sources) -> list[str]:
    graph: dict[str, set[str]] = {module: set() for module in sources}
    for module, found in find_imports(sources):
        if is_ours(found.target) and found.target != module:
            graph[module].add(found.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def foreign_faults(sources: Sources) -> list[str]:
    return [
        f"{module}:{line} imports {target} at import time"
        for module, (line, target, at_import_time) in find_imports(sources)
        if at_import_time
        and target.partition(".")[0] not in AT_IMPORT
        and not (target.startswith("hypothesis") and module.startswith("minigrad.testing"))
    ]


def docstring_fault(text: str) -> str | None:
    doc = ast.get_docstring(ast.parse(text))
    if not doc:
        return "has no docstring"
    sentence = " ".join(inspect.cleandoc(doc).split("\n\n")[0].split())
    if not sentence.endswith("."):
        return f"has a docstring that does not begin with a sentence: {sentence!r}"
    if re.search(r"(?<!e\.g)(?<!i\.e)(?<!et al)[.!?] +[A-Z]", sentence):
        return f"has a docstring that begins with more than one sentence: {sentence!r}"
    return None


@pytest.fixture(scope="module")
def sources() -> Sources:
    found = read_sources(PACKAGE)
    assert "minigrad" in found, f"no package in {PACKAGE}"
    return found


def test_imports_run_downwards(sources: Sources) -> None:
    assert floor_faults(sources) == []


def test_imports_make_no_cycle(sources: Sources) -> None:
    assert find_cycle(sources) == []


def test_importing_minigrad_takes_numpy_and_safetensors_only(sources: Sources) -> None:
    assert foreign_faults(sources) == []


def test_each_module_says_in_one_sentence_what_it_is_about(sources: Sources) -> None:
    faults = {module: docstring_fault(text) for module, (_, text) in sources.items()}
    assert {module: fault for module, fault in faults.items() if fault} == {}


def test_no_file_is_long(sources: Sources) -> None:
    lengths = {module: len(text.splitlines()) for module, (_, text) in sources.items()}
    assert {module: n for module, n in lengths.items() if n > MAX_LINES} == {}


# The checker itself must be able to fail.


def house(**files: str) -> Sources:
    """A small house: keywords are modules below minigrad, `__` for a dot, `_` for its __init__."""
    sources: Sources = {"minigrad": (True, files.pop("_", ""))}
    for name, text in files.items():
        sources["minigrad." + name.replace("__", ".")] = (False, text)
    return sources


@pytest.mark.parametrize(
    "source",
    [
        "from minigrad.tensor import Tensor",
        "import minigrad.tensor",
        "from minigrad import tensor",
        "from .tensor import Tensor",
        "from . import tensor as t",
        "def late():\n    from minigrad.tensor import Tensor",
        "class C:\n    async def late(self):\n        import minigrad.tensor as t",
        "if TYPE_CHECKING:\n    from minigrad.tensor import Tensor",
        "import importlib\nt = importlib.import_module('minigrad.tensor')",
        "t = __import__('minigrad.tensor')",
    ],
)
def test_an_upward_import_is_caught(source: str) -> None:
    (fault,) = floor_faults(house(op=source, tensor=""))
    assert re.fullmatch(r"minigrad\.op:\d (.*floor 1.*) imports minigrad\.tensor (.*3.*)", fault)


@pytest.mark.parametrize("source", ["import minigrad as mg", "from minigrad import tanh"])
def test_the_roof_and_the_test_kit_are_above_everything(source: str) -> None:
    (fault,) = floor_faults(house(train=source))
    assert "imports minigrad (floor 8)" in fault
    (fault,) = floor_faults(house(_="from minigrad.testing import gradcheck", testing=source))
    assert "minigrad:1 (floor 8) imports minigrad.testing (floor 9)" in fault


def test_downward_and_level_imports_pass() -> None:
    sources = house(
        _="from minigrad.tensor import Tensor",
        op="import minigrad.tape\nfrom numpy import add",
        ops__reduce="from minigrad.op import Op\nfrom minigrad.ops import elementwise",
        ops__elementwise="from ..op import Op",
        tensor="from minigrad.ops import reduce",
        tape="",
        testing="import minigrad as mg",
    )
    assert floor_faults(sources) == []
    assert find_cycle(sources) == []


def test_a_room_without_a_floor_is_caught() -> None:
    assert floor_faults(house(attic="")) == ["minigrad.attic has no row in FLOORS"]


@pytest.mark.parametrize("late", ["", "def late():\n    "])
def test_a_cycle_is_caught(late: str) -> None:
    sources = house(
        nn__cells="from minigrad.nn.linear import Linear",
        nn__linear=f"{late}from minigrad.nn import cells",
    )
    assert set(find_cycle(sources)) == {"minigrad.nn.cells", "minigrad.nn.linear"}


def test_a_foreign_import_is_caught_unless_it_waits() -> None:
    assert foreign_faults(house(data="try:\n    import tqdm\nexcept ImportError:\n    pass")) == [
        "minigrad.data:2 imports tqdm at import time"
    ]
    assert foreign_faults(house(data="def bar():\n    import tqdm\nimport numpy.linalg")) == []
    assert foreign_faults(house(testing="import hypothesis.strategies")) == []
    assert len(foreign_faults(house(nn="import hypothesis.strategies"))) == 1


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("x = 1", "has no docstring"),
        ('"""What an op is"""', "does not begin with a sentence"),
        ('"""What an op is. And a rule."""', "more than one sentence"),
    ],
)
def test_a_docstring_that_is_no_sentence_is_caught(source: str, fault: str) -> None:
    assert fault in (docstring_fault(source) or "")


@pytest.mark.parametrize(
    "source",
    ['"""What an op is."""', '"""One: e.g. LSTM (x.y),\nand more.\n\nThen. More."""'],
)
def test_a_docstring_of_one_sentence_passes(source: str) -> None:
    assert docstring_fault(source) is None
