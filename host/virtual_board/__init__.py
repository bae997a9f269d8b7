"""A ZCU102 on a PC: PYNQ.remote's services over the Verilated accelerator.

    with VirtualBoard(build="small", port=0) as board:
        device = RemoteDevice(0, board.address, port=board.port)
        overlay = pynq.Overlay(str(write_overlay(folder)), device=device)

Unmodified pynq clients use it as the board on the network. `Fault` lists what can be made to go
wrong.
"""

from host.virtual_board.faults import Fault
from host.virtual_board.overlay import write_overlay
from host.virtual_board.server import VirtualBoard

__all__ = ["Fault", "VirtualBoard", "write_overlay"]
