"""Compute every case with PyTorch and store it: python -m tests.reference.make_fixtures."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from tests.reference.cases import FAMILIES
from tests.reference.stored import duplicates, path_of, save
from tests.reference.with_torch import run_torch

SEED = 0


def main() -> None:
    warnings.filterwarnings("ignore", "reduction: 'mean' divides", UserWarning)  # of kl_div
    warnings.filterwarnings("ignore", "enable_nested_tensor is True", UserWarning)
    # in one entry: the file's bytes do not depend on the order of several
    made_by = f"torch {torch.__version__}, numpy {np.__version__}, seed {SEED}"
    for family, cases in FAMILIES.items():
        twice = duplicates(case.name for case in cases)
        assert not twice, f"two cases of one name: {twice}"
        save(family, {case.name: run_torch(case, SEED) for case in cases}, {"made_by": made_by})
        size = path_of(family).stat().st_size
        print(f"{family}: {len(cases)} cases, {size / 1e6:.2f} MB")  # noqa: T201  # a program


if __name__ == "__main__":
    main()
