// ReplayBuffer: one row in each of many lanes, as vector environments give them. The lanes are far
// apart in memory, so their rows are asked for while earlier ones are written.
#include "replay/fetch.h"
#include "replay/process_mutex.h"
#include "replay/replay_buffer.h"

namespace fastrl {
namespace {

constexpr std::int64_t kLanesAhead = 10;

}  // namespace

void ReplayBuffer::add_step(const NewRows& rows, std::uint64_t* handles) {
  const bool is_simple = has_observations_ && history_ == 1 && !valuing_;
  const auto num_lanes = static_cast<std::size_t>(rows.num_lanes);
  if (slots_.size() < num_lanes) slots_.resize(num_lanes);
  std::size_t n = 0;
  for (std::int64_t column = 0; column < rows.num_lanes; ++column) {
    if (column + kLanesAhead < rows.num_lanes) fetch_next_row(rows.lane(column + kLanesAhead));
    const std::int64_t lane = rows.lane(column);
    if (!is_simple || rows.ends(column) || !is_inside_episode(lane)) {
      add_to_lane(rows, column, handles);
      continue;
    }
    Lane& at = lanes_.lane(lane);
    const std::int64_t slot = lane * options_.rows_per_lane + at.position;
    at.written_end = lanes_.num_rows(lane) + 1;
    in_this_order();
    writer_.write(column, slot);
    rows_.header(slot) = {static_cast<std::uint32_t>(at.episode), 0};
    handles[column] = lanes_.next_handle(lane);
    lanes_.advance(lane, 1, false);
    slots_[n++] = slot;
    changes_.push_back({slot - 1, slot, slot + 1});
  }
  header_.num_added += static_cast<std::int64_t>(n);
  drawable_.move_ends(std::span(slots_.data(), n));
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

void ReplayBuffer::fetch_next_row(std::int64_t lane) const {
  const std::int64_t slot = lane * options_.rows_per_lane + lanes_.lane(lane).position;
  fetch_to_write(rows_.row(slot) - sizeof(RowHeader), rows_.row_bytes() + sizeof(RowHeader));
}

}  // namespace fastrl
