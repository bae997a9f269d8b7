"""The csim that checks `#pragma HLS dependence ... false`: it lets right promises pass, and ends
with a message where one is broken."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Steps of a process 0 with an array, by argument; process 1 may answer between two of them.
STEPS = """
#include <cstdlib>

#include "dependences.h"

using namespace cmamba;
typedef int Array[8];
static Array a;

// Process 0 stores an element and tells the others.
Knowledge store(int i) {
  begin_step(0);
  CMAMBA_ANSWERED(a, Array);
  a[i] = 1;
  const Knowledge told = current_knowledge();
  end_step(true);
  return told;
}
Knowledge answer(const Knowledge& told) {
  begin_step(1);
  learn(told);
  const Knowledge answer = current_knowledge();
  end_step(true);
  return answer;
}
void load(int i, const Knowledge& heard, bool is_used = true) {
  begin_step(0);
  CMAMBA_ANSWERED(a, Array);
  learn(heard);
  CMAMBA_READS_IF(a, is_used);
  volatile int value = a[i];
  (void)value;
  end_step(true);
}
template <int kDistance, bool kIsActive>
void sums() {
  for (int i = 0; i < 8; ++i) {
    begin_step(0);
    CMAMBA_APART(a, Array, kDistance);
    if (i % 4 == 0) a[0] += 1;
    end_step(kIsActive || i % 4 == 0);
  }
}
template <int kParts>
void update() {
  for (int i = 0; i < 8; ++i) {
    begin_step(0);
    CMAMBA_ANSWERED_WRITES(a, Array);
    a[i / kParts] += a[7 - i] * 0 + 1;
    end_step(true);
  }
}

int main(int, char** arguments) {
  forget_steps();
  switch (std::atoi(arguments[1])) {
    case 0: load(3, answer(store(3))); break;
    case 1: store(3); load(3, answer(Knowledge())); break;
    case 2: { const Knowledge early = answer(store(3)); store(3); load(3, early); break; }
    case 3: load(3, store(3)); break;
    case 4: store(3); load(3, Knowledge(), false); break;
    case 5: store(3); load(4, Knowledge()); break;
    case 6: sums<4, true>(); break;
    case 7: sums<5, true>(); break;
    case 8: sums<4, false>(); break;
    case 9: update<1>(); break;
    case 10: update<2>(); break;
    case 11: store(3); forget_steps(); load(3, Knowledge()); break;
  }
}
"""
UNANSWERED = "a step reads byte 12, which the step 1 before it has written, and no other process"
RESULTS = {
    "answered": "",
    "an answer to nothing": UNANSWERED,
    "an answer to an earlier step": UNANSWERED,
    "told to itself": UNANSWERED,
    "not used": "",
    "another element": "",
    "at the distance": "",
    "within the distance": "a step reads byte 0, which the step 4 before it has written\n",
    "steps without work": "a step reads byte 0, which the step 1 before it has written\n",
    "reads of what others write": "",
    "updates": "a step writes byte 0, which the step 1 before it has written, and no other process",
    "of an earlier run": "",
}


@pytest.fixture(scope="module")
def steps(tmp_path_factory) -> Path:
    """STEPS, compiled as hls.mk does."""
    folder = tmp_path_factory.mktemp("dependences")
    (folder / "steps.cpp").write_text(STEPS)
    flags = ["-std=c++14", "-DCMAMBA_CHECK_DEPENDENCES", "-fno-threadsafe-statics", "-Ihls/include"]
    reporting = ["-O0", "-fsanitize=thread"]
    for source, options in ((folder / "steps.cpp", reporting), ("hls/tb/dependences.cpp", [])):
        command = ["g++", *flags, *options, "-c", source, "-o", folder / f"{Path(source).stem}.o"]
        subprocess.run(command, cwd=ROOT, check=True)
    objects = [folder / "steps.o", folder / "dependences.o"]
    subprocess.run(["g++", *objects, "-o", folder / "steps"], check=True)
    return folder / "steps"


@pytest.mark.parametrize(("number", "case"), list(enumerate(RESULTS)), ids=RESULTS)
def test_promise(steps, number, case):
    message = RESULTS[case]
    result = subprocess.run([steps, str(number)], capture_output=True, text=True)
    assert (result.returncode, message in result.stderr) == (int(bool(message)), True), (
        result.stderr
    )
    assert bool(result.stderr) == bool(message)
