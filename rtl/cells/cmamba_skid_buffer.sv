// Register slice for a valid/ready stream: cuts every combinational path between its two sides.
//
// A transfer a cycle. ready_o comes from a register, so that a word may arrive in the cycle in
// which the output stops; the skid register takes it.

`default_nettype none

module cmamba_skid_buffer #(
    // Bits of the payload.
    parameter int unsigned Width = 32
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input  wire logic             valid_i,
    output logic ready_o,
    input  wire logic [Width-1:0] data_i,

    output logic valid_o,
    input  wire logic             ready_i,
    output logic [Width-1:0] data_o
);

  if (Width < 1) begin : gen_check_width
    $fatal(1, "skid_buffer: Width is %0d, expected at least 1", Width);
  end

  logic valid_q, skid_valid_q;
  logic [Width-1:0] data_q, skid_data_q;

  logic accept, advance;
  assign accept  = valid_i && ready_o;
  assign advance = !valid_q || ready_i;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid_q <= 1'b0;
      skid_valid_q <= 1'b0;
    end else if (advance) begin
      // A word that waits in the skid register goes first; nothing is accepted meanwhile.
      valid_q <= skid_valid_q || accept;
      skid_valid_q <= 1'b0;
    end else if (accept) begin
      skid_valid_q <= 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (advance) data_q <= skid_valid_q ? skid_data_q : data_i;
    if (accept) skid_data_q <= data_i;
  end

  assign ready_o = !skid_valid_q;
  assign valid_o = valid_q;
  assign data_o  = data_q;

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  word_stays :
  assert property (disable iff (!live) valid_o && !ready_i |=> $stable({valid_o, data_o}))
  else $error("skid_buffer: the word went or changed before it was taken");
`endif

endmodule

`default_nettype wire
