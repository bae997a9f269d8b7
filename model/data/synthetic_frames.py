"""Writes recordings of a radio receiver that walks: `python -m model.data.synthetic_frames OUT`.

For tests and trials of `model.train_regression`, in the format of `model.data.frames_lazy`. Base
stations stand around a hall; in it a receiver walks a smooth path and hears, from each of them,

    path_loss_i    dB: log-distance path loss, shadowing that depends on the place alone, fading
    sin_i, cos_i   of the angle of arrival, with a Gaussian error of the angle
    delay_i        ns: distance over the speed of light, with a clock offset common to all stations

so that no single frame tells its position exactly, and a window of them does better. Some frames
miss a station (path loss at the receiver's floor, no angle, no delay). The same arguments give the
same bytes.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import command_line
from common.atomic_write import atomic_write

FEATURES = ("path_loss", "sin", "cos", "delay")
NS_PER_METRE = 1e9 / 299_792_458
RECORDINGS, FRAMES = 20, 1000
STANDARD_FOLDER = Path(__file__).resolve().parents[2] / "build" / "synthetic_frames"
SPLIT_SHARES = (("test", 0.2), ("val", 0.1))


@dataclass(frozen=True)
class World:
    """The hall and its radio; a recording of it is drawn by `walk` and `frames`."""

    width: float = 40.0  # metres
    height: float = 25.0
    base_stations: int = 4
    interval_s: float = 0.1
    path_loss_1m: float = 40.0  # dB at 1 m
    exponent: float = 2.2  # of the distance; 2 in free space
    shadowing_db: float = 4.0
    fading_db: float = 2.0
    angle_deg: float = 8.0  # standard deviation of the angle
    clock_ns: float = 10.0  # of the clock offset
    missing: float = 0.05  # share of frames without a station
    floor_db: float = 110.0  # path loss that the receiver reports for one it does not hear
    seed: int = 0  # of the shadowing

    def feature_names(self) -> list[str]:
        """Din = 4 * base_stations names, by station."""
        return [f"{feature}_{i}" for i in range(self.base_stations) for feature in FEATURES]

    def stations(self) -> np.ndarray:
        """[base_stations, 2], in metres, evenly along an ellipse around the hall."""
        angle = 2 * np.pi * (np.arange(self.base_stations) + 0.5) / self.base_stations
        centre = np.array([self.width, self.height]) / 2
        return centre + 0.75 * np.array([self.width, self.height]) * np.stack(
            [np.cos(angle), np.sin(angle)], axis=1
        )

    def walk(self, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        """[T, 2]: a smooth path within the hall, at up to about 2 m/s."""
        seconds = np.arange(num_frames) * self.interval_s
        position = np.empty((num_frames, 2))
        for axis, size in enumerate((self.width, self.height)):
            frequency = rng.uniform(0.2, 1.0, 4) / (2 * size)  # Hz: there and back at about 1 m/s
            phase = rng.uniform(0, 2 * np.pi, 4)
            wave = np.sin(2 * np.pi * frequency * seconds[:, None] + phase).mean(axis=1)
            position[:, axis] = size * (0.5 + 0.5 * wave)
        return position

    def shadowing(self, position: np.ndarray) -> np.ndarray:
        """[T, 2] -> [T, base_stations] dB: for each station a fixed sum of waves over the hall."""
        rng = np.random.default_rng([self.seed, 1])
        waves = 16
        vector = rng.normal(scale=2 * np.pi / 15.0, size=(self.base_stations, waves, 2))  # 1/m
        phase = rng.uniform(0, 2 * np.pi, (self.base_stations, waves))
        angle = np.einsum("td,swd->tsw", position, vector) + phase
        return self.shadowing_db * np.sqrt(2 / waves) * np.sin(angle).sum(axis=2)

    def frames(self, position: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What is received along a path: [T, 2] -> [T, Din]"""
        offset = position[:, None, :] - self.stations()  # [T, stations, 2]
        distance = np.hypot(offset[..., 0], offset[..., 1])
        shape = distance.shape
        loss = self.path_loss_1m + 10 * self.exponent * np.log10(distance)
        loss += self.shadowing(position) + rng.normal(scale=self.fading_db, size=shape)
        angle = np.arctan2(offset[..., 1], offset[..., 0])
        angle += np.deg2rad(self.angle_deg) * rng.normal(size=shape)
        clock = rng.normal(scale=self.clock_ns, size=(len(position), 1))
        delay = NS_PER_METRE * distance + clock
        frames = np.stack([loss, np.sin(angle), np.cos(angle), delay], axis=2)
        frames[rng.random(shape) < self.missing] = [self.floor_db, 0, 0, 0]
        return frames.reshape(len(position), -1).astype(np.float32)


def write_recordings(folder: Path, world: World, count: int, num_frames: int, seed: int) -> None:
    """Writes `count` recordings; the last fifth is for test, the tenth before for validation.

    Raises: ValueError (fewer than 3 recordings, no frame), OSError.
    """
    if count < 3 or num_frames < 1:
        raise ValueError(
            f"expected at least 3 recordings (train, val, test) of 1 frame, found {count} of "
            f"{num_frames}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    splits = [split for split, share in SPLIT_SHARES for _ in range(max(1, round(share * count)))]
    splits = (["train"] * (count - len(splits)) + splits[::-1])[:count]
    for i, split in enumerate(splits):
        rng = np.random.default_rng([seed, i])
        position = world.walk(num_frames, rng)
        metadata = {
            "split": split,
            "features": world.feature_names(),
            "interval_s": world.interval_s,
        }
        for ending, content in (
            (".frames.npy", _npy(world.frames(position, rng))),
            (".positions.npy", _npy(position.astype(np.float32))),
            (".json", json.dumps(metadata, indent=1).encode() + b"\n"),  # last: it makes them count
        ):
            with atomic_write(folder / f"walk{i:03}{ending}") as file:
                file.write(content)


def standard_recordings() -> Path:
    """The folder of the recordings that the options' defaults describe, written if need be.

    Raises: OSError.
    """
    folder = STANDARD_FOLDER
    write_recordings(folder, World(), RECORDINGS, FRAMES, seed=0)
    return folder


def _npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model.data.synthetic_frames",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument(
        "--recordings", type=int, default=RECORDINGS, help=f"walks (default: {RECORDINGS})"
    )
    parser.add_argument("--frames", type=int, default=FRAMES, help=f"of a walk (default: {FRAMES})")
    parser.add_argument("--base-stations", type=int, default=4, help="(default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    args = parser.parse_args(argv)
    if args.base_stations < 1:
        raise ValueError(f"--base-stations: expected at least 1, found {args.base_stations}")
    world = World(base_stations=args.base_stations, seed=args.seed)
    write_recordings(args.folder, world, args.recordings, args.frames, args.seed)
    print(
        f"{args.folder}: {args.recordings} walks of {args.frames} frames, "
        f"{len(world.feature_names())} features"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
