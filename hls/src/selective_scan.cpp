// SCAN: kScanLanes (channel, state) pairs a cycle.
//
// Pair p = channel * states + state is element p of the instruction's states and decay rates, which
// begin with a row: lane l works on element l of a row. A step takes consecutive pairs of one row:
// `channels` whole channels, or, where a channel has more states than there are lanes, one part of
// it. The lanes of other channels work in vain.
#include "arithmetic.h"
#include "kernels.h"
#include "lanes.h"

namespace cmamba {

namespace {

constexpr int kLog2Lanes = log2_exact(kScanLanes);
constexpr int kLog2Channels = log2_exact(kScanChannels);
// Steps of the channel with most states.
constexpr int kMaxParts = maximum(kMaxStates / kScanLanes, 1);

// What all pairs of a channel share.
struct Channel {
  uint_t<16> delta;
  int_t<9> w;         // u without its zero point
  int_t<26> delta_w;  // delta * w
};

// An adder tree that stops at the level of whole channels: of 2^levels lanes each, sums[c] becomes
// the sum of channel c.
template <int Lanes>
void add_states(int_t<48> sums[kScanLanes], int levels) {
#pragma HLS inline
  if (levels > 0) {
  add_pairs:
    for (int i = 0; i < Lanes / 2; ++i) {
#pragma HLS unroll
      sums[i] = sums[2 * i] + sums[2 * i + 1];
    }
    add_states<Lanes / 2>(sums, levels - 1);
  }
}
template <>
void add_states<1>(int_t<48>[kScanLanes], int) {}

}  // namespace

void selective_scan(const ScanInstruction& f, int position, const Row8 u, const Row8 z,
                    const Row8 dt, const Row8 bc, const Row8 skip, const Decay decay_rates,
                    const ScanParams params, const ScanTables tables, State state, Row8 y) {
#pragma HLS inline off
  const int n = f.n;
  const int log2_state = f.log2_state;
  const int log2_channels = maximum(minimum(kLog2Lanes - log2_state, kLog2Channels), 0);
  const int log2_parts = maximum(log2_state - kLog2Lanes, 0);
  const int channels = 1 << log2_channels;
  const int steps = ((n + channels - 1) >> log2_channels) << log2_parts;

  // B and C of each lane's state, in each part. Written so that a lane chooses between the few
  // places that its state can have in the row, one for each size of the state.
  int_t<8> lane_b[kMaxParts][kScanLanes];
#pragma HLS array_partition variable = lane_b complete dim = 2
  int_t<8> lane_c[kMaxParts][kScanLanes];
#pragma HLS array_partition variable = lane_c complete dim = 2
spread_parts:
  for (int part = 0; part < kMaxParts; ++part) {
#pragma HLS unroll
  spread_sizes:
    for (int m = 0; m <= kMaxLog2State; ++m) {
#pragma HLS unroll
      if (m == log2_state) {
      spread_lanes:
        for (int l = 0; l < kScanLanes; ++l) {
#pragma HLS unroll
          const int b = (part * kScanLanes + l) & ((1 << m) - 1);
          const int c = b + (1 << m);
          lane_b[part][l] = bc[b / kRowAlign][b % kRowAlign];
          lane_c[part][l] = bc[c / kRowAlign][c % kRowAlign];
        }
      }
    }
  }

  int first = 0;
  int part = 0;
  int_t<48> earlier_parts = 0;
scan_steps:
  for (int i = 0; i < steps; ++i) {
#pragma HLS loop_tripcount min = 1 max = 1024
#pragma HLS pipeline II = 1
// Every pair is read and written in one step only, and the next step takes the pairs behind it.
#pragma HLS dependence variable = state type = inter false
    // The step's channels are all or some of those of a group that rows are read by.
    const int offset = first % kScanChannels;
    const int group = first - offset;
    int_t<8> group_u[kScanChannels];
#pragma HLS array_partition variable = group_u complete
    int_t<8> group_z[kScanChannels];
#pragma HLS array_partition variable = group_z complete
    int_t<8> group_dt[kScanChannels];
#pragma HLS array_partition variable = group_dt complete
    int_t<8> group_skip[kScanChannels];
#pragma HLS array_partition variable = group_skip complete
    read_part<kRowAlign, kScanChannels>(u, group, group_u);
    read_part<kRowAlign, kScanChannels>(z, group, group_z);
    read_part<kRowAlign, kScanChannels>(dt, group, group_dt);
    read_part<kRowAlign, kScanChannels>(skip, group, group_skip);

    Channel channel[kScanChannels];
#pragma HLS array_partition variable = channel complete
  begin_channels:
    for (int c = 0; c < kScanChannels; ++c) {
#pragma HLS unroll
      const int g = (offset + c) % kScanChannels;
      const int entry = int(group_dt[g]) + kTableEntries / 2;
      channel[c].delta = tables[c][int(f.softplus_table)][entry];
      channel[c].w = int_t<9>(group_u[g] - f.u_zero_point);
      channel[c].delta_w = product<26>(channel[c].delta, channel[c].w);
    }

    uint_t<16> rates[kScanLanes];
#pragma HLS array_partition variable = rates complete
    int_t<24> h[kScanLanes];
#pragma HLS array_partition variable = h complete
    const int first_pair = (first << log2_state) + part * kScanLanes;
    const int valid_pairs = minimum(minimum(channels, n - first) << log2_state, kScanLanes);
    const int first_lane = first_pair % kScanLanes;
    const int row_pair = first_pair - first_lane;
    read_part<kScanLanes, kScanLanes>(decay_rates, int(f.decay_addr) + row_pair, rates);
    read_part<kScanLanes, kScanLanes>(state, int(f.state_addr) + row_pair, h);

    // What each lane takes from its channel.
    uint_t<16> delta[kScanLanes];
#pragma HLS array_partition variable = delta complete
    int_t<26> delta_w[kScanLanes];
#pragma HLS array_partition variable = delta_w complete
  spread_channels:
    for (int l = 0; l < kScanLanes; ++l) {
#pragma HLS unroll
      const int c = (l >> log2_state) % kScanChannels;
      delta[l] = channel[c].delta;
      delta_w[l] = channel[c].delta_w;
    }

    uint_t<17> kept[kScanLanes];
#pragma HLS array_partition variable = kept complete
  decay_states:
    for (int l = 0; l < kScanLanes; ++l) {
#pragma HLS unroll
      const int_t<34> exponent = product<34>(delta[l], rates[l]);
      kept[l] = decay(uint_t<32>(rne_shift<34>(exponent, f.exp_shift)));
    }

    int_t<48> sums[1][kScanLanes];  // a row, of which the step's channels are a part
#pragma HLS array_partition variable = sums complete dim = 0
  update_states:
    for (int l = 0; l < kScanLanes; ++l) {
#pragma HLS unroll
      const int_t<24> before = position == 0 ? int_t<24>(0) : h[l];
      const int_t<48> added = shift_left<48>(product<34>(delta_w[l], lane_b[part][l]),
                                             16 - int(f.state_shift));
      h[l] = saturate<24>(rne_shift<49>(product<48>(kept[l], before) + added, 16));
      sums[0][l] = product<32>(h[l], lane_c[part][l]);
    }
    write_part<kScanLanes, kScanLanes>(state, int(f.state_addr) + row_pair, h, first_lane,
                                       first_lane + valid_pairs);

    add_states<kScanLanes>(sums[0], log2_state);
    int_t<48> channel_sums[kScanChannels];
#pragma HLS array_partition variable = channel_sums complete
    read_part<kScanLanes, kScanChannels>(sums, first_lane >> log2_state, channel_sums);
    if (part > 0) channel_sums[0] += earlier_parts;
    earlier_parts = channel_sums[0];
    const bool is_last_part = part == (1 << log2_parts) - 1;

    word_t<64> words[kScanChannels];
#pragma HLS array_partition variable = words complete
    read_part<kScanChannels, kScanChannels>(params, int(f.param_addr) + group, words);
    int_t<8> results[kScanChannels] = {};
#pragma HLS array_partition variable = results complete
  finish_channels:
    for (int c = 0; c < kScanChannels; ++c) {
#pragma HLS unroll
      if (c < channels && first + c < n) {
        const int g = (offset + c) % kScanChannels;
        const ParamWord p = decode_param_word(words[g]);
        const int_t<18> skip_weight = f.skip_enable != 0
                                          ? int_t<18>(group_skip[g] - f.skip_zero_point)
                                          : int_t<18>(p.bias);
        const int_t<48> skipped = shift_left<48>(product<27>(skip_weight, channel[c].w),
                                                 f.skip_shift);
        const int_t<16> out = saturate<16>(rne_shift<49>(channel_sums[c] + skipped, f.y_shift));
        const int entry = int(group_z[g]) + kTableEntries / 2;
        const int_t<16> silu = int_t<16>(tables[c][int(f.silu_table)][entry]);
        results[g] = saturate<8>(requantize(product<32>(out, silu), p));
      }
    }
    if (is_last_part) {
      write_part<kRowAlign, kScanChannels>(y, group, results, offset,
                                           offset + minimum(channels, n - first));
      first += channels;
      part = 0;
    } else {
      ++part;
    }
  }
}

}  // namespace cmamba
