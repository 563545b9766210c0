"""Every NumPy name that minigrad uses, and every keyword, is known to CuPy and to `strict`."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from minigrad import ops
from minigrad.backend import Backend
from minigrad.backend.cupy_names import ATTRIBUTES, FUNCTIONS, METHODS, UFUNCS
from minigrad.ops import Elementwise

PACKAGE = Path(__file__).parents[2] / "minigrad"
NAMESPACES = {"xp", "backend", "backend_of", "get_backend"}  # what gives an array namespace
AT_HOME = {"numpy_.py", "cupy_.py", "strict.py"}  # the backends know their own module
KNOWN = UFUNCS | FUNCTIONS
OURS = {"module", *Backend.__annotations__, *vars(Backend)}

# CuPy's wheel imports without a GPU.
needs_cupy = pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None, reason="needs cupy: pip install cupy-cuda12x"
)


class Use(NamedTuple):
    """A name of an array namespace, with the keywords that a call gives it."""

    where: str
    name: str
    keywords: Set[str]


def uses_in(text: str, file: str, namespaces: Set[str]) -> Iterator[Use]:
    tree = ast.parse(text)
    given = {id(n.func): n.keywords for n in ast.walk(tree) if isinstance(n, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _name(node.value) in namespaces:
            keywords = {k.arg for k in given.get(id(node), ()) if k.arg}
            yield Use(f"{file}:{node.lineno}", node.attr, keywords)


def _name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Call):
        return _name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def package_uses() -> list[Use]:
    """What minigrad/ writes out, and the ufuncs that its elementwise ops look up by name."""
    found: list[Use] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name != "backend" or path.name not in AT_HOME:
            own = {"self"} if path.name == "base.py" and path.parent.name == "backend" else set()
            found += uses_in(path.read_text(encoding="utf-8"), path.name, NAMESPACES | own)
    for op in vars(ops).values():
        if isinstance(op, Elementwise) and op.expand is None:
            found.append(Use(f"the op {op.name}", op.ufunc, set()))
    return [use for use in found if use.name not in OURS]


def faults(found: Iterable[Use], known: Mapping[str, Set[str]]) -> list[str]:
    """Uses of names, or of keywords, that are not in the table."""
    wrong = [f"{use.where} uses {use.name}" for use in found if use.name not in known]
    for use in found:
        for keyword in sorted(use.keywords - known.get(use.name, use.keywords)):
            wrong.append(f"{use.where} uses {use.name}(… {keyword}=)")
    return wrong


def test_strict_knows_all_that_is_used() -> None:
    found = package_uses()
    assert len({use.name for use in found}) > 50, "the collector finds next to nothing"
    assert faults(found, KNOWN) == []


def test_the_collector_can_fail() -> None:
    text = (
        "def f(xp, x):\n"
        "    y = xp.trapezoid(x)\n"
        "    z = backend_of(x).sum(x, initial=0)\n"
        "    return xp.cumsum(y, axis=0, where=z), self.backend.lib.f(x), x.ravel()\n"
    )
    assert set(faults(list(uses_in(text, "f.py", NAMESPACES)), KNOWN)) == {
        "f.py:2 uses trapezoid",
        "f.py:3 uses sum",
        "f.py:4 uses lib",
        "f.py:4 uses cumsum(… where=)",
    }


# ---- CuPy itself ---------------------------------------------------------------------------------


def keywords_of(function: Any) -> Set[str]:
    """The arguments of a CuPy function, or of a method: compiled, with its head as docstring."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        inner = re.search(r"\((.*?)\)", function.__doc__)
        assert inner, f"no head in {function.__doc__!r}"
        return {part.split("=")[0].split()[-1] for part in inner[1].split(",")}
    return set(parameters)


@needs_cupy
def test_cupy_has_the_ufuncs() -> None:
    import cupy

    # each takes out, dtype and casting
    assert {n for n in UFUNCS if not isinstance(getattr(cupy, n, None), cupy.ufunc)} == set()


@needs_cupy
@pytest.mark.parametrize(("owner", "table"), [("cupy", FUNCTIONS), ("cupy.ndarray", METHODS)])
def test_cupy_has_the_functions_and_their_keywords(owner: str, table: Mapping[str, Any]) -> None:
    import cupy

    home = cupy if owner == "cupy" else cupy.ndarray
    lacking = {
        name: names - keywords_of(getattr(home, name))
        for name, names in table.items()
        if "kwargs" not in keywords_of(getattr(home, name))
    }
    assert {name: names for name, names in lacking.items() if names} == {}


@needs_cupy
def test_cupy_has_the_attributes() -> None:
    import cupy

    assert set(dir(cupy.ndarray)) >= ATTRIBUTES


@needs_cupy
def test_cupy_has_what_its_backend_calls() -> None:
    import cupy
    from cupyx.scipy import special

    assert isinstance(special.erf, cupy.ufunc)
    assert callable(cupy.ndarray.scatter_add)
    assert callable(cupy.cuda.Device.synchronize)
    assert "preamble" in (cupy.ElementwiseKernel.__doc__ or "")
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, RuntimeError)
