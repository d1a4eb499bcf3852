// A buffer as bytes: a header that says what everything is, then the parts one after another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "replay/fields.h"
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

  std::int64_t capacity() const { return num_lanes * rows_per_lane; }
  // Rows of an episode that one observation is made of.
  std::int64_t history() const;
  // Whether a row has a next observation; without, it stands alone and ends nothing.
  bool has_observations() const;
};

struct BufferHeader {
  static constexpr char kMagic[8] = {'F', 'A', 'S', 'T', 'R', 'L', 'R', 'B'};
  static constexpr std::uint32_t kVersion = 2;

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

  alignas(64) ProcessMutex mutex;
  // Set while somebody changes what the mutex guards: found set by the next holder, the last died.
  std::uint32_t is_changing;

  // From here to the end: what is counted, which saves keep.
  alignas(64) std::int64_t num_added;  // transitions, ever
  std::int64_t num_sampled;            // items, ever
  std::int64_t refused_updates;        // priorities of rows that were no longer there
  std::int64_t num_pending;            // priorities that wait for their row to become drawable
};

// Where the parts begin, from the start of the memory.
struct BufferLayout {
  explicit BufferLayout(const BufferOptions& options);

  std::size_t fields;
  std::size_t sampler_options;
  std::size_t lanes;
  std::size_t drawable;
  std::vector<std::size_t> samplers;
  std::size_t rows;
  std::size_t total;
};

// Writes the header, fields and options to new memory; reads them from used memory, of which it
// checks whether it is a buffer's. `where` is named by the error.
void write_header(std::byte* memory, const BufferOptions& options);
// The last step: from here on the memory is a buffer.
void mark_complete(std::byte* memory);
BufferOptions read_header(const std::byte* memory, std::size_t size, const char* where);

}  // namespace fastrl
