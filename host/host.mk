# Targets of the board, real or virtual. Included by the Makefile.
#
#   BUILD=small   build in the virtual board's PL
#   CORE=hls      the core of hls/ in it, in place of the RTL (make board)
#   BOARD=IP      board on the network, for what uses one
#   ARGS="..."    further options of what is started (--help lists them)

BOARD_BUILD := $(or $(BUILD),default)
board_core   = $(if $(CORE),--core $(CORE))

##@ The board, real or virtual
.PHONY: board
board: ## serve a virtual ZCU102; its overlay is written to build/overlay (BUILD=, ARGS=)
board: $(if $(filter hls,$(CORE)),$(READY),build/simulator/$(BOARD_BUILD)/cmamba_rtl_$(BOARD_BUILD).so)
	$(if $(filter hls,$(CORE)),+@$(call make_hls,build/bindings/cmamba_native_$(BOARD_BUILD).so))
	$(PY) -m host.virtual_board $(board_core) --write-overlay build/overlay
	@exec $(PY) -m host.virtual_board $(board_core) --build $(BOARD_BUILD) $(ARGS)

.PHONY: board-package
board-package: ## pack driver, packages, notebook and bitstream: build/cmamba-board.tar.gz
board-package: $(READY) $(GOLDEN_CURRENT)
	$(PY) -m host.board_package

# Without BOARD, a virtual board is started for the time of the program.
which_board = $(if $(BOARD),--board $(BOARD),--virtual $(1))
board_ready = $(if $(BOARD),,build/simulator/$(1)/cmamba_rtl_$(1).so)

.PHONY: board-selftest
board-selftest: ## compare a board with the golden vectors, every beat (BOARD=IP, else virtual)
board-selftest: $(GOLDEN_CURRENT) $(call board_ready,$(BOARD_BUILD))
	$(PY) -m host.selftest $(call which_board,$(BOARD_BUILD)) $(ARGS)

.PHONY: bench-host
bench-host: ## what a forecast costs: the driver alone, and a board (BOARD=IP, else a virtual one)
bench-host: $(GOLDEN_CURRENT) $(call board_ready,$(BOARD_BUILD))
	$(PY) -m host.bench --driver --package build/golden/etth1_mixing/package.bin
	$(PY) -m host.bench $(call which_board,$(BOARD_BUILD)) $(ARGS)

.PHONY: notebook
notebook: ## run the notebook from its first cell to its last (BOARD=IP, ARGS=--write)
notebook: $(GOLDEN_CURRENT) $(call board_ready,$(BOARD_BUILD))
	$(PY) -m host.notebook $(call which_board,$(BOARD_BUILD)) $(ARGS)
