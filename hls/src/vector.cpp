// The vector unit. vector_reduce reads what NORM and POOL_FEATURES need of a whole row, vector_root
// takes the reciprocal root of a NORM, vector_apply writes results: kVectorLanes elements a cycle.
#include "arithmetic.h"
#include "dependences.h"
#include "lanes.h"
#include "resid.h"
#include "steps.h"

namespace cmamba {

namespace {

// By halves: a search bit by bit would pass 48 choices in a row.
int bit_length(uint_t<48> x) {
#pragma HLS inline
  uint_t<64> rest = x;
  int length = 0;
halve:
  for (int half = 32; half > 0; half /= 2) {
#pragma HLS unroll
    const uint_t<64> upper = rest >> half;
    const bool is_upper = upper != 0;
    rest = is_upper ? upper : rest;
    length += is_upper ? half : 0;
  }
  return length + int(rest);
}

}  // namespace

bool step(VectorReduce& u, channel<VectorEntry, kStartDepth>& starts,
          channel<ArrayPacket16, kPacketDepth>& from_array,
          channel<VectorPacket16, kWaitingDepth>& from_vector,
          channel<Credit, kWaitingDepth>& vector_credits, channel<Ends, kAckDepth>& ends,
          channel<ReducedEntry, kStartDepth>& reduced, Resid& resid) {
#pragma HLS inline
// No entry reads rows that are still being written: it starts after their end has been seen.
#pragma HLS dependence variable = resid type = inter direction = RAW false
  CMAMBA_ANSWERED(resid, Resid);
  Ends done = 0;
  bool is_active = take_resid(from_array, from_vector, vector_credits, resid, done);
  if (done != 0) ends.write(done);

  if (u.is_busy) {
    is_active = true;
    const int n = u.entry.n;
    int_t<16> values[kVectorLanes];
#pragma HLS array_partition variable = values complete
    read_part<kWideWidth, kVectorLanes>(resid, int(u.entry.source) + u.first, values);
    uint_t<48> squares[kVectorLanes];
#pragma HLS array_partition variable = squares complete
    int_t<32> addends[kVectorLanes];
#pragma HLS array_partition variable = addends complete
    int_t<16> compared[kVectorLanes];
#pragma HLS array_partition variable = compared complete
  reduce_lanes:
    for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
      const bool is_inside = u.first + l < n;
      const uint_t<48> square = uint_t<48>(product<32>(values[l], values[l]));
      squares[l] = is_inside ? square : uint_t<48>(0);
      addends[l] = is_inside ? int_t<32>(values[l]) : int_t<32>(0);
      compared[l] = is_inside ? values[l] : values[0];
    }
    u.squares += sum_lanes<kVectorLanes>(squares);
    u.total += sum_lanes<kVectorLanes>(addends);
    const int_t<16> largest = maximum_lanes<kVectorLanes>(compared);
    if (largest > u.largest) u.largest = largest;
    u.first += kVectorLanes;
    // The others need nothing of the whole row: one beat, for nothing.
    const bool is_reduced = u.entry.opcode == OP_NORM || u.entry.opcode == OP_POOL_FEATURES;
    if (u.first >= n || !is_reduced) {
      ReducedEntry result;
      result.entry = u.entry;
      result.squares = u.squares;
      result.total = u.total;
      result.largest = u.largest;
      reduced.write(result);
      u.is_busy = false;
    }
  }
  if (!u.is_busy && starts.read_nb(u.entry)) {
    is_active = true;
    u.first = 0;
    u.squares = u.entry.eps;
    u.total = 0;
    u.largest = -(1 << 15);
    u.is_busy = !u.entry.is_end;
    u.is_finished = u.entry.is_end;
    if (u.entry.is_end) {
      ReducedEntry result = {};
      result.entry = u.entry;
      reduced.write(result);
    }
  }
  return is_active;
}

bool step(VectorRoot& u, channel<ReducedEntry, kStartDepth>& reduced,
          channel<RootedEntry, kStartDepth>& rooted) {
#pragma HLS inline
  ReducedEntry in;
  if (!reduced.read_nb(in)) return false;
  RootedEntry out;
  out.entry = in.entry;
  out.total = in.total;
  out.largest = in.largest;
  out.log4 = 0;
  out.root = 0;
  if (in.entry.opcode == OP_NORM && !in.entry.is_end) {
    // 2^30 <= m < 2^32, so that its reciprocal root has a fixed number of digits.
    const int log4 = (bit_length(in.squares) - 31) >> 1;
    const uint_t<32> m = uint_t<32>(log4 >= 0 ? in.squares >> (2 * log4)
                                              : in.squares << (-2 * log4));
    out.log4 = log4;
    out.root = reciprocal_sqrt(m);
  }
  rooted.write(out);
  u.is_finished = in.entry.is_end;
  return true;
}

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
          int waiting_depth) {
#pragma HLS inline
// No entry reads rows that are still being written: it starts after their end has been seen.
#pragma HLS dependence variable = resid type = inter direction = RAW false
#pragma HLS dependence variable = logit type = inter direction = RAW false
// A sum is read kSumDistance steps after it is written, or later.
#pragma HLS dependence variable = pool_sum type = inter direction = RAW false
#pragma HLS dependence variable = pool_maximum type = inter direction = RAW false
  CMAMBA_ANSWERED(resid, Resid);
  CMAMBA_ANSWERED(logit, Logit);
  CMAMBA_APART(pool_sum, PoolSum, kSumDistance);
  CMAMBA_APART(pool_maximum, PoolMaximum, kSumDistance);
  bool is_active = false;

  // What comes for the memories, the array's first.
  Ends done = 0;
  ArrayPacket16 array_packet;
  VectorPacket16 vector_packet;
  if (from_array.read_nb(array_packet)) {
    is_active = true;
    if (array_packet.has_data && array_packet.space == SPACE_RESID) {
      write_part<kWideWidth, kRequantizeLanes>(resid, array_packet.address, array_packet.value);
    }
    if (array_packet.has_data && array_packet.space == SPACE_LOGIT) {
      int_t<8> logits[kRequantizeLanes];
#pragma HLS array_partition variable = logits complete
    narrow_logits:
      for (int l = 0; l < kRequantizeLanes; ++l) {
#pragma HLS unroll
        logits[l] = int_t<8>(array_packet.value[l]);
      }
      write_part<kRequantizeLanes, kRequantizeLanes>(logit, array_packet.address, logits);
    }
    if (array_packet.is_end) done |= Ends(1 << UNIT_ARRAY);
  } else if (from_vector.read_nb(vector_packet)) {
    is_active = true;
    if (vector_packet.has_data) {
      write_part<kWideWidth, kVectorLanes>(resid, vector_packet.address, vector_packet.value);
    }
    if (vector_packet.is_end) done |= Ends(1 << UNIT_VECTOR);
    --u.on_way[READER_APPLY];
  }
  if (done != 0) ends.write(done);
  Credit credit;
  if (output_credits.read_nb(credit)) {
    is_active = true;
    --u.on_way[READER_OUTPUT];
  }
  if (reduce_credits.read_nb(credit)) {
    is_active = true;
    --u.on_way[READER_REDUCE];
  }
  if (conv_credits.read_nb(credit)) {
    is_active = true;
    --u.on_way[READER_CONV];
  }

  bool has_room = true;
count_room:
  for (int r = 0; r < kVectorReaders; ++r) {
#pragma HLS unroll
    has_room = has_room && u.on_way[r] < waiting_depth;
  }
  if (u.age < kSumDistance) {
    is_active = true;
    ++u.age;
  }
  const VectorEntry e = u.work.entry;
  const int n = e.n;
  const bool is_pool = e.opcode == OP_POOL;
  const bool has_sums = !is_pool || e.is_first || u.first > 0 || u.phase > 0 ||
                        u.age == kSumDistance;
  if (u.is_busy && has_room && has_sums) {
    is_active = true;
    const bool is_modulate = e.opcode == OP_MODULATE;
    const bool is_features = e.opcode == OP_POOL_FEATURES;
    const bool is_scale = e.opcode == OP_SCALE;
    const bool is_norm = e.opcode == OP_NORM;
    const bool is_look_up = is_modulate && u.look_ups < 2;
    // Steps of a beat: MODULATE takes the addend, then the row; the last POOL writes the mean, then
    // the maximum; POOL_FEATURES is one beat of a mean and a maximum.
    const bool has_two = is_modulate || is_features || (is_pool && e.is_last);
    const bool is_second = u.phase == 1;
    const bool is_addend = is_modulate && !is_second;

    int_t<16> values[kVectorLanes];
#pragma HLS array_partition variable = values complete
    read_part<kWideWidth, kVectorLanes>(resid, int(is_addend ? e.addend : e.source) + u.first,
                                        values);
    CMAMBA_READS_IF(logit, is_scale || is_look_up);
    int_t<8> logits[kVectorLanes];
#pragma HLS array_partition variable = logits complete
    const bool is_shift = is_look_up && u.look_ups == 1;
    const int logit_at = is_shift ? int(e.shift_logit) : int(e.logit) + (is_scale ? u.first : 0);
    read_part<kRequantizeLanes, kVectorLanes>(logit, logit_at - logit_at % kVectorLanes, logits);
    uint_t<16> factors[kVectorLanes];
#pragma HLS array_partition variable = factors complete
    const int table = is_shift ? int(e.shift_table) : int(e.table);
  look_up_lanes:
    for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
      factors[l] = tables[l / 2][table][int(logits[l]) + kTableEntries / 2];
    }
    // A MODULATE has one logit for all lanes.
    const uint_t<16> factor = factors[logit_at % kVectorLanes];
    if (is_look_up && !is_shift) u.factor = factor;
    if (is_shift) u.offset = int_t<16>(factor);

    word_t<64> words[kVectorLanes];
#pragma HLS array_partition variable = words complete
    const int param_at = int(e.param_addr) + (is_norm ? u.first : 0) +
                         (is_second && (is_pool || is_features) ? 1 : 0);
    read_lanes<kMaxVectorParams / kVectorLanes, kVectorLanes>(params, param_at, words);
    CMAMBA_READS_IF(pool_sum, is_pool && !e.is_first && !is_second);
    CMAMBA_READS_IF(pool_maximum, is_pool && !e.is_first && !is_second);
    int_t<32> sums[kVectorLanes];
#pragma HLS array_partition variable = sums complete
    int_t<16> maxima[kVectorLanes];
#pragma HLS array_partition variable = maxima complete
    const int sums_at = u.first % kMaxFeatures;
    read_part<kVectorLanes, kVectorLanes>(pool_sum, sums_at, sums);
    read_part<kVectorLanes, kVectorLanes>(pool_maximum, sums_at, maxima);

    VectorPacket16 packet16;
    VectorPacket8 packet8;
    PartPacket part;
    // The multiplier and the requantizer are the same for all instructions, each lane's once.
    int_t<34> scaled[kVectorLanes];
#pragma HLS array_partition variable = scaled complete
  scale_lanes:
    for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
      const uint_t<17> scale = is_scale      ? uint_t<17>(factors[l])
                               : is_modulate ? uint_t<17>(u.factor)
                                             : u.work.root;
      scaled[l] = product<34>(values[l], scale);
    }
    int_t<32> sum[kVectorLanes];
#pragma HLS array_partition variable = sum complete
    if (is_norm) {
    norm_lanes:
      for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
        sum[l] = int_t<32>(rne_shift<40>(shift_left<40>(scaled[l], 6), 15 + int(u.work.log4)));
      }
    } else if (is_modulate) {
    modulate_lanes:
      for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
        const int_t<17> added = int_t<17>(u.offset) + u.addends[l];
        sum[l] = int_t<32>(rne_shift<34>(scaled[l] + shift_left<34>(added, 16), 16));
        if (is_addend) u.addends[l] = values[l];
      }
    } else if (is_features) {
    feature_lanes:
      for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
        sum[l] = is_second ? int_t<32>(u.work.largest) : u.work.total;
      }
    } else {
    pool_lanes:
      for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
        const bool is_larger = e.is_first || values[l] > maxima[l];
        sums[l] = add_modulo<32>(e.is_first ? int_t<32>(0) : sums[l], int_t<32>(values[l]));
        if (is_larger) maxima[l] = values[l];
        sum[l] = is_second ? int_t<32>(u.maxima[l]) : sums[l];
        if (!is_second) u.maxima[l] = maxima[l];
      }
    }
    if (is_scale) {
    round_lanes:
      for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
        packet16.value[l] = saturate<16>(rne_shift<34>(scaled[l], 16));
        packet8.value[l] = part.value[l] = 0;
      }
    } else {
    requantize_lanes:
      for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
        const ParamWord p = decode_param_word(words[is_norm ? l : 0]);
        const int_t<50> q = requantize(sum[l], p);
        packet16.value[l] = saturate<16>(q);
        packet8.value[l] = part.value[l] = saturate<8>(q);
      }
    }
    if (is_pool && !is_second) {
      write_part<kVectorLanes, kVectorLanes>(pool_sum, sums_at, sums);
      write_part<kVectorLanes, kVectorLanes>(pool_maximum, sums_at, maxima);
      u.age = 0;
    }

    const bool is_last_beat = u.first + kVectorLanes >= n || is_features;
    const bool is_end = is_last_beat && (is_second || !has_two) && !is_look_up;
    const bool has_result = !is_look_up && !is_addend && (!is_pool || e.is_last);
    const int result = int((is_pool || is_features) && is_second ? e.maximum_result : e.result);
    const int element = is_features ? result % kVectorLanes : 0;
    packet16.space = packet8.space = e.space;
    packet16.address = packet8.address = result + u.first;
    part.address = result - element + u.first;
    part.begin = element;
    part.end = is_features ? element + 1 : kVectorLanes;
    packet16.is_end = packet8.is_end = part.is_end = is_end;
    part.has_data = has_result && e.space == SPACE_NORM;
    packet8.has_data = has_result && e.space == SPACE_CONV_IN;
    packet16.has_data = has_result && e.space == SPACE_RESID;
    if (part.has_data || is_end) to_multiply.write(part);
    if (packet8.has_data || is_end) {
      to_conv.write(packet8);
      ++u.on_way[READER_CONV];
    }
    if (packet16.has_data || is_end) {
      to_output.write(packet16);
      to_reduce.write(packet16);
      to_apply.write(packet16);
      ++u.on_way[READER_OUTPUT];
      ++u.on_way[READER_REDUCE];
      ++u.on_way[READER_APPLY];
    }

    if (is_look_up) {
      ++u.look_ups;
    } else if (has_two && !is_second) {
      u.phase = 1;
    } else {
      u.phase = 0;
      u.first += kVectorLanes;
      u.is_busy = !is_end;
    }
  }
  if (!u.is_busy && rooted.read_nb(u.work)) {
    is_active = true;
    u.first = 0;
    u.phase = 0;
    u.look_ups = 0;
    u.is_busy = !u.work.entry.is_end;
    u.is_finished = u.work.entry.is_end;
  }
  return is_active;
}

}  // namespace cmamba
