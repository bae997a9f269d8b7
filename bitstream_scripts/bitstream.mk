# The bitstream. Included by the Makefile.
#
#   CORE=hls          the export of Vitis HLS in place of the RTL (after make csynth export)
#   BUILD=deep        build of isa/builds.toml
#   FREQUENCY=300     PL clock in MHz
#   STRATEGY="A B"    strategies of implementation to try, the best counts
#   SYNTHESIS=A       strategy of synthesis
#   KEEP=1            a bitstream even if timing is not met

##@ Generated files
.PHONY: design
design: $(READY) ## write what the Vivado scripts take from design.toml and the RTL
	$(PY) -m bitstream_scripts.generate

##@ Hardware with vendor tools
.PHONY: bitstream
bitstream: $(READY) ## build cmamba.bit, .hwh and .xsa with Vivado (CORE=, BUILD=, FREQUENCY=, STRATEGY=, KEEP=1)
	@$(PY) -m bitstream_scripts $(if $(CORE),--core $(CORE)) $(if $(BUILD),--build $(BUILD)) \
	    $(if $(FREQUENCY),--frequency $(FREQUENCY)) $(if $(SYNTHESIS),--synthesis $(SYNTHESIS)) \
	    $(foreach strategy,$(STRATEGY),--strategy $(strategy)) $(if $(KEEP),--keep)
