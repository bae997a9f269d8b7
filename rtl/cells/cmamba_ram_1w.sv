// Memory with one write port and any number of read ports, each of which has a copy of the memory.
//
// A read takes two cycles: the address of cycle t gives rd_data_o in cycle t + 2. The second
// register is the output register of block RAM. A read in the cycle of a write to its address gives
// the old word.

`default_nettype none

module cmamba_ram_1w #(
    // Bits of a word.
    parameter int unsigned Width = 64,
    // Words.
    parameter int unsigned Depth = 256,
    // Bits that a bit of the write mask stands for, a divisor of Width. A mask costs block RAM its
    // ninth bits, unless it is one bit.
    parameter int unsigned MaskedWidth = Width,
    // Read ports.
    parameter int unsigned ReadPorts = 1,
    // RAM of the device: "auto", "block" or "distributed".
    parameter RamStyle = "auto",
    // What a port shows two cycles after a cycle without rd_en_i: 0 its last word, 1 zeros. Words
    // of several memories of which one is read can then be ORed. (Block RAM can reset its output
    // register.)
    parameter bit ZeroIdle = 0,
    localparam int unsigned AddrWidth = $clog2(Depth),
    localparam int unsigned MaskWidth = Width / MaskedWidth
) (
    input wire logic clk_i,

    input wire logic wr_en_i,
    input wire logic [AddrWidth-1:0] wr_addr_i,
    input wire logic [MaskWidth-1:0] wr_mask_i = '1,
    input wire logic [Width-1:0] wr_data_i,

    input wire logic [ReadPorts-1:0] rd_en_i,
    input wire logic [ReadPorts-1:0][AddrWidth-1:0] rd_addr_i,
    output logic [ReadPorts-1:0][Width-1:0] rd_data_o
);

  if (MaskedWidth < 1 || Width % MaskedWidth != 0) begin : gen_check_mask
    $fatal(1, "ram_1w: MaskedWidth is %0d, expected a divisor of Width %0d", MaskedWidth, Width);
  end
  if (Depth < 2) begin : gen_check_depth
    $fatal(1, "ram_1w: Depth is %0d, expected at least 2", Depth);
  end
  if (ReadPorts < 1) begin : gen_check_ports
    $fatal(1, "ram_1w: ReadPorts is %0d, expected at least 1", ReadPorts);
  end
  // verilator lint_off WIDTHEXPAND
  // Texts are as wide as they are long.
  if (RamStyle != "auto" && RamStyle != "block" && RamStyle != "distributed") begin : gen_check_ram
    $fatal(1, "ram_1w: RamStyle is %s, expected auto, block or distributed", RamStyle);
  end
  // verilator lint_on WIDTHEXPAND

  for (genvar p = 0; p < ReadPorts; p++) begin : gen_copy
    (* ram_style = RamStyle *)
    logic [Width-1:0] memory[Depth];
    logic [Width-1:0] word_q, rd_data_q;
    logic rd_en_q;

    always_ff @(posedge clk_i) begin
      for (int unsigned m = 0; m < MaskWidth; m++) begin
        if (wr_en_i && wr_mask_i[m]) begin
          memory[wr_addr_i][m*MaskedWidth+:MaskedWidth] <= wr_data_i[m*MaskedWidth+:MaskedWidth];
        end
      end
      if (rd_en_i[p]) word_q <= memory[rd_addr_i[p]];
    end

    always_ff @(posedge clk_i) begin
      rd_en_q <= rd_en_i[p];
      if (rd_en_q) rd_data_q <= word_q;
      else if (ZeroIdle) rd_data_q <= '0;
    end

    assign rd_data_o[p] = rd_data_q;
  end

endmodule

`default_nettype wire
