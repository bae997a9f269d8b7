"""How the contracts of each module are broken, by the labels of their assertions.

A break is a list of cycles. In each of them inputs and registers get values; a number stands for so
many cycles in which nothing is done. A value that is a function gets the signal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cocotb.handle import SimHandleBase

Value = int | Callable[[SimHandleBase], int]
Cycle = int | Mapping[str, Value]


@dataclass(frozen=True)
class Breaks:
    """Of one module.

    Attributes:
        contracts: cycles for the label of each assertion.
        parameters: of the module, so that it is small.
        fast: one of the few that every run of the tests breaks; the others are slow tests.
    """

    contracts: Mapping[str, Sequence[Cycle]]
    parameters: Mapping[str, int] = field(default_factory=dict)
    fast: bool = False


# Of the module's enumerations, in their order.
AXI_LITE_REQUEST, AXI_LITE_RESPOND = 1, 3

BREAKS = {
    # ---- cells
    "fifo": Breaks(
        {
            "word_stays": [{"valid_i": 1, "data_i": 5}, 4, {"data_q": 6}],
            "level_fits": [{"level_q": 18}],
        },
        {"Depth": 16},
        fast=True,
    ),
    "reciprocal_sqrt": Breaks(
        {
            "s_is_positive": [{"valid_i": 1, "s_i": 0}],
            "s_stays": [{"valid_i": 1, "s_i": 5}, {"s_i": 6}],
            "r_stays": [{"valid_i": 1, "s_i": 5}, 30, {"r_q": 1}],
        }
    ),
    "skid_buffer": Breaks({"word_stays": [{"valid_i": 1, "data_i": 5}, 2, {"data_q": 6}]}),
    "axi_lite": Breaks(
        {
            "response_stays": [{"state_q": AXI_LITE_RESPOND, "data_q": 1}, {"data_q": 2}],
            "request_is_short": [{"state_q": AXI_LITE_REQUEST}, {"state_q": AXI_LITE_REQUEST}],
            "ack_is_awaited": [{"rd_ack_i": 1}],
        }
    ),
    "crc32": Breaks({"one_at_a_time": [{"clear_i": 1, "beat_valid_i": 1}]}),
}
