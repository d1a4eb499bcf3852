// ReplayBuffer: one row in each of many lanes, as vector environments give them. The lanes are far
// apart in memory, so their rows are asked for while earlier ones are written.
#include <algorithm>

#include "replay/process_mutex.h"
#include "replay/replay_buffer.h"

namespace fastrl {
namespace {

constexpr std::int64_t kLanesAhead = 8;

}  // namespace

void ReplayBuffer::add_step(const NewRows& rows, std::uint64_t* handles) {
  const bool is_simple = has_observations_ && history_ == 1 && !valuing_;
  const std::int64_t num_lanes = rows.num_lanes;
  const std::int64_t rows_per_lane = options_.rows_per_lane;
  slots_.resize(std::max(slots_.size(), static_cast<std::size_t>(num_lanes)));
  std::int64_t* const simple = slots_.data();
  std::size_t num_simple = 0;
  std::size_t num_listed = 0;
  const auto list_simple = [&] {
    changed_.add_ends({simple + num_listed, num_simple - num_listed});
    num_listed = num_simple;
  };
  for (std::int64_t column = 0; column < num_lanes; ++column) {
    if (column + kLanesAhead < num_lanes) {
      const std::int64_t ahead = rows.lane(column + kLanesAhead);
      writer_.fetch(ahead * rows_per_lane + lanes_.lane(ahead).position, 1);
    }
    const std::int64_t lane = rows.lane(column);
    if (!is_simple || rows.ends(column) || !is_inside_episode(lane)) {
      add_to_lane(rows, column, handles);
      if (is_simple) {
        list_simple();
        list_changes();
      }
      continue;
    }
    Lane& at = lanes_.lane(lane);
    const std::int64_t slot = lane * rows_per_lane + at.position;
    at.written_end = lanes_.num_rows(lane) + 1;
    in_this_order();
    writer_.write(column, slot);
    rows_.header(slot) = {static_cast<std::uint32_t>(at.episode), 0};
    handles[column] = lanes_.next_handle(lane);
    lanes_.advance(lane, 1, false);
    simple[num_simple++] = slot;
  }
  list_simple();
  drawable_.move_ends({simple, num_simple});
  header_.num_added += static_cast<std::int64_t>(num_simple);
}

// Whether the lane's newest row, right before the next one in memory, is a step that can be drawn
// as soon as that is there.
bool ReplayBuffer::is_inside_episode(std::int64_t lane) const {
  const Lane& at = lanes_.lane(lane);
  if (at.state != LaneState::kOpen || at.position == 0) return false;
  const std::int64_t newest = lane * options_.rows_per_lane + at.position - 1;
  return at.first_kept < lanes_.num_rows(lane) &&
         (rows_.header(newest).flags & RowHeader::kEvicted) == 0;
}

}  // namespace fastrl
