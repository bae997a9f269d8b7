"""The columns of the ZU9EG, and how far apart the sinks of a net lie on them.

Places are slices: columns from the left, rows from the bottom, as in the names of sites. That there
are 97 columns and 420 rows, 18 columns of DSP48E2 and 13 of block RAM, follows from site ranges in
public constraint files for the ZCU102 (galanom/zdma on GitHub). So do most of the columns' places,
to two or three slices; the others are put between their neighbours. It agrees with DS891. The
processing system is where the columns 0 to 35 have no rows below 180, so that there are 61 * 420 +
36 * 240 = 34,260 slices (274,080 LUTs), 11 * 168 + 7 * 96 = 2,520 DSP48E2 and 8 * 84 + 5 * 48 = 912
block RAMs.
"""

from __future__ import annotations

from math import sqrt

COLUMNS, ROWS = 97, 420
REGION_ROWS = 60  # of a clock region
PS_COLUMNS, PS_ROWS = 36, 180
# The slice column that is left of each.
RAM_COLUMNS = (3, 11, 17, 24, 33, 39, 47, 60, 66, 74, 79, 86, 93)
DSP_COLUMNS = (2, 10, 14, 18, 23, 28, 32, 40, 44, 49, 52, 55, 59, 67, 73, 78, 85, 92)
RAM_ROWS, DSP_ROWS = 5, 2.5  # slices beside one

SLICES = COLUMNS * ROWS - PS_COLUMNS * PS_ROWS
# Slices of the device for each block RAM and DSP48E2.
SLICES_OF_RAM = SLICES / 912
SLICES_OF_DSP = SLICES / 2520


def span(rams: int, dsps: int) -> float:
    """Distance in slices from the middle of so many block RAMs and DSP48E2 to the farthest.

    They lie as close together as their columns allow, in a square: half its width and half its
    height. Both kinds lie in the same area, as their columns alternate.
    """
    return sqrt(min(SLICES, max(rams * SLICES_OF_RAM, dsps * SLICES_OF_DSP)))
