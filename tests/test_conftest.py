"""The fixtures that guard every test can fail: each guard is shown what it must catch."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
ROOT = Path(__file__).parent.parent


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A test suite of its own, under our conftest."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\nmarkers =\n    gpu\n    reference\n")
    return pytester


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("mg.set_default_dtype(np.float64)", "default dtype"),
        ("mg.set_default_device('strict')", "default device"),
        ("mg.no_grad().__enter__()", "grad mode"),
        ("np.seterr(under='raise')", "NumPy error state"),
    ],
)
def test_a_leak_is_caught_and_goes_no_further(
    suite: pytest.Pytester, change: str, name: str
) -> None:
    suite.makepyfile(
        f"""
        import numpy as np
        import minigrad as mg

        def test_leaks():
            {change}

        def test_after_it():
            pass
        """
    )
    result = suite.runpytest_subprocess()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines([f"*the test leaks global state: {name} from *"])


def test_a_gpu_test_is_skipped_elsewhere(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.gpu
        def test_kernel():
            raise AssertionError
        """
    )
    result = suite.runpytest_subprocess("-rs", "--backend=strict")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*needs a GPU: run pytest --backend=cupy"])


def test_the_backend_is_the_default_device(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import minigrad as mg

        AT_COLLECTION = mg.get_default_device()

        def test_device(backend):
            assert backend == AT_COLLECTION == mg.get_default_device() == "strict"
        """
    )
    suite.runpytest_subprocess("--backend=strict").assert_outcomes(passed=1)


def test_an_unknown_backend_is_refused(suite: pytest.Pytester) -> None:
    result = suite.runpytest_subprocess("--backend=abacus")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*choose from*numpy*strict*cupy*"])
