"""What trainings share: steps, schedules, averages, precision, logs, interruption, processes."""

import csv
import hashlib
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from common.atomic_write import atomic_write
from model.cmamba import CMamba
from model.quant_point import QuantPoint
from model.registry import REGISTRY
from model.selective_scan import selective_scan
from model.training.args import LoopArgs
from model.training.distributed import ProcessGroup, process_group
from model.training.loops import TrainingError, TrainingLoop, resume_path
from model.training.optimizer import cosine_schedule, decay_schedule, parameter_groups

ROOT = Path(__file__).resolve().parents[1]
SINGLE = ProcessGroup()


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Line:
    """Samples of y = x @ [1, 2, 3, 4], all in memory."""

    def __init__(self, count=21, seed=0):
        self.x = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
        self.y = self.x @ np.float32([[1], [2], [3], [4]])
        self.interrupt_after = None  # batches

    def __len__(self):
        return len(self.x)

    def batch(self, indices):
        if self.interrupt_after is not None:
            if self.interrupt_after == 0:
                raise KeyboardInterrupt
            self.interrupt_after -= 1
        return self.x[indices], self.y[indices]


class Net(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.hidden = nn.Linear(4, 16)
        self.dropout = nn.Dropout(dropout)
        self.q_root = QuantPoint()
        self.last = nn.Linear(16, 1)
        self.bias = 0.0  # under the root: below 0 makes NaN between two modules

    def forward(self, x):
        x = self.dropout(torch.relu(self.hidden(x)))
        return self.last(self.q_root(torch.sqrt(x + 1 + self.bias)))


class Fit(TrainingLoop):
    criterion = "mse"

    def __init__(self, out, samples=None, dropout=0.0, group=SINGLE, log=None, **args):
        self.val = Line(8, seed=1)
        defaults = {"epochs": 3, "batch_size": 8, "lr": 1e-2}
        super().__init__(
            lambda: Net(dropout),
            samples or Line(),
            LoopArgs(**{**defaults, **args}),
            out,
            group=group,
            log=log,
        )

    def loss(self, output, target):
        return nn.functional.mse_loss(output, target)

    def validate(self, model):
        with torch.no_grad():
            error = model.eval()(torch.from_numpy(self.val.x)).numpy() - self.val.y
        if not np.isfinite(error).all():
            raise ValueError("the output is not finite")
        return {"mse": float(np.square(error).mean())}

    def identity(self):
        return {"model_args": {"width": 16}}

    def data_sha256(self):
        return hashlib.sha256(self.samples.x.tobytes()).hexdigest()

    def save(self, model):
        with atomic_write(self.out) as file:
            file.write(b"".join(p.detach().numpy().tobytes() for p in model.parameters()))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "w.bin"


def weights(loop):
    return torch.cat([p.detach().flatten() for p in loop.model.parameters()])


def scalars(folder, name):
    """What TensorBoard would show under `name`."""
    return [event.value for event in EventAccumulator(str(folder)).Reload().Scalars(name)]


# --- steps ---------------------------------------------------------------------------------------


def test_it_learns(out):
    loop = Fit(out, epochs=40, lr=5e-2)
    loop.run()
    assert loop.history[-1]["val_mse"] < 0.05 * loop.history[0]["val_mse"]


def test_passes_of_a_step_add_up_to_the_whole_step(out):
    # 21 samples in batches of 8 leave 5 for the last, fewer than its 6 passes.
    loops = [Fit(out, accumulate=count) for count in (1, 3, 6)]
    for loop in loops:
        loop.run()
        torch.testing.assert_close(weights(loop), weights(loops[0]), rtol=1e-4, atol=1e-6)
        assert loop.history[-1]["train_loss"] == pytest.approx(loops[0].history[-1]["train_loss"])


def test_warmup_and_cosine():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = cosine_schedule(optimizer, 10, 4)
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    expected = [0.2, 0.4, 0.6, 0.8, *(0.5 + 0.5 * np.cos(np.pi * np.arange(6) / 6))]
    assert rates == pytest.approx(expected)
    assert schedule.get_last_lr()[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("warmup", [0, 2])
def test_decay_is_that_of_the_authors(warmup):
    """Their adjust_learning_rate, called with the epochs that are done, sets that of the next."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = decay_schedule(optimizer, 3, warmup)
    rates = []
    for _ in range(warmup + 3 * 7):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    theirs = [1.0, *(1.0 if done < 3 else 0.9 ** (done - 3) for done in range(1, 7))]
    assert rates[warmup:] == pytest.approx(np.repeat(theirs, 3))
    assert rates[:warmup] == pytest.approx([(i + 1) / (warmup + 1) for i in range(warmup)])


def test_schedule_of_a_training(out):
    rates = {}
    for name in ("cosine", "decay"):
        loop = Fit(out, schedule=name, epochs=6, clip_norm=float("inf"))
        loop.run()
        rates[name] = loop.schedule.get_last_lr()[0] / loop.args.lr
    assert rates == pytest.approx({"cosine": 0, "decay": 0.9**3}, abs=1e-12)


def test_only_matrices_decay():
    args = REGISTRY["mixing"].args(num_channels=3, d_model=16, n_layer=1, d_state=4)
    decayed, free = parameter_groups(CMamba(args).named_parameters(), 0.1)
    assert decayed["weight_decay"] == 0.1 and free["weight_decay"] == 0
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    assert [4] in [list(p.shape)[1:] for p in free["params"] if p.ndim == 2]  # A_log [E,N]


def test_the_average_of_the_weights_is_what_is_validated_and_saved(out):
    loop = Fit(out, epochs=1, ema=0.9)
    expected = None

    def follow(*_):
        nonlocal expected
        now = weights(loop).clone()
        expected = now if expected is None else 0.9 * expected + 0.1 * now

    loop.optimizer.register_step_post_hook(follow)
    loop.run()
    saved = torch.frombuffer(bytearray(out.read_bytes()), dtype=torch.float32)
    torch.testing.assert_close(saved, expected)
    assert not torch.equal(saved, weights(loop))
    assert loop.history[0]["val_mse"] == loop.validate(loop.average.module)["mse"]


def test_gradients_are_clipped_without_the_scale_of_fp16(tmp_path):
    """AdamW does not notice a wrong scale; the norm that is clipped shows it."""
    norms = []
    for precision in ("fp32", "fp16"):
        log = tmp_path / precision
        loop = Fit(tmp_path / "w.bin", epochs=1, precision=precision, log=log)
        loop.scaler = torch.amp.GradScaler("cpu", init_scale=64, enabled=precision == "fp16")
        loop.run()
        norms.append(scalars(log, "step/gradient_norm"))
    assert norms[1] == pytest.approx(norms[0], rel=1e-2)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_learns_in_float32_weights(out, precision):
    loop = Fit(out, epochs=40, lr=5e-2, precision=precision)
    assert loop.scaler.is_enabled() == (precision == "fp16")
    types = set()
    loop.model.hidden.register_forward_hook(lambda _, __, y: types.add(y.dtype))
    loop.run()
    # Validation is in float32.
    assert types == {
        torch.float32,
        getattr(torch, {"bf16": "bfloat16", "fp16": "float16"}[precision]),
    }
    assert weights(loop).dtype == torch.float32
    assert loop.history[-1]["val_mse"] < 0.05 * loop.history[0]["val_mse"]


def test_fp16_skips_steps_until_the_scale_fits_and_stops_at_the_smallest(out):
    loop = Fit(out, epochs=2, precision="fp16")
    loop.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = weights(loop).clone()
    loop.train_epoch()  # 3 steps, each with an infinite gradient
    assert torch.equal(weights(loop), before) and loop.scaler.get_scale() == 2.0**37
    spoil_gradient(loop)
    with pytest.raises(TrainingError, match=r"gradient is .*first that of last\.bias; nothing"):
        for _ in range(20):
            loop.train_epoch()
    assert loop.scaler.get_scale() < 1


def test_the_scan_stays_in_float32():
    torch.manual_seed(0)
    u, delta = torch.randn(2, 64, 8), torch.rand(2, 64, 8)
    B, C = torch.randn(2, 64, 4), torch.randn(2, 64, 4)
    arguments = (u, delta, -torch.rand(8, 4), B, C, torch.ones(8))
    exact = selective_scan(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(selective_scan(*arguments), exact)
        y = selective_scan(u.bfloat16(), delta, *arguments[2:])
    assert torch.equal(y, selective_scan(u.bfloat16().float(), delta, *arguments[2:]))


def test_a_forecast_in_low_precision_is_near_and_has_a_gradient():
    args = REGISTRY["mixing"].args(num_channels=3, d_model=16, n_layer=2, d_state=4)
    torch.manual_seed(0)
    model, x = CMamba(args).eval(), torch.randn(4, 3, 96)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    torch.testing.assert_close(y.float(), model(x), rtol=0.05, atol=0.02)
    y.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


# --- logs ----------------------------------------------------------------------------------------


def test_logs_of_an_interrupted_training_are_those_of_the_whole(tmp_path):
    samples = Line()
    samples.interrupt_after = 4  # in the second step of the second epoch
    first = Fit(tmp_path / "w.bin", samples, log=tmp_path / "log")
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = Fit(tmp_path / "w.bin", log=tmp_path / "log")
    second.load_state()
    second.run()
    rows = list(csv.DictReader((tmp_path / "log" / "log.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["val_mse"]) for row in rows] == [r["val_mse"] for r in second.history]

    events = EventAccumulator(str(tmp_path / "log")).Reload()
    assert {"step/loss", "step/lr", "step/gradient_norm", "epoch/val_mse"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("step/loss")] == list(range(1, 10))
    assert [event.step for event in events.Scalars("epoch/val_mse")] == [3, 6, 9]


def test_without_logs_there_are_no_further_files(out):
    Fit(out, epochs=1).run()
    assert sorted(path.name for path in out.parent.iterdir()) == ["w.bin", "w.bin.resume.pt"]


# --- interruption --------------------------------------------------------------------------------

EVERYTHING = {"dropout": 0.3, "ema": 0.9, "warmup": 1.5, "accumulate": 2, "epochs": 4}


@pytest.mark.parametrize(
    ("precision", "schedule"),
    [("fp32", "cosine"), ("bf16", "cosine"), ("fp16", "cosine"), ("fp32", "decay")],
)
def test_resumes_to_the_same_bits_with_every_option(tmp_path, precision, schedule):
    options = EVERYTHING | {"precision": precision, "schedule": schedule}
    whole = Fit(tmp_path / "whole", **options)
    whole.run()
    samples = Line()
    samples.interrupt_after = 9  # passes: in the second epoch
    first = Fit(tmp_path / "parts", samples, **options)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert first.epoch == 1
    torch.rand(5)
    second = Fit(tmp_path / "parts", **options)
    second.load_state()
    second.run()
    assert second.history == whole.history
    assert torch.equal(weights(second), weights(whole))
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_state_of_other_data_or_precision_is_refused(out):
    Fit(out).save_state()
    for other in (Line(20), Line(seed=2)):
        with pytest.raises(TrainingError, match=r"SHA-256 of the data was '[0-9a-f]{64}', now it "):
            Fit(out, other).load_state()
    with pytest.raises(TrainingError, match="precision was 'fp32', now it is 'bf16'"):
        loop = Fit(out)
        loop.precision = "bf16"
        loop.load_state()


@pytest.mark.parametrize("spoil", ["identity", "history", "random_states", "optimizer", "cut"])
def test_a_damaged_state_is_refused(out, spoil):
    loop = Fit(out)
    loop.save_state()
    path = resume_path(out)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        state = torch.load(path, weights_only=True)
        state[spoil] = '["not", "this"]' if spoil == "identity" else 3
        torch.save(state, path)
    with pytest.raises(TrainingError, match=r"w\.bin\.resume\.pt: not a training state: "):
        loop.load_state()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_under_the_log_is_an_error_that_names_it(tmp_path):
    loop = Fit(tmp_path / "w.bin", log=tmp_path / "log", epochs=30)
    validate = loop.validate
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(model):
        if loop.epoch == 1:
            (events,) = (tmp_path / "log").glob("events*")
            resource.setrlimit(resource.RLIMIT_FSIZE, (events.stat().st_size + 50, unlimited[1]))
        return validate(model)

    loop.validate = fill_the_disk
    loop.save = loop.save_state = lambda *_: None  # they are larger
    try:
        with pytest.raises(TrainingError, match=r"File too large: '.*/log/events\.out\.tfevents"):
            loop.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert len(EventAccumulator(str(tmp_path / "log")).Reload().Scalars("epoch/val_mse")) == 1


@pytest.mark.parametrize("limit", [100, 2000], ids=["checkpoint", "state"])
def test_a_full_disk_leaves_what_was_there(tmp_path, limit):
    """A limit on the size of files stands for the disk; the checkpoint has 388 bytes."""
    whole = Fit(tmp_path / "whole")
    whole.run()
    loop = Fit(tmp_path / "w.bin")
    validate = loop.validate
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(model):
        if loop.epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
        return validate(model)

    loop.validate = fill_the_disk
    try:
        with pytest.raises(TrainingError, match=r"^epoch 2 cannot be saved: .*File too large") as e:
            loop.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert f"w.bin keeps epoch {1 if limit == 100 else 2}; --resume goes on from" in str(e.value)
    assert (tmp_path / "w.bin").stat().st_size == (tmp_path / "whole").stat().st_size
    assert len(list(tmp_path.iterdir())) == 4  # two checkpoints, two states, nothing half-written
    again = Fit(tmp_path / "w.bin")
    again.load_state()
    assert again.epoch == 1
    again.run()
    assert (tmp_path / "w.bin").read_bytes() == (tmp_path / "whole").read_bytes()


# --- values that are not finite ------------------------------------------------------------------


def spoil_parameter(loop):
    with torch.no_grad():
        loop.model.hidden.weight[2, 1] = float("nan")


def spoil_between_modules(loop):
    loop.model.bias = -5.0


def spoil_input(loop):
    loop.samples.x[3, 2] = float("nan")


def spoil_target(loop):
    loop.samples.y[3] = float("inf")


def spoil_loss(loop):
    loss = loop.loss
    loop.loss = lambda output, target: loss(output, target) / 0


def spoil_gradient(loop):
    # The square root has a finite value and an infinite slope at 0.
    loop.loss = lambda output, target: torch.sqrt((output - output.detach()).square().sum())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            spoil_parameter,
            "loss is nan, first not finite: the output of hidden (Linear), whose parameter weight "
            "is not finite",
        ),
        (spoil_between_modules, "loss is nan, first not finite: the input of q_root (QuantPoint)"),
        (spoil_input, "loss is nan, and so are inputs in its batch"),
        (spoil_target, "loss is inf, and so are targets in its batch"),
        (spoil_loss, "loss is inf, every module's output is finite, the loss of it is not"),
        (spoil_gradient, "gradient is nan, first that of last.bias"),
    ],
)
def test_says_where_nan_begins(out, spoil, message):
    loop = Fit(out, dropout=0.5, accumulate=2)
    train_epoch = loop.train_epoch

    def spoil_the_second_epoch():
        if loop.epoch == 1:
            spoil(loop)
        return train_epoch()

    loop.train_epoch = spoil_the_second_epoch
    with pytest.raises(TrainingError) as error:
        loop.run()
    assert "training diverged: epoch 2, step " in str(error.value)
    assert f"{message}; {out} keeps epoch 1. Try a lower --lr" in str(error.value)
    assert out.stat().st_size == 4 * len(weights(loop))


class SometimesNaN(nn.Module):
    def forward(self, x):
        return x * float("nan") if torch.rand(()) < 0.1 else x


def test_the_repeated_step_draws_the_same_random_numbers(out):
    for seed in range(5):
        loop = Fit(out, seed=seed, epochs=100, patience=100)
        loop.model.dropout = SometimesNaN()
        with pytest.raises(TrainingError, match="first not finite: the output of dropout"):
            while True:
                loop.train_epoch()


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("accumulate", 0), ("warmup", -1.0), ("warmup", 20.0), ("warmup", float("nan"))],
        *[("ema", 1.0), ("ema", -0.1), ("precision", "int8"), ("lr", float("inf"))],
        *[("clip_norm", 0.0), ("clip_norm", float("nan")), ("schedule", "step")],
    ],
)
def test_arguments_are_checked(field, value):
    with pytest.raises(ValueError, match=f"{field}: expected .* found"):
        LoopArgs(**{field: value})


# --- processes -----------------------------------------------------------------------------------


def only_the_first(*_):
    raise AssertionError("called in the second process")


def train_in_process(rank, folder):
    """Run by each of two processes; the first leaves what it found in `folder`."""
    os.environ.update(
        TORCHELASTIC_RUN_ID="test", RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2"
    )
    torch.set_num_threads(1)
    with process_group("cpu") as group:
        loop = Fit(folder / "two", group=group, accumulate=2, log=folder / "log")
        if rank == 1:
            loop.validate = loop.save = loop.save_state = only_the_first
        loop.run()
        assert loop.saved_epoch == loop.best_epoch > 0
        gathered = group.gather(weights(loop))
        assert torch.equal(*gathered)

        interrupted = Line()
        interrupted.interrupt_after = 5
        random = {"dropout": 0.5, "group": group}
        whole = Fit(folder / "whole", **random)
        whole.run()
        first = Fit(folder / "parts", interrupted, **random)
        with pytest.raises(KeyboardInterrupt):
            first.run()
        second = Fit(folder / "parts", **random)
        second.load_state()
        second.run()
        assert second.history == whole.history and torch.equal(weights(second), weights(whole))

        samples = Line()
        broken = Fit(folder / "broken", samples, group=group)
        if rank == 1:
            samples.x[:] = float("nan")
        with pytest.raises(TrainingError, match="step 1: loss is nan, and so are inputs"):
            broken.run()
        full = Fit(folder / "no_such_folder" / "w", group=group)
        with pytest.raises(TrainingError, match=r"epoch 1 cannot be saved: .*no_such_folder"):
            full.run()
        if group.first:
            torch.save(weights(loop), folder / "weights")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_train_as_one(tmp_path, monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    torch.multiprocessing.spawn(train_in_process, (tmp_path,), nprocs=2)
    one = Fit(tmp_path / "one", log=tmp_path / "log_of_one")
    one.run()
    torch.testing.assert_close(torch.load(tmp_path / "weights"), weights(one), rtol=1e-4, atol=1e-6)
    # AdamW does not notice a wrong scale of the gradient; its norm shows it.
    norms = [scalars(tmp_path / name, "step/gradient_norm") for name in ("log", "log_of_one")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4) and len(norms[0]) == 9
    two, one = (
        list(csv.DictReader((tmp_path / name / "log.csv").open())) for name in ("log", "log_of_one")
    )
    for row, other in zip(two, one, strict=True):
        for name in row:
            assert float(row[name]) == pytest.approx(float(other[name]), rel=1e-4), name
    assert len(list((tmp_path / "log").glob("events*"))) == 1  # the first process alone writes


@pytest.mark.slow
def test_torchrun(tmp_path):
    steps = np.arange(160)
    dates = np.datetime64("2020-01-01", "s") + steps * np.timedelta64(3600, "s")
    lines = [f"{date},{np.sin(i / 3):.6f},{np.cos(i / 5):.6f}" for i, date in enumerate(dates)]
    data = tmp_path / "sines.csv"
    data.write_text("\n".join(["date,a,b", *lines, ""]))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(
            "-m",
            "model.train_forecast",
            "--data",
            str(data),
            "--out",
            str(tmp_path / "w.safetensors"),
        ),
        *("--seq-len", "24", "--forecast-len", "8", "--patch-len", "8", "--stride", "4"),
        *("--d-model", "8", "--n-layer", "1", "--d-state", "2", "--epochs", "1"),
        *("--device", "cpu", "--threads", "1", "--log-folder", str(tmp_path / "log")),
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("test: MSE") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("log", "sines.csv", "w.safetensors")
    ]
