"""When a wait gives up, without a board and without waiting."""

from host.progress import Counted, Progress

TIMEOUT, WATCHDOG = 5.0, 1000


def progress(allowance=0.0):
    return Progress(100.0, TIMEOUT, allowance, WATCHDOG)


def test_it_looks_ten_times_in_a_timeout():
    watch = progress()
    assert [watch.due(now) for now in (100.1, 100.6, 100.7, 101.2)] == [False, True, False, True]


def test_what_moves_is_waited_for():
    watch = progress()
    for second in range(60):
        assert watch.standstill(100.0 + second, Counted(second, 100 * second)) is None
    for second in range(60, 120):  # only the DMA
        assert watch.standstill(100.0 + second, Counted(60, 6000, (second, 0))) is None


def test_nothing_moves():
    watch, counted = progress(), Counted(7, 40, (2, 2))
    assert watch.standstill(101.0, counted) is None
    assert watch.standstill(106.0, counted) is None
    assert watch.standstill(106.2, counted) == "nothing has moved for 5.2 s"


def test_an_allowance_is_waited_for_as_well():
    watch, counted = progress(allowance=2.0), Counted(0, 0)
    assert watch.standstill(100.0, counted) is None
    assert watch.standstill(107.0, counted) is None
    assert watch.standstill(107.1, counted) == "nothing has moved for 7.1 s"


def test_the_watchdog_does_not_end_what_stands_still():
    """Cycles are counted, but no entry completes; their counter runs over."""
    watch, start = progress(), (1 << 32) - 500
    assert watch.standstill(100.5, Counted(7, start)) is None
    assert watch.standstill(101.0, Counted(7, 8 * WATCHDOG - 500)) is None
    found = watch.standstill(101.5, Counted(7, 8 * WATCHDOG - 499))
    assert found == (
        "nothing has completed for 8001 cycles, and the watchdog of 1000 does not end it"
    )
    assert watch.standstill(102.0, Counted(8, 9 * WATCHDOG)) is None
