// hls::stream for the native build: the methods that the sources and the testbench use.
#pragma once

#include <cstddef>
#include <deque>

namespace hls {

template <class T>
class stream {
 public:
  stream() = default;
  explicit stream(const char*) {}
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;

  bool empty() const { return data_.empty(); }
  bool full() const { return false; }
  size_t size() const { return data_.size(); }

  // Nothing can arrive while a single thread waits: reading an empty stream gives T(), as in csim.
  T read() {
    T value = T();
    read_nb(value);
    return value;
  }
  bool read_nb(T& value) {
    if (data_.empty()) return false;
    value = data_.front();
    data_.pop_front();
    return true;
  }
  void write(const T& value) { data_.push_back(value); }
  bool write_nb(const T& value) {
    write(value);
    return true;
  }

 private:
  std::deque<T> data_;
};

}  // namespace hls
