// Simulation model of rtl/cells/cmamba_ram_1w.sv: one memory for all ports, and a mask that is looked at
// only where a word is written.

`default_nettype none

module cmamba_ram_1w #(
    parameter int unsigned Width = 64,
    parameter int unsigned Depth = 256,
    parameter int unsigned MaskedWidth = Width,
    parameter int unsigned ReadPorts = 1,
    parameter RamStyle = "auto",
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

  logic [Width-1:0] memory[Depth];

  // A loop, instead of lines for each bit of the mask.
  // verilog_lint: waive-start always-ff-non-blocking
  always_ff @(posedge clk_i) begin
    if (wr_en_i) begin
      if (MaskWidth == 1) begin
        if (wr_mask_i[0]) memory[wr_addr_i] <= wr_data_i;
      end else begin
        automatic logic [Width-1:0] word;
        word = memory[wr_addr_i];
        // verilator unroll_disable
        for (int unsigned m = 0; m < MaskWidth; m++) begin
          if (wr_mask_i[m]) begin
            word[m*MaskedWidth+:MaskedWidth] = wr_data_i[m*MaskedWidth+:MaskedWidth];
          end
        end
        memory[wr_addr_i] <= word;
      end
    end
  end
  // verilog_lint: waive-stop always-ff-non-blocking

  for (genvar p = 0; p < ReadPorts; p++) begin : gen_port
    logic [Width-1:0] word_q, rd_data_q;
    logic rd_en_q;
    always_ff @(posedge clk_i) begin
      rd_en_q <= rd_en_i[p];
      if (rd_en_i[p]) word_q <= memory[rd_addr_i[p]];
      if (rd_en_q) rd_data_q <= word_q;
      else if (ZeroIdle) rd_data_q <= '0;
    end
    assign rd_data_o[p] = rd_data_q;
  end

endmodule

`default_nettype wire
