// Rings of rows, one a lane, and the episodes in them.
//
// The row numbers of a lane only grow; row r is at slot lane · rows_per_lane + r % rows_per_lane as
// long as it is among the newest rows_per_lane ones. A handle is r / rows_per_lane above the slot,
// so it names one row for ever. An episode is a run of rows whose last is its final observation, so
// the first row of episode e + 1 tells where e ended: one number an episode answers all questions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "replay/divider.h"
#include "replay/process_mutex.h"

namespace fastrl {

enum class LaneState : std::uint32_t {
  kBetween,  // the next row begins an episode
  kOpen,     // the newest row is a transition, the next one goes on
  kEnded,    // the newest transition ended its episode, whose final observation comes next
};

struct Lane {
  std::int64_t generation;  // rows_per_lane · generation + position rows have been written
  std::int64_t episode;     // the newest one's number; the first is 1
  std::uint32_t position;   // of the next row
  LaneState state;
  std::int64_t first_kept;  // rows before this one were lost, however new they are
  // What the last call that changed the lane found, for who undoes it.
  std::int64_t num_rows_before;
  std::int64_t episode_before;
  std::int64_t written_end;  // it has written to no row from this one on
  std::int64_t change;       // four times its number, plus the state that it found
};
static_assert(sizeof(Lane) == 64);

// Of a row: rows first, …, last are in the buffer.
struct Episode {
  std::int64_t number;
  std::int64_t begin;  // where it began, which may have been overwritten
  std::int64_t first;
  std::int64_t last;
  bool complete;  // its final observation is there
};

enum class HandleState { kLive, kStale, kForeign };

class Lanes {
 public:
  static std::size_t memory_size(std::int64_t num_lanes, std::int64_t rows_per_lane);
  Lanes(std::byte* memory, std::int64_t num_lanes, std::int64_t rows_per_lane);

  std::int64_t num_lanes() const { return num_lanes_; }
  std::int64_t rows_per_lane() const { return rows_per_lane_; }
  Lane& lane(std::int64_t lane) const { return lanes_[lane]; }

  // Rows written so far, which is the number of the next row.
  std::int64_t num_rows(std::int64_t lane) const {
    return lanes_[lane].generation * rows_per_lane_ + lanes_[lane].position;
  }
  std::int64_t oldest_row(std::int64_t lane) const {
    return std::max(num_rows(lane) - rows_per_lane_, lanes_[lane].first_kept);
  }
  bool holds(std::int64_t lane, std::int64_t row) const {
    return row >= oldest_row(lane) && row < num_rows(lane);
  }
  // How many rows the lanes hold now.
  std::int64_t size() const;

  std::int64_t lane_of(std::int64_t slot) const {
    return divider_.quotient(static_cast<std::uint32_t>(slot));
  }
  // Of a row that is held.
  std::int64_t slot_of(std::int64_t lane, std::int64_t row) const {
    std::int64_t position = lanes_[lane].position - (num_rows(lane) - row);
    if (position < 0) position += rows_per_lane_;
    return lane * rows_per_lane_ + position;
  }
  // Of the newest row written to the slot; negative if there is none.
  std::int64_t row_of(std::int64_t lane, std::int64_t slot) const {
    return generation_of(lane, slot) * rows_per_lane_ + slot - lane * rows_per_lane_;
  }
  std::uint64_t handle_of(std::int64_t lane, std::int64_t slot) const {
    return static_cast<std::uint64_t>(generation_of(lane, slot)) << 32 |
           static_cast<std::uint64_t>(slot);
  }
  HandleState state_of(std::uint64_t handle) const {
    const std::int64_t slot = slot_of(handle);
    if (slot >= num_lanes_ * rows_per_lane_) return HandleState::kForeign;
    const std::int64_t lane = lane_of(slot);
    const std::int64_t generation = generation_of(lane, slot);
    const auto of_handle = static_cast<std::int64_t>(handle >> 32);
    if (of_handle > generation) return HandleState::kForeign;
    const bool is_live = of_handle == generation && row_of(lane, slot) >= lanes_[lane].first_kept;
    return is_live ? HandleState::kLive : HandleState::kStale;
  }
  static std::int64_t slot_of(std::uint64_t handle) {
    return static_cast<std::int64_t>(handle & 0xffffffffu);
  }
  // The slots after and before this one in its lane's ring.
  std::int64_t next_slot(std::int64_t lane, std::int64_t slot) const {
    return slot + 1 < (lane + 1) * rows_per_lane_ ? slot + 1 : slot + 1 - rows_per_lane_;
  }
  std::int64_t earlier_slot(std::int64_t lane, std::int64_t slot, std::int64_t steps) const {
    return slot - steps >= lane * rows_per_lane_ ? slot - steps : slot - steps + rows_per_lane_;
  }

  // Of the next row.
  std::uint64_t next_handle(std::int64_t lane) const {
    return static_cast<std::uint64_t>(lanes_[lane].generation) << 32 |
           static_cast<std::uint64_t>(lane * rows_per_lane_ + lanes_[lane].position);
  }

  // Moves the cursor behind `count` new rows; with `begins` the first of them begins an episode.
  void advance(std::int64_t lane, std::int64_t count, bool begins) {
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

  // A call of this number begins to change the lane. undo() makes it as it was then, but for the
  // oldest rows, where the call's lie now; it may be cut short and called again.
  void begin_change(std::int64_t lane, std::int64_t change) {
    Lane& of = lanes_[lane];
    of.num_rows_before = num_rows(lane);
    of.episode_before = of.episode;
    of.written_end = of.num_rows_before;
    in_this_order();
    of.change = change << 2 | static_cast<std::int64_t>(of.state);
  }
  bool is_changed_by(std::int64_t lane, std::int64_t change) const {
    return lanes_[lane].change >> 2 == change;
  }
  void undo(std::int64_t lane);

  // Whether there is a row that waits for the next one of its episode.
  bool has_open_episode(std::int64_t lane) const {
    const Lane& of = lanes_[lane];
    return of.state != LaneState::kBetween && begin_of(lane, of.episode) < num_rows(lane);
  }
  // Ends the newest episode with its newest row as it is. An episode of this row alone is not one:
  // then the next row begins it anew, and the result is false.
  bool close_episode(std::int64_t lane);

  // The episode of a row that is held; `mark` is what the row's header says.
  Episode episode_of(std::int64_t lane, std::uint32_t mark) const;
  // The first row of which `history` rows, itself included and counted from the begin of its
  // episode at most, are still held. All later ones have them, too.
  std::int64_t first_whole_row(std::int64_t lane, std::uint32_t oldest_mark,
                               std::int64_t history) const;

 private:
  // Episodes of two rows, and one at either end of which only one row is held.
  static std::int64_t table_size(std::int64_t rows_per_lane) { return rows_per_lane / 2 + 2; }

  std::int64_t generation_of(std::int64_t lane, std::int64_t slot) const {
    const Lane& of = lanes_[lane];
    return of.generation - (slot - lane * rows_per_lane_ >= of.position ? 1 : 0);
  }
  std::int64_t& begin_of(std::int64_t lane, std::int64_t episode) const {
    return begins_[lane * table_size_ + episode % table_size_];
  }

  Lane* lanes_;
  std::int64_t* begins_;  // [num_lanes, table_size]
  std::int64_t num_lanes_;
  std::int64_t rows_per_lane_;
  std::int64_t table_size_;
  Divider divider_;
};

}  // namespace fastrl
