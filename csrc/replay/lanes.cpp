#include "replay/lanes.h"

#include <algorithm>

namespace fastrl {

std::size_t Lanes::memory_size(std::int64_t num_lanes, std::int64_t rows_per_lane) {
  const std::int64_t entries = num_lanes * table_size(rows_per_lane);
  return static_cast<std::size_t>(num_lanes) * sizeof(Lane) +
         static_cast<std::size_t>((entries + 7) / 8) * 64;
}

Lanes::Lanes(std::byte* memory, std::int64_t num_lanes, std::int64_t rows_per_lane)
    : lanes_(reinterpret_cast<Lane*>(memory)),
      begins_(reinterpret_cast<std::int64_t*>(memory +
                                              static_cast<std::size_t>(num_lanes) * sizeof(Lane))),
      num_lanes_(num_lanes),
      rows_per_lane_(rows_per_lane),
      table_size_(table_size(rows_per_lane)),
      divider_(static_cast<std::uint32_t>(rows_per_lane)) {}

std::int64_t Lanes::size() const {
  std::int64_t rows = 0;
  for (std::int64_t lane = 0; lane < num_lanes_; ++lane) {
    rows += std::min(num_rows(lane), rows_per_lane_);
  }
  return rows;
}

HandleState Lanes::state_of(std::uint64_t handle) const {
  const std::int64_t slot = slot_of(handle);
  if (slot >= num_lanes_ * rows_per_lane_) return HandleState::kForeign;
  const std::int64_t generation = generation_of(lane_of(slot), slot);
  const auto of_handle = static_cast<std::int64_t>(handle >> 32);
  if (of_handle > generation) return HandleState::kForeign;
  return of_handle == generation ? HandleState::kLive : HandleState::kStale;
}

void Lanes::advance(std::int64_t lane, std::int64_t count, bool begins) {
  Lane& of = lanes_[lane];
  if (begins) {
    ++of.episode;
    begin_of(lane, of.episode) = num_rows(lane);
  }
  const std::int64_t position = of.position + count;
  const std::int64_t wraps = position >= rows_per_lane_ ? 1 : 0;
  of.position = static_cast<std::uint32_t>(position - wraps * rows_per_lane_);
  of.generation += wraps;
}

Episode Lanes::episode_of(std::int64_t lane, std::uint32_t mark) const {
  const Lane& of = lanes_[lane];
  const std::uint32_t back = static_cast<std::uint32_t>(of.episode) - mark;
  const std::int64_t number = of.episode - back;
  const bool newest = back == 0;
  const std::int64_t begin = begin_of(lane, number);
  return {number, begin, std::max(begin, oldest_row(lane)),
          (newest ? num_rows(lane) : begin_of(lane, number + 1)) - 1,
          !newest || of.state == LaneState::kBetween};
}

std::int64_t Lanes::first_whole_row(std::int64_t lane, std::uint32_t oldest_mark,
                                    std::int64_t history) const {
  const std::int64_t oldest = oldest_row(lane);
  if (history <= 1 || num_rows(lane) == 0) return oldest;
  const Episode episode = episode_of(lane, oldest_mark);
  if (episode.begin >= oldest) return oldest;
  return std::min({oldest + history - 1, episode.last + 1, num_rows(lane)});
}

}  // namespace fastrl
