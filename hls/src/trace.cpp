// Not part of the hardware.
#ifndef __SYNTHESIS__

#include "memory.h"

namespace cmamba {

namespace {

template <int Words, int Width, class T>
int element(const T (&rows)[Words][Width], int address) {
  return int(rows[address / Width][address % Width]);
}

template <int Words, int Parts, int L, class T>
int element(const T (&rows)[Words][Parts][L], int address) {
  return int(rows[address / (Parts * L)][address / L % Parts][address % L]);
}

}  // namespace

int copies(int space) {
  switch (space) {
    case SPACE_CONV_IN:
      return kMaxTaps;
    case SPACE_CONV:
      return 2;
    case SPACE_PROJ:
    case SPACE_RESID:
      return 3;
    default:
      return 1;
  }
}

int peek(const Memory& memory, int space, int address, int copy) {
  switch (space) {
    case SPACE_PATCH:
      return element(memory.patch, address);
    case SPACE_NORM:
      return element(memory.norm, address);
    case SPACE_CONV_IN:
      return element(memory.conv_in[copy], address);
    case SPACE_GATE:
      return element(memory.gate, address);
    case SPACE_CONV:
      return copy == 0 ? element(memory.conv_multiply, address)
                       : element(memory.conv_scan, address);
    case SPACE_PROJ:
      return copy == 2 ? element(memory.proj_skip, address)
                       : element(copy == 0 ? memory.proj_multiply : memory.proj_scan, address);
    case SPACE_STEP:
      return element(memory.step, address);
    case SPACE_SCAN:
      return element(memory.scan, address);
    case SPACE_LOGIT:
      return element(memory.logit, address);
    case SPACE_RESID:
      return element(copy == 0   ? memory.resid_output
                     : copy == 1 ? memory.resid_reduce
                                 : memory.resid_apply,
                     address);
    default:
      return element(memory.head, address);
  }
}

void trace_entry(const Memory& memory, uint64_t iteration, int entry, const word_t<512>& word,
                 const RepeatedEntry& e) {
  if (memory.trace == nullptr) return;
  const int token = e.token;
  const int position = e.position;
  const int sequence = e.sequence;
  // All instructions have n_positions in the same place.
  const int n_positions = decode_recv_instruction(word).n_positions;

  const auto report_elements = [&](int row, const Operand& o, int address, int stride, int n) {
    TraceRecord record;
    record.iteration = iteration;
    record.entry = entry;
    record.instruction = e.instruction;
    record.row = row;
    record.space = o.space;
    record.address = address;
    record.stride = stride;
    record.n = n;
    memory.trace(memory.trace_context, record);
  };
  const auto report = [&](int row, const Operand& o, int index, int n) {
    report_elements(row, o, row_address(o, index), 1, n);
  };
  const int row = sequence * n_positions + position;
  const bool is_end = position == n_positions - 1;

  switch (int(bits<7, 0>(word))) {
    case OP_RECV: {
      const RecvInstruction f = decode_recv_instruction(word);
      report(row, f.dst, token, f.n);
      break;
    }
    case OP_LINEAR: {
      const LinearInstruction f = decode_linear_instruction(word);
      if (f.reduce == 0) report(row, f.dst, token, f.n_out);
      if (f.reduce != 0 && is_end) report(sequence, f.dst, sequence, f.n_out);
      break;
    }
    case OP_CONV: {
      const ConvInstruction f = decode_conv_instruction(word);
      report(row, f.dst, token, f.n);
      break;
    }
    case OP_SCAN: {
      const ScanInstruction f = decode_scan_instruction(word);
      report(row, f.dst, token, f.n);
      break;
    }
    case OP_NORM: {
      const NormInstruction f = decode_norm_instruction(word);
      report(row, f.dst, token, f.n);
      break;
    }
    case OP_POOL: {
      const PoolInstruction f = decode_pool_instruction(word);
      if (is_end) {
        report(2 * sequence, f.dst, 2 * sequence, f.n);
        report(2 * sequence + 1, f.dst, 2 * sequence + 1, f.n);
      }
      break;
    }
    case OP_SCALE: {
      const ScaleInstruction f = decode_scale_instruction(word);
      report(row, f.dst, token, f.n);
      break;
    }
    case OP_POOL_FEATURES: {
      const PoolFeaturesInstruction f = decode_pool_features_instruction(word);
      report_elements(row, f.dst, row_address(f.dst, position) + sequence, f.columns, 2);
      break;
    }
    case OP_MODULATE: {
      const ModulateInstruction f = decode_modulate_instruction(word);
      report(row, f.dst, token, f.n);
      break;
    }
    default: {
      const SendInstruction f = decode_send_instruction(word);
      report(sequence, f.src, sequence, f.n);
      break;
    }
  }
}

}  // namespace cmamba

#endif
