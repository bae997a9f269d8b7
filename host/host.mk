# Targets of the board, real or virtual. Included by the Makefile.
#
#   BUILD=small   build in the virtual board's PL
#   BOARD=IP      board on the network, for what uses one
#   ARGS="..."    further options of what is started (--help lists them)

BOARD_BUILD := $(or $(BUILD),default)

##@ The board, real or virtual
.PHONY: board
board: build/simulator/$(BOARD_BUILD)/cmamba_rtl_$(BOARD_BUILD).so ## serve a virtual ZCU102; its overlay is written to build/overlay (BUILD=, ARGS=)
	$(PY) -m host.virtual_board --write-overlay build/overlay
	@exec $(PY) -m host.virtual_board --build $(BOARD_BUILD) $(ARGS)

.PHONY: board-package
board-package: $(READY) $(GOLDEN_CURRENT) ## pack driver, packages, notebook and bitstream for the board: build/cmamba-board.tar.gz
	$(PY) -m host.board_package

# Without BOARD, a virtual board is started for the time of the program.
which_board = $(if $(BOARD),--board $(BOARD),--virtual $(1))
board_ready = $(if $(BOARD),,build/simulator/$(1)/cmamba_rtl_$(1).so)

.PHONY: board-selftest
board-selftest: $(GOLDEN_CURRENT) $(call board_ready,$(BOARD_BUILD)) ## compare a board with the golden vectors, every beat (BOARD=IP, else a virtual one)
	$(PY) -m host.selftest $(call which_board,$(BOARD_BUILD)) $(ARGS)

.PHONY: bench-host
bench-host: $(GOLDEN_CURRENT) $(call board_ready,$(BOARD_BUILD)) ## what each step of a forecast costs (BOARD=IP, else a virtual board)
	$(PY) -m host.bench $(call which_board,$(BOARD_BUILD)) $(ARGS)

.PHONY: notebook
notebook: $(GOLDEN_CURRENT) $(call board_ready,$(BOARD_BUILD)) ## run the notebook from its first cell to its last (BOARD=IP, else a virtual board; ARGS=--write)
	$(PY) -m host.notebook $(call which_board,$(BOARD_BUILD)) $(ARGS)
