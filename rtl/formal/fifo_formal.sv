// fifo behaves as a list: what goes in comes out, once and in order; it never holds more than
// Depth + 1 words; an offered word stays. Proved by induction, for any stalls and resets.

`default_nettype none

module fifo_formal #(
    parameter int unsigned Width = 3,
    parameter int unsigned Depth = 4
) (
    input wire logic clk_i,
    input wire logic rst_i,
    input wire logic valid_i,
    input wire logic [Width-1:0] data_i,
    input wire logic ready_i
);

  localparam int unsigned AddrWidth = $clog2(Depth);
  localparam int unsigned LevelWidth = $clog2(Depth + 2);

  logic ready, valid;
  logic [Width-1:0] data;
  logic [LevelWidth-1:0] level;

  cmamba_fifo #(
      .Width(Width),
      .Depth(Depth)
  ) dut (
      .clk_i,
      .rst_i,
      .valid_i,
      .ready_o(ready),
      .data_i,
      .valid_o(valid),
      .ready_i,
      .data_o (data),
      .level_o(level)
  );

  // The list, its first word in element 0.
  logic [Width-1:0] list_q[Depth+1];
  logic [LevelWidth-1:0] count_q;
  logic push, pop;
  assign push = valid_i && ready;
  assign pop  = valid && ready_i;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      count_q <= '0;
    end else begin
      if (pop) for (int unsigned i = 0; i < Depth; i++) list_q[i] <= list_q[i+1];
      if (push) list_q[32'(count_q)-32'(pop)] <= data_i;
      count_q <= count_q + LevelWidth'(push) - LevelWidth'(pop);
    end
  end

  // The cycle before.
  logic reset_q = 1'b0, started_q = 1'b0, waiting_q;
  logic [Width-1:0] data_q;
  always_ff @(posedge clk_i) begin
    started_q <= started_q || rst_i;
    waiting_q <= !rst_i && valid && !ready_i;
    data_q <= data;
  end

  always_comb begin
    if (!started_q) assume (rst_i);

    if (started_q) begin
      assert (level == count_q);
      assert (count_q <= LevelWidth'(Depth + 1));
      assert (!valid || data == list_q[0]);
      assert (!waiting_q || (valid && data == data_q));

      // For the induction: where the words of the list are.
      assert (level >= LevelWidth'(valid) && level <= LevelWidth'(Depth) + LevelWidth'(valid));
      assert (AddrWidth'(dut.write_q - dut.read_q) == AddrWidth'(level - LevelWidth'(valid)));
      for (int unsigned i = 0; i < Depth; i++) begin
        if (i < 32'(count_q) - 32'(valid)) begin
          assert (list_q[i+32'(valid)] == dut.memory[AddrWidth'(32'(dut.read_q)+i)]);
        end
      end
    end
  end

endmodule

`default_nettype wire
