// Simulation model of rtl/units/cmamba_mac_array.sv: a tile is summed when it arrives, and what
// leaves the array waits as long as its pipeline is. sums_o shows a sum only with sums_valid_o.

`default_nettype none

module cmamba_mac_array #(
    // Inputs of a lane in one tile.
    parameter int unsigned TileIn  = 16,
    // Lanes.
    parameter int unsigned TileOut = 64
) (
    input  wire logic                                     clk_i,
    input  wire logic                                     rst_i,
    input  wire logic                                     tile_valid_i,
    input  wire logic                                     tile_first_i,
    input  wire logic                                     tile_last_i,
    input  wire logic [1:0]                               tile_part_i,
    input  wire logic [1:0]                               tile_log2_split_i,
    input  wire logic [$clog2(4*TileIn)-1:0]              tile_end_i,
    input  wire logic [4*TileIn-1:0][7:0]                 word_i,
    input  wire logic [TileOut-1:0][TileIn-1:0][7:0]      weights_i,
    output      logic                                     sums_soon_o,
    output      logic                                     sums_valid_o,
    output      logic [TileOut-1:0][31:0]                 sums_o
);

  localparam int unsigned ChainLength = 4;
  localparam int unsigned InputStages = cmamba_cells_pkg::WeightLatency -
      cmamba_cells_pkg::RamLatency;
  localparam int unsigned AccumulateDelay = InputStages + 2 + ChainLength + $clog2(
      TileIn / ChainLength
  );
  // From a tile to sums_valid_o.
  localparam int unsigned Latency = AccumulateDelay + 3;
  localparam int unsigned QuarterLanes = TileOut / 4;
  localparam int unsigned QueueBits = $clog2(Latency + 1);

  if (TileIn < 4 || TileIn != 1 << $clog2(TileIn)) begin : gen_check_tile_in
    $fatal(1, "mac_array: TileIn is %0d, expected a power of two from 4", TileIn);
  end
  if (TileOut < 8 || TileOut != 1 << $clog2(TileOut)) begin : gen_check_tile_out
    $fatal(1, "mac_array: TileOut is %0d, expected a power of two from 8", TileOut);
  end

  logic [Latency-1:0] last_q;
  always_ff @(posedge clk_i) begin
    if (rst_i) last_q <= '0;
    else last_q <= {last_q[Latency-2:0], tile_valid_i && tile_last_i};
  end
  assign sums_soon_o  = last_q[AccumulateDelay-1];
  assign sums_valid_o = last_q[Latency-1];

  // A tile until its weights come.
  typedef struct packed {
    logic                        valid;
    logic                        first;
    logic                        last;
    logic [1:0]                  part;
    logic [1:0]                  log2_split;
    logic [$clog2(4*TileIn)-1:0] end_at;
    logic [4*TileIn-1:0][7:0]    word;
  } tile_t;
  tile_t tile_q[InputStages];
  tile_t tile;
  always_ff @(posedge clk_i) begin
    tile_q[0] <= '{
        valid: tile_valid_i && !rst_i,
        first: tile_first_i,
        last: tile_last_i,
        part: tile_part_i,
        log2_split: tile_log2_split_i,
        end_at: tile_end_i,
        word: word_i
    };
    for (int unsigned s = 1; s < InputStages; s++) begin
      tile_q[s] <= tile_q[s-1];
      if (rst_i) tile_q[s].valid <= 1'b0;
    end
  end
  assign tile = tile_q[InputStages-1];

  // Of each lane; and what has been summed up and combined.
  int acc[TileOut];
  logic [TileOut-1:0][31:0] queue[1<<QueueBits];
  logic [QueueBits-1:0] write_q, read_q;

  // Loops, instead of lines for each lane. acc and queue are this process's own.
  // verilator lint_off BLKSEQ
  // verilog_lint: waive-start always-ff-non-blocking
  always_ff @(posedge clk_i) begin
    if (tile.valid) begin
      for (int unsigned q = 0; q < 4; q++) begin
        automatic logic [1:0] group, part;
        automatic int x[TileIn];
        group = tile.log2_split == 2'd2 ? 2'(q) : tile.log2_split == 2'd1 ? 2'(q >> 1) : 2'd0;
        part  = tile.part + group;
        for (int unsigned j = 0; j < TileIn; j++) begin
          x[j] = 32'(group) * TileIn + j > 32'(tile.end_at) ? 0 :
              32'($signed(tile.word[part*TileIn+j]));
        end
        // verilator unroll_disable
        for (int unsigned l = q * QuarterLanes; l < (q + 1) * QuarterLanes; l++) begin
          automatic int sum;
          sum = tile.first ? 0 : acc[l];
          for (int unsigned j = 0; j < TileIn; j += 4) begin
            automatic logic [3:0][7:0] w;
            w = weights_i[l][j+:4];
            for (int unsigned i = 0; i < 4; i++) sum += 32'($signed(w[i])) * x[j+i];
          end
          acc[l] = sum;
        end
      end
      if (tile.last) begin
        // verilator unroll_disable
        for (int unsigned l = 0; l < TileOut; l++) begin
          automatic int sum;
          sum = acc[l];
          if (tile.log2_split != 2'd0) sum += acc[(l+TileOut/2)%TileOut];
          if (tile.log2_split == 2'd2) begin
            sum += acc[(l+TileOut/4)%TileOut] + acc[(l+TileOut/4+TileOut/2)%TileOut];
          end
          queue[write_q][l] = sum;
        end
      end
    end
    if (last_q[Latency-2]) sums_o <= queue[read_q];
    if (rst_i) begin
      write_q <= '0;
      read_q  <= '0;
    end else begin
      if (tile.valid && tile.last) write_q <= write_q + 1'b1;
      if (last_q[Latency-2]) read_q <= read_q + 1'b1;
    end
  end
  // verilog_lint: waive-stop always-ff-non-blocking
  // verilator lint_on BLKSEQ

endmodule

`default_nettype wire
