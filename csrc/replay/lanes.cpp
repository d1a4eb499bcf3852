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
    rows += num_rows(lane) - oldest_row(lane);
  }
  return rows;
}

void Lanes::undo(std::int64_t lane) {
  Lane& of = lanes_[lane];
  of.generation = of.num_rows_before / rows_per_lane_;
  of.position = static_cast<std::uint32_t>(of.num_rows_before % rows_per_lane_);
  of.episode = of.episode_before;
  of.state = static_cast<LaneState>(of.change & 3);
  of.first_kept =
      std::min(std::max(of.first_kept, of.written_end - rows_per_lane_), of.num_rows_before);
}

bool Lanes::close_episode(std::int64_t lane) {
  Lane& of = lanes_[lane];
  const std::int64_t rows = num_rows(lane);
  std::int64_t& begin = begin_of(lane, of.episode);
  const bool is_episode = begin < rows - 1;
  if (!is_episode) begin = rows;
  of.state = is_episode ? LaneState::kBetween : LaneState::kOpen;
  return is_episode;
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
