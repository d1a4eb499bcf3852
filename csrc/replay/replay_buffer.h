// Experience replay: rows in lanes, and samplers over them. Everything that it remembers lies in
// one piece of memory, so threads, processes, files and saved buffers all see the same bytes.
//
// Rows are added in the order of time, a lane per environment. A transition can be drawn once the
// row after it is there, whose observation is its next one, and until a row that it needs is
// overwritten. One mutex guards all; calls are batches, so it is taken once a call. A process may
// die in any of them: the next call, of whichever process, undoes it first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "replay/drawable_rows.h"
#include "replay/gather.h"
#include "replay/lanes.h"
#include "replay/layout.h"
#include "replay/limiter.h"
#include "replay/memory.h"
#include "replay/memory_parts.h"
#include "replay/row_writer.h"
#include "replay/sampler.h"
#include "replay/segments.h"

namespace fastrl {

// Rows to add, time-major: [num_steps, num_lanes] of everything, contiguous, types as the fields'.
struct NewRows {
  std::int64_t num_steps = 0;
  std::int64_t num_lanes = 0;
  const std::int64_t* lanes = nullptr;         // [num_lanes], null: all of them in order
  std::vector<const std::byte*> values;        // by field
  std::vector<const std::byte*> final_values;  // by field, of observations; empty: none are given
  const std::uint8_t* terminated = nullptr;
  const std::uint8_t* truncated = nullptr;
  const double* priorities = nullptr;  // null: as the samplers' rules say

  std::int64_t num_items() const { return num_steps * num_lanes; }
  std::int64_t lane(std::int64_t column) const { return lanes != nullptr ? lanes[column] : column; }
  bool ends(std::int64_t item) const { return (terminated[item] | truncated[item]) != 0; }
  bool any_ends() const {
    unsigned any = 0;
    for (std::int64_t item = 0; item < num_items(); ++item)
      any |= unsigned{terminated[item]} | unsigned{truncated[item]};
    return any != 0;
  }
};

class ReplayBuffer {
 public:
  // In new memory at `place`.
  ReplayBuffer(const MemoryPlace& place, const BufferOptions& options);
  // What is in memory that another process, or an earlier one, made.
  explicit ReplayBuffer(Memory memory);
  ~ReplayBuffer();
  ReplayBuffer(const ReplayBuffer&) = delete;
  ReplayBuffer& operator=(const ReplayBuffer&) = delete;

  // Saves the buffer as it is at one moment of the call, and some blobs along with it. Others go
  // on: they wait while that moment's counters, priorities and newest rows are copied, and now and
  // then while a MiB of older rows is.
  SaveReport save(Saver& saver, const std::string& path, const std::string& layout,
                  std::span<const Blob> others);
  // The same for a save of several objects; `others` are kept by the caller.
  std::unique_ptr<LiveState> live(const std::string& layout, std::span<const Blob> others);

  // New memory for a buffer that was saved.
  struct Destination {
    MemoryPlace place;
    BufferOptions options;
  };
  // What was saved. `others` says where the blobs go that were added to the save.
  static std::unique_ptr<ReplayBuffer> load(const Destination& to, const SavedFolder& saved,
                                            const BlobMemory& others);
  // The parts of a save of several.
  static std::vector<std::unique_ptr<ReplayBuffer>> load_parts(std::span<const Destination> to,
                                                               const SavedFolder& saved,
                                                               const BlobMemory& others);

  const BufferOptions& options() const { return options_; }
  Memory& memory() { return memory_; }
  std::uint64_t identity() const { return header_.identity; }
  std::int64_t size();
  std::int64_t num_drawable();
  // Of which this sampler gives some a weight.
  std::int64_t num_drawable(std::size_t sampler);
  struct Counters {
    std::int64_t num_added;        // transitions
    std::int64_t num_sampled;      // items of batches
    std::int64_t refused_updates;  // priorities of rows that were no longer there
    std::int64_t num_repairs;      // calls that died and were undone
  };
  Counters counters();
  Limiter& limiter() { return limiter_; }
  LimiterCounts limiter_counts();
  void restart_limiter();

  // Writes the handle of each row. Nothing is written where an argument is wrong, or where the
  // limiter refuses: then the result says what to wait for.
  std::optional<Wait> add(const NewRows& rows, std::uint64_t* handles);
  // Cuts open episodes: their newest transition was truncated, the rows given are what came then.
  // Where none are given, because nobody knows, the newest row itself takes this place: its step is
  // lost, the one before was truncated. Lanes without an open episode are then passed over.
  void end_episodes(std::span<const std::int64_t> lanes,
                    const std::vector<const std::byte*>& final_values);

  // NaN as the exponent: the sampler's own. The limiter may refuse, as of add().
  std::optional<Wait> sample(std::int64_t n, std::size_t sampler, double importance_exponent,
                             const BatchArrays& to);
  // The same of given transitions, which must be drawable.
  void gather(std::span<const std::uint64_t> handles, const BatchArrays& to);
  // One field of rows that are held; final observations, too.
  void gather_rows(std::span<const std::int64_t> lanes, std::span<const std::int64_t> rows,
                   std::size_t field, std::byte* to);

  // Returns how many were applied; the others' rows are no longer there, or not to be drawn.
  std::int64_t update_priorities(std::span<const std::uint64_t> handles,
                                 std::span<const double> priorities, std::size_t sampler);
  std::int64_t update_priorities(std::span<const std::uint64_t> handles,
                                 std::span<const float> priorities, std::size_t sampler);
  void priorities(std::span<const std::uint64_t> handles, std::size_t sampler, double* to);

  // All transitions that can be drawn, by lane and age, as far as there is room; returns how many
  // there are.
  std::int64_t drawable_handles(std::uint64_t* to, std::int64_t capacity);
  // The first of these that this buffer never gave out, their number where there is none.
  std::int64_t first_foreign(std::span<const std::uint64_t> handles);
  // One byte each: 0 where the row is overwritten, evicted or not drawable yet.
  void are_drawable(std::span<const std::uint64_t> handles, std::uint8_t* to);
  // Never draws these again; returns how many of them could have been drawn before.
  std::int64_t evict(std::span<const std::uint64_t> handles);

  // Where rows lie and which episodes they are of: [n] each.
  struct Places {
    std::int64_t* lanes;
    std::int64_t* rows;
    std::int64_t* begins;      // where the episode began, which may have been overwritten
    std::int64_t* first_rows;  // of the episode, among the rows that are held
    std::int64_t* last_rows;
    std::uint8_t* complete;  // whether the last row is the final observation
    // How the step before that one ended the episode. Both 0 where it cannot be drawn any more.
    std::uint8_t* terminated;
    std::uint8_t* truncated;
  };
  void places(std::span<const std::uint64_t> handles, const Places& to);

  // Episodes whose final observation is there and some of whose rows are held, by lane and age,
  // those after number after[lane] as far as there is room; returns how many there are.
  struct EndedEpisodes {
    std::int64_t* lanes;
    std::int64_t* numbers;      // in their lanes, from 1
    std::int64_t* begins;       // their first rows, which may have been overwritten
    std::int64_t* last_rows;    // their final observations
    std::int64_t* oldest_rows;  // [num_lanes], of those that are held
  };
  std::int64_t ended_episodes(std::span<const std::int64_t> after, const EndedEpisodes& to,
                              std::int64_t capacity);
  // [num_lanes], LaneState each.
  void lane_states(std::int32_t* to);

 private:
  class Guard;
  class Live;
  class Loading;

  // Slots begin, …, split − 1, whose rows may be drawn from now on, and split, …, end − 1, whose
  // may not.
  struct Change {
    std::int64_t begin;
    std::int64_t split;
    std::int64_t end;
  };

  // Slots of such changes one by one, in the order in which they came.
  class ChangedSlots {
   public:
    std::span<const std::int64_t> slots() const { return {slots_.data(), size_}; }
    // One byte each: whether its row may be drawn from now on.
    std::span<const std::uint8_t> are_new() const { return {are_new_.data(), size_}; }
    void clear() { size_ = 0; }
    void add(std::int64_t slot, bool is_new) {
      make_room(1);
      slots_[size_] = slot;
      are_new_[size_++] = is_new ? 1 : 0;
    }
    // For each of these, the slot before it as new, and then itself as not.
    void add_ends(std::span<const std::int64_t> ends) {
      make_room(2 * ends.size());
      std::int64_t* slots = slots_.data() + size_;
      for (const std::int64_t slot : ends) {
        *slots++ = slot - 1;
        *slots++ = slot;
      }
      std::uint8_t* are_new = are_new_.data() + size_;
      size_ += 2 * ends.size();
      for (std::size_t k = 0; k < 2 * ends.size(); ++k) are_new[k] = k % 2 == 0 ? 1 : 0;
    }

   private:
    void make_room(std::size_t more) {
      if (slots_.size() >= size_ + more) return;
      slots_.resize(2 * (size_ + more));
      are_new_.resize(slots_.size());
    }

    std::vector<std::int64_t> slots_;
    std::vector<std::uint8_t> are_new_;
    std::size_t size_ = 0;
  };

  // Priorities that come with new rows, a stride apart; null: as the samplers' rules say.
  struct NewPriorities {
    const double* values = nullptr;
    std::int64_t stride = 0;
  };

  ReplayBuffer(Memory&& memory, BufferOptions options);

  void initialize();
  // All that it remembers beside the rows.
  std::vector<MemoryPart> parts();
  std::vector<RowStream> streams();
  // Where a stream's rows lie, up to the end of the ring at most.
  std::span<std::byte> rows_of(std::uint64_t stream, std::int64_t first, std::int64_t last);
  void check_streams(std::span<const RowStream> saved);
  void check_lanes(std::span<const RowStream> saved);

  void check_rows(const NewRows& rows);
  void check_lanes(const char* function, const std::int64_t* lanes, std::int64_t count);
  [[noreturn]] void fail_empty(const char* function, const Sampler& from) const;
  NewRows steps_of(const NewRows& rows, std::int64_t step, std::int64_t count) const;
  // So few steps that no row overwrites another one of them.
  void add_part(const NewRows& rows, std::uint64_t* handles);
  // Of one step, in all lanes; of all steps, in one.
  void add_step(const NewRows& rows, std::uint64_t* handles);
  bool is_inside_episode(std::int64_t lane) const;
  void add_to_lane(const NewRows& rows, std::int64_t column, std::uint64_t* handles);
  // Rows step, …, step + count − 1 of a column, of which only the last may end its episode.
  void append(const NewRows& rows, std::int64_t column, std::int64_t step, std::int64_t count,
              std::uint64_t* handles);
  void append_final(std::int64_t lane, const std::vector<const std::byte*>& values,
                    std::int64_t item);
  void cut(std::int64_t lane);
  // Makes the memory consistent after a call that died: what it was changing is as it was before,
  // but for rows that it has overwritten, and the episodes that it was adding to are cut.
  void repair();
  void undo(std::int64_t lane);
  // Moves the lane's cursor behind `count` rows that have been written.
  void publish(std::int64_t lane, std::int64_t count, LaneState next, NewPriorities priorities);
  void change(std::int64_t lane, std::int64_t first, std::int64_t end, bool drawable);
  void value(std::int64_t lane, std::int64_t first, std::int64_t end, std::int64_t first_new,
             NewPriorities priorities);
  template <typename Priority>
  std::int64_t update(std::span<const std::uint64_t> handles, std::span<const Priority> priorities,
                      std::size_t sampler);
  void set_pending(Sampler& sampler, std::int64_t lane, double priority);
  void begin_changes(bool valuing);
  void list_changes();
  void apply_changes();
  // Of a handle that this buffer once gave out.
  HandleState state_of(const char* function, std::uint64_t handle, std::size_t item,
                       const char* argument = "handles") const;
  // Slots of handles that can be drawn.
  std::span<const std::int64_t> drawable_slots(const char* function,
                                               std::span<const std::uint64_t> handles);
  bool is_pending(std::int64_t slot) const;
  // Of a row that can be drawn, else 0.
  std::uint32_t drawable_flags(std::int64_t lane, std::int64_t row) const;
  LimiterCounts counts() const {
    return {header_.num_added, header_.num_sampled, drawable_.count()};
  }

  Memory memory_;
  BufferOptions options_;
  bool has_observations_;
  std::int64_t history_;  // rows of an episode that one observation is made of
  BufferLayout layout_;
  BufferHeader& header_;
  Lanes lanes_;
  DrawableRows drawable_;
  Limiter limiter_;
  Rows rows_;
  RowWriter writer_;
  Gather gather_;
  std::vector<Sampler> samplers_;

  // Of one call, which the mutex guards.
  std::vector<std::int64_t> slots_;
  std::vector<Change> changes_;
  ChangedSlots changed_;
  bool valuing_ = false;                     // some rows have priorities of their own:
  std::vector<std::size_t> live_;            // places of handles whose rows are there
  std::vector<std::int64_t> valued_slots_;   // those that have become drawable …
  std::vector<std::vector<double>> valued_;  // … and what each sampler was told of them
};

}  // namespace fastrl
