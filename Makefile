# What one runs in this repository. Each environment is a folder beside this file; `make clean`
# removes them. Another interpreter: make PYTHON=python3.12 TARGET

PYTHON ?= python3
WORKERS ?= 2

DEMO := .venv/train.stamp
DEV := .venv/dev.stamp
REFERENCE := .venv-reference/dev,reference.stamp
BENCH := .venv-bench/peers.stamp

PYTEST := .venv/bin/python -m pytest -n $(WORKERS)

# What compiled kernels and loops can change.
NATIVE := tests/backend tests/scans tests/fuse tests/compiled tests/examples tests/test_tape.py \
	tests/nn/test_scan.py tests/nn/test_recurrent.py tests/nn/test_masks.py tests/nn/test_product.py

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DELETE_ON_ERROR:
.PHONY: help demo test test-reference intense bench clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

demo: $(DEMO) ## train a small character model
	.venv/bin/python examples/char_lm.py

# One BLAS thread in each worker: two thread pools on two cores only wait for each other.
test test-reference intense: export OPENBLAS_NUM_THREADS = 1
test test-reference intense: export OMP_NUM_THREADS = 1
test test-reference: export HYPOTHESIS_PROFILE = ci
intense: export HYPOTHESIS_PROFILE = intense

test: $(DEV) ## format, lint, types, the quick tests on both CPU backends, a part with native kernels
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/pyright --pythonpath .venv/bin/python
	$(PYTEST)
	$(PYTEST) --backend=strict
	@if command -v $(CC) > /dev/null; then $(PYTEST) --backend=native $(NATIVE); \
	else echo "native kernels left out: there is no C compiler" >&2; fi

test-reference: $(REFERENCE) ## compare with PyTorch, live
	.venv-reference/bin/python -m pytest -n $(WORKERS) tests/reference

intense: $(DEV) ## the tests with many more examples, on both CPU backends
	$(PYTEST)
	$(PYTEST) --backend=strict

bench: $(BENCH) ## measure against other frameworks; ARGS="--rows W5 --quick" says what and how
	.venv-bench/bin/python -m benchmarks.run $(ARGS)

clean: ## remove the environments and every cache
	rm -rf .venv .venv-reference .venv-bench .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

CHECK_PYTHON = @$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "minigrad needs Python 3.11 or newer, and $(PYTHON) is \"$$($(PYTHON) --version 2>&1 | head -n 1)\": name another one, as in make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }

# A stamp is named after the extras that its environment holds: .venv/dev.stamp is `.[dev]`.
$(DEMO) $(DEV) $(REFERENCE): pyproject.toml
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --editable '.[$(basename $(@F))]'
	@touch $@

# A peer that will not install is left out, and the report says so.
$(BENCH): pyproject.toml benchmarks/peers.txt
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --editable .
	@for peer in $$(cat benchmarks/peers.txt); do $(@D)/bin/python -m pip install --quiet "$$peer" || echo "not installed: $$peer" >&2; done
	@touch $@
