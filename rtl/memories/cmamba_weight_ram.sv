// A RAM of the weight memory, with registers of its own for enables and addresses. They lie beside
// its block RAMs: tools must not merge them with those of other RAMs.

`default_nettype none

module cmamba_weight_ram #(
    // Bits of a word.
    parameter int unsigned Width = 576,
    // Words.
    parameter int unsigned Depth = 1024,
    localparam int unsigned AddrWidth = $clog2(Depth)
) (
    input wire logic clk_i,

    // The word is written in the next cycle; the data come then.
    input wire logic wr_en_i,
    input wire logic [AddrWidth-1:0] wr_addr_i,
    input wire logic [Width-1:0] wr_data_i,

    // Data three cycles after the address, zeros three cycles after a cycle without rd_en_i.
    input wire logic rd_en_i,
    input wire logic [AddrWidth-1:0] rd_addr_i,
    output logic [Width-1:0] rd_data_o
);

  (* keep = "true" *) logic wr_en_q;
  (* keep = "true" *) logic rd_en_q;
  (* keep = "true" *) logic [AddrWidth-1:0] wr_addr_q;
  (* keep = "true" *) logic [AddrWidth-1:0] rd_addr_q;

  always_ff @(posedge clk_i) begin
    wr_en_q   <= wr_en_i;
    wr_addr_q <= wr_addr_i;
    rd_en_q   <= rd_en_i;
    rd_addr_q <= rd_addr_i;
  end

  cmamba_ram_1w #(
      .Width(Width),
      .Depth(Depth),
      .RamStyle("block"),
      .ZeroIdle(1)
  ) u_ram (
      .clk_i,
      .wr_en_i  (wr_en_q),
      .wr_addr_i(wr_addr_q),
      .wr_data_i,
      .rd_en_i  (rd_en_q),
      .rd_addr_i(rd_addr_q),
      .rd_data_o
  );

endmodule

`default_nettype wire
