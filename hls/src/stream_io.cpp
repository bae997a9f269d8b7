// RECV and SEND: rows from and to the AXI streams, a beat a cycle.
#include "kernels.h"
#include "lanes.h"

namespace cmamba {

namespace {

#ifdef __SYNTHESIS__
// A stream that stands still for about a second at 250 MHz ends the run.
constexpr unsigned kWatchdogCycles = 1u << 28;
#else
// In a simulation with one thread an empty stream stays empty.
constexpr unsigned kWatchdogCycles = 1;
#endif

// More than any host sends by mistake before it ends a transfer.
constexpr unsigned kMaxDrainBeats = 1u << 24;

// Drops what the host has sent too much, up to TLAST, so that the next run starts with its own
// data.
void drain(hls::stream<axis_t>& s_axis) {
#pragma HLS inline off
  bool is_last = false;
  unsigned beats = 0;
  unsigned waited = 0;
drain_beats:
  while (!is_last && beats < kMaxDrainBeats && waited < kWatchdogCycles) {
#pragma HLS loop_tripcount min = 1 max = 1024
#pragma HLS pipeline II = 1
    axis_t beat;
    if (s_axis.read_nb(beat)) {
      is_last = beat.last != 0;
      ++beats;
      waited = 0;
    } else {
      ++waited;
    }
  }
}

}  // namespace

Error receive_token(hls::stream<axis_t>& s_axis, int n, bool is_last, Row8 y) {
#pragma HLS inline off
  const int beats = (n + kBeatBytes - 1) / kBeatBytes;
  Error error = ERROR_OK;
  int b = 0;
  unsigned waited = 0;
receive_beats:
  while (b < beats && error == ERROR_OK) {
#pragma HLS loop_tripcount min = 1 max = 256
#pragma HLS pipeline II = 1
    axis_t beat;
    if (s_axis.read_nb(beat)) {
      int_t<8> bytes[kBeatBytes];
#pragma HLS array_partition variable = bytes complete
    receive_bytes:
      for (int i = 0; i < kBeatBytes; ++i) {
#pragma HLS unroll
        bytes[i] = int_t<8>(get_byte(beat.data, i));
      }
      write_part<kRowAlign, kBeatBytes>(y, b * kBeatBytes, bytes);
      const bool is_end = is_last && b == beats - 1;
      if (beat.last != 0 && !is_end) error = ERROR_TLAST_EARLY;
      if (beat.last == 0 && is_end) error = ERROR_TLAST_LATE;
      ++b;
      waited = 0;
    } else if (++waited == kWatchdogCycles) {
      error = ERROR_TIMEOUT;
    }
  }
  if (error == ERROR_TLAST_LATE) drain(s_axis);
  return error;
}

Error send_forecast(hls::stream<axis_t>& m_axis, const Head head, int address, int n,
                    bool is_last) {
#pragma HLS inline off
  constexpr int kBeatElements = kBeatBytes / 2;
  const int beats = (n + kBeatElements - 1) / kBeatElements;
  int b = 0;
  unsigned waited = 0;
send_beats:
  while (b < beats && waited < kWatchdogCycles) {
#pragma HLS loop_tripcount min = 1 max = 2048
#pragma HLS pipeline II = 1
    axis_t beat;
    beat.data = zero_word<8 * kBeatBytes>();
    const int first = b * kBeatElements;
    int_t<16> values[kBeatElements];
#pragma HLS array_partition variable = values complete
    read_part<kRowAlign, kBeatElements>(head, address + first, values);
  send_elements:
    for (int i = 0; i < kBeatElements; ++i) {
#pragma HLS unroll
      const int value = first + i < n ? int(values[i]) : 0;
      set_byte(beat.data, 2 * i, uint_t<8>(value & 0xFF));
      set_byte(beat.data, 2 * i + 1, uint_t<8>((value >> 8) & 0xFF));
    }
    beat.keep = 0xFFFF;
    beat.strb = 0xFFFF;
    beat.last = is_last && b == beats - 1 ? 1 : 0;
    if (m_axis.write_nb(beat)) {
      ++b;
      waited = 0;
    } else {
      ++waited;
    }
  }
  return b == beats ? ERROR_OK : ERROR_TIMEOUT;
}

}  // namespace cmamba
