# Everything is run from here; `make help` lists the targets.
# The first target that needs Python packages makes .venv (see pyproject.toml for the versions).

PYTHON      ?= python3
# Workers for pytest.
JOBS        ?= auto
# Further package index for torch, for example https://download.pytorch.org/whl/cpu: on Linux, PyPI's
# own build of torch brings several GB of CUDA libraries.
TORCH_INDEX ?=

VENV  := .venv
BIN   := $(VENV)/bin
PY    := $(BIN)/python
# Stands for "the environment is as pyproject.toml says"; every target that runs $(PY) depends on it.
READY := $(VENV)/.ready

# Stands for "the golden packages are as the sources are".
GOLDEN_CURRENT := build/golden/.current

# $(1) a build, or nothing for the first one that holds a package; $(2) golden folders. Prints lines
# "BUILD FOLDER...", and fails where there would be none.
builds_of = $(PY) -m golden.builds $(if $(1),--build $(1)) $(2)

HLS_SOURCES := $(wildcard hls/src/*.cpp)
CXX_FILES   := $(shell find hls -name '*.cpp' -o -name '*.h')

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z_-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

# --- environment and data ------------------------------------------------------------------------

.PHONY: venv
venv: $(READY) ## create or update .venv (the other targets do it by themselves)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v[:2] <= (3, 12) or \
	    sys.exit(f"Python 3.11 or 3.12 is needed, $(PYTHON) is {v[0]}.{v[1]}; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install $(shell sed -nE 's/^installer = \["(.*)"\]/\1/p' pyproject.toml)
	PYNQ_REMOTE=1 $(PY) -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --group dev
	$(PY) -m pip install --no-deps --group hls-headers
	@touch $@

.PHONY: data
data: $(READY) ## fetch ETTh1.csv into data/ from its public home and check it
	$(PY) -m model.data.fetch etth1
	@rm -f $(GOLDEN_CURRENT)

# --- the main job --------------------------------------------------------------------------------

.PHONY: demo
demo: bindings ## forecast in FP32, int8 and HLS C++; one table, and plots in build/demo
	$(PY) -m golden.demo

.PHONY: golden
golden: bindings ## compile the golden packages with every tensor, and report what int8 costs
	$(PY) -m golden
	@touch $(GOLDEN_CURRENT)

# csim and sim want golden packages that are as the sources are, and not their accuracy.
$(GOLDEN_CURRENT): $(wildcard golden/*.py golden/isa/*.py golden/isa/*.toml model/*.py \
    model/data/*.py model/quantization/*.py model/checkpoints/*.safetensors) | $(READY)
	$(PY) -m golden --no-accuracy
	@touch $@

.PHONY: bench
bench: bindings ## windows/s in FP32 and int8, and the time of the selective scan
	$(PY) -m golden.bench

.PHONY: experiments
experiments: bindings ## train, quantize and evaluate forecasters of ETTh1 over four horizons (hours)
	$(PY) -m experiments etth1

.PHONY: isa
isa: $(READY) ## write what is generated from golden/isa: C++ headers, SystemVerilog packages, tables of documents
	$(PY) -m golden.isa.generate

include hls/hls.mk
include rtl/rtl.mk
include model/quantization/quantization.mk
include bitstream_scripts/bitstream.mk
include host/host.mk

# --- checks --------------------------------------------------------------------------------------

.PHONY: test
test: $(READY) ## run the tests, of the RTL a fast subset
	$(PY) -m pytest -n $(JOBS) -m "not slow"

.PHONY: test-full
test-full: test ## run all tests
	$(PY) -m pytest -n $(JOBS) -m slow

.PHONY: lint
lint: $(READY) ## check Python (ruff), C++ layout (clang-format), HLS rules (hls/lint) and the RTL
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	$(PY) -m hls.lint $(HLS_SOURCES)

.PHONY: format
format: $(READY) ## reformat Python, C++ and SystemVerilog in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

# --- housekeeping --------------------------------------------------------------------------------

# Not build/experiments, where python -m experiments keeps hours of training.
.PHONY: clean
clean: ## remove what is built (build/ and caches), keep .venv, data and build/experiments
	if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name experiments -exec rm -rf {} +; fi
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## clean, and remove .venv and build/experiments
	rm -rf $(VENV) build
