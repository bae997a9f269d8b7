# Everything is run from here; `make help` lists the targets.
#
# A line `##@ GROUP` says, here and in the .mk files, to which group of `make help` the targets below
# it belong. The groups, in order:
##@ Environment and data
##@ Forecasts
##@ Hardware with open tools
##@ Hardware with vendor tools
##@ The board, real or virtual
##@ Checks
##@ Generated files
##@ Housekeeping

# The first target that needs Python packages makes .venv (see pyproject.toml for the versions).

# The Python that makes .venv, for example python3.12. Without it: the first of PYTHONS that can.
PYTHON      ?=
PYTHONS     := python3 python3.14 python3.13 python3.12 python3.11
# Workers for pytest.
JOBS        ?= auto
# Data sets that `make data` fetches.
DATA        ?= etth1
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
# "BUILD FOLDER...", which a shell is to evaluate, and fails where there would be none.
builds_of = $(PY) -m isa.fitting $(if $(1),--build $(1)) $(2)

# V=1 shows the compilers' commands. Without it: $(call quiet,CXX,FILE) before a command shows a line
# in its place, or nothing under make -s.
has_option = $(findstring $(1),$(firstword -$(MAKEFLAGS)))
quiet = $(if $(filter-out 0,$(V)),,@$(if $(call has_option,s),,echo '$(1) $(2)';))

# Where two runs of make in one checkout want the same files, the second waits, and then looks anew
# at what is left to do: $(call locked,FOLDER,COMMAND). 201 is a status that no make has.
locked = (mkdir -p $(1); status=0; flock -n -E 201 $(1) $(2) || status=$$?; \
    if [ $$status = 201 ]; then \
        echo 'make: waiting for another make in this checkout' >&2; flock $(1) $(2); \
    else exit $$status; fi)

# $(call locked_make,FOLDER,NAME): the recipe of a target that is made under the lock, by a make for
# which LOCKED is NAME.
locked_make = +@$(call locked,$(1),$(MAKE) --no-print-directory LOCKED=$(2) $@)

# A plain `make` compiles on all cores, too; the number of jobs that a user gives counts.
PARALLEL_MAKE = $(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

HLS_SOURCES := $(wildcard hls/src/*.cpp)
CXX_FILES   := $(shell find hls host tests -name '*.cpp' -o -name '*.h')

.DEFAULT_GOAL := help
# What a recipe that failed or was interrupted has begun is no result.
.DELETE_ON_ERROR:

# Shells and programs take these characters for something else, or there can be no environment.
define REFUSE_PATH
case "$$(pwd -P)" in \
    *[:\"\\\`]*|*'$$'*|*[[:cntrl:]]*) echo refuse;; \
    *[!A-Za-z0-9_./+,@=-]*) echo odd;; \
esac
endef
PATH_KIND := $(shell LC_ALL=C; $(REFUSE_PATH))
ifeq ($(PATH_KIND),refuse)
$(error the path of the checkout, $(CURDIR), has one of : $$ " ` \ or a control character, which \
    the tools cannot take; move it elsewhere)
endif

BUILDS := $(notdir $(wildcard hls/build/*))
ifneq ($(filter-out $(BUILDS),$(BUILD)),)
$(error BUILD=$(BUILD): no such build; choose one of $(BUILDS) (isa/builds.toml))
endif
ifneq ($(word 2,$(BUILD)),)
$(error BUILD=$(BUILD): expected one of $(BUILDS))
endif

##@ Housekeeping
.PHONY: help
help: ## list the targets
	@awk '/^##@ / { group = substr($$0, 5); if (!(group in text)) { order[++n] = group; text[group] = "" } } \
	    /^[a-z_-]+:.*## / { name = $$0; sub(/:.*/, "", name); sub(/.*## /, ""); \
	        text[group] = text[group] sprintf("  %-16s%s\n", name, $$0) } \
	    END { for (i = 1; i <= n; i++) printf "%s%s\n%s", (i > 1) ? "\n" : "", order[i], text[order[i]] }' \
	    $(MAKEFILE_LIST)

# --- environment and data ------------------------------------------------------------------------

##@ Environment and data
.PHONY: venv
venv: $(READY) ## create or update .venv (the other targets do it by themselves)

# ensurepip is what Debian's python3 has not without python3-venv.
define FIND_PYTHON
for python in $(or $(PYTHON),$(PYTHONS)); do \
    "$$python" -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' \
        2>/dev/null && break; \
    python=; \
done; \
if [ -z "$$python" ]; then \
    echo "make: $(or $(PYTHON),none of $(PYTHONS)) is no Python 3.11 to 3.14 with venv." \
        "Debian and Ubuntu: apt install python3-venv python3-dev. Where there is no such Python:" \
        "pip install uv (or pipx, or your distribution's package), uv python install 3.13," \
        "and make PYTHON=\$$(uv python find 3.13)" >&2; \
    exit 1; \
fi
endef

# pip's setting `user = true`, of the environment or of a file, does not go with an environment.
$(READY): export PIP_USER = 0

# What an interrupted installation left is cleared; a complete one is brought up to date.
ifneq ($(LOCKED),venv)
$(READY): pyproject.toml
	$(call locked_make,.,venv)
else
$(READY): pyproject.toml
	@$(FIND_PYTHON); \
	echo "$(VENV): with $$(command -v "$$python"), $$("$$python" --version)"; \
	"$$python" -m venv $$([ -e $@ ] || echo --clear) $(VENV)
	$(PY) -m pip install $(shell sed -nE 's/^installer = \["(.*)"\]/\1/p' pyproject.toml)
	$(PY) -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --group dev
	PYNQ_REMOTE=1 $(PY) -m pip install --no-deps --group pynq --group hls-headers
	@touch $@
endif

.PHONY: data
data: $(READY) ## fetch data sets into data/ and check them: ETTh1, or DATA="etth2 ettm1 ettm2 weather electricity traffic"
	$(PY) -m model.data.fetch $(DATA)
	@rm -f $(GOLDEN_CURRENT)

# --- the main job --------------------------------------------------------------------------------

##@ Forecasts
.PHONY: demo
demo: $(READY) ## forecast in FP32, int8 and HLS C++; one table, and plots in build/demo
	+@$(call make_hls,$(call modules,default))
	$(PY) -m evaluation.demo

.PHONY: golden
golden: bindings ## compile the golden packages with every tensor, and report what int8 costs
	@rm -f $(GOLDEN_CURRENT)
	$(PY) -m golden
	@touch $(GOLDEN_CURRENT)

# csim and sim want golden packages that are as the sources are, and not their accuracy.
$(GOLDEN_CURRENT): $(wildcard golden/*.py compiler/*.py compiler/*/*.py isa/*.py isa/*.toml model/*.py \
    model/data/*.py model/quantization/*.py model/checkpoints/*.safetensors) | $(READY)
ifneq ($(LOCKED),golden)
	$(call locked_make,$(@D),golden)
else
	$(PY) -m golden --no-accuracy
	@touch $@
endif

.PHONY: bench
bench: bindings ## windows/s in FP32 and int8, and the time of the selective scan
	$(PY) -m evaluation.bench

.PHONY: experiments
experiments: bindings ## train, quantize and evaluate forecasters of ETTh1 over four horizons (hours)
	$(PY) -m experiments etth1

##@ Generated files
.PHONY: isa
isa: $(READY) ## write what is generated from isa: C++ headers, SystemVerilog packages, tables of documents
	$(PY) -m isa.generate

include hls/hls.mk
include rtl/rtl.mk
include model/quantization/quantization.mk
include bitstream_scripts/bitstream.mk
include host/host.mk

# --- checks --------------------------------------------------------------------------------------

##@ Checks
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
##@ Housekeeping
.PHONY: clean
clean: ## remove what is built (build/ and caches), keep .venv, data and build/experiments
	if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name experiments -exec rm -rf {} +; fi
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## clean, and remove .venv and build/experiments
	rm -rf $(VENV) build
