// The program: reads the schedule in order, as often as the run asks for, and puts what the unit of
// each entry has to know into its queue.
#include "steps.h"

namespace cmamba {

namespace {

StreamInEntry stream_in_entry(const word_t<512>& word, const RepeatedEntry& e, bool is_last) {
#pragma HLS inline
  const RecvInstruction f = decode_recv_instruction(word);
  StreamInEntry entry;
  entry.is_end = false;
  entry.is_last = is_last;
  entry.n = f.n;
  entry.result = row_address(f.dst, e.token);
  return entry;
}

ArrayEntry array_entry(const word_t<512>& word, const RepeatedEntry& e) {
#pragma HLS inline
  const LinearInstruction f = decode_linear_instruction(word);
  const bool is_reduced = f.reduce != 0;
  const bool is_first = e.position == 0;
  const bool is_last = e.position == f.n_positions - 1;
  ArrayEntry entry;
  entry.multiply.is_end = false;
  entry.multiply.n_in = f.n_in;
  entry.multiply.n_out = f.n_out;
  entry.multiply.log2_split = f.log2_split;
  entry.multiply.space = f.src.space;
  entry.multiply.source = row_address(f.src, e.token);
  entry.multiply.tile = int(f.weight_addr) +
                        (is_reduced ? int(e.position) * int(f.weight_stride) : 0);
  entry.output.is_end = false;
  entry.output.wide = f.wide != 0;
  entry.output.relu = f.relu != 0;
  entry.output.add_enable = f.add_enable != 0;
  entry.output.reads_sums = is_reduced && !is_first;
  entry.output.writes_sums = is_reduced;
  entry.output.has_result = !is_reduced || is_last;
  entry.output.n_out = f.n_out;
  entry.output.log2_split = f.log2_split;
  entry.output.param_addr = f.param_addr;
  entry.output.space = f.dst.space;
  entry.output.result = row_address(f.dst, is_reduced ? int(e.sequence) : int(e.token));
  const int addend = row_address(f.add, f.add_position != 0 ? int(e.position) : int(e.token));
  entry.output.addend = f.add_enable != 0 ? addend : 0;
  return entry;
}

// The opcodes of the vector unit have their fields in different places.
VectorEntry vector_entry(const word_t<512>& word, const RepeatedEntry& e) {
#pragma HLS inline
  VectorEntry entry;
  entry.is_end = false;
  entry.opcode = bits<7, 0>(word);
  entry.wide = false;
  entry.is_last = false;
  entry.eps = 0;
  entry.param_addr = 0;
  entry.table = 0;
  entry.shift_table = 0;
  entry.addend = 0;
  entry.logit = 0;
  entry.shift_logit = 0;
  entry.maximum_result = 0;
  entry.is_first = e.position == 0;
  switch (int(entry.opcode)) {
    case OP_NORM: {
      const NormInstruction f = decode_norm_instruction(word);
      entry.wide = f.wide != 0;
      entry.n = f.n;
      entry.eps = f.eps;
      entry.param_addr = f.param_addr;
      entry.source = row_address(f.src, e.token);
      entry.space = f.dst.space;
      entry.result = row_address(f.dst, e.token);
      break;
    }
    case OP_POOL: {
      const PoolInstruction f = decode_pool_instruction(word);
      entry.is_last = e.position == f.n_positions - 1;
      entry.n = f.n;
      entry.param_addr = f.param_addr;
      entry.source = row_address(f.src, e.token);
      entry.space = f.dst.space;
      entry.result = row_address(f.dst, 2 * int(e.sequence));
      entry.maximum_result = row_address(f.dst, 2 * int(e.sequence) + 1);
      break;
    }
    case OP_SCALE: {
      const ScaleInstruction f = decode_scale_instruction(word);
      entry.n = f.n;
      entry.table = f.table;
      entry.source = row_address(f.src, e.token);
      entry.logit = row_address(f.logit, e.sequence);
      entry.space = f.dst.space;
      entry.result = row_address(f.dst, e.token);
      break;
    }
    case OP_POOL_FEATURES: {
      const PoolFeaturesInstruction f = decode_pool_features_instruction(word);
      entry.n = f.n;
      entry.param_addr = f.param_addr;
      entry.source = row_address(f.src, e.token);
      entry.space = f.dst.space;
      const int result = row_address(f.dst, e.position) + int(e.sequence);
      entry.result = result;
      entry.maximum_result = result + int(f.columns);
      break;
    }
    default: {
      const ModulateInstruction f = decode_modulate_instruction(word);
      entry.wide = f.wide != 0;
      entry.n = f.n;
      entry.param_addr = f.param_addr;
      entry.table = f.scale_table;
      entry.shift_table = f.shift_table;
      entry.source = row_address(f.src, e.token);
      entry.addend = row_address(f.add, e.token);
      const int logit = row_address(f.logit, e.position) + int(e.sequence);
      entry.logit = logit;
      entry.shift_logit = logit + int(f.columns);
      entry.space = f.dst.space;
      entry.result = row_address(f.dst, e.token);
      break;
    }
  }
  return entry;
}

ConvEntry conv_entry(const word_t<512>& word, const RepeatedEntry& e) {
#pragma HLS inline
  const ConvInstruction f = decode_conv_instruction(word);
  ConvEntry entry;
  entry.is_end = false;
  entry.n = f.n;
  entry.kernel = f.kernel;
  entry.pad = f.pad;
  entry.table = f.table;
  entry.param_addr = f.param_addr;
  entry.token = e.token;
  entry.position = e.position;
  entry.source = f.src;
  entry.result = row_address(f.dst, e.token);
  return entry;
}

ScanEntry scan_entry(const word_t<512>& word, const RepeatedEntry& e) {
#pragma HLS inline
  const ScanInstruction f = decode_scan_instruction(word);
  ScanEntry entry;
  entry.is_end = false;
  entry.is_first = e.position == 0;
  entry.skip_enable = f.skip_enable != 0;
  entry.n = f.n;
  entry.log2_state = f.log2_state;
  entry.u_zero_point = f.u_zero_point;
  entry.skip_zero_point = f.skip_zero_point;
  entry.exp_shift = f.exp_shift;
  entry.state_shift = f.state_shift;
  entry.skip_shift = f.skip_shift;
  entry.y_shift = f.y_shift;
  entry.state_addr = f.state_addr;
  entry.decay_addr = f.decay_addr;
  entry.param_addr = f.param_addr;
  entry.softplus_table = f.softplus_table;
  entry.silu_table = f.silu_table;
  entry.u = row_address(f.u, e.token);
  entry.z = row_address(f.z, e.token);
  entry.dt = row_address(f.dt, e.token);
  const int bc = row_address(f.bc, e.token);
  entry.bc = bc;
  entry.skip = f.skip_enable != 0 ? bc + int(f.skip_offset) : 0;
  entry.result = row_address(f.dst, e.token);
  return entry;
}

StreamOutEntry stream_out_entry(const word_t<512>& word, const RepeatedEntry& e, bool is_last) {
#pragma HLS inline
  const SendInstruction f = decode_send_instruction(word);
  StreamOutEntry entry;
  entry.is_end = false;
  entry.is_last = is_last;
  entry.n = f.n;
  entry.source = row_address(f.src, e.sequence);
  return entry;
}

template <class Entry>
void put(channel<Queued<Entry>, kQueueDepth>& queue, const Entry& entry, const Waits& waits) {
#pragma HLS inline
  Queued<Entry> queued;
  queued.entry = entry;
  queued.waits = waits;
  queue.write(queued);
}

}  // namespace

bool step(Fetch& u, channel<Credit, 1>& stop,
          channel<Queued<StreamInEntry>, kQueueDepth>& stream_in,
          channel<Queued<ArrayEntry>, kQueueDepth>& array,
          channel<Queued<VectorEntry>, kQueueDepth>& vector,
          channel<Queued<ConvEntry>, kQueueDepth>& conv,
          channel<Queued<ScanEntry>, kQueueDepth>& scan,
          channel<Queued<StreamOutEntry>, kQueueDepth>& stream_out,
          const Instructions& instructions, const Phases& phases, const Schedule& schedule,
          int n_phases, int iterations, unsigned n_tokens, int n_sequences, unsigned n_forecasts,
          bool tlast_each) {
#pragma HLS inline
#pragma HLS array_partition variable = u.phase_words complete
#pragma HLS array_partition variable = u.base complete
  bool is_active = false;
  Credit stopped;
  if (!u.is_stopped && stop.read_nb(stopped)) {
    is_active = true;
    u.is_stopped = true;
  }
  u.is_finished = u.has_ended && u.is_stopped;
  if (u.has_ended) return is_active;
  if (u.is_stopped || u.forecast == n_forecasts) {
    // Every unit gets an end, behind its last entry.
    const Waits waits = {};
    StreamInEntry stream_in_end = {};
    ArrayEntry array_end = {};
    VectorEntry vector_end = {};
    ConvEntry conv_end = {};
    ScanEntry scan_end = {};
    StreamOutEntry stream_out_end = {};
    stream_in_end.is_end = true;
    array_end.multiply.is_end = array_end.output.is_end = true;
    vector_end.is_end = true;
    conv_end.is_end = true;
    scan_end.is_end = true;
    stream_out_end.is_end = true;
    put(stream_in, stream_in_end, waits);
    put(array, array_end, waits);
    put(vector, vector_end, waits);
    put(conv, conv_end, waits);
    put(scan, scan_end, waits);
    put(stream_out, stream_out_end, waits);
    u.has_ended = true;
    return true;
  }

  // A phase says where the next one begins. Registers between the memory and that give the read its
  // time, so that a step a cycle is possible.
  const Phase phase = decode_phase(u.phase_words[kPhaseDistance - 1]);
  if (u.phase_age < kPhaseDistance) {
  pass_words:
    for (int i = kPhaseDistance - 1; i > 0; --i) {
#pragma HLS unroll
      u.phase_words[i] = u.phase_words[i - 1];
    }
    u.phase_words[0] = phases[u.phase];
    ++u.phase_age;
    return true;
  }

  const ScheduleEntry scheduled = decode_schedule_entry(schedule[u.entry]);
  const RepeatedEntry e = repeat_entry(scheduled, u.token, u.position, u.sequence);
  const word_t<512> word = instructions[int(e.instruction)];
  Waits waits;
add_waits:
  for (int v = 0; v < kUnits; ++v) {
#pragma HLS unroll
    waits.completed[v] = u.base[v] + uint_t<32>(int_t<32>(scheduled.wait[v]));
  }
  const bool is_last_iteration = u.iteration == iterations - 1;
  const bool is_last_forecast = u.forecast == n_forecasts - 1;
  switch (int(bits<7, 0>(word))) {
    case OP_RECV: {
      ++u.received;
      const bool is_last = is_last_forecast && is_last_iteration && u.received == n_tokens;
      put(stream_in, stream_in_entry(word, e, is_last), waits);
      break;
    }
    case OP_LINEAR:
      put(array, array_entry(word, e), waits);
      break;
    case OP_CONV:
      put(conv, conv_entry(word, e), waits);
      break;
    case OP_SCAN:
      put(scan, scan_entry(word, e), waits);
      break;
    case OP_SEND: {
      ++u.sent;
      const bool is_last = (is_last_forecast || tlast_each) && is_last_iteration &&
                           u.sent == unsigned(n_sequences);
      put(stream_out, stream_out_entry(word, e, is_last), waits);
      break;
    }
    default:  // the loader has refused other opcodes than those of the vector unit
      put(vector, vector_entry(word, e), waits);
      break;
  }
  ++u.entry;
  ++u.done;
  if (u.done < int(phase.entries)) return true;

  u.done = 0;
next_repeat:
  for (int v = 0; v < kUnits; ++v) {
#pragma HLS unroll
    u.base[v] += uint_t<32>(phase.unit_entries[v]);
  }
  ++u.repeat;
  if (u.repeat < int(phase.repeats)) {
    u.entry = u.first;
    u.token = (int(u.token) + int(phase.token_step)) & kTokenMask;
    u.position += phase.position_step;
    u.sequence += phase.sequence_step;
    return true;
  }

  u.repeat = 0;
  u.token = 0;
  u.position = 0;
  u.sequence = 0;
  ++u.phase;
  u.phase_age = 0;
  if (u.phase == n_phases) {
    u.phase = 0;
    u.entry = 0;
    u.received = 0;
    u.sent = 0;
    ++u.iteration;
    if (u.iteration == iterations) {
      u.iteration = 0;
      ++u.forecast;
    }
  }
  u.first = u.entry;
  return true;
}

}  // namespace cmamba
