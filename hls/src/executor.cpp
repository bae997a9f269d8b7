// Execution of a program: the schedule, entry by entry, as often as the run asks for. An entry's
// rows are copied from the activation memories into the buffers of its kernel, and the result back:
// whatever rows an instruction names, it has read all of its operands before it writes.
#include "cmamba.h"
#include "kernels.h"

#ifndef __SYNTHESIS__
#include "trace.h"
#endif

namespace cmamba {

namespace {

// ------------------------------------------------------------------------------- rows

// Copies n elements from `address` on, whole words; what follows the last element in its word is
// zero. The row begins where `address` does in its word.
template <int Words, class T, int RowWords>
void load_row(const T space[Words][kRowAlign], int address, int n, T row[RowWords][kRowAlign]) {
#pragma HLS inline
  const int first_word = address / kRowAlign;
  const int end = address % kRowAlign + n;
load_words:
  for (int w = 0; w * kRowAlign < end; ++w) {
#pragma HLS loop_tripcount min = 1 max = 64
#pragma HLS pipeline II = 1
  load_lanes:
    for (int l = 0; l < kRowAlign; ++l) {
#pragma HLS unroll
      row[w][l] = w * kRowAlign + l < end ? space[first_word + w][l] : T(0);
    }
  }
}

// Copies n elements to `address`, the beginning of a word; zeros fill up the last word.
template <int Words, class T, class U>
void store_row(T space[Words][kRowAlign], int address, int n, const U row[kRowWords][kRowAlign]) {
#pragma HLS inline
  const int first_word = address / kRowAlign;
store_words:
  for (int w = 0; w * kRowAlign < n; ++w) {
#pragma HLS loop_tripcount min = 1 max = 64
#pragma HLS pipeline II = 1
  store_lanes:
    for (int l = 0; l < kRowAlign; ++l) {
#pragma HLS unroll
      space[first_word + w][l] = w * kRowAlign + l < n ? T(row[w][l]) : T(0);
    }
  }
}

template <int Words, class T>
void load_row(const T space[Words][kRowAlign], const Operand& o, int index, int n,
              T row[kRowWords][kRowAlign]) {
#pragma HLS inline
  load_row<Words, T, kRowWords>(space, row_address(o, index), n, row);
}

template <int Words, class T, class U>
void store_row(T space[Words][kRowAlign], const Operand& o, int index, int n,
               const U row[kRowWords][kRowAlign]) {
#pragma HLS inline
  store_row<Words, T, U>(space, row_address(o, index), n, row);
}

// One element, which shares its word with others.
template <int Words, class T>
T load_element(const T space[Words][kRowAlign], int address) {
#pragma HLS inline
  return space[address / kRowAlign][address % kRowAlign];
}

template <int Words, class T>
void store_element(T space[Words][kRowAlign], int address, T element) {
#pragma HLS inline
  space[address / kRowAlign][address % kRowAlign] = element;
}

// ------------------------------------------------------------------------------- instructions

// The buffers of a kernel are 64 words deep (LINEAR's input: as deep as the memories that it reads)
// and read or written in parts of a word: LUTs hold them, a bank for each lane.

Error execute_recv(Memory& memory, const word_t<512>& word, const ScheduleEntry& e, bool is_last,
                   hls::stream<axis_t>& s_axis) {
#pragma HLS inline off
  const RecvInstruction f = decode_recv_instruction(word);
  Row8 y;
#pragma HLS array_partition variable = y complete dim = 2
#pragma HLS bind_storage variable = y type = ram_s2p impl = lutram
  const Error error = receive_token(s_axis, f.n, is_last, y);
  if (error == ERROR_OK) {
    store_row<kSpacePatch / kRowAlign>(memory.patch, f.dst, e.token, f.n, y);
  }
  return error;
}

void execute_linear(Memory& memory, const word_t<512>& word, const ScheduleEntry& e,
                    const beat_t* package) {
#pragma HLS inline off
  const LinearInstruction f = decode_linear_instruction(word);
  const int n_out = f.n_out;
  InputRow x;
#pragma HLS array_partition variable = x complete dim = 2
#pragma HLS bind_storage variable = x type = ram_s2p impl = lutram
  Row16 addend;
#pragma HLS array_partition variable = addend complete dim = 2
#pragma HLS bind_storage variable = addend type = ram_s2p impl = lutram
  Row16 y;
#pragma HLS array_partition variable = y complete dim = 2
#pragma HLS bind_storage variable = y type = ram_s2p impl = lutram

  const int source = row_address(f.src, e.token);
  switch (int(f.src.space)) {
    case SPACE_PATCH:
      load_row<kSpacePatch / kRowAlign, int_t<8>, kInputWords>(memory.patch, source, f.n_in, x);
      break;
    case SPACE_NORM:
      load_row<kSpaceNorm / kRowAlign, int_t<8>, kInputWords>(memory.norm, source, f.n_in, x);
      break;
    case SPACE_CONV:
      load_row<kSpaceConv / kRowAlign, int_t<8>, kInputWords>(memory.conv, source, f.n_in, x);
      break;
    case SPACE_PROJ:
      load_row<kSpaceProj / kRowAlign, int_t<8>, kInputWords>(memory.proj, source, f.n_in, x);
      break;
    default:
      load_row<kSpaceScan / kRowAlign, int_t<8>, kInputWords>(memory.scan, source, f.n_in, x);
      break;
  }
  if (f.add_enable != 0) {
    load_row<kSpaceResid / kRowAlign>(
        memory.resid, f.add, f.add_position != 0 ? int(e.position) : int(e.token), n_out, addend);
  }

  linear_int8(f, e.position, x, source % kRowAlign, addend, memory.weights, package,
              memory.package.weights_beat, memory.array_params, memory.reduce, y);

  const bool is_partial = f.reduce != 0 && e.position != f.n_positions - 1;
  if (is_partial) return;
  const int result = row_address(f.dst, f.reduce != 0 ? int(e.sequence) : int(e.token));
  switch (int(f.dst.space)) {
    case SPACE_CONV_IN:
      store_row<kSpaceConvIn / kRowAlign>(memory.conv_in, result, n_out, y);
      break;
    case SPACE_GATE:
      store_row<kSpaceGate / kRowAlign>(memory.gate, result, n_out, y);
      break;
    case SPACE_PROJ:
      store_row<kSpaceProj / kRowAlign>(memory.proj, result, n_out, y);
      break;
    case SPACE_STEP:
      store_row<kSpaceStep / kRowAlign>(memory.step, result, n_out, y);
      break;
    case SPACE_LOGIT:
      store_row<kSpaceLogit / kRowAlign>(memory.logit, result, n_out, y);
      break;
    case SPACE_RESID:
      store_row<kSpaceResid / kRowAlign>(memory.resid, result, n_out, y);
      break;
    default:
      store_row<kSpaceHead / kRowAlign>(memory.head, result, n_out, y);
      break;
  }
}

void execute_conv(Memory& memory, const word_t<512>& word, const ScheduleEntry& e) {
#pragma HLS inline off
  const ConvInstruction f = decode_conv_instruction(word);
  const int kernel = f.kernel;
  int_t<8> x[kMaxTaps][kRowWords][kRowAlign];
// All taps and lanes are read at once.
#pragma HLS array_partition variable = x complete dim = 1
#pragma HLS array_partition variable = x complete dim = 3
#pragma HLS bind_storage variable = x type = ram_s2p impl = lutram
  Row8 y;
#pragma HLS array_partition variable = y complete dim = 2
#pragma HLS bind_storage variable = y type = ram_s2p impl = lutram

load_taps:
  for (int k = 0; k < kernel; ++k) {
#pragma HLS loop_tripcount min = 1 max = 8
    const int age = kernel - 1 - k;
    if (age <= int(e.position)) {
      load_row<kSpaceConvIn / kRowAlign>(memory.conv_in, f.src, int(e.token) - age, f.n, x[k]);
    }
  }
  causal_conv(f, e.position, x, memory.conv_params, memory.conv_tables, y);
  store_row<kSpaceConv / kRowAlign>(memory.conv, f.dst, e.token, f.n, y);
}

void execute_scan(Memory& memory, const word_t<512>& word, const ScheduleEntry& e) {
#pragma HLS inline off
  const ScanInstruction f = decode_scan_instruction(word);
  Row8 u;
#pragma HLS array_partition variable = u complete dim = 2
#pragma HLS bind_storage variable = u type = ram_s2p impl = lutram
  Row8 z;
#pragma HLS array_partition variable = z complete dim = 2
#pragma HLS bind_storage variable = z type = ram_s2p impl = lutram
  Row8 dt;
#pragma HLS array_partition variable = dt complete dim = 2
#pragma HLS bind_storage variable = dt type = ram_s2p impl = lutram
  Row8 bc;
#pragma HLS array_partition variable = bc complete dim = 2
#pragma HLS bind_storage variable = bc type = ram_s2p impl = lutram
  Row8 skip;
#pragma HLS array_partition variable = skip complete dim = 2
#pragma HLS bind_storage variable = skip type = ram_s2p impl = lutram
  Row8 y;
#pragma HLS array_partition variable = y complete dim = 2
#pragma HLS bind_storage variable = y type = ram_s2p impl = lutram

  load_row<kSpaceConv / kRowAlign>(memory.conv, f.u, e.token, f.n, u);
  load_row<kSpaceGate / kRowAlign>(memory.gate, f.z, e.token, f.n, z);
  load_row<kSpaceStep / kRowAlign>(memory.step, f.dt, e.token, f.n, dt);
  load_row<kSpaceProj / kRowAlign>(memory.proj, f.bc, e.token, 2 << int(f.log2_state), bc);
  if (f.skip_enable != 0) {
    const int source = row_address(f.bc, e.token) + int(f.skip_offset);
    load_row<kSpaceProj / kRowAlign, int_t<8>, kRowWords>(memory.proj, source, f.n, skip);
  }
  selective_scan(f, e.position, u, z, dt, bc, skip, memory.scan_decay, memory.scan_params,
                 memory.scan_tables, memory.state, y);
  store_row<kSpaceScan / kRowAlign>(memory.scan, f.dst, e.token, f.n, y);
}

void execute_norm(Memory& memory, const word_t<512>& word, const ScheduleEntry& e) {
#pragma HLS inline off
  const NormInstruction f = decode_norm_instruction(word);
  Row16 x;
#pragma HLS array_partition variable = x complete dim = 2
#pragma HLS bind_storage variable = x type = ram_s2p impl = lutram
  Row16 y;
#pragma HLS array_partition variable = y complete dim = 2
#pragma HLS bind_storage variable = y type = ram_s2p impl = lutram

  load_row<kSpaceResid / kRowAlign>(memory.resid, f.src, e.token, f.n, x);
  rms_norm(f, x, memory.vector_params, y);
  if (f.wide != 0) {
    store_row<kSpaceResid / kRowAlign>(memory.resid, f.dst, e.token, f.n, y);
  } else {
    store_row<kSpaceNorm / kRowAlign>(memory.norm, f.dst, e.token, f.n, y);
  }
}

void execute_pool(Memory& memory, const word_t<512>& word, const ScheduleEntry& e) {
#pragma HLS inline off
  const PoolInstruction f = decode_pool_instruction(word);
  Row16 x;
#pragma HLS array_partition variable = x complete dim = 2
#pragma HLS bind_storage variable = x type = ram_s2p impl = lutram
  Row8 mean_row;
#pragma HLS array_partition variable = mean_row complete dim = 2
#pragma HLS bind_storage variable = mean_row type = ram_s2p impl = lutram
  Row8 maximum_row;
#pragma HLS array_partition variable = maximum_row complete dim = 2
#pragma HLS bind_storage variable = maximum_row type = ram_s2p impl = lutram

  load_row<kSpaceResid / kRowAlign>(memory.resid, f.src, e.token, f.n, x);
  pool(f, e.position, x, memory.vector_params, memory.pool_sum, memory.pool_maximum, mean_row,
       maximum_row);
  if (e.position == f.n_positions - 1) {
    const int row = 2 * int(e.sequence);
    store_row<kSpaceNorm / kRowAlign>(memory.norm, f.dst, row, f.n, mean_row);
    store_row<kSpaceNorm / kRowAlign>(memory.norm, f.dst, row + 1, f.n, maximum_row);
  }
}

void execute_scale(Memory& memory, const word_t<512>& word, const ScheduleEntry& e) {
#pragma HLS inline off
  const ScaleInstruction f = decode_scale_instruction(word);
  Row16 x;
#pragma HLS array_partition variable = x complete dim = 2
#pragma HLS bind_storage variable = x type = ram_s2p impl = lutram
  Row8 logit;
#pragma HLS array_partition variable = logit complete dim = 2
#pragma HLS bind_storage variable = logit type = ram_s2p impl = lutram
  Row16 y;
#pragma HLS array_partition variable = y complete dim = 2
#pragma HLS bind_storage variable = y type = ram_s2p impl = lutram

  load_row<kSpaceResid / kRowAlign>(memory.resid, f.src, e.token, f.n, x);
  load_row<kSpaceLogit / kRowAlign>(memory.logit, f.logit, e.sequence, f.n, logit);
  scale(f, x, logit, memory.vector_tables, y);
  store_row<kSpaceResid / kRowAlign>(memory.resid, f.dst, e.token, f.n, y);
}

void execute_pool_features(Memory& memory, const word_t<512>& word, const ScheduleEntry& e) {
#pragma HLS inline off
  const PoolFeaturesInstruction f = decode_pool_features_instruction(word);
  Row16 x;
#pragma HLS array_partition variable = x complete dim = 2
#pragma HLS bind_storage variable = x type = ram_s2p impl = lutram

  load_row<kSpaceResid / kRowAlign>(memory.resid, f.src, e.token, f.n, x);
  int_t<8> mean;
  int_t<8> maximum;
  pool_features(f, x, memory.vector_params, mean, maximum);
  const int mean_at = row_address(f.dst, e.position) + int(e.sequence);
  store_element<kSpaceNorm / kRowAlign>(memory.norm, mean_at, mean);
  store_element<kSpaceNorm / kRowAlign>(memory.norm, mean_at + int(f.columns), maximum);
}

void execute_modulate(Memory& memory, const word_t<512>& word, const ScheduleEntry& e) {
#pragma HLS inline off
  const ModulateInstruction f = decode_modulate_instruction(word);
  Row16 x;
#pragma HLS array_partition variable = x complete dim = 2
#pragma HLS bind_storage variable = x type = ram_s2p impl = lutram
  Row16 addend;
#pragma HLS array_partition variable = addend complete dim = 2
#pragma HLS bind_storage variable = addend type = ram_s2p impl = lutram
  Row16 y;
#pragma HLS array_partition variable = y complete dim = 2
#pragma HLS bind_storage variable = y type = ram_s2p impl = lutram

  load_row<kSpaceResid / kRowAlign>(memory.resid, f.src, e.token, f.n, x);
  load_row<kSpaceResid / kRowAlign>(memory.resid, f.add, e.token, f.n, addend);
  const int scale_at = row_address(f.logit, e.position) + int(e.sequence);
  const int shift_at = scale_at + int(f.columns);
  const int_t<8> scale_logit = load_element<kSpaceLogit / kRowAlign>(memory.logit, scale_at);
  const int_t<8> shift_logit = load_element<kSpaceLogit / kRowAlign>(memory.logit, shift_at);
  modulate(f, x, scale_logit, shift_logit, addend, memory.vector_params, memory.vector_tables, y);
  if (f.wide != 0) {
    store_row<kSpaceResid / kRowAlign>(memory.resid, f.dst, e.token, f.n, y);
  } else {
    store_row<kSpaceConvIn / kRowAlign>(memory.conv_in, f.dst, e.token, f.n, y);
  }
}

Error execute_send(Memory& memory, const word_t<512>& word, const ScheduleEntry& e, bool is_last,
                   hls::stream<axis_t>& m_axis) {
#pragma HLS inline off
  const SendInstruction f = decode_send_instruction(word);
  return send_forecast(m_axis, memory.head, row_address(f.src, e.sequence), f.n, is_last);
}

}  // namespace

Error run_forecasts(const beat_t* package, hls::stream<axis_t>& s_axis, hls::stream<axis_t>& m_axis,
                    unsigned n_forecasts, bool tlast_each, Memory& memory, uint64_t& entries) {
#pragma HLS inline off
  entries = 0;
  if (n_forecasts == 0) return ERROR_BAD_MODE;
  if (!memory.loaded) return ERROR_NOT_LOADED;

  const PackageFacts& facts = memory.package;
  const int schedule_entries = facts.elements[SECTION_SCHEDULE];
#ifndef __SYNTHESIS__
  uint64_t iterations = 0;
#endif
run_forecast:
  for (unsigned forecast = 0; forecast < n_forecasts; ++forecast) {
#pragma HLS loop_tripcount min = 1 max = 1
    const bool is_last_forecast = forecast == n_forecasts - 1;
  run_iteration:
    for (int iteration = 0; iteration < facts.iterations; ++iteration) {
#pragma HLS loop_tripcount min = 1 max = 1
      const bool is_last_iteration = iteration == facts.iterations - 1;
      int received = 0;
      int sent = 0;
    run_entry:
      for (int i = 0; i < schedule_entries; ++i) {
#pragma HLS loop_tripcount min = 1 max = 4096
        const ScheduleEntry e = decode_schedule_entry(memory.schedule[i]);
        const word_t<512> word = memory.instructions[int(e.instruction)];
        Error error = ERROR_OK;
        switch (int(bits<7, 0>(word))) {
          case OP_RECV: {
            ++received;
            const bool is_last = is_last_forecast && is_last_iteration &&
                                 received == facts.unit_entries[UNIT_STREAM_IN];
            error = execute_recv(memory, word, e, is_last, s_axis);
            break;
          }
          case OP_LINEAR:
            execute_linear(memory, word, e, package);
            break;
          case OP_CONV:
            execute_conv(memory, word, e);
            break;
          case OP_SCAN:
            execute_scan(memory, word, e);
            break;
          case OP_NORM:
            execute_norm(memory, word, e);
            break;
          case OP_POOL:
            execute_pool(memory, word, e);
            break;
          case OP_SCALE:
            execute_scale(memory, word, e);
            break;
          case OP_POOL_FEATURES:
            execute_pool_features(memory, word, e);
            break;
          case OP_MODULATE:
            execute_modulate(memory, word, e);
            break;
          default: {  // OP_SEND; the loader has refused other opcodes
            ++sent;
            const bool is_last = (is_last_forecast || tlast_each) && is_last_iteration &&
                                 sent == facts.unit_entries[UNIT_STREAM_OUT];
            error = execute_send(memory, word, e, is_last, m_axis);
            break;
          }
        }
        if (error != ERROR_OK) return error;
        ++entries;
#ifndef __SYNTHESIS__
        trace_entry(memory, iterations, i, word, e);
#endif
      }
#ifndef __SYNTHESIS__
      ++iterations;
#endif
    }
  }
  return ERROR_OK;
}

}  // namespace cmamba
