// RECV and SEND: rows from and to the AXI streams, a beat a cycle.
#include "dependences.h"
#include "lanes.h"
#include "steps.h"

namespace cmamba {

namespace {

// More than any host sends by mistake before it ends a transfer.
constexpr int kMaxDrainBeats = 1 << 24;

}  // namespace

// After an error it drops what the host has sent too much, up to TLAST, so that the next run starts
// with its own data, and answers every further entry by the error.
bool step(StreamIn& u, channel<StreamInEntry, kStartDepth>& starts, hls::stream<axis_t>& s_axis,
          channel<PatchPacket, kPacketDepth>& to_multiply,
          channel<StreamReport, kStartDepth>& reports, unsigned watchdog_cycles) {
#pragma HLS inline
  bool is_active = false;
  if (u.is_busy && (u.error == ERROR_OK || u.is_draining)) {
    is_active = true;
    axis_t beat;
    if (s_axis.read_nb(beat)) {
      PatchPacket packet;
    receive_bytes:
      for (int i = 0; i < kBeatBytes; ++i) {
#pragma HLS unroll
        packet.value[i] = int_t<8>(get_byte(beat.data, i));
      }
      const bool is_last_beat = (u.beat + 1) * kBeatBytes >= int(u.entry.n);
      const bool is_end = u.entry.is_last && is_last_beat;
      packet.space = SPACE_PATCH;
      packet.address = int(u.entry.result) + u.beat * kBeatBytes;
      packet.has_data = true;
      ++u.beat;
      u.waited = 0;
      if (u.is_draining) {
        u.is_draining = beat.last == 0 && u.beat < kMaxDrainBeats;
      } else if (beat.last != 0 && !is_end) {
        u.error = ERROR_TLAST_EARLY;
      } else if (beat.last == 0 && is_end) {
        u.error = ERROR_TLAST_LATE;
        u.is_draining = true;
        u.beat = 0;
      } else {
        packet.is_end = is_last_beat;
        to_multiply.write(packet);
        u.is_busy = !is_last_beat;
      }
    } else {
      ++u.waited;
      if (u.waited == watchdog_cycles) {
        if (u.error == ERROR_OK) u.error = ERROR_TIMEOUT;
        u.is_draining = false;
      }
    }
  } else if (u.is_busy) {
    is_active = true;
    StreamReport report;
    report.error = u.error;
    reports.write(report);
    u.is_busy = false;
  }
  if (!u.is_busy && starts.read_nb(u.entry)) {
    is_active = true;
    u.beat = 0;
    u.waited = 0;
    u.is_busy = !u.entry.is_end;
    u.is_finished = u.entry.is_end;
  }
  return is_active;
}

bool step(StreamOut& u, channel<StreamOutEntry, kStartDepth>& starts,
          channel<ArrayPacket16, kPacketDepth>& from_array, channel<Ends, kAckDepth>& ends,
          channel<StreamReport, kStartDepth>& reports, hls::stream<axis_t>& m_axis, HeadRows& head,
          unsigned watchdog_cycles) {
#pragma HLS inline
// No entry reads rows that are still being written: it starts after their end has been seen.
#pragma HLS dependence variable = head type = inter direction = RAW false
  CMAMBA_ANSWERED(head, HeadRows);
  constexpr int kBeatElements = kBeatBytes / 2;
  bool is_active = false;
  Ends done = 0;
  ArrayPacket16 packet;
  if (from_array.read_nb(packet)) {
    is_active = true;
    if (packet.has_data) {
      write_part<kWideWidth, kRequantizeLanes>(head, packet.address, packet.value);
    }
    if (packet.is_end) done |= Ends(1 << UNIT_ARRAY);
  }

  if (u.is_busy && u.error == ERROR_OK) {
    is_active = true;
    const int n = u.entry.n;
    const int first = u.beat * kBeatElements;
    int_t<16> values[kBeatElements];
#pragma HLS array_partition variable = values complete
    read_part<kWideWidth, kBeatElements>(head, int(u.entry.source) + first, values);
    axis_t beat;
    beat.data = zero_word<8 * kBeatBytes>();
  send_elements:
    for (int i = 0; i < kBeatElements; ++i) {
#pragma HLS unroll
      const int value = first + i < n ? int(values[i]) : 0;
      set_byte(beat.data, 2 * i, uint_t<8>(value & 0xFF));
      set_byte(beat.data, 2 * i + 1, uint_t<8>((value >> 8) & 0xFF));
    }
    const bool is_last_beat = first + kBeatElements >= n;
    beat.keep = 0xFFFF;
    beat.strb = 0xFFFF;
    beat.last = u.entry.is_last && is_last_beat ? 1 : 0;
    if (m_axis.write_nb(beat)) {
      ++u.beat;
      u.waited = 0;
      u.is_busy = !is_last_beat;
      if (is_last_beat) done |= Ends(1 << UNIT_STREAM_OUT);
    } else {
      ++u.waited;
      if (u.waited == watchdog_cycles) u.error = ERROR_TIMEOUT;
    }
  } else if (u.is_busy) {
    is_active = true;
    StreamReport report;
    report.error = u.error;
    reports.write(report);
    u.is_busy = false;
  }
  if (done != 0) ends.write(done);
  if (!u.is_busy && starts.read_nb(u.entry)) {
    is_active = true;
    u.beat = 0;
    u.waited = 0;
    u.is_busy = !u.entry.is_end;
    u.is_finished = u.entry.is_end;
  }
  return is_active;
}

}  // namespace cmamba
