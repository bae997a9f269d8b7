# Targets of the HLS C++: csim, the Python bindings, the Vitis HLS flow. Included by the Makefile.
#
#   V=1         show the compiler's commands
#   SANITIZE=1  csim and bindings with AddressSanitizer and UBSan
#   NATIVE=1    csim of the build with standard integers
#   CHECK_DEPENDENCES=1  csim that fails where a dependence declared false is none (dependences.h)
#   ORDERS=N    csim in N random orders of the core's processes as well
#   HLS=vitis   csim with the vendor's tool
#   GOLDEN=...  golden folders to run, instead of all in build/golden (cosim: the smallest); a
#               folder with a space in its name goes alone
#   FLOW=syn    export runs Vivado on the core: resources and timing as those of make synth; FLOW=impl
#               places and routes it as well
#   BUILD=...   build of isa/builds.toml, instead of default

VARIANT    := $(if $(NATIVE),native,ap)
CHECKED    := $(if $(SANITIZE),-sanitize,$(if $(CHECK_DEPENDENCES),-dependences))
HLS_BUILDS := $(or $(BUILD),default)

# --- compilation: build/hls/BUILD/VARIANT/ holds the objects of one variant ----------------------

# Prints -isystem FOLDER for what an expression of Python yields, in quotes of the shell. As system
# headers they are in no .d file, where a path of odd characters would not be read again.
# Python runs at the first use only.
as_system = $(shell $(PY) -c 'import importlib.util, pathlib, shlex, sysconfig; \
    folder = lambda package: pathlib.Path(importlib.util.find_spec(package).origin).parent; \
    print(*(f"-isystem {shlex.quote(str(path))}" for path in ($(1),)))')
# AMD's open ap_int.h and hls_stream.h lie in the hls4ml wheel, which is found without importing it.
AP_TYPES = $(eval AP_TYPES := $$(call as_system,folder("hls4ml") \
    / "templates/vivado/ap_types"))$(AP_TYPES)
PYBIND11 = $(eval PYBIND11 := $$(call as_system,folder("pybind11") / "include"$$(comma) \
    sysconfig.get_path("include")))$(PYBIND11)
comma := ,

HLS_CXXFLAGS := -std=c++14 -fPIC -fvisibility=hidden -Wall -Wextra \
    -Wno-unknown-pragmas -Wno-unused-label -Ihls/include
# AMD's constructors mask what they have not set yet, hence the warnings. They shift negative
# numbers to the left, which C++ has only defined since 2020: the native build is the one that looks
# for that.
ap_FLAGS      = -O2 -Ihls/include/csim $(AP_TYPES) -Wno-uninitialized -Wno-maybe-uninitialized
ap_UNCHECKED  = -fno-sanitize=shift-base
# The native build runs on the machine that compiles it. Since C++17, new aligns as a type asks for.
native_FLAGS  = -std=c++17 -O3 -march=native -DCMAMBA_NATIVE
sanitize      = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
    -fno-omit-frame-pointer
# Of the sources, -fsanitize=thread reports every access, to tb/dependences.cpp in place of the
# sanitizer's own library. Optimized, some accesses would be gone.
dependences   = -DCMAMBA_CHECK_DEPENDENCES -fno-threadsafe-statics $(REPORTING)

# $(1) options, before -c SOURCE -o OBJECT. A half-written file never bears the name of a whole one.
dependencies = -MMD -MP -MF $(1:.o=.d).tmp -MT $(1)
rename       = @mv $(1:.o=.d).tmp $(1:.o=.d) && mv $(1).tmp $(1)

HLS_OBJECTS := $(patsubst hls/%.cpp,%.o,$(wildcard hls/src/*.cpp))
TB_OBJECTS  := $(patsubst hls/%.cpp,%.o,$(wildcard hls/tb/*.cpp))

# $(1) build, $(2) variant, $(3) empty, -sanitize or -dependences, $(4) module name
define HLS_RULES
build/hls/$(1)/$(2)$(3)/%.o: hls/%.cpp hls/hls.mk | $(READY)
	@mkdir -p $$(@D)
	$$(call quiet,CXX,$$@)$(CXX) $$(HLS_CXXFLAGS) -Ihls/build/$(1) $$($(2)_FLAGS) \
	    $$($(patsubst -%,%,$(3))) $(if $(filter -sanitize,$(3)),$$($(2)_UNCHECKED)) \
	    $$(MODULE_FLAGS) $$(call dependencies,$$@) \
	    -c $$< -o $$@.tmp
	$$(call rename,$$@)

build/hls/$(1)/$(2)$(3)/bindings/module.o: \
    MODULE_FLAGS = -std=c++17 -O1 -DCMAMBA_MODULE=$(4) $$(PYBIND11)

build/csim/$(1)/$(2)$(3): $(addprefix build/hls/$(1)/$(2)$(3)/,$(HLS_OBJECTS) $(TB_OBJECTS))
	@mkdir -p $$(@D)
	$$(call quiet,LINK,$$@)$(CXX) $(if $(filter -sanitize,$(3)),$$(sanitize)) $$^ -o $$@.tmp
	@mv $$@.tmp $$@

build/bindings$(3)/$(4).so: $(addprefix build/hls/$(1)/$(2)$(3)/,$(HLS_OBJECTS) bindings/module.o)
	@mkdir -p $$(@D)
	$$(call quiet,LINK,$$@)$(CXX) -shared $(if $(3),$$(sanitize)) $$^ -o $$@.tmp
	@mv $$@.tmp $$@
endef
define HLS_BUILD_RULES
$(call HLS_RULES,$(1),ap,,cmamba_hls_$(1))
$(call HLS_RULES,$(1),ap,-sanitize,cmamba_hls_$(1))
$(call HLS_RULES,$(1),native,,cmamba_native_$(1))
$(call HLS_RULES,$(1),native,-sanitize,cmamba_native_$(1))
$(call HLS_RULES,$(1),ap,-dependences,cmamba_hls_$(1))
$(call HLS_RULES,$(1),native,-dependences,cmamba_native_$(1))
build/hls/$(1)/ap-dependences/src/%.o build/hls/$(1)/native-dependences/src/%.o: \
    REPORTING = -O0 -fsanitize=thread
endef
$(foreach build,$(BUILDS),$(eval $(call HLS_BUILD_RULES,$(build))))
-include $(shell find build/hls -name '*.d' 2>/dev/null)

VITIS = CMAMBA_BUILD=$(BUILD) hls/vitis/run.sh

# $(call make_hls,FILES): with all cores. $(call modules,BUILDS): the Python modules.
make_hls = $(call locked,build/hls,$(PARALLEL_MAKE) $(1))
modules  = $(foreach build,$(1),$(foreach module,cmamba_hls cmamba_native, \
    build/bindings$(if $(SANITIZE),-sanitize)/$(module)_$(build).so))

# --- targets -------------------------------------------------------------------------------------

ifeq ($(HLS),vitis)
CSIM_BUILD := $(or $(BUILD),default)
run_csim    = eval "$(VITIS) csim $$folders"
else
CSIM_BUILD := $(BUILD)
run_csim    = program=build/csim/$$build/$(VARIANT)$(CHECKED); \
    $(call make_hls,$$program) || exit 1; \
    echo $$program $(csim_orders)$$folders; eval "$$program $(csim_orders)$$folders"
csim_orders = $(if $(ORDERS),--orders $(ORDERS) )
endif

# Each folder on the first build that holds its package; with BUILD, all that it holds. A build that
# none needs is not compiled.
##@ Hardware with open tools
.PHONY: csim
csim: ## compare the HLS C++ with every golden tensor (NATIVE=1, SANITIZE=1, HLS=vitis)
csim: $(READY) $(if $(GOLDEN),,$(GOLDEN_CURRENT))
	$(if $(call has_option,n),@,+@)if [ -z "$$GOLDEN" ]; then \
	    set -- $$(dirname build/golden/*/manifest.txt); \
	elif [ -d "$$GOLDEN" ]; then set -- "$$GOLDEN"; else set -- $$GOLDEN; fi; \
	for folder; do if ! [ -d "$$folder" ]; then \
	    echo "make: GOLDEN: there is no folder $$folder;" \
	        "make golden writes some to build/golden" >&2; \
	    exit 1; \
	fi; done; \
	runs=$$($(call builds_of,$(CSIM_BUILD),"$$@")) || exit 1; \
	echo "$$runs" | { status=0; while read -r build folders; do \
	    { $(run_csim); } </dev/null || status=1; \
	done; exit $$status; }

.PHONY: bindings
bindings: $(READY) ## build the Python modules of the HLS C++
	+@$(call make_hls,$(call modules,$(HLS_BUILDS)))

# The builds of the reference models.
.PHONY: hls-cycles
hls-cycles: $(READY) ## cycles of the HLS C++ against the bound and the RTL
	+@$(call make_hls,$(patsubst %,build/bindings/cmamba_native_%.so,default deep large))
	$(PY) -m hls.cycles

.PHONY: hls-budget
hls-budget: $(READY) ## what the HLS C++ should take of the ZU9EG (BUILD=)
	$(PY) -m hls.budget --build $(HLS_BUILDS)

# The tests run csim and load the modules, also of a build that has too little for some packages.
TEST_BUILDS := $(or $(BUILD),default large)
.PHONY: csim-programs
csim-programs: $(READY)
	+@$(call make_hls,$(call modules,$(TEST_BUILDS)) \
	    $(foreach build,$(TEST_BUILDS),build/csim/$(build)/ap build/csim/$(build)/native) \
	    build/csim/$(firstword $(TEST_BUILDS))/native-dependences)
test: csim-programs

# Slow tests run an array of another width.
.PHONY: bindings-wide
bindings-wide: $(READY)
	+@$(call make_hls,$(call modules,wide))
test-full: bindings-wide

##@ Checks
.PHONY: sanitize
sanitize: ## csim and the HLS tests with AddressSanitizer and UBSan
	$(MAKE) bindings SANITIZE=1
	$(MAKE) bindings SANITIZE=1 BUILD=large
	$(MAKE) csim SANITIZE=1
	$(MAKE) csim SANITIZE=1 NATIVE=1 ORDERS=2
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	    ASAN_OPTIONS=detect_leaks=0 CMAMBA_BINDINGS=build/bindings-sanitize \
	    $(PY) -m pytest tests/test_hls_kernels.py tests/test_hls_top.py

##@ Hardware with vendor tools
.PHONY: csynth cosim export
csynth: ## synthesize with Vitis HLS: timing and resources in build/reports
	@$(VITIS) csynth
cosim: ## C/RTL co-simulation of what csynth gave, on the smallest golden package
	@$(VITIS) cosim $(if $(GOLDEN),"$$GOLDEN")
export: $(if $(FLOW),$(READY)) ## package what csynth gave as Vivado IP (FLOW=syn, impl: run Vivado on it, too)
	@CMAMBA_FLOW=$(FLOW) $(VITIS) export
	$(if $(FLOW),@$(PY) -m bitstream_scripts.hls_export --build $(HLS_BUILDS) --flow $(FLOW))
