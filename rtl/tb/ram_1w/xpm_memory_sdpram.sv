// Model of XPM_MEMORY_SDPRAM for simulation, written after UG974 ("Parameterized Macro: Simple Dual
// Port RAM"), as far as ram_1w uses it: one clock, no ECC, no sleep, reads of the old word.
//
// A read is registered where enb is high and comes READ_LATENCY_B cycles after its address. The
// last register takes what is before it where regceb is high, and zeros where rstb is, which goes
// before.

`default_nettype none

module xpm_memory_sdpram #(
    parameter int    MEMORY_SIZE        = 2048,
    parameter string MEMORY_PRIMITIVE   = "auto",
    parameter string CLOCKING_MODE      = "common_clock",
    parameter int    WRITE_DATA_WIDTH_A = 32,
    parameter int    BYTE_WRITE_WIDTH_A = 32,
    parameter int    ADDR_WIDTH_A       = 6,
    parameter int    READ_DATA_WIDTH_B  = 32,
    parameter int    ADDR_WIDTH_B       = 6,
    parameter int    READ_LATENCY_B     = 2,
    parameter string READ_RESET_VALUE_B = "0",
    parameter string WRITE_MODE_B       = "no_change"
) (
    // verilator lint_off UNUSEDSIGNAL
    input wire logic sleep,

    input wire logic clka,
    input wire logic ena,
    input wire logic [WRITE_DATA_WIDTH_A/BYTE_WRITE_WIDTH_A-1:0] wea,
    input wire logic [ADDR_WIDTH_A-1:0] addra,
    input wire logic [WRITE_DATA_WIDTH_A-1:0] dina,
    input wire logic injectsbiterra,
    input wire logic injectdbiterra,

    input wire logic clkb,
    input wire logic rstb,
    input wire logic enb,
    input wire logic regceb,
    input wire logic [ADDR_WIDTH_B-1:0] addrb,
    output logic [READ_DATA_WIDTH_B-1:0] doutb,
    output logic sbiterrb,
    output logic dbiterrb
    // verilator lint_on UNUSEDSIGNAL
);

  localparam int Depth = MEMORY_SIZE / WRITE_DATA_WIDTH_A;
  localparam bit IsWhole = BYTE_WRITE_WIDTH_A == WRITE_DATA_WIDTH_A;
  localparam bit IsBytes = BYTE_WRITE_WIDTH_A == 8 || BYTE_WRITE_WIDTH_A == 9;

  // What UG974 allows, and what this model is of.
  if (MEMORY_SIZE < 2 || MEMORY_SIZE > 150_994_944) begin : gen_check_size
    $fatal(1, "xpm_memory_sdpram: MEMORY_SIZE is %0d", MEMORY_SIZE);
  end
  if (MEMORY_SIZE % WRITE_DATA_WIDTH_A != 0 || READ_DATA_WIDTH_B != WRITE_DATA_WIDTH_A ||
      WRITE_DATA_WIDTH_A < 1 || WRITE_DATA_WIDTH_A > 4608) begin : gen_check_width
    $fatal(1, "xpm_memory_sdpram: WRITE_DATA_WIDTH_A is %0d", WRITE_DATA_WIDTH_A);
  end
  if (!IsWhole && (!IsBytes || WRITE_DATA_WIDTH_A % BYTE_WRITE_WIDTH_A != 0)) begin : gen_check_byte
    $fatal(1, "xpm_memory_sdpram: BYTE_WRITE_WIDTH_A is %0d", BYTE_WRITE_WIDTH_A);
  end
  if (ADDR_WIDTH_A != $clog2(Depth) || ADDR_WIDTH_B != ADDR_WIDTH_A) begin : gen_check_address
    $fatal(1, "xpm_memory_sdpram: ADDR_WIDTH_A is %0d for %0d words", ADDR_WIDTH_A, Depth);
  end
  if (MEMORY_PRIMITIVE != "auto" && MEMORY_PRIMITIVE != "block" &&
      MEMORY_PRIMITIVE != "distributed") begin : gen_check_primitive
    $fatal(1, "xpm_memory_sdpram: MEMORY_PRIMITIVE is %s", MEMORY_PRIMITIVE);
  end
  if (CLOCKING_MODE != "common_clock" || WRITE_MODE_B != "read_first" ||
      READ_RESET_VALUE_B != "0" || READ_LATENCY_B < 1) begin : gen_check_mode
    $fatal(1, "xpm_memory_sdpram: there is no model of these modes");
  end

  logic [WRITE_DATA_WIDTH_A-1:0] memory[Depth];
  logic [READ_LATENCY_B-1:0][READ_DATA_WIDTH_B-1:0] words;

  always_ff @(posedge clka) begin
    for (int i = 0; i < WRITE_DATA_WIDTH_A / BYTE_WRITE_WIDTH_A; i++) begin
      if (ena && wea[i]) begin
        memory[addra][i*BYTE_WRITE_WIDTH_A+:BYTE_WRITE_WIDTH_A] <=
            dina[i*BYTE_WRITE_WIDTH_A+:BYTE_WRITE_WIDTH_A];
      end
    end
  end

  // With a latency of one, enb enables the last register too.
  if (READ_LATENCY_B == 1) begin : gen_one
    assign words = '0;
    always_ff @(posedge clkb) begin
      if (rstb) doutb <= '0;
      else if (enb) doutb <= memory[addrb];
    end
    logic unused;
    assign unused = regceb ^ (^words);
  end else begin : gen_more
    always_ff @(posedge clkb) begin
      if (enb) words[0] <= memory[addrb];
      for (int i = 1; i < READ_LATENCY_B; i++) words[i] <= words[i-1];
      if (rstb) doutb <= '0;
      else if (regceb) doutb <= words[READ_LATENCY_B-2];
    end
  end

  assign sbiterrb = 1'b0;
  assign dbiterrb = 1'b0;

endmodule

`default_nettype wire
