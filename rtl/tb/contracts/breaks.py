"""How the contracts of each module are broken, by the labels of their assertions.

A break is a list of cycles. In each of them inputs and registers get values; a number stands for so
many cycles in which nothing is done. A value that is a function gets the signal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cocotb.handle import SimHandleBase

import isa
from rtl.tb.units import READ_DELAY

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


def at_top(value: int, bits: int) -> Callable[[SimHandleBase], int]:
    """`value` in the first `bits` bits of a vector, where a struct has its first fields."""
    return lambda signal: value << (len(signal) - bits)


def largest(signal: SimHandleBase) -> int:
    """The largest signed value."""
    return (1 << (len(signal) - 1)) - 1


def kinds(**stages: int) -> Callable[[SimHandleBase], int]:
    """Beats in stages of the vector unit's pipeline, `s5=4` for one of kind 4 in stage 5."""

    def value(signal: SimHandleBase) -> int:
        bits = len(signal) // 9
        return sum(kind << (bits * int(stage[1:]) - 4) for stage, kind in stages.items())

    return value


# Of the module's enumerations, in their order.
AXI_LITE_REQUEST, AXI_LITE_RESPOND = 1, 3
LOADER_COMMAND, LOADER_COPY, LOADER_SETTLE = 1 << 2, 1 << 3, 1 << 4
RUN, SEQUENCER_DONE = 2, 5  # of the sequencer
CHECK_DONE = 4
COMMAND = 3  # of weight_stream
POOL, MEAN, ADDEND = 1, 5, 8
TO_RESID, TO_CONV_IN = 2, 3
ARRAY = 1 << isa.UNITS.index("array")
PATCH, RESID, HEAD = (isa.SPACES[name].index for name in ("patch", "resid", "head"))
WEIGHTS, RESID_IMAGE = (
    1 << [section.name for section in isa.SECTIONS].index(name)
    for name in ("weights", "resid_image")
)

SMALL_TILE = {"TileIn": 4, "TileOut": 16}
FETCH = {"enable_i": 1, "fetch_valid_i": 1, "fetch_i": 4}
NO_ENTRY = [{"start_valid_i": 1}]  # all fields are zero

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
            "word_stays": [{"state_q": LOADER_COPY, "word_valid_q": 1}, {"word_valid_q": 0}],
        },
    ),
    "program_check": Breaks(
        {
            "word_stays": [{"word_valid_i": 1, "word_i": 5}, {"word_i": 6}],
            "program_in_order": [{"word_valid_i": 1, "schedule_valid_i": 1}],
            "facts_stay": [{"word_valid_i": 1}, {"facts_i": 1 << 64}],
        },
    ),
    "schedule_check": Breaks(
        {
            "instructions_come_first": [{"instruction_wr_en_i": 1, "valid_i": 1}],
            "phases_come_first": [{"phase_wr_en_i": 1, "valid_i": 1}],
            "phase_has_room": [
                {"u_phases.level_q": 4, "u_unit_entries.level_q": 4},
                {"phase_wr_en_i": 1},
            ],
            "phase_is_known": [{"phase_wr_en_i": 1}, {"phase_wr_en_i": 0, "valid_i": 1}],
        },
        {"MaxPhases": 4},
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
            "interrupt_stays": [{"interrupt_q": 1}],
            "end_interrupts": [{"end_q": 1}],
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
            "streams_are_whole": [{"state_q": SEQUENCER_DONE, "error_q": 0, "send_sequence_q": 1}],
            "phase_is_known": [{"next_q": 1, "first_q": 5}],
            "phase_stays": [
                {"phase_wr_en_i": 1, "phase_wr_data_i": 5},
                {"phase_wr_data_i": 6, "way_q": 1},
                {"way_q": 1},
                {"way_q": 1},
                {"way_q": 1},
                {"way_q": 1},
            ],
            "entry_stays": [{"gen_unit[0].head_valid_q": 1}, {"gen_unit[0].head_valid_q": 0}],
            "queue_has_room": [{"push_q": 1, "gen_unit[0].u_queue.level_q": 32}],
            "done_is_expected": [{"running_q": 1, "done_i": 1, "done_soon_i": 1}],
            "done_is_announced": [{"running_q": 1, "done_i": 1, "gen_unit[0].in_flight_q": 1}],
            "announced_is_done": [
                {"running_q": 1, "done_soon_i": ARRAY},
                {"done_soon_i": 0},
                READ_DELAY,
            ],
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
    # ---- array
    "array_issue": Breaks(
        {
            "entry_is_legal": NO_ENTRY,
            "package_stays": [{"valid_q": 1}, {"valid_q": 1, "resident_tiles_i": 5}],
            "fetch_stays": [{"check_q": CHECK_DONE, "fetch_valid_q": 1}, {"fetch_valid_q": 0}],
            "slot_stays": [{"stream_valid_i": 1, "stream_slot_i": 1}, {"stream_slot_i": 2}],
            "read_is_due": [
                {
                    "valid_q": 1,
                    "entry_begins_q": 1,
                    "output_begins_q": 1,
                    "tile_streamed_q": 0,
                    "has_credit_q": 1,
                }
            ],
            "read_was_offered": [{"streamed_rd_q": 1}],
            "tile_has_credit": [
                {
                    "valid_q": 1,
                    "output_begins_q": 1,
                    "tile_streamed_q": 0,
                    "has_credit_q": 1,
                    "credits_q": 0,
                }
            ],
            "credit_was_taken": [{"release_i": 1}],
        },
        fast=True,
    ),
    "mac_array": Breaks(
        {
            "tiles_in_order": [{"tile_valid_i": 1, "tile_first_i": 0}],
            "split_fits": [{"tile_valid_i": 1, "tile_first_i": 1, "tile_log2_split_i": 3}],
        },
        SMALL_TILE,
    ),
    "array_output": Breaks(
        {
            "entry_has_room": [{"push_q": 1, "u_entries.level_q": 32}],
            "tiles_fit": [{"tiles_q": 33}],
            "chunk_has_sums": [{"go_q": 1, "tiles_q": 0}],
            "sums_are_written": [{"sums_read_q": 1, "sums_write_q": 2}],
            "one_memory": [{"wr_en_o": 3}],
        },
        SMALL_TILE | {"RequantizeLanes": 4, "ArrayParams": 64, "ReduceElements": 64},
    ),
    # ---- convolution and scan
    "conv": Breaks(
        {
            "entry_is_legal": NO_ENTRY,
            "words_fit": [{"filling_q": 3}],
            "word_stays": [{"issued_valid_q": 2, "full_q": 1, "move_q": 0}],
        }
    ),
    "scan": Breaks(
        {
            "entry_is_legal": NO_ENTRY,
            # The stages of a read of B, of C and of the state, and of one behind that.
            "one_read": [
                {
                    "valid_q": 1 << 4 | 1 << 10,
                    "step_q[4]": at_top(1, 1),
                    "step_q[10]": at_top(1, 1),
                }
            ],
            "state_is_written": [{"valid_q": 1 << 10 | 1 << 11, "step_q[10]": 0, "step_q[11]": 0}],
        },
    ),
    # ---- vector unit
    "vector_front": Breaks(
        {
            "entry_is_legal": NO_ENTRY,
            "waiting_fits": [
                {"context_room_q": 1, "ready_q": 1, "waiting_q": 3, "context_q": at_top(1, 6)}
            ],
            "wait_is_known": [{"waited_i": 1}],
            "pool_is_read": [{"pool_read_i": 1}],
            "context_has_room": [{"context_room_q": 1, "ready_q": 1, "u_contexts.level_q": 4}],
        }
    ),
    "vector_back": Breaks(
        {
            "one_operation": [{"context_valid_i": 1, "context_i": at_top(3, 2)}],
            "beat_has_credit": [{"issue_q": 1, "addend_q": 0, "credits_q": 0}],
            "credit_was_taken": [{"result_popped_q": 1}],
        }
    ),
    "vector_pipeline": Breaks(
        {
            "one_beat": [{"front_valid_i": 1, "back_valid_i": 1}],
            "x_follows": [
                {"back_valid_i": 1, "back_beat_i": at_top(ADDEND, 4)},
                {"back_valid_i": 0},
            ],
            "one_read": [{"valid_q": 1 << 1 | 1 << 4, "beat_q": kinds(s2=POOL, s5=MEAN)}],
            "sum_is_written": [{"valid_q": 1 << 1 | 1 << 2, "beat_q": kinds(s2=POOL, s3=POOL)}],
        },
    ),
    "vector_reduce": Breaks(
        {
            "parts_in_order": [{"valid_i": 1, "part_i": 0}],
            "sum_has_room": [{"sum_valid_q": 1, "u_sums.level_q": 4}],
            "scalars_have_room": [{"scalars_valid_q": 1, "u_scalars.level_q": 4}],
        }
    ),
    "vector_tables": Breaks(
        {
            "one_lookup": [{"lookup_valid_i": 1, "scale_looks_up_o": 1}],
            "scale_then_shift": [{"lookup_valid_i": 1, "lookup_i": 1}],
            "factors_have_room": [
                {"entry_valid_q": 1, "entry_is_shift_q": 1, "u_factors.level_q": 4}
            ],
        }
    ),
    "vector_output": Breaks(
        {
            "result_has_room": [{"u_requantizer.valid_q": 1 << 5, "u_results.level_q": 32}],
            "resid_write_stays": [
                {"u_results.valid_q": 1, "u_results.data_q": at_top(TO_RESID, 2)},
                {"u_results.valid_q": 0},
            ],
            "conv_in_write_stays": [
                {"u_results.valid_q": 1, "u_results.data_q": at_top(TO_CONV_IN, 2)},
                {"u_results.valid_q": 0},
            ],
        }
    ),
    # ---- the whole
    "core": Breaks(
        {
            "loads_at_rest": [{"load_wr_en_i": 1, "u_sequencer.state_q": RUN}],
            "image_is_alone": [{"wr_en": RESID_IMAGE, "u_array.u_output.wr_en_o": 1 << RESID}],
            "one_weight_writer": [{"tile_wr_valid_i": 1, "wr_en": WEIGHTS}],
            "resident_tiles_stay": [{"streams_i": 1, "tile_wr_valid_i": 1, "tile_wr_tile_i": 5}],
            "fetches_of_a_run": [{"u_array.u_issue.fetch_valid_q": 1}],
            "array_reads_its_own": [
                {"u_array.u_issue.rd_en_q": 1, "u_array.u_issue.src_rd_space_o": HEAD}
            ],
            "array_writes_its_own": [{"u_array.u_output.wr_en_o": 1 << PATCH}],
            "end_is_at_rest": [
                {"u_sequencer.state_q": SEQUENCER_DONE, "u_stream_in.draining_q": 1}
            ],
        },
    ),
    "cmamba": Breaks(
        {
            "read_request_stays": [{"s_axi_control_ARVALID": 1}, {"s_axi_control_ARVALID": 0}],
            "write_address_stays": [{"s_axi_control_AWVALID": 1}, {"s_axi_control_AWADDR": 4}],
            "write_data_stay": [{"s_axi_control_WVALID": 1}, {"s_axi_control_WDATA": 4}],
            "forecast_stays": [
                {"u_core.u_stream_out.tvalid_q": 1},
                {"u_core.u_stream_out.tvalid_q": 0},
            ],
            "loads_or_runs": [{"u_loader.state_q": LOADER_COPY, "u_core.u_sequencer.state_q": RUN}],
            "one_command": [
                {
                    "u_loader.state_q": LOADER_COMMAND,
                    "u_loader.wraps_q": 0,
                    "u_loader.failed_q": 0,
                    "u_weight_stream.command_q": COMMAND,
                }
            ],
            "one_taker": [
                {
                    "u_axi_read.u_beats.valid_q": 1,
                    "u_loader.ready_q": 1,
                    "stream_enable_q": 1,
                    "u_weight_stream.full_q": 0,
                }
            ],
            "counters_stand_still": [2, {"u_core.u_sequencer.entries_o": 5}],
        },
    ),
    # ---- streams
    "stream_in": Breaks(
        {
            "entry_is_legal": NO_ENTRY,
            "takes_or_drops": [{"active_q": 1, "draining_q": 1}],
            "end_is_one": [{"done_o": 1, "error_o": 1}],
        }
    ),
    "stream_out": Breaks(
        {
            "entry_is_legal": NO_ENTRY,
            "beat_stays": [{"tvalid_q": 1}, {"tvalid_q": 0}],
            "beat_has_room": [{"valid_q": 1 << 3, "u_queue.level_q": 8}],
        }
    ),
}
