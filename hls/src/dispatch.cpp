// Starts each entry once what it waits for has completed, and finds out what has.
#include "steps.h"

namespace cmamba {

namespace {

// Whether entries of a unit end in a process's memories.
constexpr bool reaches(int unit, int owner) {
  return unit == UNIT_STREAM_IN ? owner == OWNER_MULTIPLY
         : unit == UNIT_ARRAY   ? true
         : unit == UNIT_VECTOR
             ? owner == OWNER_MULTIPLY || owner == OWNER_OUTPUT || owner == OWNER_REDUCE ||
                   owner == OWNER_APPLY || owner == OWNER_CONV
         : unit == UNIT_CONV ? owner == OWNER_MULTIPLY || owner == OWNER_SCAN
         : unit == UNIT_SCAN ? owner == OWNER_MULTIPLY
                             : owner == OWNER_STREAM_OUT;
}

bool is_end(const StreamInEntry& entry) { return entry.is_end; }
bool is_end(const ArrayEntry& entry) { return entry.multiply.is_end; }
bool is_end(const VectorEntry& entry) { return entry.is_end; }
bool is_end(const ConvEntry& entry) { return entry.is_end; }
bool is_end(const ScanEntry& entry) { return entry.is_end; }
bool is_end(const StreamOutEntry& entry) { return entry.is_end; }

void start(const ArrayEntry& entry, channel<MultiplyEntry, kStartDepth>& multiply,
           channel<OutputEntry, kStartDepth>& output) {
#pragma HLS inline
  multiply.write(entry.multiply);
  output.write(entry.output);
}

// Takes the next entry of a unit from its queue. After an error it drops all but the end.
template <class Entry>
bool refill(Head<Entry>& head, channel<Queued<Entry>, kQueueDepth>& queue, bool is_stopped) {
#pragma HLS inline
  bool is_active = false;
  if (is_stopped && head.is_full && !head.is_end) {
    is_active = true;
    head.is_full = false;
  }
  if (!head.is_full && queue.read_nb(head.queued)) {
    is_active = true;
    head.is_full = true;
    head.is_end = is_end(head.queued.entry);
  }
  return is_active;
}

template <class Entry>
bool may_start(const Head<Entry>& head, const Dispatch& u, int unit) {
#pragma HLS inline
  bool may = head.is_full && !head.is_end && u.error == ERROR_OK &&
             u.in_flight[unit] < kMaxInFlight;
compare_waits:
  for (int v = 0; v < kUnits; ++v) {
#pragma HLS unroll
    // The difference is right also where the counts have wrapped around.
    may = may && int_t<32>(u.completed[v] - head.queued.waits.completed[v]) >= 0;
  }
  return may;
}

}  // namespace

bool step(Dispatch& u, channel<Queued<StreamInEntry>, kQueueDepth>& stream_in,
          channel<Queued<ArrayEntry>, kQueueDepth>& array,
          channel<Queued<VectorEntry>, kQueueDepth>& vector,
          channel<Queued<ConvEntry>, kQueueDepth>& conv,
          channel<Queued<ScanEntry>, kQueueDepth>& scan,
          channel<Queued<StreamOutEntry>, kQueueDepth>& stream_out, channel<Credit, 1>& stop,
          channel<StreamInEntry, kStartDepth>& start_stream_in,
          channel<MultiplyEntry, kStartDepth>& start_multiply,
          channel<OutputEntry, kStartDepth>& start_output,
          channel<VectorEntry, kStartDepth>& start_vector,
          channel<ConvEntry, kStartDepth>& start_conv, channel<ScanEntry, kStartDepth>& start_scan,
          channel<StreamOutEntry, kStartDepth>& start_stream_out,
          channel<Ends, kAckDepth>& multiply_ends, channel<Ends, kAckDepth>& output_ends,
          channel<Ends, kAckDepth>& reduce_ends, channel<Ends, kAckDepth>& apply_ends,
          channel<Ends, kAckDepth>& conv_ends, channel<Ends, kAckDepth>& scan_ends,
          channel<Ends, kAckDepth>& stream_out_ends,
          channel<StreamReport, kStartDepth>& stream_in_reports,
          channel<StreamReport, kStartDepth>& stream_out_reports, unsigned watchdog_cycles) {
#pragma HLS inline
#pragma HLS array_partition variable = u.completed complete
#pragma HLS array_partition variable = u.in_flight complete
#pragma HLS array_partition variable = u.busy complete
#pragma HLS array_partition variable = u.ends complete dim = 0
  bool is_active = false;

  // Which entries have completed.
  Ends came[kOwners];
#pragma HLS array_partition variable = came complete
clear_ends:
  for (int o = 0; o < kOwners; ++o) {
#pragma HLS unroll
    came[o] = 0;
  }
  is_active |= multiply_ends.read_nb(came[OWNER_MULTIPLY]);
  is_active |= output_ends.read_nb(came[OWNER_OUTPUT]);
  is_active |= reduce_ends.read_nb(came[OWNER_REDUCE]);
  is_active |= apply_ends.read_nb(came[OWNER_APPLY]);
  is_active |= conv_ends.read_nb(came[OWNER_CONV]);
  is_active |= scan_ends.read_nb(came[OWNER_SCAN]);
  is_active |= stream_out_ends.read_nb(came[OWNER_STREAM_OUT]);
  ++u.idle;
  ++u.steps;
count_busy:
  for (int v = 0; v < kUnits; ++v) {
#pragma HLS unroll
    u.busy[v] += u.in_flight[v] != 0 ? 1 : 0;
  }
complete_units:
  for (int v = 0; v < kUnits; ++v) {
#pragma HLS unroll
    bool has_completed = is_active;  // some end has come
  count_ends:
    for (int o = 0; o < kOwners; ++o) {
#pragma HLS unroll
      u.ends[o][v] += (came[o] >> v) & 1;
      has_completed = has_completed && (!reaches(v, o) || u.ends[o][v] > 0);
    }
    if (has_completed) {
      is_active = true;
    drop_ends:
      for (int o = 0; o < kOwners; ++o) {
#pragma HLS unroll
        u.ends[o][v] -= reaches(v, o) ? 1 : 0;
      }
      ++u.completed[v];
      --u.in_flight[v];
      ++u.entries;
      u.idle = 0;
#ifndef __SYNTHESIS__
      if (u.observer != nullptr) u.observer->completed(v);
#endif
    }
  }

  // Errors: nothing is started any more, and what has been started comes to its end.
  const bool was_stopped = u.error != ERROR_OK;
  StreamReport report;
  if (stream_in_reports.read_nb(report)) {
    is_active = true;
    --u.in_flight[UNIT_STREAM_IN];
    if (u.error == ERROR_OK) u.error = Error(int(report.error));
  }
  if (stream_out_reports.read_nb(report)) {
    is_active = true;
    --u.in_flight[UNIT_STREAM_OUT];
    if (u.error == ERROR_OK) u.error = Error(int(report.error));
  }
#ifdef __SYNTHESIS__
  const bool is_expired = u.idle == watchdog_cycles;
#else
  (void)watchdog_cycles;
  const bool is_expired = u.is_expired;
#endif
  if (is_expired && u.error == ERROR_OK) u.error = ERROR_TIMEOUT;
  const bool is_stopped = u.error != ERROR_OK;

  // What may start.
  if (may_start(u.stream_in, u, UNIT_STREAM_IN)) {
    is_active = true;
    start_stream_in.write(u.stream_in.queued.entry);
    u.stream_in.is_full = false;
    ++u.in_flight[UNIT_STREAM_IN];
  }
  if (may_start(u.array, u, UNIT_ARRAY)) {
    is_active = true;
    start(u.array.queued.entry, start_multiply, start_output);
    u.array.is_full = false;
    ++u.in_flight[UNIT_ARRAY];
  }
  if (may_start(u.vector, u, UNIT_VECTOR)) {
    is_active = true;
    start_vector.write(u.vector.queued.entry);
    u.vector.is_full = false;
    ++u.in_flight[UNIT_VECTOR];
  }
  if (may_start(u.conv, u, UNIT_CONV)) {
    is_active = true;
    start_conv.write(u.conv.queued.entry);
    u.conv.is_full = false;
    ++u.in_flight[UNIT_CONV];
  }
  if (may_start(u.scan, u, UNIT_SCAN)) {
    is_active = true;
    start_scan.write(u.scan.queued.entry);
    u.scan.is_full = false;
    ++u.in_flight[UNIT_SCAN];
  }
  if (may_start(u.stream_out, u, UNIT_STREAM_OUT)) {
    is_active = true;
    start_stream_out.write(u.stream_out.queued.entry);
    u.stream_out.is_full = false;
    ++u.in_flight[UNIT_STREAM_OUT];
  }
  is_active |= refill(u.stream_in, stream_in, is_stopped);
  is_active |= refill(u.array, array, is_stopped);
  is_active |= refill(u.vector, vector, is_stopped);
  is_active |= refill(u.conv, conv, is_stopped);
  is_active |= refill(u.scan, scan, is_stopped);
  is_active |= refill(u.stream_out, stream_out, is_stopped);

  // The end of the run.
  bool is_finished = u.stream_in.is_end && u.array.is_end && u.vector.is_end && u.conv.is_end &&
                     u.scan.is_end && u.stream_out.is_end;
all_completed:
  for (int v = 0; v < kUnits; ++v) {
#pragma HLS unroll
    is_finished = is_finished && u.in_flight[v] == 0;
  }
  // Fetch is told once: of the error, or that all is over.
  if (is_stopped ? !was_stopped : is_finished) {
    is_active = true;
    stop.write(1);
  }
  if (is_finished) {
    is_active = true;
    start_stream_in.write(u.stream_in.queued.entry);
    start(u.array.queued.entry, start_multiply, start_output);
    start_vector.write(u.vector.queued.entry);
    start_conv.write(u.conv.queued.entry);
    start_scan.write(u.scan.queued.entry);
    start_stream_out.write(u.stream_out.queued.entry);
    u.is_finished = true;
  }
  return is_active;
}

}  // namespace cmamba
