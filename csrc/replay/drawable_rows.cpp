#include "replay/drawable_rows.h"

#include <algorithm>
#include <bit>

namespace fastrl {
namespace {

constexpr std::size_t kHeaderBytes = 64;  // the count, on a cache line of its own

// Whole cache lines, so that a block of Ranks is one.
std::int64_t words_for(std::int64_t capacity) { return (capacity + 511) / 512 * 8; }

}  // namespace

std::size_t DrawableRows::memory_size(std::int64_t capacity) {
  return kHeaderBytes + static_cast<std::size_t>(words_for(capacity)) * sizeof(std::uint64_t);
}

DrawableRows::DrawableRows(std::byte* memory, std::int64_t capacity)
    : count_(reinterpret_cast<std::int64_t*>(memory)),
      words_(reinterpret_cast<std::uint64_t*>(memory + kHeaderBytes)),
      num_words_(words_for(capacity)),
      capacity_(capacity) {}

template <typename Change>
void DrawableRows::change_words(std::int64_t begin, std::int64_t end, Change change) {
  while (begin < end) {
    const std::int64_t stop = std::min(end, (begin / 64 + 1) * 64);
    const auto bits = static_cast<int>(stop - begin);
    const std::uint64_t mask = (~std::uint64_t{0} >> (64 - bits)) << (begin % 64);
    std::uint64_t& word = words_[begin / 64];
    const std::uint64_t changed = change(word, mask);
    *count_ += std::popcount(changed) - std::popcount(word);
    word = changed;
    begin = stop;
  }
}

void DrawableRows::set(std::int64_t begin, std::int64_t end) {
  change_words(begin, end, [](std::uint64_t word, std::uint64_t mask) { return word | mask; });
}

void DrawableRows::clear(std::int64_t begin, std::int64_t end) {
  change_words(begin, end, [](std::uint64_t word, std::uint64_t mask) { return word & ~mask; });
}

void DrawableRows::move_ends(std::span<const std::int64_t> slots) {
  std::int64_t gained = 0;
  for (const std::int64_t slot : slots) {
    const int place = static_cast<int>(slot % 64);
    if (place == 0) {  // in another word than the slot before it
      set(slot - 1, slot);
      clear(slot, slot + 1);
      continue;
    }
    std::uint64_t& word = words_[slot / 64];
    const std::uint64_t before = word >> (place - 1);
    word = (word & ~(std::uint64_t{3} << (place - 1))) | std::uint64_t{1} << (place - 1);
    gained += 1 - static_cast<std::int64_t>((before & 1) + (before >> 1 & 1));
  }
  *count_ += gained;
}

void DrawableRows::recount() {
  std::int64_t count = 0;
  for (std::int64_t word = 0; word < num_words_; ++word) count += std::popcount(words_[word]);
  *count_ = count;
}

DrawableRows::Ranks::Ranks(const DrawableRows& rows) : rows_(rows) {
  std::int64_t sum = 0;
  for (std::int64_t word = 0; word < rows.num_words_; word += kWords) {
    before_.push_back(sum);
    for (std::int64_t i = 0; i < kWords; ++i) sum += std::popcount(rows.words_[word + i]);
  }
}

std::int64_t DrawableRows::Ranks::slot(std::int64_t rank) const {
  const auto after = std::ranges::upper_bound(before_, rank);
  const std::int64_t block = after - before_.begin() - 1;
  std::int64_t left = rank - before_[static_cast<std::size_t>(block)];
  std::int64_t word = block * kWords;
  for (int here = std::popcount(rows_.words_[word]); left >= here;
       here = std::popcount(rows_.words_[word])) {
    left -= here;
    ++word;
  }
  std::uint64_t bits = rows_.words_[word];
  for (; left > 0; --left) bits &= bits - 1;
  return word * 64 + std::countr_zero(bits);
}

}  // namespace fastrl
