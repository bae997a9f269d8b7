// skid_buffer behaves as a list of at most two words: what goes in comes out, once and in order,
// and an offered word stays. Proved by induction, for any stalls and resets.

`default_nettype none

module skid_buffer_formal #(
    parameter int unsigned Width = 3
) (
    input wire logic clk_i,
    input wire logic rst_i,
    input wire logic valid_i,
    input wire logic [Width-1:0] data_i,
    input wire logic ready_i
);

  logic ready, valid;
  logic [Width-1:0] data;

  cmamba_skid_buffer #(
      .Width(Width)
  ) dut (
      .clk_i,
      .rst_i,
      .valid_i,
      .ready_o(ready),
      .data_i,
      .valid_o(valid),
      .ready_i,
      .data_o (data)
  );

  // The list, its first word in element 0.
  logic [Width-1:0] list_q[2];
  logic [1:0] count_q;
  logic push, pop;
  assign push = valid_i && ready;
  assign pop  = valid && ready_i;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      count_q <= '0;
    end else begin
      if (pop) list_q[0] <= list_q[1];
      if (push) list_q[count_q[0]^pop] <= data_i;
      count_q <= count_q + 2'(push) - 2'(pop);
    end
  end

  // The cycle before.
  logic started_q = 1'b0, waiting_q;
  logic [Width-1:0] data_q;
  always_ff @(posedge clk_i) begin
    started_q <= started_q || rst_i;
    waiting_q <= !rst_i && valid && !ready_i;
    data_q <= data;
  end

  always_comb begin
    if (!started_q) assume (rst_i);

    if (started_q) begin
      assert (count_q <= 2'd2);
      assert (valid == (count_q != 2'd0));
      assert (ready == (count_q != 2'd2));
      assert (!valid || data == list_q[0]);
      assert (!waiting_q || (valid && data == data_q));

      // For the induction: where the second word is.
      assert (ready || dut.skid_data_q == list_q[1]);
    end
  end

endmodule

`default_nettype wire
