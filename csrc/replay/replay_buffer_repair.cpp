// ReplayBuffer: what a process left that died in a call.
//
// The rows' flags, a bit a slot and a weight a slot are each written in one piece; everything else
// is counted from them. A lane keeps what a call found that changes it, so the call is undone as a
// whole. Every step can be cut short by another death and done again.
#include <algorithm>

#include "replay/replay_buffer.h"
#include "replay/replay_buffer_guard.h"

namespace fastrl {

void ReplayBuffer::repair() {
  if (header_.call == CallState::kChanging) {
    for (std::int64_t lane = 0; lane < options_.num_lanes; ++lane) {
      if (lanes_.is_changed_by(lane, header_.change)) undo(lane);
    }
    header_.num_added = header_.num_added_before;
  }
  drawable_.recount();
  header_.num_pending = 0;
  for (Sampler& sampler : samplers_) {
    if (!sampler.has_priorities()) continue;
    for (std::int64_t lane = 0; lane < options_.num_lanes; ++lane) {
      header_.num_pending += sampler.pending(lane) >= 0 ? 1 : 0;
    }
    sampler.repair(drawable_);
  }
  if (limiter_.is_on()) limiter_.wake_adding();
  ++header_.num_repairs;
  in_this_order();
  ++header_.change;
}

void ReplayBuffer::undo(std::int64_t lane) {
  lanes_.undo(lane);
  const std::int64_t per_lane = options_.rows_per_lane;
  const auto forget = [&](std::int64_t first, std::int64_t end) {
    for (first = std::max(first, end - per_lane); first < end;) {
      const std::int64_t position = first % per_lane;
      const std::int64_t run = std::min(end - first, per_lane - position);
      const std::int64_t slot = lane * per_lane + position;
      drawable_.clear(slot, slot + run);
      first += run;
    }
  };
  // What was written, over older rows, and the newest row, whose next observation was in it.
  const std::int64_t rows = lanes_.num_rows(lane);
  const std::int64_t first = has_observations_ ? std::max<std::int64_t>(rows - 1, 0) : rows;
  forget(first, lanes_.lane(lane).written_end);
  const std::int64_t oldest = lanes_.oldest_row(lane);
  if (oldest < rows) {
    const std::uint32_t mark = rows_.header(lanes_.slot_of(lane, oldest)).episode;
    forget(oldest, lanes_.first_whole_row(lane, mark, history_));
  }
  if (has_observations_) cut(lane);
}

}  // namespace fastrl
