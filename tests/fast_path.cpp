// host/fast_path.cpp as a program, for processors that have no Python here.
//
// Standard input: CmambaHost, the number of windows as u64, the index, then for each window its
// values and its results in the stream. Standard output, for each window: a byte that says whether
// it is refused, the beats, mean and deviation of each variable, and the forecast.

#include "../host/fast_path.cpp"

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

template <typename T>
std::vector<T> read(std::size_t n) {
  std::vector<T> values(n);
  if (std::fread(values.data(), sizeof(T), n, stdin) != n) {
    std::exit(1);
  }
  return values;
}

template <typename T>
void write(const std::vector<T>& values) {
  std::fwrite(values.data(), sizeof(T), values.size(), stdout);
}

}  // namespace

int main() {
  CmambaHost host = read<CmambaHost>(1)[0];
  const std::uint64_t n = read<std::uint64_t>(1)[0];
  const std::vector<std::int64_t> index = read<std::int64_t>(host.bytes_in);
  host.index = index.data();
  const std::size_t rows = host.variables * host.horizon / host.elements;
  std::vector<std::int8_t> scratch(host.variables * host.length + 1);
  for (std::uint64_t i = 0; i < n; ++i) {
    const std::vector<float> x = read<float>(host.variables * host.length);
    const std::vector<std::int16_t> y = read<std::int16_t>(rows * host.row);
    std::vector<std::int8_t> beats(host.bytes_in);
    std::vector<float> mean(host.variables);
    std::vector<float> deviation(host.variables);
    std::vector<float> forecast(host.variables * host.horizon);
    const int refused = cmamba_encode(&host, x.data(), 1, mean.data(), deviation.data(),
                                      scratch.data(), beats.data());
    std::fputc(refused, stdout);
    if (refused != 0) {
      continue;
    }
    cmamba_decode(&host, y.data(), 1, mean.data(), deviation.data(), forecast.data());
    write(beats);
    write(mean);
    write(deviation);
    write(forecast);
  }
  return 0;
}
