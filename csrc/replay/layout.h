// A buffer as bytes: a header that says what everything is, then the parts one after another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "replay/fields.h"
#include "replay/limiter.h"
#include "replay/process_mutex.h"
#include "replay/sampler.h"

namespace fastrl {

struct BufferOptions {
  std::int64_t num_lanes = 1;
  std::int64_t rows_per_lane = 0;
  std::int64_t n_step = 1;
  double gamma = 0.99;
  // Whether the row after the end of an episode is its final observation (Gymnasium's next-step
  // mode), rather than the first row of the next one.
  bool next_step_autoreset = false;
  std::uint64_t seed = 0;
  std::vector<Field> fields;
  std::vector<SamplerOptions> samplers;
  LimiterOptions limiter{};

  std::int64_t capacity() const { return num_lanes * rows_per_lane; }
  // Rows of an episode that one observation is made of.
  std::int64_t history() const;
  // Whether a row has a next observation; without, it stands alone and ends nothing.
  bool has_observations() const;
};

// What the holder of the mutex is doing. Found by the next one: it died over it.
enum class CallState : std::uint32_t { kNone, kReading, kChanging };

struct BufferHeader {
  static constexpr char kMagic[8] = {'F', 'A', 'S', 'T', 'R', 'L', 'R', 'B'};
  static constexpr std::uint32_t kVersion = 3;

  char magic[8];
  std::uint32_t version;
  std::uint32_t next_step_autoreset;
  std::uint64_t total_bytes;
  std::int64_t num_lanes;
  std::int64_t rows_per_lane;
  std::int64_t n_step;
  double gamma;
  std::uint64_t seed;
  std::int64_t num_fields;
  std::int64_t num_samplers;
  LimiterOptions limiter;
  std::uint64_t identity;  // random: another buffer of the same name has another one

  // Of a file: all of it was written to the disk when the last process closed it, else in which
  // boot of the system it was opened last.
  alignas(64) std::uint32_t is_closed;
  char boot[40];

  alignas(64) ProcessMutex mutex;
  CallState call;

  // From here to the end: what is counted, which saves keep.
  alignas(64) std::int64_t num_added;  // transitions, ever
  std::int64_t num_sampled;            // items, ever
  std::int64_t refused_updates;        // priorities of rows that were no longer there
  std::int64_t num_pending;            // priorities that wait for their row to become drawable
  std::int64_t num_repairs;            // calls that died and were undone
  // Of the call that changes the buffer: its number, and what it found.
  std::int64_t change;
  std::int64_t num_added_before;
};

// Where the parts begin, from the start of the memory.
struct BufferLayout {
  explicit BufferLayout(const BufferOptions& options);

  std::size_t fields;
  std::size_t sampler_options;
  std::size_t lanes;
  std::size_t drawable;
  std::size_t limiter;
  std::vector<std::size_t> samplers;
  std::size_t rows;
  std::size_t total;
};

// Writes the header, fields and options to new memory; reads them from used memory, of which it
// checks whether it is a buffer's. `where` is named by the error.
void write_header(std::byte* memory, const BufferOptions& options);
// The last step: from here on the memory is a buffer.
void mark_complete(std::byte* memory);
bool has_magic(const std::byte* memory, std::size_t size);
BufferOptions read_header(const std::byte* memory, std::size_t size, const char* where);

// For the first to open a buffer that nobody else has open. A file that was not closed in an
// earlier boot is refused: its rows may be of different times.
void reopen_header(BufferHeader& header, const char* where);
void mark_open(BufferHeader& header);

}  // namespace fastrl
