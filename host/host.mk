# Targets of the board, real or virtual. Included by the Makefile.
#
#   BUILD=small   build in the virtual board's PL
#   ARGS="..."    further options of the virtual board (python -m host.virtual_board --help)

BOARD_BUILD := $(or $(BUILD),default)

.PHONY: board
board: build/simulator/$(BOARD_BUILD)/cmamba_rtl_$(BOARD_BUILD).so ## serve a virtual ZCU102; its overlay is written to build/overlay (BUILD=, ARGS=)
	$(PY) -m host.virtual_board --write-overlay build/overlay
	@exec $(PY) -m host.virtual_board --build $(BOARD_BUILD) $(ARGS)

.PHONY: board-package
board-package: $(READY) $(GOLDEN_CURRENT) ## pack driver, packages, notebook and bitstream for the board: build/cmamba-board.tar.gz
	$(PY) -m host.board_package
