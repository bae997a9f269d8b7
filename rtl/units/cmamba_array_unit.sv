// The array unit: LINEAR, one weight tile a cycle, without a gap between entries whose waits are
// met.
//
//           +-------------+ reads   +-----------+ sums +-----------+     +--------------+
// start --> | array_issue | ------> | mac_array | ---> | sum_queue | --> | array_output | --> write
//           +-------------+ 2 later +-----------+      +-----------+     +--------------+     done
//              |       ^                                                    ^       |
//              |       +-------------------- credits -----------------------+-------+
//              +------------------------- entries --------------------------+
//
// In the default build an entry's first read comes 3 cycles after its start, and done_o 24 cycles
// after the read that ends its last output tile if that has RequantizeLanes outputs or less; each
// further RequantizeLanes outputs take a cycle. See docs/microarchitecture.md for the ports.
//
// (Not just `array`: the simulator's program of that name would hide a header of C++.)

`default_nettype none

module cmamba_array_unit #(
    // Inputs of a lane in one weight tile.
    parameter int unsigned TileIn = cmamba_build_pkg::TileIn,
    // Lanes of a weight tile.
    parameter int unsigned TileOut = cmamba_build_pkg::TileOut,
    // Results a cycle.
    parameter int unsigned RequantizeLanes = cmamba_build_pkg::RequantizeLanes,
    // Tiles in the weight memory.
    parameter int unsigned WeightTiles = cmamba_build_pkg::MaxWeights,
    // Words of array_params.
    parameter int unsigned ArrayParams = cmamba_build_pkg::MaxArrayParams,
    // Running sums of a reduction.
    parameter int unsigned ReduceElements = cmamba_build_pkg::MaxReduce,
    localparam int unsigned RowAlign = 4 * TileIn,
    localparam int unsigned WordAddrBits = 20 - $clog2(RowAlign),
    localparam int unsigned WeightAddrBits = $clog2(WeightTiles),
    localparam int unsigned ParamAddrBits = $clog2(ArrayParams / RequantizeLanes),
    localparam int unsigned TileBits = 32 - $clog2(TileIn * TileOut)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // Entries.
    input  wire logic start_valid_i,
    output logic start_ready_o,
    input  wire cmamba_array_pkg::linear_entry_t entry_i,
    output logic done_o,
    output logic done_soon_o,  // ArrayReadDelay cycles before

    // Weight memory, read latency WeightLatency.
    output logic weight_rd_en_o,
    output logic [WeightAddrBits-1:0] weight_rd_addr_o,
    input  wire logic [TileOut-1:0][TileIn-1:0][7:0] weight_rd_data_i,

    // Weights beyond it (array_issue).
    input  wire logic [TileBits-1:0] resident_tiles_i,
    input  wire logic streams_i,
    output logic fetch_valid_o,
    input  wire logic fetch_ready_i,
    output cmamba_array_pkg::tile_range_t fetch_o,
    input  wire logic stream_valid_i,
    output logic stream_ready_o,
    input  wire logic [WeightAddrBits-1:0] stream_slot_i,

    // Inputs, read latency 2.
    output logic src_rd_en_o,
    output logic [3:0] src_rd_space_o,
    output logic [WordAddrBits-1:0] src_rd_addr_o,
    input  wire logic [RowAlign-1:0][7:0] src_rd_data_i,

    // Addend from resid, read latency 2.
    output logic add_rd_en_o,
    output logic [WordAddrBits-1:0] add_rd_addr_o,
    input  wire logic [RowAlign-1:0][15:0] add_rd_data_i,

    // array_params, read latency 2; an address for each lane.
    output logic param_rd_en_o,
    output logic [RequantizeLanes-1:0][ParamAddrBits-1:0] param_rd_addr_o,
    input  wire logic [RequantizeLanes-1:0][cmamba_pkg::ParamWordBits-1:0] param_rd_data_i,

    // Results, see array_output.
    output logic [cmamba_pkg::NumSpaces-1:0] wr_en_o,  // of each memory
    output logic [WordAddrBits-1:0] wr_addr_o,
    output logic [RowAlign-1:0] wr_mask_o,
    output logic [RequantizeLanes-1:0][15:0] wr_data_o
);

  // Output tiles between the issue and the requantizer: enough that one input tile each, which is
  // the least, keeps the pipeline between them full.
  localparam int unsigned Credits = 32;
  localparam int unsigned ReadLatency = 2;
  localparam int unsigned QueueAddrBits = $clog2(Credits);
  localparam int unsigned ChunkBits = $clog2(TileOut / RequantizeLanes);

  cmamba_array_pkg::tile_t tile;
  // verilator lint_off UNUSEDSIGNAL
  // A tile has fewer inputs.
  cmamba_array_pkg::tile_t tile_q[ReadLatency];
  // verilator lint_on UNUSEDSIGNAL
  logic [ReadLatency-1:0] tile_valid_q;

  logic result_valid;
  cmamba_array_pkg::linear_result_t result;

  logic sums_soon, sums_valid, sums_release;
  logic [TileOut-1:0][31:0] sums;
  logic [QueueAddrBits-1:0] queue_addr;
  logic [ChunkBits-1:0] queue_chunk;
  logic [RequantizeLanes-1:0][31:0] queue_sums;

  cmamba_array_issue #(
      .TileIn     (TileIn),
      .TileOut    (TileOut),
      .WeightTiles(WeightTiles),
      .Credits    (Credits)
  ) u_issue (
      .clk_i,
      .rst_i,
      .start_valid_i,
      .start_ready_o,
      .entry_i,
      .resident_tiles_i,
      .streams_i,
      .fetch_valid_o,
      .fetch_ready_i,
      .fetch_o,
      .stream_valid_i,
      .stream_ready_o,
      .stream_slot_i,
      .weight_rd_en_o,
      .weight_rd_addr_o,
      .src_rd_en_o,
      .src_rd_space_o,
      .src_rd_addr_o,
      .tile_o        (tile),
      .result_valid_o(result_valid),
      .result_o      (result),
      .release_i     (sums_release)
  );

  // Beside the memory of the inputs.
  always_ff @(posedge clk_i) begin
    if (rst_i) tile_valid_q <= '0;
    else tile_valid_q <= {tile_valid_q[ReadLatency-2:0], weight_rd_en_o};
    tile_q[0] <= tile;
    for (int unsigned s = 1; s < ReadLatency; s++) tile_q[s] <= tile_q[s-1];
  end

  cmamba_mac_array #(
      .TileIn (TileIn),
      .TileOut(TileOut)
  ) u_mac_array (
      .clk_i,
      .rst_i,
      .tile_valid_i     (tile_valid_q[ReadLatency-1]),
      .tile_first_i     (tile_q[ReadLatency-1].first),
      .tile_last_i      (tile_q[ReadLatency-1].last),
      .tile_part_i      (tile_q[ReadLatency-1].part),
      .tile_log2_split_i(tile_q[ReadLatency-1].log2_split),
      .tile_end_i       (tile_q[ReadLatency-1].end_at[$clog2(RowAlign)-1:0]),
      .word_i           (src_rd_data_i),
      .weights_i        (weight_rd_data_i),
      .sums_soon_o      (sums_soon),
      .sums_valid_o     (sums_valid),
      .sums_o           (sums)
  );

  cmamba_sum_queue #(
      .TileOut        (TileOut),
      .RequantizeLanes(RequantizeLanes),
      .Depth          (Credits)
  ) u_sum_queue (
      .clk_i,
      .rst_i,
      .valid_i   (sums_valid),
      .sums_i    (sums),
      .rd_addr_i (queue_addr),
      .rd_chunk_i(queue_chunk),
      .sums_o    (queue_sums)
  );

  cmamba_array_output #(
      .TileIn         (TileIn),
      .TileOut        (TileOut),
      .RequantizeLanes(RequantizeLanes),
      .ArrayParams    (ArrayParams),
      .ReduceElements (ReduceElements),
      .Credits        (Credits)
  ) u_output (
      .clk_i,
      .rst_i,
      .entry_valid_i(result_valid),
      .entry_i      (result),
      .sums_soon_i  (sums_soon),
      .release_o    (sums_release),
      .queue_addr_o (queue_addr),
      .queue_chunk_o(queue_chunk),
      .queue_sums_i (queue_sums),
      .param_rd_en_o,
      .param_rd_addr_o,
      .param_rd_data_i,
      .add_rd_en_o,
      .add_rd_addr_o,
      .add_rd_data_i,
      .wr_en_o,
      .wr_addr_o,
      .wr_mask_o,
      .wr_data_o,
      .done_o,
      .done_soon_o
  );

endmodule

`default_nettype wire
