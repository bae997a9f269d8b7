// Output of the vector unit: requantizes a beat a cycle and writes the results, in order. They wait
// in a queue for the write ports of `resid` and `conv_in`, which the array goes first at.
//
// There is no back-pressure: a beat may come while fewer than ResultDepth are inside. pop_o is high
// in the cycle in which one leaves.

`default_nettype none

module cmamba_vector_output
  import cmamba_vector_pkg::*;
(
    input wire logic clk_i,
    input wire logic rst_i,

    // Int32, the parameters of each lane, where they are written, and whether as int16.
    input wire logic                                 valid_i,
    input wire logic            [Lanes-1:0][31:0] rounded_i,
    input wire cmamba_pkg::param_word_t [Lanes-1:0]       params_i,
    input wire result_t                              result_i,
    input wire logic                                 wide_i,
    output logic                                     pop_o,

    // Results may be any part of a word, the mask says which.
    output logic                         norm_wr_en_o,
    output logic [NormWidth-1:0]         norm_wr_addr_o,
    output logic [RowAlign-1:0]          norm_wr_mask_o,
    output logic [Lanes*8-1:0]           norm_wr_data_o,
    // Shared with the array: a write stays until wr_ready_i.
    output logic                         resid_wr_en_o,
    input  wire logic                    resid_wr_ready_i,
    output logic [ResidWidth-1:0]        resid_wr_addr_o,
    output logic [RowAlign-1:0]          resid_wr_mask_o,
    output logic [Lanes*16-1:0]          resid_wr_data_o,
    output logic                         conv_in_wr_en_o,
    input  wire logic                    conv_in_wr_ready_i,
    output logic [ConvInWidth-1:0]       conv_in_wr_addr_o,
    output logic [RowAlign-1:0]          conv_in_wr_mask_o,
    output logic [Lanes*8-1:0]           conv_in_wr_data_o,

    // The last result of an entry has been written.
    output logic done_o
);

  result_t result, written;
  logic result_valid, result_ready, written_valid, has_room_for_result;
  logic [$clog2(ResultDepth + 2)-1:0] unused_level;
  logic [Lanes-1:0][15:0] y, written_y;

  cmamba_requantizer #(
      .Lanes(Lanes),
      .TagWidth($bits(result_t))
  ) u_requantizer (
      .clk_i,
      .rst_i,
      .valid_i,
      .tag_i(result_i),
      .acc_i(rounded_i),
      .param_i(params_i),
      .addend_i('0),
      .wide_i,
      .relu_i(1'b0),
      .valid_o(result_valid),
      .tag_o(result),
      .data_o(y)
  );

  cmamba_fifo #(
      .Width($bits(result_t) + 16 * Lanes),
      .Depth(ResultDepth),
      .RamStyle("distributed")
  ) u_results (
      .clk_i,
      .rst_i,
      .valid_i(result_valid),
      .ready_o(has_room_for_result),
      .data_i ({result, y}),
      .valid_o(written_valid),
      .ready_i(result_ready),
      .data_o ({written, written_y}),
      .level_o(unused_level)
  );

  always_comb begin
    unique case (written.target)
      ToResid:  result_ready = resid_wr_ready_i;
      ToConvIn: result_ready = conv_in_wr_ready_i;
      default:  result_ready = 1'b1;
    endcase
  end
  assign pop_o = written_valid && result_ready;
  assign norm_wr_en_o = written_valid && written.target == ToNorm;
  assign resid_wr_en_o = written_valid && written.target == ToResid;
  assign conv_in_wr_en_o = written_valid && written.target == ToConvIn;
  assign norm_wr_addr_o = NormWidth'(written.dst_word);
  assign resid_wr_addr_o = ResidWidth'(written.dst_word);
  assign conv_in_wr_addr_o = ConvInWidth'(written.dst_word);
  assign resid_wr_data_o = written_y;
  assign resid_wr_mask_o = norm_wr_mask_o;
  assign conv_in_wr_mask_o = norm_wr_mask_o;
  assign conv_in_wr_data_o = norm_wr_data_o;
  always_comb begin
    for (int unsigned e = 0; e < RowAlign; e++) begin
      norm_wr_mask_o[e] = written.lanes[e%Lanes] && 32'(written.slot) == e / Lanes;
    end
    for (int unsigned l = 0; l < Lanes; l++) norm_wr_data_o[8*l+:8] = written_y[l][7:0];
  end

  always_ff @(posedge clk_i) done_o <= !rst_i && pop_o && written.last;

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  result_has_room :
  assert property (disable iff (!live) result_valid |-> has_room_for_result)
  else $error("vector_output: a result comes, and there are ResultDepth of them");

  resid_write_stays :
  assert property (disable iff (!live) resid_wr_en_o && !resid_wr_ready_i |=> $stable(
      {resid_wr_en_o, resid_wr_addr_o, resid_wr_mask_o, resid_wr_data_o}
  ))
  else $error("vector_output: a write of resid went or changed before it was taken");

  conv_in_write_stays :
  assert property (disable iff (!live) conv_in_wr_en_o && !conv_in_wr_ready_i |=> $stable(
      {conv_in_wr_en_o, conv_in_wr_addr_o, conv_in_wr_mask_o, conv_in_wr_data_o}
  ))
  else $error("vector_output: a write of conv_in went or changed before it was taken");
`endif

endmodule

`default_nettype wire
