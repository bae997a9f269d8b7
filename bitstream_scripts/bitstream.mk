# The bitstream. Included by the Makefile.
#
#   CORE=hls          the export of Vitis HLS in place of the RTL (after make csynth export)
#   BUILD=deep        build of isa/builds.toml
#   FREQUENCY=300     PL clock in MHz
#   STRATEGY="A B"    strategies of implementation to try, the best counts
#   SYNTHESIS=A       strategy of synthesis
#   VIVADO_JOBS=1     processes of Vivado at a time; otherwise as many as there is memory for
#   KEEP=1            go on whatever synthesis has made, and keep the clock even if it is missed

##@ Generated files
.PHONY: design
design: $(READY) ## write what the Vivado scripts take from design.toml and the RTL
	$(PY) -m bitstream_scripts.generate

##@ Hardware with vendor tools
.PHONY: vivado-synth bitstream
vivado-synth: $(READY) ## synthesize the RTL alone with Vivado, check what is inferred (BUILD=)
	@$(PY) -m bitstream_scripts.synth $(if $(BUILD),--build $(BUILD))

bitstream: $(READY) ## build cmamba.bit, .hwh and .xsa with Vivado (BUILD=, FREQUENCY=, ...)
	@$(PY) -m bitstream_scripts $(if $(CORE),--core $(CORE)) $(if $(BUILD),--build $(BUILD)) \
	    $(if $(FREQUENCY),--frequency $(FREQUENCY)) $(if $(SYNTHESIS),--synthesis $(SYNTHESIS)) \
	    $(foreach strategy,$(STRATEGY),--strategy $(strategy)) \
	    $(if $(VIVADO_JOBS),--jobs $(VIVADO_JOBS)) $(if $(KEEP),--keep)
