# What people and CI run. `make demo` and `make test` each set up all they need and reuse what stands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --no-build-isolation --constraint .ci/constraints.txt
NATIVE := CMakeLists.txt pyproject.toml $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu')
# -S leaves out the editable install, whose finder shows the whole checkout below fastrl.
SITE = $(wildcard $(VENV)/lib/python3*/site-packages)
WHEEL = $(wildcard build/cp3*)
CPP := $(shell find csrc tests/cpp -name '*.cpp' -o -name '*.h' -o -name '*.cu')

# Warnings are errors where nobody would see them scroll by.
ifdef CI
export SKBUILD_CMAKE_DEFINE := FASTRL_WERROR=ON
endif

.PHONY: help setup build format lint types stubs test test-cpp test-gpu sanitize parity bench demo clean
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMPS)/venv:
	$(PYTHON) -c 'import sys; sys.exit("fastrl needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV) || { echo 'no venv module: apt-get install python3-venv'; exit 1; }
	$(PIP) install --quiet --upgrade pip
	$(PIP) install --quiet --group build
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/train: $(STAMPS)/venv pyproject.toml
	$(INSTALL) -e '.[train]'
	@touch $@

$(STAMPS)/test: $(STAMPS)/venv pyproject.toml
	$(INSTALL) -e '.[train,trl]' --group test
	@touch $@

$(STAMPS)/lint: $(STAMPS)/venv pyproject.toml
	$(INSTALL) --group lint
	@touch $@

# The first install above has built everything; later changes of native code come here.
$(STAMPS)/native: $(NATIVE)
	$(INSTALL) --no-deps -e .
	@touch $@

setup: $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/native ## everything for development, in .venv

build: $(STAMPS)/venv $(STAMPS)/native ## rebuild the native module after a change

format: $(STAMPS)/lint ## rewrite Python and C++ in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CPP)

lint: $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/native ## style, spelling, C++ analysis and layers; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/codespell
	PYTHONPATH=python:$(SITE) $(BIN)/python -S $(BIN)/lint-imports
	$(BIN)/cmake -S . -B build/tidy -G Ninja -DFASTRL_PYTHON=OFF -DFASTRL_TESTS=ON -DFASTRL_CUDA=OFF \
	  -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja > /dev/null
	printf '%s\n' $(filter %.cpp,$(filter-out csrc/python/%,$(CPP))) | xargs -P 2 -n 1 $(BIN)/clang-tidy --quiet -p build/tidy

types: $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/native ## mypy --strict
	$(BIN)/mypy

stubs: $(STAMPS)/native ## regenerate the typed stub of the native module
	$(BIN)/python -m nanobind.stubgen -q -m fastrl._core -o python/fastrl/_core.pyi

test: $(STAMPS)/test $(STAMPS)/native test-cpp ## the whole test suite
	$(BIN)/python -m pytest

define run_cpp_tests
	$(BIN)/cmake --build $(1) --target fastrl_tests > $(1)/tests.log || { cat $(1)/tests.log; exit 1; }
	$(1)/fastrl_tests
endef
define sanitized_cpp_tests
	$(BIN)/cmake -S . -B build/cpp-$(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DFASTRL_PYTHON=OFF \
	  -DFASTRL_TESTS=ON -DFASTRL_CUDA=OFF -DFASTRL_WERROR=$(if $(CI),ON,OFF) -DFASTRL_SANITIZE=$(1) > /dev/null
	$(call run_cpp_tests,build/cpp-$(1))
endef

# With the objects that the native module is linked from.
test-cpp: $(STAMPS)/venv $(STAMPS)/native ## the C++ tests alone
	$(BIN)/cmake -S . -B $(WHEEL) -DFASTRL_TESTS=ON > /dev/null
	$(call run_cpp_tests,$(WHEEL))

test-gpu: $(STAMPS)/test $(STAMPS)/native ## the tests that need a CUDA GPU
	$(BIN)/python -m pytest -m gpu

sanitize: $(STAMPS)/venv ## the C++ tests under ASan with UBSan, then under TSan
	$(call sanitized_cpp_tests,address)
	$(call sanitized_cpp_tests,thread)

parity: $(STAMPS)/test $(STAMPS)/native ## compare with Gymnasium bit for bit, at length; writes benchmarks/results/parity_envs.md
	$(BIN)/python benchmarks/parity_envs.py

bench: $(STAMPS)/test $(STAMPS)/native ## the quick benchmarks; each file under benchmarks/ has its own options
	$(BIN)/python benchmarks/bench_log_probs.py
	$(BIN)/python benchmarks/bench_policy_losses.py
	$(BIN)/python benchmarks/bench_advantages.py
	$(BIN)/python benchmarks/bench_envs.py

demo: $(STAMPS)/train $(STAMPS)/native ## train R³L and GRPO side by side on a native text environment
	$(BIN)/fastrl demo --out demo

clean: ## remove the environment and all build output
	rm -rf $(VENV) build dist demo
