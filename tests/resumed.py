"""Trainings that Ctrl-C ends, and that go on in another process."""

from collections.abc import Callable

import pytest
import torch

from model.training.loops import TrainingLoop


def run_resumed(make: Callable[[], TrainingLoop]) -> TrainingLoop:
    """Runs what `make` makes until Ctrl-C in the second epoch, and another one from there on."""
    first = make()
    train_epoch = first.train_epoch

    def interrupted_in_the_second_epoch():
        record = train_epoch()
        if first.epoch == 1:
            raise KeyboardInterrupt
        return record

    first.train_epoch = interrupted_in_the_second_epoch
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert first.epoch == 1
    torch.rand(7)  # the new process starts with another random state
    second = make()
    second.load_state()
    second.run()
    return second
