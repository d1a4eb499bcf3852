// ReplayBuffer: rows that have been written become drawable, or wait for the next one, and the
// samplers are told.
#include <algorithm>

#include "replay/replay_buffer.h"
#include "replay/replay_buffer_guard.h"

namespace fastrl {
namespace {

// Runs of changed slots that are shorter on average go to an index as a list.
constexpr std::size_t kRunWorthwhile = 8;

}  // namespace

void ReplayBuffer::publish(std::int64_t lane, std::int64_t count, LaneState next,
                           NewPriorities priorities) {
  Lane& at = lanes_.lane(lane);
  const bool begins = at.state == LaneState::kBetween;
  const std::int64_t first_new = lanes_.num_rows(lane);
  lanes_.advance(lane, count, begins);
  at.state = next;
  const std::int64_t end = lanes_.num_rows(lane);
  if (!has_observations_) {
    if (valuing_) value(lane, first_new, end, first_new, priorities);
    change(lane, first_new, end, true);
    return;
  }
  const std::int64_t oldest = lanes_.oldest_row(lane);
  std::int64_t whole = oldest;
  if (history_ > 1) {
    const std::uint32_t mark = rows_.header(lanes_.slot_of(lane, oldest)).episode;
    whole = lanes_.first_whole_row(lane, mark, history_);
  }
  // The row before has its next observation now, unless it was one itself.
  std::int64_t first = begins ? first_new : first_new - 1;
  if (!begins && first >= oldest &&
      (rows_.header(lanes_.slot_of(lane, first)).flags & RowHeader::kEvicted) != 0) {
    ++first;
  }
  first = std::max(first, whole);
  if (valuing_) value(lane, first, end - 1, first_new, priorities);
  change(lane, oldest, std::min(whole, first_new), false);
  change(lane, std::max(first_new, oldest), std::max(first, first_new), false);
  change(lane, first, end - 1, true);
  change(lane, end - 1, end, false);
}

void ReplayBuffer::change(std::int64_t lane, std::int64_t first, std::int64_t end, bool drawable) {
  if (first >= end) return;
  const std::int64_t lane_end = (lane + 1) * options_.rows_per_lane;
  const std::int64_t slot = lanes_.slot_of(lane, first);
  const std::int64_t stop = slot + end - first;
  const auto note = [&](std::int64_t from, std::int64_t to) {
    drawable ? drawable_.set(from, to) : drawable_.clear(from, to);
    changes_.push_back({from, drawable ? to : from, to});
  };
  note(slot, std::min(stop, lane_end));
  if (stop > lane_end) note(lane_end - options_.rows_per_lane, stop - options_.rows_per_lane);
}

void ReplayBuffer::set_pending(Sampler& sampler, std::int64_t lane, double priority) {
  double& pending = sampler.pending(lane);
  header_.num_pending += (priority >= 0 ? 1 : 0) - (pending >= 0 ? 1 : 0);
  pending = priority;
}

// Rows first, …, end − 1 have become drawable; row `end` waits where rows have successors. Those
// from first_new on come with these priorities.
void ReplayBuffer::value(std::int64_t lane, std::int64_t first, std::int64_t end,
                         std::int64_t first_new, NewPriorities priorities) {
  for (std::int64_t row = first; row < end; ++row) {
    valued_slots_.push_back(lanes_.slot_of(lane, row));
  }
  const auto given = [&](const Sampler& sampler, std::int64_t row) {
    if (priorities.values == nullptr || !sampler.takes_new_priorities()) return kNoPriority;
    return priorities.values[(row - first_new) * priorities.stride];
  };
  const bool waits = has_observations_ && lanes_.lane(lane).state != LaneState::kBetween;
  for (std::size_t s = 0; s < samplers_.size(); ++s) {
    if (!samplers_[s].has_priorities()) continue;
    for (std::int64_t row = first; row < end; ++row) {
      valued_[s].push_back(row < first_new ? samplers_[s].pending(lane) : given(samplers_[s], row));
    }
    set_pending(samplers_[s], lane, waits ? given(samplers_[s], end) : kNoPriority);
  }
}

void ReplayBuffer::begin_changes(bool valuing) {
  valuing_ = valuing || header_.num_pending > 0;
  changes_.clear();
  changed_.clear();
  valued_slots_.clear();
  for (std::vector<double>& values : valued_) values.clear();
}

void ReplayBuffer::apply_changes() {
  if (std::ranges::none_of(samplers_, &Sampler::has_priorities)) return;
  std::size_t total = 0;
  for (const Change& change : changes_)
    total += static_cast<std::size_t>(change.end - change.begin);
  if (!valuing_ && total > 0 && total >= kRunWorthwhile * changes_.size()) {
    for (Sampler& sampler : samplers_) {
      for (const Change& change : changes_) {
        sampler.add(change.begin, change.split);
        sampler.remove(change.split, change.end);
      }
    }
    return;
  }
  list_changes();
  for (std::size_t s = 0; s < samplers_.size(); ++s) {
    if (!samplers_[s].has_priorities()) continue;
    if (valuing_) {
      samplers_[s].add(valued_slots_, valued_[s]);
      samplers_[s].remove(changed_.slots());
    } else {
      samplers_[s].change(changed_.slots(), changed_.are_new());
    }
  }
}

// By what a slot is in the end: a lane's newest row may have got its successor in the same call.
void ReplayBuffer::list_changes() {
  for (const Change& change : changes_) {
    for (std::int64_t slot = change.begin; slot < change.end; ++slot) {
      const bool is_new = drawable_.test(slot);
      if (!is_new || (slot < change.split && !valuing_)) changed_.add(slot, is_new);
    }
  }
  changes_.clear();
}

}  // namespace fastrl
