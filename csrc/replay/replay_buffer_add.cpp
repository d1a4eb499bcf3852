// ReplayBuffer: rows come in.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "replay/copy.h"
#include "replay/fetch.h"
#include "replay/replay_buffer.h"
#include "replay/replay_buffer_guard.h"

namespace fastrl {
namespace {

// Rows that are written field by field before the next ones: they stay in the first-level cache.
constexpr std::int64_t kLanesAhead = 8;  // whose rows, far apart, come while others are written
constexpr std::int64_t kBlock = 32;
// Runs of changed slots that are shorter on average go to an index as a list.
constexpr std::int64_t kRunWorthwhile = 8;

struct Strided {
  const std::byte* from;
  std::size_t from_stride;
  std::byte* to;
  std::size_t to_stride;
};

template <std::size_t kBytes>
void copy_values(const Strided& at, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    copy_exactly<kBytes>(at.to + static_cast<std::size_t>(i) * at.to_stride,
                         at.from + static_cast<std::size_t>(i) * at.from_stride);
  }
}

void copy_values(const Strided& at, std::int64_t count, std::size_t bytes) {
  switch (bytes) {
    case 1:
      return copy_values<1>(at, count);
    case 4:
      return copy_values<4>(at, count);
    case 8:
      return copy_values<8>(at, count);
    default:
      break;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    copy_bytes(at.to + static_cast<std::size_t>(i) * at.to_stride,
               at.from + static_cast<std::size_t>(i) * at.from_stride, bytes);
  }
}

bool ends(const NewRows& rows, std::int64_t item) {
  return (rows.terminated[item] | rows.truncated[item]) != 0;
}

std::uint32_t end_flags(const NewRows& rows, std::int64_t item) {
  return (rows.terminated[item] != 0 ? std::uint32_t{RowHeader::kTerminated} : 0) |
         (rows.truncated[item] != 0 ? std::uint32_t{RowHeader::kTruncated} : 0);
}

}  // namespace

void ReplayBuffer::check_lanes(const char* function, const std::int64_t* lanes,
                               std::int64_t count) {
  std::vector<bool> seen(static_cast<std::size_t>(options_.num_lanes));
  for (std::int64_t i = 0; i < count; ++i) {
    if (lanes[i] < 0 || lanes[i] >= options_.num_lanes) {
      fail_index(function, "lanes", concat("be from 0 to ", options_.num_lanes - 1),
                 concat(lanes[i]));
    }
    if (seen[static_cast<std::size_t>(lanes[i])]) {
      fail_value(function, "lanes", "name each lane once", concat("lane ", lanes[i], " twice"));
    }
    seen[static_cast<std::size_t>(lanes[i])] = true;
  }
}

void ReplayBuffer::check_rows(const NewRows& rows) {
  if (rows.lanes != nullptr) check_lanes("add", rows.lanes, rows.num_lanes);
  const std::int64_t items = rows.num_steps * rows.num_lanes;
  if (rows.priorities != nullptr) {
    for (std::int64_t i = 0; i < items; ++i) {
      if (!is_priority(rows.priorities[i])) {
        fail_priority("add", rows.priorities[i], static_cast<std::size_t>(i));
      }
    }
  }
  if (!has_observations_) return;
  if (!options_.next_step_autoreset) {
    if (!rows.final_values.empty()) return;
    for (std::int64_t i = 0; i < items; ++i) {
      if (!ends(rows, i)) continue;
      const std::int64_t column = i % rows.num_lanes;
      fail_value("add", "final_observations", "be given where an episode ends",
                 concat("None, but lane ", rows.lanes != nullptr ? rows.lanes[column] : column,
                        " ends at step ", i / rows.num_lanes));
    }
    return;
  }
  for (std::int64_t column = 0; column < rows.num_lanes; ++column) {
    const std::int64_t lane = rows.lanes != nullptr ? rows.lanes[column] : column;
    bool is_final = lanes_.lane(lane).state == LaneState::kEnded;
    for (std::int64_t step = 0; step < rows.num_steps; ++step) {
      const bool is_end = ends(rows, step * rows.num_lanes + column);
      if (is_final && is_end) {
        fail_value(
            "add",
            rows.terminated[step * rows.num_lanes + column] != 0 ? "terminated" : "truncated",
            "be False in the row after the end of an episode, its final observation",
            concat("True in lane ", lane, " at step ", step));
      }
      is_final = is_end;
    }
  }
}

std::optional<Wait> ReplayBuffer::add(const NewRows& rows, std::uint64_t* handles) {
  Guard guard(*this);
  check_rows(rows);
  if (limiter_.is_on() && !limiter_.may_add(counts())) return limiter_.adding_refused();
  guard.begin_change();
  for (std::int64_t column = 0; column < rows.num_lanes; ++column) {
    lanes_.begin_change(rows.lanes != nullptr ? rows.lanes[column] : column, header_.change);
  }
  // So few at a time that no row is overwritten by a later one of the same part.
  const std::int64_t most = std::max<std::int64_t>((options_.rows_per_lane - 1) / 2, 1);
  for (std::int64_t step = 0; step < rows.num_steps; step += most) {
    const NewRows part = steps_of(rows, step, std::min(most, rows.num_steps - step));
    begin_changes(rows.priorities != nullptr);
    const auto lane_of = [&](std::int64_t column) {
      return rows.lanes != nullptr ? rows.lanes[column] : column;
    };
    for (std::int64_t column = 0; column < rows.num_lanes; ++column) {
      if (column + kLanesAhead < rows.num_lanes) {
        // And the row after it, which becomes the oldest.
        const std::int64_t lane = lane_of(column + kLanesAhead);
        const std::int64_t slot = lane * options_.rows_per_lane + lanes_.lane(lane).position;
        fetch_to_write(rows_.row(slot), 2 * rows_.row_bytes());
      }
      add_to_lane(part, column, handles + step * rows.num_lanes);
    }
    apply_changes();
  }
  if (limiter_.is_on()) limiter_.wake_sampling();
  return std::nullopt;
}

NewRows ReplayBuffer::steps_of(const NewRows& rows, std::int64_t step, std::int64_t count) const {
  if (step == 0 && count == rows.num_steps) return rows;
  NewRows part = rows;
  const std::int64_t items = step * rows.num_lanes;
  part.num_steps = count;
  for (std::size_t f = 0; f < options_.fields.size(); ++f) {
    part.values[f] += items * options_.fields[f].bytes;
    if (!part.final_values.empty() && part.final_values[f] != nullptr) {
      part.final_values[f] += items * options_.fields[f].bytes;
    }
  }
  part.terminated += items;
  part.truncated += items;
  if (part.priorities != nullptr) part.priorities += items;
  return part;
}

void ReplayBuffer::end_episodes(std::span<const std::int64_t> lanes,
                                const std::vector<const std::byte*>& final_values) {
  Guard guard(*this);
  if (!has_observations_) {
    fail_value("end_episode", "lanes", "be of a buffer with observations", "one without");
  }
  check_lanes("end_episode", lanes.data(), static_cast<std::int64_t>(lanes.size()));
  for (const std::int64_t lane : lanes) {
    if (!final_values.empty() && !lanes_.has_open_episode(lane)) {
      fail_value("end_episode", "lanes", "be lanes with an open episode",
                 concat("lane ", lane, ", which has none"));
    }
  }
  guard.begin_change();
  for (const std::int64_t lane : lanes) lanes_.begin_change(lane, header_.change);
  begin_changes(false);
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    if (final_values.empty()) {
      cut(lanes[i]);
      continue;
    }
    if (lanes_.lane(lanes[i]).state == LaneState::kOpen) {
      const std::int64_t newest = lanes_.slot_of(lanes[i], lanes_.num_rows(lanes[i]) - 1);
      rows_.header(newest).flags |= RowHeader::kTruncated;
    }
    append_final(lanes[i], final_values, static_cast<std::int64_t>(i));
  }
  apply_changes();
  if (limiter_.is_on()) limiter_.wake_sampling();
}

void ReplayBuffer::add_to_lane(const NewRows& rows, std::int64_t column, std::uint64_t* handles) {
  const std::int64_t lane = rows.lanes != nullptr ? rows.lanes[column] : column;
  std::int64_t step = 0;
  while (step < rows.num_steps) {
    std::int64_t last = step;  // of an episode, or of these rows
    if (lanes_.lane(lane).state != LaneState::kEnded) {
      while (last + 1 < rows.num_steps &&
             !(has_observations_ && ends(rows, last * rows.num_lanes + column))) {
        ++last;
      }
    }
    append(rows, column, step, last + 1 - step, handles);
    const std::int64_t item = last * rows.num_lanes + column;
    if (has_observations_ && ends(rows, item) && !options_.next_step_autoreset) {
      append_final(lane, rows.final_values, item);
    }
    step = last + 1;
  }
}

void ReplayBuffer::append(const NewRows& rows, std::int64_t column, std::int64_t step,
                          std::int64_t count, std::uint64_t* handles) {
  const std::int64_t lane = rows.lanes != nullptr ? rows.lanes[column] : column;
  Lane& at = lanes_.lane(lane);
  const auto pitch = static_cast<std::size_t>(rows.num_lanes);
  while (count > 0) {
    const std::int64_t run = std::min(count, options_.rows_per_lane - at.position);
    const std::int64_t slot = lane * options_.rows_per_lane + at.position;
    const std::int64_t item = step * rows.num_lanes + column;
    const bool is_final = at.state == LaneState::kEnded;
    const bool begins = at.state == LaneState::kBetween;
    const auto mark = static_cast<std::uint32_t>(at.episode + (begins ? 1 : 0));
    const auto handle = static_cast<std::uint64_t>(at.generation) << 32;
    at.written_end = lanes_.num_rows(lane) + run;
    in_this_order();
    for (std::int64_t block = 0; block < run; block += kBlock) {
      const std::int64_t size = std::min(kBlock, run - block);
      for (std::int64_t i = block; i < block + size; ++i) {
        rows_.header(slot + i) = {mark, is_final ? std::uint32_t{RowHeader::kFinal} : 0};
        handles[item + i * rows.num_lanes] = handle | static_cast<std::uint64_t>(slot + i);
      }
      for (std::size_t f = 0; f < options_.fields.size(); ++f) {
        const auto bytes = static_cast<std::size_t>(options_.fields[f].bytes);
        const std::byte* from =
            rows.values[f] +
            (static_cast<std::size_t>(item) + static_cast<std::size_t>(block) * pitch) * bytes;
        copy_values({from, pitch * bytes, rows_.place(f).at(slot + block), rows_.place(f).stride},
                    size, bytes);
      }
    }
    const std::int64_t last = item + (run - 1) * rows.num_lanes;
    LaneState next = is_final ? LaneState::kBetween : LaneState::kOpen;
    if (!has_observations_) {
      for (std::int64_t i = 0; i < run; ++i) {
        rows_.header(slot + i).flags = end_flags(rows, item + i * rows.num_lanes);
      }
    } else if (!is_final && run == count && ends(rows, last)) {
      rows_.header(slot + run - 1).flags |= end_flags(rows, last);
      next = LaneState::kEnded;
    }
    if (!is_final) header_.num_added += run;
    NewPriorities priorities;
    if (rows.priorities != nullptr) priorities = {rows.priorities + item, rows.num_lanes};
    publish(lane, run, next, priorities);
    step += run;
    count -= run;
  }
}

void ReplayBuffer::append_final(std::int64_t lane, const std::vector<const std::byte*>& values,
                                std::int64_t item) {
  Lane& at = lanes_.lane(lane);
  const std::int64_t slot = lane * options_.rows_per_lane + at.position;
  at.written_end = lanes_.num_rows(lane) + 1;
  in_this_order();
  for (std::size_t f = 0; f < options_.fields.size(); ++f) {
    const auto bytes = static_cast<std::size_t>(options_.fields[f].bytes);
    if (options_.fields[f].is_observation()) {
      copy_bytes(rows_.place(f).at(slot), values[f] + static_cast<std::size_t>(item) * bytes,
                 bytes);
    } else {
      std::memset(rows_.place(f).at(slot), 0, bytes);
    }
  }
  rows_.header(slot) = {static_cast<std::uint32_t>(at.episode), RowHeader::kFinal};
  publish(lane, 1, LaneState::kBetween, {});
}

// The newest row becomes the final observation of the step before it.
void ReplayBuffer::cut(std::int64_t lane) {
  if (lanes_.lane(lane).state == LaneState::kBetween) return;
  for (Sampler& sampler : samplers_) {
    if (sampler.has_priorities()) set_pending(sampler, lane, kNoPriority);
  }
  const bool is_episode = lanes_.close_episode(lane);
  const std::int64_t newest = lanes_.num_rows(lane) - 1;
  const std::int64_t oldest = lanes_.oldest_row(lane);
  if (newest < oldest) return;
  const std::int64_t slot = lanes_.slot_of(lane, newest);
  if (!is_episode) {
    rows_.header(slot).flags |= RowHeader::kEvicted;
    return;
  }
  for (std::size_t f = 0; f < options_.fields.size(); ++f) {
    if (options_.fields[f].is_observation()) continue;
    std::memset(rows_.place(f).at(slot), 0, static_cast<std::size_t>(options_.fields[f].bytes));
  }
  rows_.header(slot).flags = RowHeader::kFinal;
  if (newest > oldest) {
    rows_.header(lanes_.slot_of(lane, newest - 1)).flags |= RowHeader::kTruncated;
  }
}

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
  const std::uint32_t mark = rows_.header(lanes_.slot_of(lane, oldest)).episode;
  const std::int64_t whole = lanes_.first_whole_row(lane, mark, options_.history());
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
    changes_.push_back({from, to, drawable});
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
  valued_slots_.clear();
  for (std::vector<double>& values : valued_) values.clear();
}

void ReplayBuffer::apply_changes() {
  const bool any = std::ranges::any_of(samplers_, &Sampler::has_priorities);
  if (!any) return;
  std::int64_t total = 0;
  for (const Change& change : changes_) total += change.end - change.begin;
  if (!valuing_ && total >= kRunWorthwhile * static_cast<std::int64_t>(changes_.size())) {
    for (Sampler& sampler : samplers_) {
      for (const Change& change : changes_) {
        change.drawable ? sampler.add(change.begin, change.end)
                        : sampler.remove(change.begin, change.end);
      }
    }
    return;
  }
  // By what a slot is in the end: a lane's newest row may have got its successor in the same call.
  slots_.clear();
  std::vector<std::int64_t>& removed = slots_;
  std::vector<std::int64_t>& added = added_;
  added.clear();
  for (const Change& change : changes_) {
    for (std::int64_t slot = change.begin; slot < change.end; ++slot) {
      if (!drawable_.test(slot)) removed.push_back(slot);
      if (drawable_.test(slot) && change.drawable && !valuing_) added.push_back(slot);
    }
  }
  for (std::size_t s = 0; s < samplers_.size(); ++s) {
    if (!samplers_[s].has_priorities()) continue;
    if (valuing_) {
      samplers_[s].add(valued_slots_, valued_[s]);
    } else {
      samplers_[s].add(added);
    }
    samplers_[s].remove(removed);
  }
}

}  // namespace fastrl
