// For proofs that assume the words of a queue, as fifo_formal proves them: it counts as the module
// does, and nothing drives its words, which yosys makes free.

`default_nettype none

module cmamba_fifo #(
    parameter int unsigned Width = 32,
    parameter int unsigned Depth = 16,
    parameter RamStyle = "auto",
    localparam int unsigned LevelWidth = $clog2(Depth + 2)
) (
    input wire logic clk_i,
    input wire logic rst_i,
    input wire logic valid_i,
    output logic ready_o,
    input wire logic [Width-1:0] data_i,
    output logic valid_o,
    input wire logic ready_i,
    output logic [Width-1:0] data_o,
    output logic [LevelWidth-1:0] level_o
);

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      level_o <= '0;
      valid_o <= 1'b0;
    end else begin
      level_o <= level_o + LevelWidth'(valid_i && ready_o) - LevelWidth'(valid_o && ready_i);
      valid_o <= level_o != LevelWidth'(valid_o) || (valid_o && !ready_i);
    end
  end
  assign ready_o = level_o != LevelWidth'(Depth) + LevelWidth'(valid_o);
endmodule

`default_nettype wire
