# Targets of the HLS C++: csim, the Python bindings, and the Vitis HLS flow. Included by the Makefile.
#
#   SANITIZE=1  csim and bindings with AddressSanitizer and UBSan
#   NATIVE=1    csim of the build with standard integers
#   HLS=vitis   csim with the vendor's tool
#   GOLDEN=...  golden folders to run, instead of all in build/golden (cosim: the smallest)

VARIANT := $(if $(NATIVE),native,ap)
CHECKED := $(if $(SANITIZE),-sanitize)

# --- compilation: build/hls/VARIANT/ holds the objects of one variant ------------------------------

# AMD's open ap_int.h and hls_stream.h lie in the hls4ml wheel, which is found without importing it.
AP_TYPES = $(shell $(PY) -c 'import importlib.util, pathlib; print(pathlib.Path( \
    importlib.util.find_spec("hls4ml").origin).parent / "templates/vivado/ap_types")')
PYBIND11 = $(shell $(PY) -m pybind11 --includes)

HLS_CXXFLAGS := -std=c++14 -MMD -MP -fPIC -fvisibility=hidden -Wall -Wextra \
    -Wno-unknown-pragmas -Wno-unused-label -Ihls/include
# AMD's constructors mask what they have not set yet, hence the warnings. They shift negative numbers
# to the left, which C++ has only defined since 2020: the native build is the one that looks for that.
ap_FLAGS      = -O2 -Ihls/include/csim -isystem $(AP_TYPES) -Wno-uninitialized -Wno-maybe-uninitialized
ap_UNCHECKED  = -fno-sanitize=shift-base
# The native build runs on the machine that compiles it.
native_FLAGS  = -O3 -march=native -DCMAMBA_NATIVE
sanitize      = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

HLS_OBJECTS := $(patsubst hls/%.cpp,%.o,$(wildcard hls/src/*.cpp))
TB_OBJECTS  := $(patsubst hls/%.cpp,%.o,$(wildcard hls/tb/*.cpp))

# $(1) variant, $(2) empty or -sanitize, $(3) module name
define HLS_RULES
build/hls/$(1)$(2)/%.o: hls/%.cpp hls/hls.mk | $(READY)
	@mkdir -p $$(@D)
	$(CXX) $$(HLS_CXXFLAGS) $$($(1)_FLAGS) $(if $(2),$$(sanitize) $$($(1)_UNCHECKED)) $$(MODULE_FLAGS) -c $$< -o $$@

build/hls/$(1)$(2)/bindings/module.o: MODULE_FLAGS = -std=c++17 -O1 -DCMAMBA_MODULE=$(3) $$(PYBIND11)

build/csim/$(1)$(2): $(addprefix build/hls/$(1)$(2)/,$(HLS_OBJECTS) $(TB_OBJECTS))
	@mkdir -p $$(@D)
	$(CXX) $(if $(2),$$(sanitize)) $$^ -o $$@

build/bindings$(2)/$(3).so: $(addprefix build/hls/$(1)$(2)/,$(HLS_OBJECTS) bindings/module.o)
	@mkdir -p $$(@D)
	$(CXX) -shared $(if $(2),$$(sanitize)) $$^ -o $$@.tmp
	@mv $$@.tmp $$@
endef
$(eval $(call HLS_RULES,ap,,cmamba_hls))
$(eval $(call HLS_RULES,ap,-sanitize,cmamba_hls))
$(eval $(call HLS_RULES,native,,cmamba_native))
$(eval $(call HLS_RULES,native,-sanitize,cmamba_native))
-include $(shell find build/hls -name '*.d' 2>/dev/null)

# A plain `make` compiles on all cores, too.
PARALLEL_MAKE = $(MAKE) --no-print-directory -j$(shell nproc)

# --- targets -------------------------------------------------------------------------------------

.PHONY: csim
csim: ## compare the HLS C++ with every golden tensor (NATIVE=1, SANITIZE=1, HLS=vitis)
ifeq ($(HLS),vitis)
csim:
	@hls/vitis/run.sh csim $(GOLDEN)
else
csim: $(READY) $(if $(GOLDEN),,$(GOLDEN_CURRENT))
	@$(PARALLEL_MAKE) build/csim/$(VARIANT)$(CHECKED)
	build/csim/$(VARIANT)$(CHECKED) $(or $(GOLDEN),$$(dirname build/golden/*/manifest.txt))
endif

.PHONY: bindings
bindings: $(READY) ## build the Python modules of the HLS C++
	@$(PARALLEL_MAKE) build/bindings$(CHECKED)/cmamba_hls.so build/bindings$(CHECKED)/cmamba_native.so

# The tests run csim and load the modules.
.PHONY: csim-programs
csim-programs: bindings
	@$(PARALLEL_MAKE) build/csim/ap build/csim/native
test: csim-programs

.PHONY: sanitize
sanitize: ## csim and the HLS tests with AddressSanitizer and UBSan
	$(MAKE) bindings SANITIZE=1
	$(MAKE) csim SANITIZE=1
	$(MAKE) csim SANITIZE=1 NATIVE=1
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	    ASAN_OPTIONS=detect_leaks=0 CMAMBA_BINDINGS=build/bindings-sanitize \
	    $(PY) -m pytest tests/test_hls_kernels.py tests/test_hls_top.py

.PHONY: csynth cosim export
csynth: ## synthesize with Vitis HLS: timing and resources in build/reports
	@hls/vitis/run.sh csynth
cosim: ## C/RTL co-simulation of what csynth gave, on the smallest golden package
	@hls/vitis/run.sh cosim $(GOLDEN)
export: ## package what csynth gave as Vivado IP
	@hls/vitis/run.sh export
