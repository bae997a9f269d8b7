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


def largest(signal: SimHandleBase) -> int:
    """The largest signed value."""
    return (1 << (len(signal) - 1)) - 1


# Of the module's enumerations, in their order.
AXI_LITE_REQUEST, AXI_LITE_RESPOND = 1, 3
LOADER_COMMAND, LOADER_COPY, LOADER_SETTLE = 1 << 2, 1 << 3, 1 << 4
RUN = 2  # of the sequencer

SMALL_TILE = {"TileIn": 4, "TileOut": 16}
FETCH = {"enable_i": 1, "fetch_valid_i": 1, "fetch_i": 4}

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
    # ---- memories
    "activation_memory": Breaks(
        {"word_is_written": [{"rd_en_i": 1, "rd_addr_i": 3}]}, {"Elements": 64, "RowAlign": 16}
    ),
    "param_memory": Breaks(
        {
            "write_fits": [{"wr_en_i": 1, "wr_addr_i": 30}],
            "read_fits": [{"rd_en_i": 1, "rd_addr_i": 15}],
        },
        {"Words": 48, "Lanes": 4},
    ),
    "weight_memory": Breaks(
        {
            "beats_in_order": [{"wr_valid_i": 1, "wr_tile_i": 3, "wr_beat_i": 1}],
            "tile_is_whole": [{"rd_en_i": 1, "rd_addr_i": 5}],
        },
        {"TileIn": 4, "TileOut": 8, "Tiles": 257},
        fast=True,
    ),
    # ---- loader
    "axi_read": Breaks(
        {
            "command_is_whole": [{"cmd_valid_i": 1, "cmd_beats_i": 0}],
            "burst_stays": [{"m_axi_arvalid": 1}, {"m_axi_arvalid": 0}],
            "burst_in_page": [{"m_axi_arvalid": 1, "m_axi_araddr": 0xFF0, "m_axi_arlen": 1}],
            "beat_was_asked_for": [{"m_axi_rvalid": 1}],
            "burst_is_taken": [
                {"cmd_valid_i": 1, "cmd_beats_i": 4},
                {"cmd_valid_i": 0},
                8,
                {"u_bursts.valid_q": 0},
            ],
            "beat_has_room": [{"beat_valid_q": 1, "u_beats.level_q": 128}],
        },
        fast=True,
    ),
    "loader": Breaks(
        {
            "one_state": [{"state_q": LOADER_COPY | LOADER_SETTLE}],
            "arguments_stay": [{"start_i": 1}, {"start_i": 0}, {"package_beats_i": 5}],
            "command_has_beats": [{"state_q": LOADER_COMMAND, "cmd_beats_o": 0, "wraps_q": 0}],
            "hold_is_free": [{"ready_q": 1, "beat_valid_i": 1, "held_q": 5}],
            "one_section": [{"wr_en_o": 3}],
            "instruction_stays": [
                {"state_q": LOADER_COPY, "instruction_valid_q": 1},
                {"instruction_valid_q": 0},
            ],
        },
    ),
    "program_check": Breaks(
        {
            "instruction_stays": [
                {"instruction_valid_i": 1, "instruction_i": 5},
                {"instruction_i": 6},
            ],
            "program_in_order": [{"instruction_valid_i": 1, "schedule_valid_i": 1}],
            "facts_stay": [{"instruction_valid_i": 1}, {"facts_i": 1 << 64}],
        },
    ),
    "schedule_check": Breaks(
        {"instructions_come_first": [{"instruction_wr_en_i": 1, "valid_i": 1}]}
    ),
    "weight_stream": Breaks(
        {
            "fetch_has_tiles": [{"enable_i": 1}, {"fetch_valid_i": 1, "fetch_i": 0}],
            "fetch_stays": [FETCH, 3, {"fetch_i": 5}],
            "command_stays": [FETCH, 6, {"addr_q": 64}],
            "read_was_offered": [{"enable_i": 1}, {"stream_ready_i": 1}],
            "slot_is_free": [{"enable_i": 1}, {"offered_q": 1, "full_q": 1, "beat_valid_i": 1}],
            "slots_fit": [{"enable_i": 1}, {"offered_q": 1}],
        },
        SMALL_TILE | {"WeightTiles": 512},
        fast=True,
    ),
    # ---- control
    "control": Breaks(
        {
            "start_is_short": [{"start_q": 1}, {"start_q": 1}],
            "arguments_stay": [{"running_q": 1}, {"running_q": 1, "mode_q": 5}],
            "done_is_expected": [{"done_i": 1}],
        },
    ),
    "run_control": Breaks(
        {
            "start_is_alone": [{"start_i": 1, "mode_i": 1}, {"start_i": 1}],
            "arguments_stay": [{"start_i": 1, "mode_i": 1}, {"start_i": 0}, {"mode_i": 2}],
            "end_is_expected": [{"load_done_i": 1}],
        }
    ),
    "sequencer": Breaks(
        {
            "arguments_stay": [{"start_i": 1}, {"start_i": 0, "iterations_i": 5}],
            "run_is_complete": [
                {"state_q": RUN, "running_q": 1, "all_completed_q": 1, "push_q": 1}
            ],
            "entry_is_counted": [{"way_q": 1 << 4}],
            "entry_stays": [{"gen_unit[0].head_valid_q": 1}, {"gen_unit[0].head_valid_q": 0}],
            "queue_has_room": [{"push_q": 1, "gen_unit[0].u_queue.level_q": 32}],
            "done_is_expected": [{"running_q": 1, "done_i": 1}],
            "entries_fit": [
                {
                    "gen_unit[0].head_valid_q": 1,
                    "gen_unit[0].in_flight_q": 255,
                    "start_ready_i": 1,
                }
            ],
            "slack_fits": [{"gen_unit[0].gen_wait[0].slack_q": largest, "done_i": 1}],
        },
    ),
}
