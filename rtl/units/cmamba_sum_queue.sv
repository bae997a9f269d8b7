// Finished sums on their way to the requantizer: whole output tiles in, RequantizeLanes sums out.
//
// Only the memory: the credits of array_issue keep it from overflowing, array_output counts what is
// in it. It is small enough for LUTs (32 words take no more of them than 8 do).
`default_nettype none

module cmamba_sum_queue #(
    // Sums of an output tile.
    parameter int unsigned TileOut = 64,
    // Sums read at once.
    parameter int unsigned RequantizeLanes = 16,
    // Output tiles, a power of two.
    parameter int unsigned Depth = 32,
    localparam int unsigned AddrBits = $clog2(Depth),
    localparam int unsigned Chunks = TileOut / RequantizeLanes,
    localparam int unsigned ChunkBits = $clog2(Chunks)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input wire logic valid_i,
    input wire logic [TileOut-1:0][31:0] sums_i,

    // The output tile rd_addr_i after reset, its sums from rd_chunk_i * RequantizeLanes on.
    input  wire logic [AddrBits-1:0] rd_addr_i,
    input  wire logic [ChunkBits-1:0] rd_chunk_i,
    output logic [RequantizeLanes-1:0][31:0] sums_o  // two cycles later
);

  // Lanes of a RAM.
  localparam int unsigned PartLanes = RequantizeLanes < 4 ? RequantizeLanes : 4;

  if (Depth != 1 << AddrBits) begin : gen_check_depth
    $fatal(1, "sum_queue: Depth is %0d, expected a power of two", Depth);
  end
  if (RequantizeLanes % PartLanes != 0) begin : gen_check_parts
    $fatal(1, "sum_queue: RequantizeLanes is %0d, expected a multiple of 4", RequantizeLanes);
  end
  if (Chunks < 2 || Chunks != 1 << ChunkBits || TileOut % RequantizeLanes != 0)
  begin : gen_check_lanes
    $fatal(1, "sum_queue: TileOut is %0d, expected RequantizeLanes times 2, 4, 8, ...", TileOut);
  end

  // Each RAM has addresses of its own, which otherwise drive a thousand LUTs.
  localparam int unsigned WordBits = RequantizeLanes * 32;
  localparam int unsigned PartBits = PartLanes * 32;
  logic [Chunks-1:0][WordBits-1:0] words;
  for (genvar c = 0; c < Chunks; c++) begin : gen_chunk
    for (genvar p = 0; p < RequantizeLanes / PartLanes; p++) begin : gen_part
      (* keep = "true" *)logic [AddrBits-1:0] wr_addr_q;
      (* keep = "true" *)logic [AddrBits-1:0] rd_addr_q;
      always_ff @(posedge clk_i) begin
        if (rst_i) wr_addr_q <= '0;
        else if (valid_i) wr_addr_q <= wr_addr_q + 1'b1;
        rd_addr_q <= rd_addr_i;
      end

      (* ram_style = "distributed" *)
      logic [PartBits-1:0] memory[Depth];
      always_ff @(posedge clk_i) begin
        if (valid_i) memory[wr_addr_q] <= sums_i[c*RequantizeLanes+p*PartLanes+:PartLanes];
      end
      assign words[c][p*PartBits+:PartBits] = memory[rd_addr_q];
    end
  end

  for (genvar l = 0; l < RequantizeLanes; l++) begin : gen_lane
    (* keep = "true" *) logic [ChunkBits-1:0] rd_chunk_q;
    always_ff @(posedge clk_i) begin
      rd_chunk_q <= rd_chunk_i;
      sums_o[l]  <= words[rd_chunk_q][32*l+:32];
    end
  end

endmodule

`default_nettype wire
