// The last steps of each environment of a batch, to go back to.
//
// A ring of copies of the batch's arrays. An entry holds each array as it lies in the batch, so
// neighbors whose rings stand alike are recorded and brought back by a few copies of memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "envs/bytes.h"
#include "envs/environment_table.h"

namespace fastrl {

class History {
 public:
  // An array of the batch: so many bytes an environment, in order.
  struct Array {
    std::byte* now = nullptr;
    std::size_t size = 0;
  };
  struct Arrays {
    Array states;   // as the table lays them out
    Array streams;  // random streams
    Array begun;    // counters that go up whenever one of the next two changes, or a stream is set
    Array sources;  // where each stands in its sequence of levels
    Array levels;   // the level that each is in
    std::array<Array, 4> others;
  };

  History() = default;
  // Keeps the addresses. A capacity of 0 records nothing. Steps of the table that draw nothing
  // leave the streams as they are.
  History(const fastrl_environment& table, std::int64_t capacity, std::int64_t num_envs,
          const Arrays& arrays);

  bool is_on() const { return capacity_ > 0; }
  // How many steps each can go back.
  std::span<const std::int32_t> lengths() const { return lengths_; }
  void forget(std::int64_t i) { lengths_[static_cast<std::size_t>(i)] = 0; }
  void forget_all();

  // Up to where neighbors from `first` on may be in one call of what follows.
  std::int64_t alike_until(std::int64_t first, std::int64_t last) const;
  // The present of environments first, …, last - 1.
  void record(std::int64_t first, std::int64_t last);
  // Back by `steps`, at most as many as each has. Without `streams` the random streams and the
  // sequences of levels stay. Returns the streams of that time, laid out as the batch's.
  const std::byte* rewind(std::int64_t first, std::int64_t last, std::int64_t steps, bool streams);

 private:
  static constexpr std::size_t kStates = 0;
  static constexpr std::size_t kStreams = 1;
  static constexpr std::size_t kBegun = 2;
  static constexpr std::size_t kSources = 3;
  static constexpr std::size_t kLevels = 4;
  static constexpr std::size_t kNumArrays = 9;

  std::byte* section(std::int32_t entry, std::size_t array) {
    return entries_.data() + static_cast<std::size_t>(entry) * entry_size_ + offsets_[array];
  }
  void bring_back_begun(std::int32_t entry, std::int64_t first, std::int64_t last, bool streams);
  void copy(std::size_t array, std::byte* to, const std::byte* from, std::int64_t first,
            std::int64_t last) const;
  void copy_blocks(std::byte* to, const std::byte* from, std::int64_t first,
                   std::int64_t last) const;

  const fastrl_environment* table_ = nullptr;
  std::int32_t capacity_ = 0;
  std::int64_t num_envs_ = 0;
  std::array<Array, kNumArrays> arrays_;
  std::array<std::size_t, kNumArrays> offsets_{};
  std::size_t entry_size_ = 0;
  Bytes entries_;
  std::vector<std::int32_t> places_;   // the entry that each writes next
  std::vector<std::int32_t> lengths_;  // recorded before it, at most the capacity
};

}  // namespace fastrl
