"""What the documents say is true: their code runs, their commands exist, their paths are ours."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import minigrad as mg

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
MODULES = [
    "minigrad",
    *(found.name for found in pkgutil.walk_packages(mg.__path__, prefix="minigrad.")),
]

FENCE = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>`{3,})(?P<language>\w*)[^\n]*\n"
    r"(?P<body>.*?)"
    r"^(?P=indent)(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)

# In two pieces, so that this file does not hold what it forbids.
MACHINE_PATHS = ["/" + rest for rest in ("work/", "root/", "farm/", "tmp/bash", "tmp/w/")]


def blocks(text: str, *languages: str) -> Iterator[tuple[int, str]]:
    """Yield the line number and the code of each fenced block in one of `languages`."""
    for found in FENCE.finditer(text):
        if found["language"] in languages:
            line = text.count("\n", 0, found.start("body"))
            yield line, textwrap.dedent(found["body"])


def run_blocks(text: str, name: str) -> None:
    """Run the python blocks of a document, in one namespace."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for line, code in blocks(text, "python"):
        # The empty lines make a traceback point to the document's own line.
        exec(compile("\n" * line + code, name, "exec"), namespace)


def make_targets_named(text: str) -> set[str]:
    """Give each TARGET of a `make TARGET` in a shell block or in code between backticks."""
    shell = "\n".join(code for _, code in blocks(text, "console", "bash", "sh", "shell"))
    spans = "\n".join(re.findall(r"`([^`\n]+)`", FENCE.sub("", text)))
    named = re.findall(r"^[$ ]*make((?: +[^\s#&|;]+)+)", f"{shell}\n{spans}", re.MULTILINE)
    return {word for words in named for word in words.split() if re.fullmatch(r"[a-z][\w-]*", word)}


def machine_paths_in(text: str) -> list[str]:
    return [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), start=1)
        if any(path in line for path in MACHINE_PATHS)
    ]


@pytest.fixture
def on_cpu(backend: str) -> None:
    if backend != "numpy":
        pytest.skip("documents speak of the default backend and are run on it: --backend=numpy")


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_code_of_a_document_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("name", MODULES)
def test_the_doctests_of_a_module_pass(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=options).failed == 0


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    existing = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    named = make_targets_named((ROOT / "README.md").read_text(encoding="utf-8"))
    assert named
    assert named <= existing


def test_no_tracked_file_names_a_path_of_a_developers_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is tracked is unknown")
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    faults: dict[str, list[str]] = {}
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content and (found := machine_paths_in(content.decode(errors="replace"))):
            faults[name] = found
    assert faults == {}


# The checks themselves must be able to fail.

DOCUMENT = """
Call `make demo` once; you may make nothing of it.

```python
x = 1
```

- in a list:

  ```python
  x += 1
  assert x == {expected}
  ```

```text
make neither(
```

```console
$ make test WORKERS=4
$ make  bench   # slow
```
"""


def test_blocks_share_a_namespace_and_report_the_documents_line() -> None:
    run_blocks(DOCUMENT.format(expected=2), "right.md")
    with pytest.raises(AssertionError) as caught:
        run_blocks(DOCUMENT.format(expected=3), "wrong.md")
    last = caught.traceback[-1]
    assert DOCUMENT.splitlines()[last.lineno].strip() == "assert x == {expected}"


def test_make_targets_are_found_in_code_only() -> None:
    assert make_targets_named(DOCUMENT) == {"demo", "test", "bench"}


def test_a_machine_path_is_caught() -> None:
    text = "fine: framework/x\nopened /" + "root/x\n"
    assert machine_paths_in(text) == ["line 2: opened /" + "root/x"]
