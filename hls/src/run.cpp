// A run: the processes of units.h, as a dataflow region in hardware, taking turns in a simulation.
#include "cmamba.h"
#include "steps.h"

#ifndef __SYNTHESIS__
#include "csim/turns.h"
#endif

namespace cmamba {

namespace {

#ifdef __SYNTHESIS__

// A step a cycle until the last entry.
template <class Unit, class... Arguments>
void process(Arguments&... arguments) {
#pragma HLS inline off
  Unit unit;
process_steps:
  while (!unit.is_finished) {
#pragma HLS loop_tripcount min = 1 max = 10000
#pragma HLS pipeline II = 1
    step(unit, arguments...);
  }
}

// Like process(), with what the run has come to.
template <class... Arguments>
void dispatch_process(Error& error, Counters& counters, Arguments&... arguments) {
#pragma HLS inline off
  Dispatch unit;
dispatch_steps:
  while (!unit.is_finished) {
#pragma HLS loop_tripcount min = 1 max = 10000
#pragma HLS pipeline II = 1
    step(unit, arguments...);
  }
  error = unit.error;
  counters = unit.counters();
}

#else

// Of this thread's run.
thread_local Turns* turns = nullptr;

template <class Unit, class... Arguments>
void process(Arguments&... arguments) {
  turns->add<Unit>(arguments...);
}

template <class... Arguments>
void dispatch_process(Error& error, Counters& counters, Arguments&... arguments) {
  turns->add_dispatch(error, counters, arguments...);
}

void read_ranges(const beat_t* const& package, channel<BeatRange, kStartDepth>& ranges,
                 channel<beat_t, kTileBeats>& beats) {
  turns->add<RangeReader>(package, ranges, beats);
}

template <class... Queues>
void disturb(Queues&... queues) {
  (void)std::initializer_list<int>{(turns->disturb(queues), 0)...};
}

#endif

// The region: queues, processes, and which memory is whose.
void run_processes(const beat_t* package, hls::stream<axis_t>& s_axis, hls::stream<axis_t>& m_axis,
                   const unsigned& n_forecasts, const bool& tlast_each,
                   const unsigned& watchdog_cycles, const int& resident_tiles, Memory& memory,
                   Error& error, Counters& counters) {
#pragma HLS inline off
#pragma HLS dataflow
  channel<Credit, 1> stop("stop");
#pragma HLS stream variable = stop depth = 1
  channel<Queued<StreamInEntry>, kQueueDepth> queue_stream_in("queue_stream_in");
#pragma HLS stream variable = queue_stream_in depth = kQueueDepth
  channel<Queued<ArrayEntry>, kQueueDepth> queue_array("queue_array");
#pragma HLS stream variable = queue_array depth = kQueueDepth
  channel<Queued<VectorEntry>, kQueueDepth> queue_vector("queue_vector");
#pragma HLS stream variable = queue_vector depth = kQueueDepth
  channel<Queued<ConvEntry>, kQueueDepth> queue_conv("queue_conv");
#pragma HLS stream variable = queue_conv depth = kQueueDepth
  channel<Queued<ScanEntry>, kQueueDepth> queue_scan("queue_scan");
#pragma HLS stream variable = queue_scan depth = kQueueDepth
  channel<Queued<StreamOutEntry>, kQueueDepth> queue_stream_out("queue_stream_out");
#pragma HLS stream variable = queue_stream_out depth = kQueueDepth
  channel<StreamInEntry, kStartDepth> start_stream_in("start_stream_in");
#pragma HLS stream variable = start_stream_in depth = kStartDepth
  channel<MultiplyEntry, kStartDepth> start_multiply("start_multiply");
#pragma HLS stream variable = start_multiply depth = kStartDepth
  channel<OutputEntry, kStartDepth> start_output("start_output");
#pragma HLS stream variable = start_output depth = kStartDepth
  channel<VectorEntry, kStartDepth> start_vector("start_vector");
#pragma HLS stream variable = start_vector depth = kStartDepth
  channel<ConvEntry, kStartDepth> start_conv("start_conv");
#pragma HLS stream variable = start_conv depth = kStartDepth
  channel<ScanEntry, kStartDepth> start_scan("start_scan");
#pragma HLS stream variable = start_scan depth = kStartDepth
  channel<StreamOutEntry, kStartDepth> start_stream_out("start_stream_out");
#pragma HLS stream variable = start_stream_out depth = kStartDepth
  channel<Ends, kAckDepth> multiply_ends("multiply_ends");
#pragma HLS stream variable = multiply_ends depth = kAckDepth
  channel<Ends, kAckDepth> output_ends("output_ends");
#pragma HLS stream variable = output_ends depth = kAckDepth
  channel<Ends, kAckDepth> reduce_ends("reduce_ends");
#pragma HLS stream variable = reduce_ends depth = kAckDepth
  channel<Ends, kAckDepth> apply_ends("apply_ends");
#pragma HLS stream variable = apply_ends depth = kAckDepth
  channel<Ends, kAckDepth> conv_ends("conv_ends");
#pragma HLS stream variable = conv_ends depth = kAckDepth
  channel<Ends, kAckDepth> scan_ends("scan_ends");
#pragma HLS stream variable = scan_ends depth = kAckDepth
  channel<Ends, kAckDepth> stream_out_ends("stream_out_ends");
#pragma HLS stream variable = stream_out_ends depth = kAckDepth
  channel<StreamReport, kStartDepth> stream_in_reports("stream_in_reports");
#pragma HLS stream variable = stream_in_reports depth = kStartDepth
  channel<StreamReport, kStartDepth> stream_out_reports("stream_out_reports");
#pragma HLS stream variable = stream_out_reports depth = kStartDepth
  channel<BeatRange, kStartDepth> ranges("ranges");
#pragma HLS stream variable = ranges depth = kStartDepth
  channel<beat_t, kTileBeats> beats("beats");
#pragma HLS stream variable = beats depth = kTileBeats
  channel<Sums, kSumsDepth> sums("sums");
#pragma HLS stream variable = sums depth = kSumsDepth
  channel<Credit, kSumsDepth> sums_credits("sums_credits");
#pragma HLS stream variable = sums_credits depth = kSumsDepth
  channel<ReducedEntry, kStartDepth> reduced("reduced");
#pragma HLS stream variable = reduced depth = kStartDepth
  channel<RootedEntry, kStartDepth> rooted("rooted");
#pragma HLS stream variable = rooted depth = kStartDepth
  channel<PatchPacket, kPacketDepth> stream_in_to_multiply("stream_in_to_multiply");
#pragma HLS stream variable = stream_in_to_multiply depth = kPacketDepth
  channel<ArrayPacket8, kPacketDepth> array_to_multiply("array_to_multiply");
#pragma HLS stream variable = array_to_multiply depth = kPacketDepth
  channel<ArrayPacket16, kPacketDepth> array_to_output("array_to_output");
#pragma HLS stream variable = array_to_output depth = kPacketDepth
  channel<ArrayPacket16, kPacketDepth> array_to_reduce("array_to_reduce");
#pragma HLS stream variable = array_to_reduce depth = kPacketDepth
  channel<ArrayPacket16, kPacketDepth> array_to_apply("array_to_apply");
#pragma HLS stream variable = array_to_apply depth = kPacketDepth
  channel<ArrayPacket8, kPacketDepth> array_to_conv("array_to_conv");
#pragma HLS stream variable = array_to_conv depth = kPacketDepth
  channel<ArrayPacket8, kPacketDepth> array_to_scan("array_to_scan");
#pragma HLS stream variable = array_to_scan depth = kPacketDepth
  channel<ArrayPacket16, kPacketDepth> array_to_stream_out("array_to_stream_out");
#pragma HLS stream variable = array_to_stream_out depth = kPacketDepth
  channel<PartPacket, kPacketDepth> vector_to_multiply("vector_to_multiply");
#pragma HLS stream variable = vector_to_multiply depth = kPacketDepth
  channel<VectorPacket16, kWaitingDepth> vector_to_output("vector_to_output");
#pragma HLS stream variable = vector_to_output depth = kWaitingDepth
  channel<VectorPacket16, kWaitingDepth> vector_to_reduce("vector_to_reduce");
#pragma HLS stream variable = vector_to_reduce depth = kWaitingDepth
  channel<VectorPacket16, kWaitingDepth> vector_to_apply("vector_to_apply");
#pragma HLS stream variable = vector_to_apply depth = kWaitingDepth
  channel<VectorPacket8, kWaitingDepth> vector_to_conv("vector_to_conv");
#pragma HLS stream variable = vector_to_conv depth = kWaitingDepth
  channel<Credit, kWaitingDepth> output_credits("output_credits");
#pragma HLS stream variable = output_credits depth = kWaitingDepth
  channel<Credit, kWaitingDepth> reduce_credits("reduce_credits");
#pragma HLS stream variable = reduce_credits depth = kWaitingDepth
  channel<Credit, kWaitingDepth> conv_credits("conv_credits");
#pragma HLS stream variable = conv_credits depth = kWaitingDepth
  channel<ConvPacket, kPacketDepth> conv_to_multiply("conv_to_multiply");
#pragma HLS stream variable = conv_to_multiply depth = kPacketDepth
  channel<ConvPacket, kPacketDepth> conv_to_scan("conv_to_scan");
#pragma HLS stream variable = conv_to_scan depth = kPacketDepth
  channel<ScanPacket, kPacketDepth> scan_to_multiply("scan_to_multiply");
#pragma HLS stream variable = scan_to_multiply depth = kPacketDepth

#ifdef __SYNTHESIS__
  const int waiting_depth = kWaitingDepth;
  const int sums_depth = kSumsDepth;
#else
  disturb(queue_stream_in, queue_array, queue_vector, queue_conv, queue_scan, queue_stream_out);
  disturb(multiply_ends, output_ends, reduce_ends, apply_ends, conv_ends, scan_ends,
          stream_out_ends, beats);
  disturb(stream_in_to_multiply, array_to_multiply, array_to_reduce, array_to_apply, array_to_conv,
          array_to_scan, array_to_stream_out, vector_to_multiply, conv_to_multiply, conv_to_scan,
          scan_to_multiply);
  const int waiting_depth = turns->random_depth(kWaitingDepth);
  const int sums_depth = turns->random_depth(kSumsDepth);
  turns->limit(vector_to_output, waiting_depth);
  turns->limit(vector_to_reduce, waiting_depth);
  turns->limit(vector_to_apply, waiting_depth);
  turns->limit(vector_to_conv, waiting_depth);
  turns->limit(sums, sums_depth);
#endif
  const int n_phases = memory.package.elements[SECTION_PHASES];

  process<Fetch>(stop, queue_stream_in, queue_array, queue_vector, queue_conv, queue_scan,
                 queue_stream_out, memory.instructions, memory.phases, memory.schedule, n_phases,
                 memory.package.iterations, memory.package.n_tokens, memory.package.n_sequences,
                 n_forecasts, tlast_each);
  dispatch_process(error, counters, queue_stream_in, queue_array, queue_vector, queue_conv,
                   queue_scan, queue_stream_out, stop, start_stream_in, start_multiply,
                   start_output, start_vector, start_conv, start_scan, start_stream_out,
                   multiply_ends, output_ends, reduce_ends, apply_ends, conv_ends, scan_ends,
                   stream_out_ends, stream_in_reports, stream_out_reports, watchdog_cycles);
  process<StreamIn>(start_stream_in, s_axis, stream_in_to_multiply, stream_in_reports,
                    watchdog_cycles);
  read_ranges(package, ranges, beats);
  process<ArrayMultiply>(start_multiply, stream_in_to_multiply, array_to_multiply,
                         vector_to_multiply, conv_to_multiply, scan_to_multiply, multiply_ends,
                         ranges, beats, sums, sums_credits, memory.patch, memory.norm,
                         memory.conv_multiply, memory.proj_multiply, memory.scan, memory.weights,
                         resident_tiles, memory.package.weights_beat, sums_depth);
  process<ArrayOutput>(start_output, sums, sums_credits, array_to_output, vector_to_output,
                       output_credits, output_ends, array_to_multiply, array_to_output,
                       array_to_reduce, array_to_apply, array_to_conv, array_to_scan,
                       array_to_stream_out, memory.resid_output, memory.array_params,
                       memory.reduce);
  process<VectorReduce>(start_vector, array_to_reduce, vector_to_reduce, reduce_credits,
                        reduce_ends, reduced, memory.resid_reduce);
  process<VectorRoot>(reduced, rooted);
  process<VectorApply>(rooted, array_to_apply, vector_to_apply, output_credits, reduce_credits,
                       conv_credits, apply_ends, vector_to_multiply, vector_to_output,
                       vector_to_reduce, vector_to_apply, vector_to_conv, memory.resid_apply,
                       memory.logit, memory.vector_params, memory.vector_tables, memory.pool_sum,
                       memory.pool_maximum, waiting_depth);
  process<Conv>(start_conv, array_to_conv, vector_to_conv, conv_credits, conv_ends,
                conv_to_multiply, conv_to_scan, memory.conv_in, memory.conv_params,
                memory.conv_tables);
  process<Scan>(start_scan, array_to_scan, conv_to_scan, scan_ends, scan_to_multiply, memory.gate,
                memory.conv_scan, memory.proj_scan, memory.proj_skip, memory.step,
                memory.scan_decay, memory.scan_params, memory.scan_tables, memory.state);
  process<StreamOut>(start_stream_out, array_to_stream_out, stream_out_ends, stream_out_reports,
                     m_axis, memory.head, watchdog_cycles);

#ifndef __SYNTHESIS__
  // array_to_output is read before it is written, in the same step: it always has room.
  turns->writes<Fetch>(
      {&queue_stream_in, &queue_array, &queue_vector, &queue_conv, &queue_scan, &queue_stream_out});
  turns->writes<Dispatch>({}, {},
                          {&start_stream_in, &start_multiply, &start_output, &start_vector,
                           &start_conv, &start_scan, &start_stream_out, &stop});
  turns->writes<StreamIn>({&stream_in_to_multiply}, {}, {}, {&stream_in_reports});
  turns->writes<RangeReader>({&beats});
  turns->writes<ArrayMultiply>({}, {&multiply_ends}, {&sums}, {&ranges});
  turns->writes<ArrayOutput>({&array_to_multiply, &array_to_reduce, &array_to_apply, &array_to_conv,
                              &array_to_scan, &array_to_stream_out},
                             {&output_ends}, {&array_to_output}, {&sums_credits, &output_credits});
  turns->writes<VectorReduce>({}, {&reduce_ends}, {&reduced}, {&reduce_credits});
  turns->writes<VectorRoot>({}, {}, {&rooted});
  turns->writes<VectorApply>(
      {&vector_to_multiply}, {&apply_ends},
      {&vector_to_output, &vector_to_reduce, &vector_to_apply, &vector_to_conv});
  turns->writes<Conv>({&conv_to_multiply, &conv_to_scan}, {&conv_ends}, {}, {&conv_credits});
  turns->writes<Scan>({&scan_to_multiply}, {&scan_ends});
  turns->writes<StreamOut>({}, {&stream_out_ends}, {}, {&stream_out_reports});
  turns->run();
#endif
}

}  // namespace

Error run_forecasts(const beat_t* package, hls::stream<axis_t>& s_axis, hls::stream<axis_t>& m_axis,
                    unsigned n_forecasts, bool tlast_each, unsigned watchdog_cycles, Memory& memory,
                    Counters& counters) {
#pragma HLS inline off
  counters = zero_word<64 * (2 + kUnits)>();
  if (n_forecasts == 0) return ERROR_BAD_MODE;
  if (!memory.loaded) return ERROR_NOT_LOADED;

  // Where the package has more tiles than fit, the last place of the memory is for those that come
  // and go.
  const bool is_resident = memory.package.elements[SECTION_WEIGHTS] <= unsigned(kMaxWeights);
  const int resident_tiles = is_resident ? kMaxWeights : kMaxWeights - 1;
  Error error = ERROR_OK;
#ifndef __SYNTHESIS__
  Turns own_turns(memory);
  turns = &own_turns;
  watchdog_cycles = 1;  // nothing more comes while a run goes on
#endif
  run_processes(package, s_axis, m_axis, n_forecasts, tlast_each, watchdog_cycles, resident_tiles,
                memory, error, counters);
  return error;
}

}  // namespace cmamba
