"""The generated recordings: reproducible, readable, and of the physics they state."""

import numpy as np
import pytest

from model.data.frame_datasets import load_frames
from model.data.synthetic_frames import World, main


def test_command_writes_what_frames_lazy_reads(tmp_path, capsys):
    arguments = ["--recordings", "10", "--frames", "50", "--base-stations", "3", "--seed", "4"]
    for name in ("one", "two"):
        assert main([str(tmp_path / name), *arguments]) == 0
    assert "10 walks of 50 frames, 12 features" in capsys.readouterr().out
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    splits = load_frames(tmp_path / "one", 8)
    assert [len(w) for w in (splits.train, splits.val, splits.test)] == [7 * 43, 43, 2 * 43]
    assert splits.train.num_features == 12


@pytest.mark.parametrize(
    "arguments", [["--recordings", "2"], ["--frames", "0"], ["--base-stations", "0"]]
)
def test_errors(tmp_path, capsys, arguments):
    assert main([str(tmp_path / "out"), *arguments]) == 2
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_walk_is_smooth_and_inside():
    world = World()
    path = world.walk(5000, np.random.default_rng(0))
    assert (path >= 0).all() and (path <= [world.width, world.height]).all()
    speed = np.linalg.norm(np.diff(path, axis=0), axis=1) / world.interval_s
    assert speed.max() < 3 and path.std(axis=0).min() > 2


def test_features_without_noise_are_the_physics():
    quiet = World(shadowing_db=0, fading_db=0, angle_deg=0, clock_ns=0, missing=0)
    position = np.array([[10.0, 20.0]])
    loss, sine, cosine, delay = quiet.frames(position, np.random.default_rng(0)).reshape(4, 4).T
    dx, dy = (position - quiet.stations()).T
    distance = np.sqrt(dx**2 + dy**2)
    np.testing.assert_allclose(loss, 40 + 22 * np.log10(distance), rtol=1e-5)
    np.testing.assert_allclose(sine, dy / distance, atol=1e-6)
    np.testing.assert_allclose(cosine, dx / distance, atol=1e-6)
    np.testing.assert_allclose(delay, distance / 0.299792458, rtol=1e-5)


def test_noise_is_as_large_as_stated():
    world = World(clock_ns=5, missing=0.1)
    position = np.full((20_000, 2), 12.0)
    frames = world.frames(position, np.random.default_rng(0)).reshape(-1, 4, 4)
    missing = (frames == [world.floor_db, 0, 0, 0]).all(axis=2)
    assert missing.mean() == pytest.approx(0.1, abs=0.01)
    heard = frames[~missing.any(axis=1)]
    np.testing.assert_allclose(heard[..., 0].std(axis=0), world.fading_db, rtol=0.05)
    np.testing.assert_allclose(heard[..., 3].std(axis=0), 5, rtol=0.05)
    np.testing.assert_allclose(np.corrcoef(heard[..., 3].T), 1, atol=1e-3)  # one clock
    places = np.random.default_rng(1).uniform([0, 0], [40, 25], (4000, 2))
    assert world.shadowing(places).std() == pytest.approx(world.shadowing_db, rel=0.2)
