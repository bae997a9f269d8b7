// A golden folder as `make golden` writes it: a package, its input, the tensor that each
// instruction has to give, and the forecasts. Nothing in it is trusted: sizes are checked against
// the package's header before anything is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// What one instruction writes in a run: int8 or int16 [n_iterations][rows][n], held as int16.
struct GoldenTensor {
  std::string opcode;
  std::string name;
  std::string dtype;
  size_t rows = 0;
  size_t n = 0;
  std::vector<int16_t> values;
};

struct GoldenSet {
  std::string folder;
  std::vector<uint8_t> package;
  size_t n_forecasts = 0;
  // From the package's header.
  size_t iterations = 0;
  size_t n_sequences = 0;
  size_t n_positions = 0;
  size_t token_bytes = 0;
  size_t forecast_elements = 0;
  // Iterations of the schedule in the whole run.
  size_t n_iterations = 0;
  std::vector<uint8_t> input;         // int8 [n_iterations][n_sequences][n_positions][token_bytes]
  std::vector<int16_t> forecast;      // [n_iterations][n_sequences][forecast_elements]
  std::vector<GoldenTensor> tensors;  // one for each instruction of the program
};

// Throws std::runtime_error with a message that names the file, and what was expected against what
// was found.
GoldenSet read_golden_set(const std::string& folder);
