// Weight tiles that the chip has no room for: ranges of the package, beat by beat.
#include "steps.h"

namespace cmamba {

#ifdef __SYNTHESIS__

// A loop of its own for each range, without conditions, so that it is read in bursts.
void read_ranges(const beat_t* package, channel<BeatRange, kStartDepth>& ranges,
                 channel<beat_t, kTileBeats>& beats) {
#pragma HLS inline off
  bool is_finished = false;
read_range:
  while (!is_finished) {
#pragma HLS loop_tripcount min = 1 max = 1
    const BeatRange range = ranges.read();
    is_finished = range.count == 0;
  read_beats:
    for (uint_t<32> b = 0; b < range.count; ++b) {
#pragma HLS loop_tripcount min = 0 max = 4096
#pragma HLS pipeline II = 1
      beats.write(package[range.first + b]);
    }
  }
}

#else

bool step(RangeReader& u, const beat_t* package, channel<BeatRange, kStartDepth>& ranges,
          channel<beat_t, kTileBeats>& beats) {
  if (u.range.count == 0) {
    if (!ranges.read_nb(u.range)) return false;
    u.is_finished = u.range.count == 0;
  } else {
    beats.write(package[u.range.first]);
    ++u.range.first;
    --u.range.count;
  }
  return true;
}

#endif

}  // namespace cmamba
