// ReplayBuffer: rows come in.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "replay/copy.h"
#include "replay/replay_buffer.h"
#include "replay/replay_buffer_guard.h"

namespace fastrl {
namespace {

constexpr std::int64_t kRowsAhead = 8;  // of other lanes that come while some are written

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
  if (rows.priorities != nullptr) {
    for (std::int64_t i = 0; i < rows.num_items(); ++i) {
      if (!is_priority(rows.priorities[i])) {
        fail_priority("add", rows.priorities[i], static_cast<std::size_t>(i));
      }
    }
  }
  if (!has_observations_ || !rows.any_ends()) return;
  if (!options_.next_step_autoreset) {
    if (!rows.final_values.empty()) return;
    std::int64_t item = 0;
    while (!rows.ends(item)) ++item;
    fail_value("add", "final_observations", "be given where an episode ends",
               concat("None, but lane ", rows.lane(item % rows.num_lanes), " ends at step ",
                      item / rows.num_lanes));
  }
  for (std::int64_t column = 0; column < rows.num_lanes; ++column) {
    const std::int64_t lane = rows.lane(column);
    bool is_final = lanes_.lane(lane).state == LaneState::kEnded;
    for (std::int64_t step = 0; step < rows.num_steps; ++step) {
      const bool is_end = rows.ends(step * rows.num_lanes + column);
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
  if (rows.num_steps == 0) return std::nullopt;
  if (limiter_.is_on() && !limiter_.may_add(counts())) return limiter_.adding_refused();
  guard.begin_change();
  for (std::int64_t column = 0; column < rows.num_lanes; ++column) {
    lanes_.begin_change(rows.lane(column), header_.change);
  }
  // So few at a time that no row is overwritten by a later one of the same part.
  const std::int64_t most = std::max<std::int64_t>((options_.rows_per_lane - 1) / 2, 1);
  if (rows.num_steps <= most) {
    add_part(rows, handles);
  } else {
    for (std::int64_t step = 0; step < rows.num_steps; step += most) {
      add_part(steps_of(rows, step, std::min(most, rows.num_steps - step)),
               handles + step * rows.num_lanes);
    }
  }
  if (limiter_.is_on()) limiter_.wake_sampling();
  return std::nullopt;
}

void ReplayBuffer::add_part(const NewRows& rows, std::uint64_t* handles) {
  begin_changes(rows.priorities != nullptr);
  writer_.read_from(rows.values);
  if (rows.num_steps == 1) {
    add_step(rows, handles);
  } else {
    const std::int64_t num_fetched = std::min(rows.num_steps, kRowsAhead);
    const std::int64_t lanes_ahead = (kRowsAhead + num_fetched - 1) / num_fetched;
    for (std::int64_t column = 0; column < rows.num_lanes; ++column) {
      if (column + lanes_ahead < rows.num_lanes) {
        const std::int64_t lane = rows.lane(column + lanes_ahead);
        writer_.fetch(lane * options_.rows_per_lane + lanes_.lane(lane).position, num_fetched);
      }
      add_to_lane(rows, column, handles);
    }
  }
  apply_changes();
}

NewRows ReplayBuffer::steps_of(const NewRows& rows, std::int64_t step, std::int64_t count) const {
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
  const std::int64_t lane = rows.lane(column);
  std::int64_t step = 0;
  while (step < rows.num_steps) {
    std::int64_t last = step;  // of an episode, or of these rows
    if (lanes_.lane(lane).state != LaneState::kEnded) {
      while (last + 1 < rows.num_steps &&
             !(has_observations_ && rows.ends(last * rows.num_lanes + column))) {
        ++last;
      }
    }
    append(rows, column, step, last + 1 - step, handles);
    const std::int64_t item = last * rows.num_lanes + column;
    if (has_observations_ && rows.ends(item) && !options_.next_step_autoreset) {
      append_final(lane, rows.final_values, item);
    }
    step = last + 1;
  }
}

void ReplayBuffer::append(const NewRows& rows, std::int64_t column, std::int64_t step,
                          std::int64_t count, std::uint64_t* handles) {
  const std::int64_t lane = rows.lane(column);
  Lane& at = lanes_.lane(lane);
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
    writer_.write(item, rows.num_lanes, slot, run);
    for (std::int64_t i = 0; i < run; ++i) {
      rows_.header(slot + i) = {mark, is_final ? std::uint32_t{RowHeader::kFinal} : 0};
      handles[item + i * rows.num_lanes] = handle | static_cast<std::uint64_t>(slot + i);
    }
    const std::int64_t last = item + (run - 1) * rows.num_lanes;
    LaneState next = is_final ? LaneState::kBetween : LaneState::kOpen;
    if (!has_observations_) {
      for (std::int64_t i = 0; i < run; ++i) {
        rows_.header(slot + i).flags = end_flags(rows, item + i * rows.num_lanes);
      }
    } else if (!is_final && run == count && rows.ends(last)) {
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

}  // namespace fastrl
