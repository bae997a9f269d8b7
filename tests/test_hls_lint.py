"""The HLS lint: each rule catches a small source that breaks it, and sound sources pass."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hls.lint import LintError, Settings, lint
from hls.lint.hardware import check_hardware
from hls.lint.rules import calls, check_recursion
from hls.lint.source import Source, compile_source

ROOT = Path(__file__).parents[1]

TOP = """
void top(int size) {
#pragma HLS interface mode=s_axilite port=size
#pragma HLS interface mode=s_axilite port=return
}
"""

# Where the pragmas below stand: in scope are arrays, a struct's member, constants, and a variable.
KERNEL = """
constexpr int kLanes = 4;
constexpr int half(int x) { return x / 2; }
struct Memory { signed char weights[8][16]; int scale; };
static Memory memory;
void kernel(int (&x)[16], const int *table, int size) {
%(function)s
  int line[16];
row:
  for (int i = 0; i < 16; ++i) {
%(loop)s
    line[i] = x[i] + table[i];
    if (size > i) {
%(conditional)s
      memory.scale = line[i];
    }
%(late)s
  }
}
"""


def messages(tmp_path: Path, source: str, **options) -> list[str]:
    """The lint's findings on a source, as `line: message` with the source's first line being 1."""
    path = tmp_path / "source.cpp"
    path.write_text(source)
    options = {"top": "top", "settings": Settings(), **options}
    findings = lint([path], **options)
    assert all(Path(f.path) == path for f in findings)
    return [f"{f.line}: {f.message}" for f in findings]


def kernel(place: str, pragma: str) -> str:
    """KERNEL with a pragma in one of its places."""
    places = {"function": "", "loop": "", "conditional": "", "late": ""}
    places[place] = f"#pragma HLS {pragma}"
    return KERNEL % places + TOP


# --- pragmas -------------------------------------------------------------------------------------

GOOD_PRAGMAS = [
    ("loop", "pipeline II=1"),
    ("loop", "PIPELINE ii=half(kLanes) rewind"),
    ("loop", "pipeline off"),
    ("loop", "pipeline II = 1 style = flp"),
    ("loop", "unroll"),
    ("loop", "unroll factor = kLanes * 2 skip_exit_check // two rows"),
    ("loop", "loop_flatten off"),
    ("loop", "loop_tripcount min=1 avg=8 max=16"),
    ("loop", "dependence variable=memory.weights inter false"),
    ("loop", "dependence variable=line type=inter direction=RAW distance=2 dependent=true"),
    ("loop", "latency min=1 max=kLanes"),
    ("loop", "bind_op variable=memory.scale op=mul impl=dsp latency=3"),
    ("loop", "allocation operation instances=mul limit=4"),
    ("loop", "performance target_ti=1000 unit=cycle"),
    ("function", "pipeline II=16"),
    ("function", "dataflow disable_start_propagation"),
    ("function", "inline"),
    ("function", "inline off"),
    ("function", "array_partition variable=memory.weights complete dim=2"),
    ("function", "array_partition variable=memory.weights type=cyclic factor=kLanes dim=0"),
    ("function", "array_partition variable=x,table type=block \\\n  factor=2"),
    ("function", "array_reshape variable=x cyclic factor=4"),
    ("function", "aggregate variable=memory compact=bit"),
    ("function", "disaggregate variable=memory"),
    ("function", "bind_storage variable=memory.weights type=RAM_2P impl=BRAM"),
    ("function", "stream variable=x depth=4 type=fifo"),
    ("function", "reset variable=memory"),
    ("function", "stream variable=memory.weights[kLanes - 1] depth=2"),
    ("function", "stable variable=table"),
    ("function", "function_instantiate variable=size"),
    ("function", "loop_merge force"),
    ("function", "expression_balance off"),
    ("function", "protocol fixed"),
    ("conditional", "occurrence cycle=4"),
    ("conditional", "latency max=2"),
]


@pytest.mark.parametrize(("place", "pragma"), GOOD_PRAGMAS)
def test_accepts_pragma(tmp_path, place, pragma):
    assert messages(tmp_path, kernel(place, pragma)) == []


BAD_PRAGMAS = [
    # what is written
    ("loop", "", "no directive"),
    ("loop", "pipline II=1", "unknown directive; did you mean 'pipeline'?"),
    ("loop", "resource variable=x core=RAM", "replaced by bind_op or bind_storage"),
    ("loop", "pipeline I=1", "unknown option 'I'; did you mean 'ii'?"),
    ("loop", "pipeline II", "option 'ii' needs an integer constant"),
    ("loop", "pipeline II=", "incomplete value after '='"),
    ("loop", "pipeline II=1 II=2", "option 'ii' is given twice"),
    ("loop", "pipeline II=1; rewind", "unexpected ';'"),
    ("loop", "pipeline = 1", "unexpected '=', expected an option"),
    ("loop", "pipeline enable_flush", "no longer supported, use style=flp"),
    ("loop", "pipeline style=fast", "style=fast: expected one of stp, flp, frp"),
    ("loop", "pipeline style=flp rewind", "rewind is not possible with style=flp"),
    ("loop", "unroll skip_exit_check=4", "option 'skip_exit_check' takes no value '4'"),
    ("loop", "unroll complete", "'complete' is no longer supported, use unroll"),
    ("loop", "loop_tripcount min=1", "option 'max' is missing"),
    ("loop", "loop_tripcount min=9 max=8", "min=9: is more than max=8"),
    ("loop", "latency", "one of min, max is missing"),
    ("loop", "dependence variable=line inter", "true or false is missing"),
    ("loop", "dependence variable=line false distance=2", "distance has no meaning"),
    ("loop", "dependence variable=line intra true distance=2", "within one iteration"),
    ("loop", "dependence variable=line class=array false", "variable and class exclude each other"),
    ("loop", "pipeline off style=stp", "style and off exclude each other"),
    ("function", "inline region", "'region' is no longer supported"),
    ("function", "array_partition complete", "option 'variable' is missing"),
    ("function", "array_partition variable=x cyclic", "factor is missing"),
    ("function", "array_partition variable=x complete factor=2", "factor has no meaning"),
    ("function", "array_partition variable=x cylic factor=2", "did you mean 'cyclic'?"),
    ("function", "bind_storage variable=x", "option 'type' is missing"),
    ("function", "bind_storage variable=x type=ram_t2p impl=lutram", "possible: auto bram uram"),
    ("function", "bind_op variable=x op=mul impl=fulldsp", "possible: auto dsp fabric"),
    ("function", "stream variable=x off", "'off' is no longer supported, use type=pipo"),
    # names and constants
    ("loop", "unroll factor=kLane", "factor=kLane: use of undeclared identifier 'kLane'"),
    ("loop", "unroll factor=size", "factor=size: is not an integer constant"),
    ("loop", "unroll factor=2.5", "factor=2.5: is not an integer constant"),
    ("loop", "unroll factor=kLanes-4", "factor=kLanes-4: is less than 1"),
    ("loop", "pipeline II=0", "ii=0: is less than 1"),
    ("function", "array_partition variable=y complete", "undeclared identifier 'y'"),
    ("function", "array_partition variable=line complete", "undeclared identifier 'line'"),
    ("function", "array_partition variable=memory.weight", "no member named 'weight'"),
    ("function", "array_partition variable=x dim=2", "has fewer dimensions than dim=2"),
    ("function", "array_partition variable=size complete", "variable=size: is not an array"),
    ("function", "array_partition variable=x,y complete", "undeclared identifier 'y'"),
    ("function", "reset variable=x", "only static and global variables are reset"),
    ("function", "stable variable=memory", "kernel has no such parameter"),
    ("function", "function_instantiate variable=memory", "kernel has no such parameter"),
    # place
    ("function", "unroll", "belongs directly in the body of a loop"),
    ("function", "loop_tripcount max=4", "belongs directly in the body of a loop"),
    ("function", "interface mode=axis port=x", "belongs directly in the body of top"),
    ("function", "occurrence cycle=2", "belongs in a conditional block"),
    ("loop", "inline", "belongs directly in the body of a function"),
    ("conditional", "pipeline II=1", "belongs directly in the body of a function or loop"),
    ("late", "pipeline II=1", "belongs at the start of the body, before other statements"),
    ("loop", "pipeline II=1\n#pragma HLS pipeline II=2", "is given twice"),
    ("loop", "pipeline\n#pragma HLS dataflow", "is pipelined, which excludes dataflow"),
]


@pytest.mark.parametrize(("place", "pragma", "expected"), BAD_PRAGMAS)
def test_rejects_pragma(tmp_path, place, pragma, expected):
    source = kernel(place, pragma)
    (message,) = messages(tmp_path, source)
    assert expected in message
    assert "#pragma HLS" in source.splitlines()[int(message.split(":")[0]) - 1]


def test_pragma_that_the_preprocessor_removes_is_not_checked(tmp_path):
    pragma = "inline\n#ifndef __SYNTHESIS__\n#pragma HLS nonsense\n#endif"
    assert messages(tmp_path, kernel("function", pragma)) == []


STRAY_PRAGMAS = {
    "outside functions": ("#pragma HLS inline\n", "1: #pragma HLS inline: stands outside of"),
    "misspelt HLS": ("#pragma HSL inline\n", "1: unknown pragma 'HSL'; did you mean '#pragma HLS'"),
    "operator": ('int f() {\n_Pragma("HLS inline") return 1; }\n', "2: write #pragma HLS instead"),
    "in a macro": (
        '#define P _Pragma("HLS inline")\nint f() { P return 1; }\n',
        "2: write #pragma",
    ),
    "before the brace": (
        "void f(int *x) {\na: for (int i = 0; i < 4; ++i)\n#pragma HLS unroll\n{ x[i] = 0; }\n}\n",
        "3: #pragma HLS unroll: stands inside a statement",
    ),
    "behind the label": (
        "void f(int *x) {\na:\n#pragma HLS unroll\nfor (int i = 0; i < 4; ++i) { x[i] = 0; }\n}\n",
        "3: #pragma HLS unroll: stands inside a statement",
    ),
}


@pytest.mark.parametrize("case", STRAY_PRAGMAS)
def test_rejects_stray_pragma(tmp_path, case):
    source, expected = STRAY_PRAGMAS[case]
    (message,) = messages(tmp_path, source + TOP)
    assert message.startswith(expected)


def test_template_arguments_are_checked_where_they_are_given(tmp_path):
    template = """
template <int kFactor> void kernel(int (&x)[8]) {
copy:
  for (int i = 0; i < 8; ++i) {
#pragma HLS unroll factor = kFactor
    x[i] = i;
  }
}
"""
    call = "void user(int (&x)[8]) { kernel<%d>(x); }\n"
    assert messages(tmp_path, template + call % 4 + TOP) == []
    (message,) = messages(tmp_path, template + call % 0 + TOP)
    assert message == "5: #pragma HLS unroll: factor=kFactor: is less than 1"


# --- loops ---------------------------------------------------------------------------------------

GOOD_LOOPS = {
    "constant": "for (int i = 0; i < kRows; ++i) { x[i] = 0; }",
    "constexpr function": "for (int i = 0; i < half(kRows) + 1; i += 2) { x[i] = 0; }",
    "downwards": "for (int i = kRows - 1; i >= 0; --i) { x[i] = 0; }",
    "limit first": "for (int i = 0; kRows > i; i++) { x[i] = 0; }",
    "doubling": "for (int i = 1; i != kRows; i <<= 1) { x[i] = 0; }",
    "two counters": "for (int i = 0, j = 8; i < kRows; ++i, --j) { x[i] = j; }",
    "over an array": "for (int &v : x) { v = 0; }",
    "trip count": "for (int i = 0; i < n; ++i) {\n#pragma HLS loop_tripcount max=8\n x[i] = 0; }",
    "while": "while (n > 0) {\n#pragma HLS loop_tripcount max=8\n --n; }",
    "attribute": "\n#pragma GCC unroll 1\nfor (int i = 0; i < kRows; ++i) { x[i] = 0; }",
}
BAD_LOOPS = {
    "variable limit": "for (int i = 0; i < n; ++i) { x[i] = 0; }",
    "variable start": "for (int i = n; i < 8; ++i) { x[i] = 0; }",
    "variable step": "for (int i = 0; i < 8; i += n) { x[i] = 0; }",
    "two conditions": "for (int i = 0; i < 8 && i < n; ++i) { x[i] = 0; }",
    "no counter": "for (; n > 0;) { --n; }",
    "assigned": "for (int i = 8; i > 0; i = x[i]) { x[i] = 0; }",
    "while": "while (n > 0) { --n; }",
    "do": "do { --n; } while (n > 0);",
}
LOOP = """
constexpr int kRows = 8;
constexpr int half(int x) { return x / 2; }
void kernel(int (&x)[16], int n) {
label:
  %s
}
"""


@pytest.mark.parametrize("case", GOOD_LOOPS)
def test_accepts_loop(tmp_path, case):
    assert messages(tmp_path, LOOP % GOOD_LOOPS[case] + TOP) == []


@pytest.mark.parametrize("case", BAD_LOOPS)
def test_rejects_loop_without_bound(tmp_path, case):
    expected = "6: loop 'label': its trip count is not constant; add #pragma HLS loop_tripcount"
    assert messages(tmp_path, LOOP % BAD_LOOPS[case] + TOP) == [expected]


@pytest.mark.parametrize(
    "loop", ["for (;;) { ++n; }", "while (true) { ++n; }", "do { ++n; } while (1);"]
)
def test_rejects_endless_loop(tmp_path, loop):
    assert messages(tmp_path, LOOP % loop + TOP) == ["6: loop 'label': never ends"]


def test_rejects_loop_without_label(tmp_path):
    source = "void kernel(int *x) {\n  for (int i = 0; i < 4; ++i) { x[i] = 0; }\n}\n"
    assert messages(tmp_path, source + TOP) == ["2: for loop: has no label"]


def test_rejects_variable_loop_that_has_to_be_unrolled(tmp_path):
    inner = "for (int j = 0; j < n; ++j) {\n#pragma HLS loop_tripcount max=8\n x[j] = 0; }"
    outer = f"for (int i = 0; i < 8; ++i) {{\n#pragma HLS pipeline II=1\ninner:\n{inner} }}"
    (message,) = messages(tmp_path, LOOP % outer + TOP)
    assert message.startswith("9: loop 'inner'")
    assert "cannot be unrolled into the pipelined loop around it" in message
    unrolled = inner.replace("x[j]", "\n#pragma HLS unroll\n x[j]")
    (message,) = messages(tmp_path, LOOP % unrolled + TOP)
    assert "cannot be unrolled without a factor" in message


def test_loops_of_constexpr_functions_are_free(tmp_path):
    source = "constexpr int log2(int n) { int l = 0; while (n > 1) { n /= 2; ++l; } return l; }\n"
    assert messages(tmp_path, source + TOP) == []


# --- interface of the top function ---------------------------------------------------------------

STREAM = """
namespace hls {
template <class T> struct stream { T read(); void write(T); };
}
"""
GOOD_TOP = """
void top(hls::stream<int> &in, const int *memory, int out[64], int mode) {
#pragma HLS interface axis port=in register_mode=both
#pragma HLS interface m_axi port=memory offset=slave bundle=gmem depth=4096 \\
    max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface s_axilite port=memory bundle=control
#pragma HLS interface mode=bram port=out storage_type=ram_1p
#pragma HLS interface s_axilite port=mode bundle=control
#pragma HLS interface s_axilite port=return bundle=control
}
"""
BAD_TOPS = [
    ("port=mode bundle=control", "port=mod bundle=control", "port=mod: top has no such parameter"),
    (
        "#pragma HLS interface axis port=in register_mode=both\n",
        "",
        "argument 'in' has no interface",
    ),
    (
        "#pragma HLS interface s_axilite port=return bundle=control\n",
        "",
        "no interface pragma for port=return",
    ),
    ("axis port=in", "axi port=in", "unknown option 'axi'"),
    ("mode=bram", "mode=ap_bus", "no longer supported, use m_axi"),
    ("mode=bram", "mode=brom", "mode=brom: expected one of"),
    ("s_axilite port=mode", "s_axilite port=mode depth=4", "depth is no option of mode s_axilite"),
    ("offset=slave", "offset=master", "offset=master: expected off, direct or slave"),
    ("max_read_burst_length=64", "max_read_burst_length=512", "is more than 256"),
    (" depth=4096", "", "an m_axi pointer needs depth= for co-simulation"),
    ("axis port=in register_mode=both", "s_axilite port=in", "is not possible for an hls::stream"),
    ("bundle=gmem depth", "bundle=gmem-1 depth", "bundle=gmem-1: is no name"),
    ("s_axilite port=mode", "m_axi port=mode", "mode m_axi needs an array or pointer, not 'int'"),
    ("s_axilite port=mode bundle=control", "ap_ctrl_hs port=mode", "ap_ctrl_hs is for port=return"),
    (
        "port=mode bundle=control",
        "port=mode bundle=gmem",
        "bundle gmem is s_axilite here and m_axi",
    ),
    ("const int *memory", "int **memory", "is a pointer to a pointer"),
    ("int out[64]", "int *out[64]", "is a pointer to a pointer"),
    ("\n}", "\n#pragma HLS array_partition variable=memory\n}", "not possible for an m_axi port"),
    ("\n}", "\n#pragma HLS stream variable=out depth=2\n}", "made a FIFO by its interface"),
    ("void top", "void other", "no source defines the top function 'top'"),
]


def test_accepts_top(tmp_path):
    assert messages(tmp_path, STREAM + GOOD_TOP) == []


@pytest.mark.parametrize(("old", "new", "expected"), BAD_TOPS)
def test_rejects_top(tmp_path, old, new, expected):
    assert old in GOOD_TOP
    found = messages(tmp_path, STREAM + GOOD_TOP.replace(old, new))
    assert any(expected in message for message in found), found


# --- constructs ----------------------------------------------------------------------------------

BAD_CONSTRUCTS = [
    ("int *f() { return new int[4]; }", "new: memory is not allocated"),
    ("void f(int *x) { delete x; }", "delete: memory is not allocated"),
    ("#include <cstdlib>\nvoid *f() { return std::malloc(4); }", "call of malloc()"),
    ('#include <cstdio>\nvoid f() { std::printf("x"); }', "call of printf()"),
    ("#include <cstdlib>\nvoid f() { std::exit(1); }", "call of exit()"),
    ("#include <iostream>\nvoid f() { std::cout << 1; }", "std::cout"),
    ("#include <vector>\nvoid f() { std::vector<int> v; }", "'v': std::vector does not synthesize"),
    ("#include <string>\nstruct S { std::string name; };", "'name': std::basic_string does not"),
    ("struct S { virtual int f(); };", "virtual function 'f' does not synthesize"),
    ("int f(int x) { if (x) throw x; return x; }", "throw: exceptions do not synthesize"),
    ("int f(int x) { try { return x; } catch (int) { return 0; } }", "try: exceptions do not"),
    ("int f(int x) { again: if (x--) goto again; return x; }", "goto does not synthesize"),
    ("int f(int n) { int x[n]; return x[0]; }", "'x': the size of an array must be constant"),
    ("int f(int (*g)(int)) { return g(1); }", "'g': function pointers do not synthesize"),
    ("int f(int n, ...) { return n; }", "variadic function 'f' does not synthesize"),
    ("int f(short *x) { return *(int *)x; }", "cast to 'int *': pointers of different types"),
    ("int f(short *x) { return *reinterpret_cast<int *>(x); }", "reinterpret_cast does not"),
    ("int f(int x) { static int y = x; return y; }", "'y': a static variable is set at reset"),
    ("int f(int x) { return x * 0.5; }", "floating point"),
    ("void f() { struct S { float g() { return 1; } }; }", "floating point"),
    ("void f(float *x) {}", "floating point"),
    ("int f(int n) { return n ? n * f(n - 1) : 1; }", "recursion does not synthesize: f -> f"),
    (
        "int g(int);\nint f(int n) { return n ? g(n - 1) : 1; }\nint g(int n) { return f(n); }",
        "recursion does not synthesize: f -> g -> f",
    ),
    (
        "template <class T> T f(T n) { return n ? n * f(n - 1) : 1; }\nint g() { return f(3); }",
        "recursion does not synthesize: f -> f",
    ),
    ("int f() { return undeclared; }", "use of undeclared identifier 'undeclared'"),
]
GOOD_CONSTRUCTS = {
    "csim only": (
        '#ifndef __SYNTHESIS__\n#include <cstdio>\nvoid show() { std::printf("x"); }\n#endif'
    ),
    "library": (
        "#include <algorithm>\n#include <cassert>\n#include <cstdint>\n#include <cstring>\n"
        "int f(int *x, int *y) { assert(x); std::memcpy(x, y, 8); return std::max(*x, *y); }"
    ),
    "compile-time recursion": (
        "constexpr int log2(int n) { return n < 2 ? 0 : 1 + log2(n / 2); }\n"
        "template <int N> int sum(const int *x) { return x[N] + sum<N - 1>(x); }\n"
        "template <> int sum<0>(const int *x) { return x[0]; }\n"
        "int f(const int *x) { return sum<3>(x); }"
    ),
    "compile-time floating point": "constexpr double kStep = 0.5;\nconstexpr int kTwo = 4 * kStep;",
    "static table": "int f(int i) { static const int table[2] = {1, 2}; return table[i]; }",
    "struct and template": (
        "template <class T, int N>\n"
        "struct Buffer { T data[N]; T get(int i) const { return data[i]; } };\n"
        "int f(const Buffer<int, 4> &b) { return b.get(1); }"
    ),
}


@pytest.mark.parametrize(("source", "expected"), BAD_CONSTRUCTS)
def test_rejects_construct(tmp_path, source, expected):
    found = messages(tmp_path, source + TOP)
    assert any(expected in message for message in found), found


@pytest.mark.parametrize("case", GOOD_CONSTRUCTS)
def test_accepts_construct(tmp_path, case):
    assert messages(tmp_path, GOOD_CONSTRUCTS[case] + TOP) == []


def test_floating_point_can_be_allowed(tmp_path):
    source = "float f(float x) { return x / 3; }" + TOP
    assert messages(tmp_path, source, allow_float=True) == []


# --- hardware ------------------------------------------------------------------------------------

# A pipelined loop over two arrays; the top calls it, so that its pragmas say what the memories are.
HARDWARE = """
constexpr int kLanes = 4;
template <int N> int part(const int x[][N], int i, int l) { return x[i / N][l]; }
void kernel(const int x[16][kLanes], int y[16][kLanes], int (&total)[kLanes], int n) {
#pragma HLS inline off
rows:
  for (int i = 0; i < n; ++i) {
#pragma HLS loop_tripcount max=16
#pragma HLS pipeline II=1
%(loop)s
  lanes:
    for (int l = 0; l < kLanes; ++l) {
#pragma HLS unroll
      y[i][l] = part<kLanes>(x, kLanes * i, l) + total[l];
      total[l] = y[i][l];
    }
  }
}
void top(int n) {
#pragma HLS interface mode=s_axilite port=n
#pragma HLS interface mode=s_axilite port=return
  static int x[16][kLanes];
%(x)s
  static int y[16][kLanes];
#pragma HLS array_partition variable=y complete dim=2
  int total[kLanes] = {};
#pragma HLS array_partition variable=total complete
  kernel(x, y, total, n);
}
"""


def hardware(x: str = "#pragma HLS array_reshape variable=x complete dim=2", loop: str = "") -> str:
    """HARDWARE with pragmas for the memory that is read and for the loop."""
    return HARDWARE % {"x": x, "loop": loop}


GOOD_MEMORIES = {
    "one word": "#pragma HLS array_reshape variable=x complete dim=2",
    "a bank for each lane": "#pragma HLS array_partition variable=x complete dim=2",
    "all lanes": "#pragma HLS array_partition variable=x cyclic factor=kLanes dim=2",
    "two words with two ports": "#pragma HLS array_partition variable=x block factor=2 dim=2",
    "one port": "#pragma HLS array_reshape variable=x complete dim=2\n"
    "#pragma HLS bind_storage variable=x type=ram_1p impl=bram",
    "registers": "#pragma HLS array_partition variable=x complete dim=0",
}
BAD_MEMORIES = [
    ("", "reads it at 4 addresses in a cycle, and a memory has two ports"),
    ("#pragma HLS array_partition variable=x complete dim=1", "reads it at 4 addresses"),
    (
        "#pragma HLS array_partition variable=x block factor=2 dim=2\n"
        "#pragma HLS bind_storage variable=x type=ram_1p impl=bram",
        "reads it at 2 addresses in a cycle, and ram_1p has one port",
    ),
    (
        "#pragma HLS array_partition variable=x cyclic factor=2 dim=2\n"
        "#pragma HLS bind_storage variable=x type=ram_s2p impl=lutram",
        "ram_s2p has a port to read and one to write",
    ),
]


@pytest.mark.parametrize("case", GOOD_MEMORIES)
def test_accepts_memory(tmp_path, case):
    assert messages(tmp_path, hardware(GOOD_MEMORIES[case])) == []


@pytest.mark.parametrize(("pragmas", "expected"), BAD_MEMORIES)
def test_rejects_more_accesses_than_ports(tmp_path, pragmas, expected):
    (message,) = messages(tmp_path, hardware(pragmas))
    assert message.startswith("3: 'x': loop 'rows' reads it at ")
    assert expected in message


def test_a_longer_interval_has_more_ports(tmp_path):
    source = hardware("").replace("II=1", "II=2")
    assert messages(tmp_path, source) == []


def test_branches_that_exclude_each_other_share_a_port(tmp_path):
    word = hardware()
    condition = "    if (n > 3) { y[i][0] = x[0][0]; } else { y[i][0] = x[1][0]; }"
    assert messages(tmp_path, word.replace("  lanes:", condition + "\n  lanes:")) == []
    both = "    y[i][0] = x[0][0]; y[i][1] = x[1][0];"
    (message,) = messages(tmp_path, word.replace("  lanes:", both + "\n  lanes:"))
    assert "'x': loop 'rows' reads it at 3 addresses" in message


def test_rejects_a_dependence_that_is_not_false(tmp_path):
    false = "#pragma HLS dependence variable=%s type=inter false"
    assert messages(tmp_path, hardware(loop=false % "y")) == []
    (message,) = messages(tmp_path, hardware(loop=false % "total"))
    assert "not false: each iteration of loop 'rows' reads and writes total[0]" in message
    assert message.startswith("10: ")


def test_rejects_a_false_dependence_that_no_simulation_checks(tmp_path):
    macro = "#define CHECKED(array, type)\n"
    false = "#pragma HLS dependence variable=y type=inter false"
    checked = macro + hardware(loop=f"{false}\n    CHECKED(y, int[16]);")
    assert messages(tmp_path, checked, proof_macros=("CHECKED",)) == []
    (message,) = messages(tmp_path, hardware(loop=false), proof_macros=("CHECKED",))
    assert message == "10: #pragma HLS dependence: y: no CHECKED(y, ...) here that csim could check"


# Sizes: 4 Mib are 114 block RAMs.
BAD_STORAGE = [
    ("", "'x': 4096 Kib need a bind_storage"),
    ("type=ram_1p impl=bram", "with 114 block RAMs or more, it has to be ram_s2p, not ram_1p"),
    ("type=ram_s2p impl=lutram", "4096 Kib, 131072 words deep, are too much for LUTs"),
]


@pytest.mark.parametrize(("binding", "expected"), BAD_STORAGE)
def test_rejects_storage_of_a_large_memory(tmp_path, binding, expected):
    pragma = f"#pragma HLS bind_storage variable=x {binding}" if binding else ""
    source = hardware("", "").replace("x[16]", "x[32768]").replace("II=1", "II=4")
    source = source.replace("[kLanes];\n\n", f"[kLanes];\n{pragma}\n")
    (message,) = messages(tmp_path, source)
    assert expected in message


BAD_HARDWARE = [
    ("int f(int x, int y) { return x / y; }", "'/' by a variable makes a divider"),
    ("int f(int x, int y) { x %= y; return x; }", "'%' by a variable makes a divider"),
    (
        "#include <ap_int.h>\nap_int<9> f(ap_int<8> x, ap_int<4> y) { return x / y; }",
        "'/' by a variable makes a divider",
    ),
    (
        "template <class T> T f(T x, T y) { return x % y; }\nint g(int x) { return f(5, x); }",
        "'%' by a variable makes a divider",
    ),
    (
        "int f(bool c, int i) { int a[8]; int b[8]; return c ? a[i] : b[i]; }",
        "chooses between 'a' and 'b'",
    ),
    (
        "int f(bool c, int i) { int a[8]; int b[8]; const int *p = c ? a : b; return p[i]; }",
        "chooses between 'a' and 'b'",
    ),
    (
        "int f(bool c, int i) { int a[8]; int b[8]; int *p = a; if (c) { p = b; } return p[i]; }",
        "chooses between 'a' and 'b'",
    ),
    (
        "const int &f(bool c, const int (&a)[8], const int (&b)[8]) { if (c) { return a[1]; }\n"
        "return b[2]; }",
        "chooses between 'a' and 'b'",
    ),
]
GOOD_HARDWARE = {
    "division by a template's argument": (
        "template <int N> int f(int x) { return x / N + x % (2 * N); }\n"
        "int g(int x) { const int n = 3; return f<5>(x) / n; }"
    ),
    "choice between values": (
        "int f(bool c, int i) { int a[8]; int b[8]; const int x = a[i]; const int y = b[i];\n"
        "return c ? x : y; }"
    ),
    "choice in one array": "int f(bool c) { int a[8]; return c ? a[1] : a[2]; }",
    "choice that is made before": (
        "template <bool C> int f(int i) { int a[8]; int b[8]; return C ? a[i] : b[i]; }\n"
        "int g(int i) { return f<true>(i); }"
    ),
}


@pytest.mark.parametrize(("source", "expected"), BAD_HARDWARE)
def test_rejects_hardware(tmp_path, source, expected):
    (message,) = messages(tmp_path, source + TOP)
    assert expected in message


@pytest.mark.parametrize("case", GOOD_HARDWARE)
def test_accepts_hardware(tmp_path, case):
    assert messages(tmp_path, GOOD_HARDWARE[case] + TOP) == []


DATAFLOW = """
namespace hls {
template <class T> struct stream { T read(); void write(const T &); };
}
void produce(hls::stream<int> &a, const int *x) { a.write(x[0]); }
void pass(hls::stream<int> &a, hls::stream<int> &b) { b.write(a.read()); }
void consume(hls::stream<int> &b, int *y) { y[0] = b.read(); }
void region(const int *x, int *y, int n) {
#pragma HLS dataflow
  hls::stream<int> a;
  hls::stream<int> b;
  produce(a, x);
  pass(a, b);
  consume(b, y);
}
"""
BAD_DATAFLOW = [
    ("  pass(a, b);", "  if (n > 0) { pass(a, b); }", "13: dataflow: a condition in the region"),
    ("  pass(a, b);", "  if (n > 0) return;\n  pass(a, b);", "13: dataflow: a condition in the"),
    ("  pass(a, b);", "  n = 3;\n  pass(a, b);", "13: dataflow: code that is no call"),
    ("  pass(a, b);", "  produce(b, x);", "dataflow: 'x' is read by produce (line 12), produce"),
    (
        "  pass(a, b);",
        "  pass(a, b);\n  pass(a, b);",
        "'a' is read by pass (line 13), pass (line 1",
    ),
    (
        "consume(b, y);",
        "consume(b, y);\n  produce(b, y);",
        "'b' is written by pass (line 13), prod",
    ),
    (
        "  consume(b, y);",
        "  if (n > 0) { consume(b, y); }",
        "14: dataflow: a condition in the region",
    ),
    ("  consume(b, y);", "", "dataflow: no process reads 'b'"),
    ("  produce(a, x);", "", "dataflow: no process writes 'a'"),
    ("  produce(a, x);", "  produce(a, x);\n  hls::stream<int> c;", "no process uses 'c'"),
]


def test_accepts_dataflow(tmp_path):
    assert messages(tmp_path, DATAFLOW + TOP) == []


@pytest.mark.parametrize(("old", "new", "expected"), BAD_DATAFLOW)
def test_rejects_dataflow(tmp_path, old, new, expected):
    found = messages(tmp_path, DATAFLOW.replace(old, new) + TOP)
    assert any(expected in message for message in found), found


# What was changed in the project's own sources: old and new text, and of what is found, the line's
# text and the message.
BIND_WEIGHTS = "#pragma HLS bind_storage variable = memory.weights "
FALSE = "#pragma HLS dependence variable = %s type = inter direction = RAW false\n"
MUTATIONS = {
    "missing partition of a memory": (
        "#pragma HLS array_partition variable = memory.vector_params type = complete dim = 2\n",
        "",
        (
            "memory[b < shift ? next_row : row][b]",
            "'memory.vector_params': loop 'process_steps' reads",
        ),
    ),
    "missing partition of registers": (
        "#pragma HLS array_partition variable = u.gathered complete\n",
        "",
        ("u.gathered", "'unit.gathered': loop 'process_steps' reads it at 64 addresses"),
    ),
    "weights with one port": (
        f"{BIND_WEIGHTS}type = ram_s2p",
        f"{BIND_WEIGHTS}type = ram_1p",
        (BIND_WEIGHTS, "block RAMs or more, it has to be ram_s2p, not ram_1p"),
    ),
    "weights in LUTs": (
        f"{BIND_WEIGHTS}type = ram_s2p impl = bram latency = 3",
        f"{BIND_WEIGHTS}type = ram_s2p impl = lutram",
        (BIND_WEIGHTS, "1024 words deep, are too much for LUTs"),
    ),
    "false dependence": (
        FALSE % "weights",
        FALSE % "u.acc",
        ("variable = u.acc", "not false: each iteration of loop 'process_steps' reads and writes"),
    ),
    "choice between arrays": (
        "if (is_larger) maxima[l] = values[l];",
        "maxima[l] = is_larger ? values[l] : maxima[l];",
        ("is_larger ? values[l] : maxima[l]", "chooses between 'maxima' and 'values'"),
    ),
    "recursion": (
        "return length + int(rest);",
        "return length + bit_length(rest);",
        ("length + bit_length(rest)", "recursion does not synthesize"),
    ),
    "division by a variable": (
        "write_part<kWideWidth, kRequantizeLanes>(head, packet.address,",
        "write_part<kWideWidth, kRequantizeLanes>(head, packet.address / u.entry.n,",
        ("/ u.entry.n", "'/' by a variable makes a divider"),
    ),
    "stream with two consumers": (
        "process<Scan>(start_scan, array_to_scan,",
        "process<Scan>(start_scan, array_to_conv,",
        ("Memory& memory", "dataflow: 'array_to_conv' is read by process"),
    ),
    "stream without a consumer": (
        "process<Scan>(start_scan, array_to_scan,",
        "process<Scan>(start_scan, array_to_conv,",
        ("Memory& memory", "dataflow: no process reads 'array_to_scan'"),
    ),
    "memory with two producers": (
        "reduce_ends, reduced, memory.resid_reduce)",
        "reduce_ends, reduced, memory.resid_output)",
        ("Memory& memory", "dataflow: 'memory.resid_output' is written by process"),
    ),
    "process under a condition": (
        "  read_ranges(package, ranges, beats);",
        "  if (n_forecasts > 0) read_ranges(package, ranges, beats);",
        ("if (n_forecasts > 0)", "dataflow: a condition in the region"),
    ),
    **{
        f"{unit} tables with one port": (
            BIND_WEIGHTS,
            f"#pragma HLS bind_storage variable = memory.{unit}_tables type = ram_1p impl = bram\n"
            f"{BIND_WEIGHTS}",
            (
                "tables[",
                f"'memory.{unit}_tables': loop 'process_steps' reads it at 2 addresses in a cycle",
            ),
        )
        for unit in ("conv", "scan", "vector")
    },
}


@pytest.fixture(scope="module")
def design(tmp_path_factory) -> tuple[Settings, dict[Path, Source]]:
    """A copy of the project's HLS C++, read for the build that `make lint` checks."""
    folder = tmp_path_factory.mktemp("hls")
    shutil.copytree(ROOT / "hls/src", folder / "src")
    shutil.copytree(ROOT / "hls/include", folder / "include")
    settings = Settings(
        include_dirs=(folder / "include", ROOT / "hls/build/default"),
        system_dirs=(folder / "include/csim",),
        precompiled=("ap_int.h", "hls_stream.h"),
    )
    paths = sorted((folder / "src").glob("*.cpp"))
    return settings, {p: Source(compile_source(str(p), settings)) for p in paths}


@pytest.mark.slow  # reads all sources
def test_the_design_follows_the_rules(design):
    assert list(check_hardware(design[1].values(), "cmamba_top")) == []


@pytest.mark.slow  # reads all sources
@pytest.mark.parametrize("case", MUTATIONS)
def test_finds_what_was_changed_in_the_design(design, case):
    old, new, (place, expected) = MUTATIONS[case]
    settings, sources = design
    (path,) = (p for p in sources if old in p.read_text())
    text = path.read_text()
    try:
        path.write_text(text.replace(old, new))
        changed = {**sources, path: Source(compile_source(str(path), settings))}
        findings = [
            *check_hardware(changed.values(), "cmamba_top"),
            *check_recursion(calls(changed[path])),
        ]
        (finding,) = (f for f in findings if expected in f.message)
        assert place in Path(finding.path).read_text().splitlines()[finding.line - 1]
    finally:
        path.write_text(text)


# --- the whole -----------------------------------------------------------------------------------

KERNEL_FILE = """
#include "kernel.h"
void kernel(hls::stream<word_t> &in, word_t (&out)[kRows]) {
read:
  for (ap_uint<8> row = 0; row < kRows; ++row) {
#pragma HLS pipeline II = 1
    out[row] = in.read();
  }
}
"""
KERNEL_HEADER = """
#pragma once
#include <ap_int.h>
#include <hls_stream.h>
using word_t = ap_int<%d>;
constexpr int kRows = 5;
void kernel(hls::stream<word_t> &in, word_t (&out)[kRows]);
inline word_t first(const word_t (&x)[kRows]) {
#pragma HLS %s
  return x[0];
}
"""


def write_design(folder: Path, directive: str) -> list[Path]:
    """A design of two sources, one of which includes a header and AMD's types."""
    (folder / "kernel.h").write_text(KERNEL_HEADER % (8, directive))
    (folder / "kernel.cpp").write_text(KERNEL_FILE)
    (folder / "top.cpp").write_text(TOP)
    return [folder / "kernel.cpp", folder / "top.cpp"]


@pytest.mark.parametrize("precompiled", [(), ("ap_int.h", "hls_stream.h")])
def test_accepts_design_with_ap_types(tmp_path, precompiled):
    settings = Settings(precompiled=precompiled)
    assert lint(write_design(tmp_path, "inline"), "top", settings) == []


def test_errors_of_a_header_are_reported_once(tmp_path):
    (finding,) = lint(write_design(tmp_path, "inlin"), "top", Settings())
    assert Path(finding.path) == tmp_path / "kernel.h"
    assert finding.line == 9


def test_headers_of_the_compiler_may_be_newer_than_libclang(tmp_path):
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    for folder in (theirs, own):
        folder.mkdir()
        (folder / f"{folder.name}.h").write_text("int f() { return newer; }\n")
    cxx = tmp_path / "cxx"
    cxx.write_text(f"#!/bin/sh\necho '#include <...>' >&2\necho ' {theirs}' >&2\n")
    cxx.chmod(0o755)
    settings = Settings(include_dirs=(own,), cxx=str(cxx))
    (tmp_path / "top.cpp").write_text("#include <theirs.h>\n" + TOP)
    assert lint([tmp_path / "top.cpp"], "top", settings) == []
    (tmp_path / "top.cpp").write_text('#include "own.h"\n' + TOP)
    finding = lint([tmp_path / "top.cpp"], "top", settings)[0]
    assert Path(finding.path) == own / "own.h"


def test_recursion_across_sources(tmp_path):
    (tmp_path / "a.cpp").write_text("int b(int);\nint a(int n) { return b(n); }\n")
    (tmp_path / "b.cpp").write_text("int a(int);\nint b(int n) { return a(n); }\n" + TOP)
    (finding,) = lint([tmp_path / "a.cpp", tmp_path / "b.cpp"], "top", Settings())
    assert finding.message == "recursion does not synthesize: a -> b -> a"


def test_missing_file_and_compiler_are_named(tmp_path):
    with pytest.raises(LintError, match=r"cannot read .*missing\.cpp"):
        lint([tmp_path / "missing.cpp"], "top", Settings())
    (tmp_path / "top.cpp").write_text(TOP)
    with pytest.raises(LintError, match=r"no-such-g\+\+"):
        lint([tmp_path / "top.cpp"], "top", Settings(cxx="no-such-g++"))


def run_lint(*arguments: object) -> subprocess.CompletedProcess:
    """The command line."""
    command = [sys.executable, "-m", "hls.lint", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_command_line(tmp_path):
    path = tmp_path / "top.cpp"
    path.write_text(TOP)
    assert run_lint("--top", "top", path).returncode == 0
    path.write_text(TOP.replace("port=size", "port=sizes"))
    result = run_lint("--top", "top", path)
    assert result.returncode == 1
    assert "top.cpp:3: error: #pragma HLS interface: port=sizes: top has no such" in result.stdout
    result = run_lint("--top", "top", tmp_path / "missing.cpp")
    assert result.returncode == 2
    assert "missing.cpp" in result.stderr


def test_build_of_the_accelerator(tmp_path):
    """`--build` gives the sources config.h of a build, and with it the pragmas that it has."""
    path = tmp_path / "top.cpp"
    many_rows = "#ifdef CMAMBA_BLOCK_RAM_RESID\n#pragma HLS inlien\n#endif\n"
    path.write_text(f'#include "config.h"\n{TOP.replace("}", many_rows + "}")}')
    assert run_lint("--top", "top", "--build", "large", path).returncode == 0
    result = run_lint("--top", "top", path)
    assert result.returncode == 1
    assert "top.cpp:7: error: #pragma HLS inlien" in result.stdout
    result = run_lint("--top", "top", "--build", "huge", path)
    assert result.returncode == 2
    assert "invalid choice: 'huge'" in result.stderr


def test_top_of_another_build():
    """The storage of the memories depends on the build; `make lint` checks the default one."""
    result = run_lint("--build", "large", ROOT / "hls/src/top.cpp")
    assert result.returncode == 0, result.stdout
