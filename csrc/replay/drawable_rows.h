// Which slots hold a row that may be drawn: one bit each, and how many there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fastrl {

class DrawableRows {
 public:
  static std::size_t memory_size(std::int64_t capacity);
  DrawableRows(std::byte* memory, std::int64_t capacity);

  std::int64_t capacity() const { return capacity_; }
  std::int64_t count() const { return *count_; }
  bool test(std::int64_t slot) const { return (words_[slot / 64] >> (slot % 64) & 1) != 0; }
  // Slots begin, …, end − 1.
  void set(std::int64_t begin, std::int64_t end);
  void clear(std::int64_t begin, std::int64_t end);
  // The slot before each of these is drawable from here on, and the slot itself is not.
  void move_ends(std::span<const std::int64_t> slots);

  // Counts again: for memory that a dying process left between a bit and the count.
  void recount();

  // Finds the slot of a rank, which is how many drawable slots come before it. Making one costs
  // capacity / 64 steps; it knows nothing of later changes.
  class Ranks {
   public:
    explicit Ranks(const DrawableRows& rows);
    std::int64_t slot(std::int64_t rank) const;

   private:
    static constexpr std::int64_t kWords = 8;  // a cache line of them is a block

    const DrawableRows& rows_;
    std::vector<std::int64_t> before_;  // drawable slots before each block
  };

 private:
  template <typename Change>
  void change_words(std::int64_t begin, std::int64_t end, Change change);

  std::int64_t* count_;
  std::uint64_t* words_;
  std::int64_t num_words_;
  std::int64_t capacity_;
};

}  // namespace fastrl
