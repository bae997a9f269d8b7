// (a + d) * b + addend in one DSP48E2 (UG579), for its registers and adders and not only the
// multiplier: no synthesis tool has to find them.
//
//   a --[InputRegisters]--+
//                        (+)--[PreAddRegister]--+
//   d --[InputRegisters]--+                     |
//                                              (x)--[ProductRegister]--(+)--[P]--> sum_o
//   b --[InputRegisters]------[PreAddRegister]--+   cleared by          |
//                                                   clear_i             |
//                                                                       |
//                         none, c (by itself or through [AddendRegister]), or the sum of the DSP
//                         before, which may be shifted right by 17
//
// Two descriptions of the same: one for simulation, and the primitive, which is what synthesis
// gets. The suite of this module compares them.

`default_nettype none

module cmamba_multiply_add #(
    // Registers of a, b and d: 0, 1, or 2 where d is not used.
    parameter int unsigned InputRegisters = 1,
    // Whether there is d.
    parameter bit PreAdd = 1'b0,
    // A register behind the pre-adder, and one more for b.
    parameter bit PreAddRegister = 1'b0,
    // A register behind the multiplier.
    parameter bit ProductRegister = 1'b1,
    // "none", "c", "cascade" or "cascade_17".
    parameter Addend = "none",
    // A register for c.
    parameter bit AddendRegister = 1'b0,
    // Instantiate the primitive.
    parameter bit Primitive = cmamba_cells_pkg::UsePrimitives
) (
    input  wire logic               clk_i,
    input  wire logic signed [26:0] a_i,
    input  wire logic signed [17:0] b_i,
    input  wire logic signed [26:0] d_i = '0,
    input  wire logic signed [47:0] c_i = '0,
    input  wire logic signed [47:0] cascade_i = '0,  // cascade_o of a neighbour
    // The register behind the multiplier takes zero instead of the product.
    input  wire logic               clear_i = 1'b0,
    // P. The cascade may only go to cascade_i.
    output logic signed      [47:0] sum_o,
    output logic signed      [47:0] cascade_o
);

  if (InputRegisters > 2 || (PreAdd && InputRegisters > 1)) begin : gen_check_input
    $fatal(1, "multiply_add: InputRegisters is %0d, expected at most 2, with d 1", InputRegisters);
  end
  if (PreAddRegister && !PreAdd) begin : gen_check_pre_add
    $fatal(1, "multiply_add: PreAddRegister without PreAdd");
  end
  // verilator lint_off WIDTHEXPAND
  // Texts are as wide as they are long.
  localparam bit AddsNothing = Addend == "none";
  localparam bit AddsC = Addend == "c";
  localparam bit AddsCascade = Addend == "cascade";
  localparam bit AddsCascade17 = Addend == "cascade_17";
  // verilator lint_on WIDTHEXPAND
  if (!AddsNothing && !AddsC && !AddsCascade && !AddsCascade17) begin : gen_check_addend
    $fatal(1, "multiply_add: Addend is %s, expected none, c, cascade or cascade_17", Addend);
  end
  if (AddendRegister && !AddsC) begin : gen_check_addend_register
    $fatal(1, "multiply_add: AddendRegister without c");
  end

  if (Primitive) begin : gen_primitive
    localparam int unsigned BRegisters = InputRegisters + 32'(PreAddRegister);
    localparam logic [2:0] Z = AddsC ? 3'b011 : AddsCascade ? 3'b001 : AddsCascade17 ? 3'b101 :
        3'b000;

    DSP48E2 #(
        .AMULTSEL     (PreAdd ? "AD" : "A"),
        .AREG         (InputRegisters),
        .ACASCREG     (InputRegisters == 2 ? 1 : InputRegisters),
        .BREG         (BRegisters),
        .BCASCREG     (BRegisters == 2 ? 1 : BRegisters),
        .DREG         (PreAdd ? InputRegisters : 0),
        .ADREG        (32'(PreAddRegister)),
        .CREG         (32'(AddendRegister)),
        .MREG         (32'(ProductRegister)),
        .PREG         (1),
        .ALUMODEREG   (0),
        .CARRYINREG   (0),
        .CARRYINSELREG(0),
        .INMODEREG    (0),
        .OPMODEREG    (0)
    ) u_dsp (
        .CLK          (clk_i),
        .A            ({{3{a_i[26]}}, a_i}),
        .B            (b_i),
        .C            (c_i),
        .D            (d_i),
        .PCIN         (cascade_i),
        .P            (sum_o),
        .PCOUT        (cascade_o),
        .OPMODE       ({2'b00, Z, 4'b0101}),
        .ALUMODE      (4'b0000),
        .INMODE       (PreAdd ? 5'b00100 : 5'b00000),
        .CARRYINSEL   (3'b000),
        .CARRYIN      (1'b0),
        .ACIN         ('0),
        .BCIN         ('0),
        .CARRYCASCIN  (1'b0),
        .MULTSIGNIN   (1'b0),
        .CEA1         (InputRegisters == 2),
        .CEA2         (InputRegisters != 0),
        .CEB1         (BRegisters == 2),
        .CEB2         (BRegisters != 0),
        .CED          (PreAdd && InputRegisters != 0),
        .CEAD         (PreAddRegister),
        .CEC          (AddendRegister),
        .CEM          (ProductRegister),
        .CEP          (1'b1),
        .CEALUMODE    (1'b0),
        .CECARRYIN    (1'b0),
        .CECTRL       (1'b0),
        .CEINMODE     (1'b0),
        .RSTA         (1'b0),
        .RSTB         (1'b0),
        .RSTC         (1'b0),
        .RSTD         (1'b0),
        .RSTM         (clear_i),
        .RSTP         (1'b0),
        .RSTALLCARRYIN(1'b0),
        .RSTALUMODE   (1'b0),
        .RSTCTRL      (1'b0),
        .RSTINMODE    (1'b0)
    );
  end else begin : gen_behaviour
    // 64 bits behind the multiplier, of which the sum takes 48: Verilator need not cut the product
    // to its width and extend it again.
    logic signed [26:0] a, d, factor;
    logic signed [17:0] b, b_factor;
    longint product, product_term;
    logic signed [47:0] c, sum_q;

    for (genvar s = 0; s <= InputRegisters; s++) begin : gen_input
      logic signed [26:0] a_s, d_s;
      logic signed [17:0] b_s;
      if (s == 0) begin : gen_port
        assign a_s = a_i;
        assign b_s = b_i;
        assign d_s = d_i;
      end else begin : gen_register
        always_ff @(posedge clk_i) begin
          a_s <= gen_input[s-1].a_s;
          b_s <= gen_input[s-1].b_s;
          d_s <= gen_input[s-1].d_s;
        end
      end
    end
    assign a = gen_input[InputRegisters].a_s;
    assign b = gen_input[InputRegisters].b_s;
    assign d = gen_input[InputRegisters].d_s;

    if (PreAddRegister) begin : gen_pre_add
      always_ff @(posedge clk_i) begin
        factor   <= a + d;
        b_factor <= b;
      end
    end else begin : gen_no_pre_add
      assign factor   = PreAdd ? a + d : a;
      assign b_factor = b;
    end

    assign product = longint'(factor) * longint'(b_factor);
    if (ProductRegister) begin : gen_product
      always_ff @(posedge clk_i) product_term <= clear_i ? '0 : product;
    end else begin : gen_no_product
      assign product_term = product;
    end

    if (AddendRegister) begin : gen_addend
      always_ff @(posedge clk_i) c <= c_i;
    end else begin : gen_no_addend
      assign c = c_i;
    end

    // Bits above the 48 do not matter.
    if (AddsC) begin : gen_c
      always_ff @(posedge clk_i) sum_q <= 48'(product_term + {16'b0, c});
    end else if (AddsCascade) begin : gen_cascade
      always_ff @(posedge clk_i) sum_q <= 48'(product_term + {16'b0, cascade_i});
    end else if (AddsCascade17) begin : gen_cascade_17
      always_ff @(posedge clk_i) sum_q <= 48'(product_term) + (cascade_i >>> 17);
    end else begin : gen_none
      always_ff @(posedge clk_i) sum_q <= 48'(product_term);
    end
    assign sum_o = sum_q;
    assign cascade_o = sum_q;

    logic unused;
    assign unused = ^{d, c, cascade_i, product_term, clear_i};
  end

endmodule

`default_nettype wire
