// The step of each process of a run (units.h): what it does in a cycle. Arguments are the queues
// and memories of the process. True if it did anything but wait.
#pragma once

#include "units.h"

namespace cmamba {

// Reads an entry of the schedule and hands it to its unit's queue.
bool step(Fetch& u, channel<Credit, 1>& stop,
          channel<Queued<StreamInEntry>, kQueueDepth>& stream_in,
          channel<Queued<ArrayEntry>, kQueueDepth>& array,
          channel<Queued<VectorEntry>, kQueueDepth>& vector,
          channel<Queued<ConvEntry>, kQueueDepth>& conv,
          channel<Queued<ScanEntry>, kQueueDepth>& scan,
          channel<Queued<StreamOutEntry>, kQueueDepth>& stream_out,
          const Instructions& instructions, const Phases& phases, const Schedule& schedule,
          int n_phases, int iterations, unsigned n_tokens, int n_sequences, unsigned n_forecasts,
          bool tlast_each);

// Starts entries whose waits are met, an entry of each unit in a step.
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
          channel<StreamReport, kStartDepth>& stream_out_reports, unsigned watchdog_cycles);

// RECV.
bool step(StreamIn& u, channel<StreamInEntry, kStartDepth>& starts, hls::stream<axis_t>& s_axis,
          channel<PatchPacket, kPacketDepth>& to_multiply,
          channel<StreamReport, kStartDepth>& reports, unsigned watchdog_cycles);

// SEND.
bool step(StreamOut& u, channel<StreamOutEntry, kStartDepth>& starts,
          channel<ArrayPacket16, kPacketDepth>& from_array, channel<Ends, kAckDepth>& ends,
          channel<StreamReport, kStartDepth>& reports, hls::stream<axis_t>& m_axis, HeadRows& head,
          unsigned watchdog_cycles);

#ifdef __SYNTHESIS__
// Reads ranges of the package until an empty one comes.
void read_ranges(const beat_t* package, channel<BeatRange, kStartDepth>& ranges,
                 channel<beat_t, kTileBeats>& beats);
#else
// A beat of the same.
bool step(RangeReader& u, const beat_t* package, channel<BeatRange, kStartDepth>& ranges,
          channel<beat_t, kTileBeats>& beats);
#endif

// LINEAR: a weight tile. Tiles from `resident_tiles` on come from the package, whose weights begin
// at beat `weights_beat`. At most `sums_depth` output tiles are on their way.
bool step(ArrayMultiply& u, channel<MultiplyEntry, kStartDepth>& starts,
          channel<PatchPacket, kPacketDepth>& from_stream_in,
          channel<ArrayPacket8, kPacketDepth>& from_array,
          channel<PartPacket, kPacketDepth>& from_vector,
          channel<ConvPacket, kPacketDepth>& from_conv,
          channel<ScanPacket, kPacketDepth>& from_scan, channel<Ends, kAckDepth>& ends,
          channel<BeatRange, kStartDepth>& ranges, channel<beat_t, kTileBeats>& beats,
          channel<Sums, kSumsDepth>& sums, channel<Credit, kSumsDepth>& credits, Patch& patch,
          Norm& norm, ConvWords& conv, Proj& proj, ScanRows& scan, Weights& weights,
          int resident_tiles, int weights_beat, int sums_depth);

// LINEAR: kRequantizeLanes results.
bool step(ArrayOutput& u, channel<OutputEntry, kStartDepth>& starts,
          channel<Sums, kSumsDepth>& sums, channel<Credit, kSumsDepth>& credits,
          channel<ArrayPacket16, kPacketDepth>& from_array,
          channel<VectorPacket16, kWaitingDepth>& from_vector,
          channel<Credit, kWaitingDepth>& vector_credits, channel<Ends, kAckDepth>& ends,
          channel<ArrayPacket8, kPacketDepth>& to_multiply,
          channel<ArrayPacket16, kPacketDepth>& to_output,
          channel<ArrayPacket16, kPacketDepth>& to_reduce,
          channel<ArrayPacket16, kPacketDepth>& to_apply,
          channel<ArrayPacket8, kPacketDepth>& to_conv,
          channel<ArrayPacket8, kPacketDepth>& to_scan,
          channel<ArrayPacket16, kPacketDepth>& to_stream_out, Resid& resid, ArrayParams& params,
          Reduce& reduce);

// The vector unit: kVectorLanes elements of the row, where a whole row is needed first.
bool step(VectorReduce& u, channel<VectorEntry, kStartDepth>& starts,
          channel<ArrayPacket16, kPacketDepth>& from_array,
          channel<VectorPacket16, kWaitingDepth>& from_vector,
          channel<Credit, kWaitingDepth>& vector_credits, channel<Ends, kAckDepth>& ends,
          channel<ReducedEntry, kStartDepth>& reduced, Resid& resid);

// An entry; the reciprocal root of a NORM.
bool step(VectorRoot& u, channel<ReducedEntry, kStartDepth>& reduced,
          channel<RootedEntry, kStartDepth>& rooted);

// The vector unit: kVectorLanes results. At most `waiting_depth` packets wait for each reader that
// the array comes first with.
bool step(VectorApply& u, channel<RootedEntry, kStartDepth>& rooted,
          channel<ArrayPacket16, kPacketDepth>& from_array,
          channel<VectorPacket16, kWaitingDepth>& from_vector,
          channel<Credit, kWaitingDepth>& output_credits,
          channel<Credit, kWaitingDepth>& reduce_credits,
          channel<Credit, kWaitingDepth>& conv_credits, channel<Ends, kAckDepth>& ends,
          channel<PartPacket, kPacketDepth>& to_multiply,
          channel<VectorPacket16, kWaitingDepth>& to_output,
          channel<VectorPacket16, kWaitingDepth>& to_reduce,
          channel<VectorPacket16, kWaitingDepth>& to_apply,
          channel<VectorPacket8, kWaitingDepth>& to_conv, Resid& resid, Logit& logit,
          VectorParams& params, VectorTables& tables, PoolSum& pool_sum, PoolMaximum& pool_maximum,
          int waiting_depth);

// CONV: kConvLanes channels.
bool step(Conv& u, channel<ConvEntry, kStartDepth>& starts,
          channel<ArrayPacket8, kPacketDepth>& from_array,
          channel<VectorPacket8, kWaitingDepth>& from_vector,
          channel<Credit, kWaitingDepth>& vector_credits, channel<Ends, kAckDepth>& ends,
          channel<ConvPacket, kPacketDepth>& to_multiply,
          channel<ConvPacket, kPacketDepth>& to_scan, ConvIn& conv_in, ConvParams& params,
          ConvTables& tables);

// SCAN: kScanLanes pairs.
bool step(Scan& u, channel<ScanEntry, kStartDepth>& starts,
          channel<ArrayPacket8, kPacketDepth>& from_array,
          channel<ConvPacket, kPacketDepth>& from_conv, channel<Ends, kAckDepth>& ends,
          channel<ScanPacket, kPacketDepth>& to_multiply, Gate& gate, ConvRows& conv, Proj& proj,
          SkipRows& skip_rows, StepRows& step_rows, Decay& decay_rates, ScanParams& params,
          ScanTables& tables, State& state);

}  // namespace cmamba
