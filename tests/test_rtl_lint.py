"""The RTL lint: each rule catches a small module that breaks it, and a sound module passes."""

import pytest

from rtl.lint import check, elaborate_with_yosys, read
from rtl.synth.yosys import YosysError

# What is allowed and looks like what is not.
SOUND = """
module sound #(
    parameter int unsigned Width = 8,
    parameter Style = "block"
) (
    input  wire logic clk_i,
    input  wire logic [1:0] choice_i,
    input  wire logic [3:0][Width-1:0] words_i,
    output logic [Width-1:0] word_o
);
  typedef enum logic [1:0] {StA, StB, StC, StD} state_e;
  typedef logic [3:0][7:0] table_t;
  state_e state_q;
  function automatic table_t squares();
    table_t squared;
    for (int unsigned i = 0; i < 4; i++) squared[i] = 8'(i * i);
    return squared;
  endfunction
  localparam table_t Squares = squares();
  (* ram_style = Style *)
  logic [Width-1:0] memory[16];
  logic [7:0] delay_q[4][2];
  for (genvar s = 1; s < 4; s++) begin : gen_stage
    always_ff @(posedge clk_i) delay_q[s] <= delay_q[s-1];
  end
  always_ff @(posedge clk_i) begin
    delay_q[0][0] <= Squares[choice_i];
    delay_q[0][1] <= 8'($signed(words_i[0]));
    memory[4'(choice_i)] <= words_i[choice_i];
    word_o <= memory[4'(delay_q[3][1])];
    unique case (state_q)
      StA: state_q <= StB;
      StB: state_q <= StC;
      StC: state_q <= StD;
      StD: state_q <= StA;
    endcase
  end
endmodule
"""

# A module's body, and a word of what is said of its third line.
BROKEN = {
    "several processes": (
        """
  logic [3:0] q[4][2];
  for (genvar i = 0; i < 2; i++) begin : gen_i always_ff @(posedge clk_i) q[a_i[1:0]][i] <= a_i;
  end
""",
        "always_ff",
    ),
    "loop variable": (
        """
  logic [3:0] q[4]; always_comb q[0] = a_i;
  always_ff @(posedge clk_i) for (int unsigned i = 1; i < 4; i++) q[i] <= q[i-1];
""",
        "always_ff",
    ),
    "before": ("\n\n  logic b; assign b = c; logic c;", "declaration"),
    "enumeration": (
        "\n  typedef enum logic {No, Yes} e;\n  e e_q; assign e_q = a_i[0];",
        "missing a cast",
    ),
    "break": (
        """
  logic [3:0] b; always_comb begin b = '0;
    for (int unsigned i = 0; i < 4; i++) if (a_i[i]) break; end
""",
        "no break",
    ),
    "while": ("\n  logic [3:0] b;\n  always_comb begin b = a_i; while (b[0]) b++; end", "no while"),
    "select of a call": (
        """
  function automatic logic [3:0] f(logic [3:0] x); return ~x; endfunction
  logic b; assign b = f(a_i)[0];
""",
        "call's result",
    ),
    "string": ('\n\n  localparam string Text = "text";', "no type string"),
    "no type": ("\n\n  localparam Number = 4;", "without a type"),
    "parameter": ("\n\n  parameter int Number = 4;", "use localparam"),
    "inside": ("\n  logic b;\n  assign b = a_i inside {4'd1, 4'd2};", "no inside"),
    "wildcard": ("\n  logic b;\n  assign b = a_i ==? 4'b1?0?;", "no ==?"),
    "streaming": ("\n  logic [3:0] b;\n  assign b = {<<{a_i}};", "no streaming"),
    "pattern": ("\n\n  localparam logic [3:0] Ones[2] = '{2{4'd1}};", "no replication"),
    "union": ("\n\n  typedef union packed {logic [3:0] a; logic [3:0] b;} u_t;", "no union"),
    "query": ("\n  logic [31:0] b;\n  assign b = $size(a_i);", "no $size"),
    "static": ("\n\n  function logic f(logic x); return ~x; endfunction", "without automatic"),
    "always": ("\n  logic b;\n  always @(posedge clk_i) b <= a_i[0];", "no always"),
    "latch": ("\n  logic b;\n  always_latch if (a_i[1]) b = a_i[0];", "no always_latch"),
    "initial": ("\n  logic b;\n  initial b = 1'b0;", "no initial"),
    "unique": (
        "\n  logic b; always_comb begin b = 1'b0;\n  unique case (a_i) 4'd1: b = 1'b1; endcase end",
        "without default",
    ),
    "signed": ("\n\n  logic signed [1:0][3:0] b;", "is signed as a whole"),
    "upwards": ("\n\n  logic [0:3] b;", "packed range"),
    "nothing": ("\n  localparam int N = 0;\n  logic [N-1:0] b;", "packed range"),
    "ram": (
        """
  (* ram_style = "block" *)
  logic [1:0][3:0] memory[16]; always_ff @(posedge clk_i) memory[a_i] <= {a_i, a_i};
""",
        "RAM",
    ),
    "struct": (
        """
  typedef struct packed {logic a; logic b;} s_t; function automatic s_t f(); return '1; endfunction
  localparam s_t S = f();
""",
        "is a struct that a function makes",
    ),
    "argument": (
        """
  logic b; function automatic logic f(logic x);
    return x && a_i[0]; endfunction assign b = f(1'b1);
""",
        "takes a_i",
    ),
    "port": (
        """
  logic [3:0] words[1:0]; assign words[0] = a_i; assign words[1] = a_i;
  below u_below (.words_i(words));
""",
        "declare both alike",
    ),
}

BELOW = "module below (input wire logic [3:0] words_i[2]);\nendmodule\n"


def messages(folder, source) -> list[str]:
    """Findings of slang and of the rules on a source, as `line: message`."""
    path = folder / "source.sv"
    path.write_text(source)
    design = read([path])
    found = sorted({*design.findings, *check(design)})
    assert all(f.path == str(path) for f in found)
    return [f"{f.line}: {f.message}" for f in found]


def test_sound_module(tmp_path):
    assert messages(tmp_path, SOUND) == []


@pytest.mark.parametrize(("body", "word"), BROKEN.values(), ids=BROKEN.keys())
def test_each_rule_catches_what_breaks_it(tmp_path, body, word):
    head = "module broken (input wire logic clk_i, input wire logic [3:0] a_i);"
    found = messages(tmp_path, f"{head}{body}\nendmodule\n{BELOW}")
    assert found
    assert all(line.startswith("3: ") for line in found), found
    assert any(word in line for line in found), found


def yosys(folder, body: str) -> None:
    path = folder / "source.sv"
    path.write_text(
        "module top (input wire logic clk_i, input wire logic [11:0] a_i, output logic b_o);\n"
        f"{body}\nendmodule\nmodule none; endmodule\n"
    )
    elaborate_with_yosys([path], "top", "none", folder / "log")


def test_yosys_accepts_what_is_sound(tmp_path):
    yosys(tmp_path, "  always_ff @(posedge clk_i) b_o <= ^a_i;")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            "  always_comb begin b_o = '0;\n  for (int i = 0; i < int'(a_i); i++) b_o = !b_o; end",
            id="bound",
        ),
        pytest.param(
            "  always_comb begin b_o = '0;\n"
            "  for (int i = 0; i < 4000; i++) b_o = b_o ^ (32'(a_i) == i); end",
            id="rounds",
        ),
    ],
)
def test_yosys_refuses(tmp_path, body):
    with pytest.raises(YosysError):
        yosys(tmp_path, body)
