// Both descriptions of multiply_add, with the same inputs.

`default_nettype none

module multiply_add_pair #(
    // See multiply_add.
    parameter int unsigned InputRegisters = 1,
    parameter bit PreAdd = 1'b0,
    parameter bit PreAddRegister = 1'b0,
    parameter bit ProductRegister = 1'b1,
    parameter Addend = "none",
    parameter bit AddendRegister = 1'b0
) (
    input  wire logic        clk_i,
    input  wire logic signed [26:0] a_i,
    input  wire logic signed [17:0] b_i,
    input  wire logic signed [26:0] d_i,
    input  wire logic signed [47:0] c_i,
    input  wire logic signed [47:0] cascade_i,
    input  wire logic        clear_i,
    output logic      [47:0] behaviour_o,
    output logic      [47:0] behaviour_cascade_o,
    output logic      [47:0] primitive_o,
    output logic      [47:0] primitive_cascade_o
);

  cmamba_multiply_add #(
      .InputRegisters (InputRegisters),
      .PreAdd         (PreAdd),
      .PreAddRegister (PreAddRegister),
      .ProductRegister(ProductRegister),
      .Addend         (Addend),
      .AddendRegister (AddendRegister),
      .Primitive      (1'b0)
  ) u_behaviour (
      .clk_i,
      .a_i,
      .b_i,
      .d_i,
      .c_i,
      .cascade_i,
      .clear_i,
      .sum_o    (behaviour_o),
      .cascade_o(behaviour_cascade_o)
  );

  cmamba_multiply_add #(
      .InputRegisters (InputRegisters),
      .PreAdd         (PreAdd),
      .PreAddRegister (PreAddRegister),
      .ProductRegister(ProductRegister),
      .Addend         (Addend),
      .AddendRegister (AddendRegister),
      .Primitive      (1'b1)
  ) u_primitive (
      .clk_i,
      .a_i,
      .b_i,
      .d_i,
      .c_i,
      .cascade_i,
      .clear_i,
      .sum_o    (primitive_o),
      .cascade_o(primitive_cascade_o)
  );

endmodule

`default_nettype wire
