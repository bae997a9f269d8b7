// What multiply_add uses of a DSP48E2, after figures 2-1 to 2-7 and tables 2-1 to 2-9 of UG579:
// registers with clock enables, the reset of M, the pre-adder, the multiplier, and the adder with
// its multiplexers W, X, Y and Z. What is not modelled stops the simulation.

`default_nettype none
// Named as AMD names it, and driven whether or not it is looked at.
// verilator lint_off UNUSEDSIGNAL
// verilator lint_off UNUSEDPARAM

module DSP48E2 #(
    // As in UG579, table 2-1.
    parameter string       AMULTSEL      = "A",
    parameter int unsigned AREG          = 1,
    parameter int unsigned ACASCREG      = 1,
    parameter int unsigned BREG          = 1,
    parameter int unsigned BCASCREG      = 1,
    parameter int unsigned DREG          = 1,
    parameter int unsigned ADREG         = 1,
    parameter int unsigned CREG          = 1,
    parameter int unsigned MREG          = 1,
    parameter int unsigned PREG          = 1,
    parameter int unsigned ALUMODEREG    = 1,
    parameter int unsigned CARRYINREG    = 1,
    parameter int unsigned CARRYINSELREG = 1,
    parameter int unsigned INMODEREG     = 1,
    parameter int unsigned OPMODEREG     = 1
) (
    input wire logic CLK,
    input wire logic signed [29:0] A,
    input wire logic signed [17:0] B,
    input wire logic signed [47:0] C,
    input wire logic signed [26:0] D,
    input wire logic signed [47:0] PCIN,
    input wire logic [29:0] ACIN,
    input wire logic [17:0] BCIN,
    input wire logic CARRYCASCIN,
    input wire logic CARRYIN,
    input wire logic MULTSIGNIN,
    input wire logic [8:0] OPMODE,
    input wire logic [3:0] ALUMODE,
    input wire logic [4:0] INMODE,
    input wire logic [2:0] CARRYINSEL,
    input wire logic CEA1,
    input wire logic CEA2,
    input wire logic CEB1,
    input wire logic CEB2,
    input wire logic CEC,
    input wire logic CED,
    input wire logic CEAD,
    input wire logic CEM,
    input wire logic CEP,
    input wire logic CEALUMODE,
    input wire logic CECARRYIN,
    input wire logic CECTRL,
    input wire logic CEINMODE,
    input wire logic RSTA,
    input wire logic RSTB,
    input wire logic RSTC,
    input wire logic RSTD,
    input wire logic RSTM,
    input wire logic RSTP,
    input wire logic RSTALLCARRYIN,
    input wire logic RSTALUMODE,
    input wire logic RSTCTRL,
    input wire logic RSTINMODE,
    output logic signed [47:0] P,
    output logic signed [47:0] PCOUT
);

  if (ALUMODEREG + CARRYINREG + CARRYINSELREG + INMODEREG + OPMODEREG != 0) begin : gen_check_mode
    $fatal(1, "DSP48E2: control signals have no registers here");
  end
  // ACASCREG and BCASCREG: 1 or 2 with two registers, otherwise their number.
  if ((AREG < 2 && ACASCREG != AREG) || (BREG < 2 && BCASCREG != BREG)) begin : gen_check_cascade
    $fatal(1, "DSP48E2: ACASCREG or BCASCREG does not fit AREG or BREG");
  end

  always_ff @(posedge CLK) begin
    if (ALUMODE != 4'd0 || CARRYIN || CARRYINSEL != 3'd0) $fatal(1, "DSP48E2: only additions");
    if (RSTA || RSTB || RSTC || RSTD || RSTP) $fatal(1, "DSP48E2: of resets only RSTM is modelled");
    // Gates and choices between registers, and a subtraction; only the choice of D is modelled.
    if ((INMODE & 5'b11011) != 5'd0) $fatal(1, "DSP48E2: INMODE is %b", INMODE);
  end

  logic signed [29:0] a1_q, a2_q, a1, a2;
  logic signed [17:0] b1_q, b2_q, b1, b2;
  logic signed [26:0] d_q, d, ad_q, sum, ad, multiplicand;
  logic signed [44:0] m_q, m;
  logic signed [47:0] c_q, c, w, x, y, z, p_q, p;

  // Inputs (figures 2-2 and 2-3). With one register, A and B pass the second one.
  assign a1 = AREG == 2 ? a1_q : A;
  assign a2 = AREG != 0 ? a2_q : a1;
  assign b1 = BREG == 2 ? b1_q : B;
  assign b2 = BREG != 0 ? b2_q : b1;
  assign c = CREG != 0 ? c_q : C;
  assign d = DREG != 0 ? d_q : D;

  // Pre-adder, multiplier.
  assign sum = 27'(a2) + (INMODE[2] ? d : 27'd0);
  assign ad = ADREG != 0 ? ad_q : sum;
  assign multiplicand = AMULTSEL == "AD" ? ad : 27'(a2);
  assign m = MREG != 0 ? m_q : multiplicand * b2;

  // Multiplexers (tables 2-3 to 2-6) and adder. X and Y have a partial product each, which must be
  // added: here X has both.
  always_comb begin
    w = 'x;
    x = 'x;
    y = 'x;
    z = 'x;
    unique case (OPMODE[8:7])
      2'b00:   w = '0;
      default: ;
    endcase
    unique case (OPMODE[3:0])
      4'b0101: {x, y} = {48'(m), 48'd0};
      default: ;
    endcase
    unique case (OPMODE[6:4])
      3'b000:  z = '0;
      3'b001:  z = PCIN;
      3'b011:  z = c;
      3'b101:  z = PCIN >>> 17;
      default: ;
    endcase
  end
  assign p = w + x + y + z;

  always_ff @(posedge CLK) begin
    if (CEA1) a1_q <= A;
    if (CEA2) a2_q <= a1;
    if (CEB1) b1_q <= B;
    if (CEB2) b2_q <= b1;
    if (CEC) c_q <= C;
    if (CED) d_q <= D;
    if (CEAD) ad_q <= sum;
    if (RSTM) m_q <= '0;
    else if (CEM) m_q <= multiplicand * b2;
    if (CEP) p_q <= p;
  end

  assign P = PREG != 0 ? p_q : p;
  assign PCOUT = P;

endmodule

`default_nettype wire
