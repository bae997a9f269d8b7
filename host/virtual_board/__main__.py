"""Serve a virtual ZCU102 to PYNQ.remote clients: ``python -m host.virtual_board --help``."""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import isa
from bitstream_scripts.design import CORES
from common import command_line, exit_status
from host.virtual_board import Fault, VirtualBoard, write_overlay
from host.virtual_board.server import DEFAULT_PORT


def _fault(text: str) -> tuple[Fault, int]:
    name, _, after = text.partition(":")
    try:
        return Fault(name), int(after or 0)
    except ValueError:
        names = ", ".join(fault.value for fault in Fault)
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected NAME or NAME:N with a name of {names}"
        ) from None


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected 0 or more, and less than 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"found {text}, expected 0 or more, and less than 2**31")
    return value


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m host.virtual_board",
        description="A virtual ZCU102: PYNQ.remote clients use it as the board on the network.",
    )
    parser.add_argument("--build", default="default", choices=isa.builds(), help="build in the PL")
    parser.add_argument(
        "--core", default="rtl", choices=CORES, help="the RTL, or what Vitis HLS makes of hls/"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on [%(default)s]")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="0: a free one [%(default)s]"
    )
    parser.add_argument(
        "--write-overlay",
        metavar="DIR",
        type=Path,
        help="write cmamba.bit and cmamba.hwh for pynq.Overlay, and end",
    )
    parser.add_argument(
        "--memory", metavar="MIB", type=_count, default=512, help="for buffers [%(default)s]"
    )
    parser.add_argument(
        "--high-addresses",
        action="store_true",
        help="of small buffers, above the DDR that the PL reaches, as XRT 2.17 gives them",
    )
    parser.add_argument(
        "--stalls", metavar="P", type=_probability, default=0.0, help="delay handshakes at random"
    )
    parser.add_argument("--seed", type=_count, default=1, help="of the stalls [%(default)s]")
    parser.add_argument(
        "--memory-latency", metavar="CYCLES", type=_count, default=40, help="[%(default)s]"
    )
    parser.add_argument(
        "--fault",
        metavar="NAME[:N]",
        type=_fault,
        action="append",
        default=[],
        help="after N transfers or starts that go well, once: "
        + ", ".join(fault.value for fault in Fault),
    )
    parser.add_argument(
        "--until-eof", action="store_true", help="end when standard input does, too"
    )
    return parser.parse_args(argv)


@command_line.command()
def main(argv: Sequence[str] | None = None) -> int:
    """0, also where Ctrl-C or SIGTERM ends a board that serves; 1: it cannot be served; 2: wrong
    options."""
    args = _arguments(argv)
    if args.write_overlay:
        print(write_overlay(args.write_overlay, args.core))
    else:
        _serve(args)
    return exit_status.DONE


def _serve(args: argparse.Namespace) -> None:
    """Until a signal comes."""
    with VirtualBoard(
        args.build,
        args.host,
        args.port,
        core=args.core,
        memory_bytes=args.memory << 20,
        high_addresses=args.high_addresses,
        seed=args.seed,
    ) as board:
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        if args.until_eof:
            threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        board.set_stalls(args.stalls)
        board.set_memory_latency(args.memory_latency)
        for fault, after in args.fault:
            board.inject(fault, after)
        of_hls = " of the HLS core" if board.core == "hls" else ""
        print(
            f"virtual {board.name}, build {board.build}{of_hls}, on {board.address}:{board.port}; "
            f"Ctrl-C ends it",
            flush=True,
        )
        ended.wait()


if __name__ == "__main__":
    sys.exit(main())
