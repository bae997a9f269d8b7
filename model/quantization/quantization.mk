# The quantization extension, build/quantization/cmamba_quantization.so. Included by the Makefile.
#
#   SANITIZE=1  with AddressSanitizer and UBSan

# It runs on the machine that compiles it. A product and a sum must not become one fused operation,
# which rounds once where PyTorch rounds twice; traps and errno, which nobody looks at, would keep
# loops from being vectorized.
QUANTIZATION_CXXFLAGS := -std=c++17 -fPIC -fvisibility=hidden -fopenmp -Wall -Wextra \
    -ffp-contract=off
quantization_FAST     := -O3 -march=native -fno-trapping-math -fno-math-errno

QUANTIZATION_SO := build/quantization$(CHECKED)/cmamba_quantization.so
CXX_FILES       += $(wildcard model/quantization/csrc/*)

$(QUANTIZATION_SO): model/quantization/csrc/module.cpp model/quantization/quantization.mk | $(READY)
	@mkdir -p $(@D)
ifneq ($(LOCKED),quantization)
	$(call locked_make,$(@D),quantization)
else
	$(call quiet,CXX,$@)$(CXX) $(QUANTIZATION_CXXFLAGS) \
	    $(if $(SANITIZE),$(sanitize),$(quantization_FAST)) $(PYBIND11) \
	    -MMD -MP -MF $(@:.so=.d) -MT $@ -shared $< -o $@.tmp
	@mv $@.tmp $@
endif

-include $(QUANTIZATION_SO:.so=.d)

##@ Forecasts
.PHONY: quantization
quantization: $(QUANTIZATION_SO) ## build the C++ extension of model/quantization

test: $(QUANTIZATION_SO)

.PHONY: sanitize-quantization
sanitize-quantization:
	$(MAKE) quantization SANITIZE=1
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	    ASAN_OPTIONS=detect_leaks=0 CMAMBA_QUANTIZATION=build/quantization-sanitize \
	    $(PY) -m pytest tests/test_quantization_cpp.py
sanitize: sanitize-quantization
