#include "envs/history.h"

#include <algorithm>
#include <cstring>

namespace fastrl {
namespace {

constexpr std::size_t kLine = 64;

}  // namespace

History::History(const fastrl_environment& table, std::int64_t capacity, std::int64_t num_envs,
                 const Arrays& arrays)
    : table_(&table),
      capacity_(static_cast<std::int32_t>(capacity)),
      num_envs_(num_envs),
      arrays_{arrays.states, arrays.streams, arrays.begun, arrays.sources, arrays.levels} {
  std::ranges::copy(arrays.others, arrays_.begin() + kLevels + 1);
  const std::int64_t lanes = table.lanes;
  const auto padded = static_cast<std::size_t>((num_envs + lanes - 1) / lanes * lanes);
  for (std::size_t a = 0; a < kNumArrays; ++a) {
    offsets_[a] = entry_size_;
    entry_size_ += (padded * arrays_[a].size + kLine - 1) / kLine * kLine;
  }
  // An environment's entries are not a power of two apart, where they would share cache sets.
  entry_size_ += kLine;
  entries_.resize(entry_size_ * static_cast<std::size_t>(capacity));
  places_.resize(static_cast<std::size_t>(num_envs));
  lengths_.resize(static_cast<std::size_t>(num_envs));
}

void History::forget_all() { std::ranges::fill(lengths_, 0); }

void History::copy(std::size_t array, std::byte* to, const std::byte* from, std::int64_t first,
                   std::int64_t last) const {
  if (array == kStates && table_->lanes > 1) {
    copy_blocks(to, from, first, last);
    return;
  }
  const std::size_t size = arrays_[array].size;
  const std::size_t skipped = static_cast<std::size_t>(first) * size;
  copy_bytes(to + skipped, from + skipped, static_cast<std::size_t>(last - first) * size);
}

// Whole blocks as they are, the rest one by one.
void History::copy_blocks(std::byte* to, const std::byte* from, std::int64_t first,
                          std::int64_t last) const {
  const std::int64_t lanes = table_->lanes;
  const auto block = static_cast<std::size_t>(lanes) * table_->state_size;
  alignas(64) std::array<std::byte, 1024> state;
  for (auto i = first; i < last;) {
    if (i % lanes == 0 && (last - i >= lanes || last == num_envs_)) {
      const std::int64_t whole =
          last == num_envs_ ? (last - i + lanes - 1) / lanes : (last - i) / lanes;
      const std::size_t skipped = static_cast<std::size_t>(i / lanes) * block;
      std::memcpy(to + skipped, from + skipped, static_cast<std::size_t>(whole) * block);
      i += whole * lanes;
      continue;
    }
    table_->get(from, i, state.data());
    table_->put(to, i, state.data());
    ++i;
  }
}

std::int64_t History::alike_until(std::int64_t first, std::int64_t last) const {
  constexpr std::int64_t kAtOnce = 64;
  const std::int32_t* places = places_.data();
  const std::int32_t place = places[first];
  auto i = first + 1;
  for (; last - i >= kAtOnce; i += kAtOnce) {
    std::int32_t differing = 0;
    for (std::int64_t j = 0; j < kAtOnce; ++j) differing |= places[i + j] ^ place;
    if (differing != 0) break;
  }
  while (i < last && places[i] == place) ++i;
  return i;
}

void History::record(std::int64_t first, std::int64_t last) {
  const std::int32_t entry = places_[static_cast<std::size_t>(first)];
  for (std::size_t a = 0; a < kNumArrays; ++a) {
    if (arrays_[a].size > 0) copy(a, section(entry, a), arrays_[a].now, first, last);
  }
  const std::int32_t next = entry + 1 == capacity_ ? 0 : entry + 1;
  for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
    places_[i] = next;
    lengths_[i] = std::min(lengths_[i] + 1, capacity_);
  }
}

// What changes with the counters alone, of those environments whose counter did: few, as a rule.
void History::bring_back_begun(std::int32_t entry, std::int64_t first, std::int64_t last,
                               bool streams) {
  constexpr std::int64_t kAtOnce = 256;
  std::array<std::size_t, kAtOnce> changed;
  auto* now = reinterpret_cast<std::uint32_t*>(arrays_[kBegun].now);
  const auto* then = reinterpret_cast<const std::uint32_t*>(section(entry, kBegun));
  const std::array<bool, kNumArrays> comes_back = {false, streams && table_->draws_nothing != 0,
                                                   streams, streams, true};
  for (auto begin = first; begin < last; begin += kAtOnce) {
    std::size_t count = 0;
    for (auto i = begin; i < std::min(begin + kAtOnce, last); ++i) {
      changed[count] = static_cast<std::size_t>(i);
      count += now[i] != then[i] ? 1 : 0;
    }
    for (std::size_t a = 0; a < kNumArrays; ++a) {
      if (!comes_back[a]) continue;
      const Array& array = arrays_[a];
      const std::byte* from = section(entry, a);
      for (std::size_t n = 0; n < count; ++n) {
        const std::size_t skipped = changed[n] * array.size;
        copy_bytes(array.now + skipped, from + skipped, array.size);
      }
    }
  }
}

const std::byte* History::rewind(std::int64_t first, std::int64_t last, std::int64_t steps,
                                 bool streams) {
  const auto back = static_cast<std::int32_t>(steps);
  std::int32_t entry = places_[static_cast<std::size_t>(first)] - back;
  if (entry < 0) entry += capacity_;
  bring_back_begun(entry, first, last, streams);
  for (std::size_t a = 0; a < kNumArrays; ++a) {
    const bool waits = a == kStreams && (!streams || table_->draws_nothing != 0);
    if (waits || (kBegun <= a && a <= kLevels) || arrays_[a].size == 0) continue;
    copy(a, arrays_[a].now, section(entry, a), first, last);
  }
  for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
    places_[i] = entry;
    lengths_[i] -= back;
  }
  return section(entry, kStreams);
}

}  // namespace fastrl
