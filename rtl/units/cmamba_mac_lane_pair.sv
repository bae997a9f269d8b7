// Two neighbouring lanes of the array: chains of mac_pair, their adder tree, two accumulators.
//
//   inputs 0..3   -> mac_pair -> mac_pair -> mac_pair -> mac_pair -+
//   inputs 4..7   -> ...                                         -(+)-+
//   inputs 8..11  -> ...                                          -+  +--> + --> acc (low lane)
//   inputs 12..15 -> ...                                         -(+)-+          acc (high lane)
//
// A high field lacks the borrow of its low field (mac_pair). Each adder and the accumulator have a
// carry input to spare, exactly one for each chain: an adder takes the borrow of its right
// operand at once and hands that of its left operand on to the next level.
`default_nettype none

module cmamba_mac_lane_pair #(
    // Inputs of a lane; a power of two from 4.
    parameter int unsigned TileIn      = 16,
    // DSPs in a chain: products in a packed field.
    parameter int unsigned ChainLength = 4
) (
    input  wire logic                             clk_i,
    // Input j and its weights arrive with those of input 0 for the first two DSPs of a chain, and a
    // cycle later for each further one.
    input  wire logic       [TileIn-1:0][7:0]     x_i,
    input  wire logic [1:0] [TileIn-1:0][7:0]     weights_i,
    // Input j does not count: a cycle after it has come where it is the first one of a chain, two
    // cycles after it otherwise.
    input  wire logic       [TileIn-1:0]          clear_i,
    // One for each tile, Latency - 1 cycles after its input 0.
    input  wire logic                             accumulate_i,
    input  wire logic                             first_i,    // replace the sum instead of adding
    output      logic [1:0] [31:0]                acc_o       // Latency cycles after input 0
);

  localparam int unsigned Chains = TileIn / ChainLength;
  localparam int unsigned Levels = $clog2(Chains);
  localparam int unsigned FieldBits = 18;

  if (ChainLength < 1 || ChainLength > 4) begin : gen_check_chain
    $fatal(1, "mac_lane_pair: ChainLength is %0d, expected 1 to 4", ChainLength);
  end
  if (TileIn % ChainLength != 0 || Chains != 1 << Levels) begin : gen_check_tile_in
    $fatal(1, "mac_lane_pair: TileIn is %0d, expected ChainLength times a power of two", TileIn);
  end

  logic [Chains-1:0][35:0] fields;

  for (genvar c = 0; c < Chains; c++) begin : gen_chain
    for (genvar k = 0; k < ChainLength; k++) begin : gen_mac
      logic [47:0] cascade_in, cascade_out;
      logic [35:0] sum;
      if (k == 0) begin : gen_first
        assign cascade_in = '0;
      end else begin : gen_next
        assign cascade_in = gen_chain[c].gen_mac[k-1].cascade_out;
      end
      cmamba_mac_pair #(
          .First(k == 0)
      ) u_mac_pair (
          .clk_i,
          .x_i      (x_i[c*ChainLength+k]),
          .w0_i     (weights_i[0][c*ChainLength+k]),
          .w1_i     (weights_i[1][c*ChainLength+k]),
          .cascade_i(cascade_in),
          .clear_i  (clear_i[c*ChainLength+k]),
          .sum_o    (sum),
          .cascade_o(cascade_out)
      );
      // The last one of a chain goes to the fabric, the others to the next one.
      logic unused;
      assign unused = k == ChainLength - 1 ? ^cascade_out : ^sum;
    end
    assign fields[c] = gen_mac[ChainLength-1].sum;
  end

  for (genvar lane = 0; lane < 2; lane++) begin : gen_lane
    for (genvar level = 0; level <= Levels; level++) begin : gen_level
      localparam int unsigned Bits = FieldBits + level;
      logic [(Chains>>level)-1:0][Bits-1:0] sum;
      logic [(Chains>>level)-1:0]           borrow;
      if (level == 0) begin : gen_leaves
        for (genvar c = 0; c < Chains; c++) begin : gen_leaf
          assign sum[c] = fields[c][lane*FieldBits+:FieldBits];
          assign borrow[c] = lane == 1 && fields[c][FieldBits-1];
        end
      end else begin : gen_adders
        logic [(Chains>>(level-1))-1:0][Bits-2:0] operands;
        logic [(Chains>>(level-1))-1:0] borrows;
        assign operands = gen_level[level-1].sum;
        assign borrows  = gen_level[level-1].borrow;
        for (genvar n = 0; n < (Chains >> level); n++) begin : gen_adder
          logic [Bits-2:0] left, right;
          logic [Bits-1:0] total, sum_q;
          logic unused_carry, borrow_q;
          assign left = operands[2*n];
          assign right = operands[2*n+1];
          // left + right + borrow of right, on one carry chain.
          assign {total, unused_carry} =
              {left[Bits-2], left, 1'b1} + {right[Bits-2], right, borrows[2*n+1]};
          always_ff @(posedge clk_i) begin
            sum_q <= total;
            borrow_q <= borrows[2*n];
          end
          assign sum[n] = sum_q;
          assign borrow[n] = borrow_q;
        end
      end
    end

    logic [FieldBits+Levels-1:0] tile_sum;
    logic tile_borrow;
    logic [31:0] total, acc_q;
    logic unused_carry;

    assign tile_sum = gen_level[Levels].sum;
    assign tile_borrow = gen_level[Levels].borrow;
    assign {total, unused_carry} = {first_i ? 32'b0 : acc_q, 1'b1} + {32'($signed(
        tile_sum
    )), tile_borrow};
    always_ff @(posedge clk_i) begin
      if (accumulate_i) acc_q <= total;
    end
    assign acc_o[lane] = acc_q;
  end

endmodule

`default_nettype wire
