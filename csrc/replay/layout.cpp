#include "replay/layout.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <new>
#include <stdexcept>

#include "core/check.h"

namespace fastrl {
namespace {

constexpr std::size_t kPage = 4096;

std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Names the time since the system was started.
std::string boot_id() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id.substr(0, sizeof(BufferHeader::boot) - 1);
}

std::uint64_t random_number() {
  std::uint64_t number = 0;
  if (getrandom(&number, sizeof(number), 0) != sizeof(number)) return 0;
  return number;
}

}  // namespace

std::int64_t BufferOptions::history() const {
  std::int64_t rows = 1;
  for (const Field& field : fields) rows = std::max(rows, field.stack);
  return rows;
}

bool BufferOptions::has_observations() const {
  return std::ranges::any_of(fields, &Field::is_observation);
}

BufferLayout::BufferLayout(const BufferOptions& options) {
  const std::int64_t capacity = options.capacity();
  fields = round_up(sizeof(BufferHeader), 64);
  sampler_options = fields + round_up(options.fields.size() * sizeof(Field), 64);
  lanes = sampler_options + round_up(options.samplers.size() * sizeof(SamplerOptions), 64);
  drawable = lanes + Lanes::memory_size(options.num_lanes, options.rows_per_lane);
  limiter = drawable + DrawableRows::memory_size(capacity);
  std::size_t next = limiter + Limiter::memory_size();
  for (const SamplerOptions& sampler : options.samplers) {
    next = round_up(next, 64);
    samplers.push_back(next);
    next += Sampler::memory_size(sampler, capacity, options.num_lanes);
  }
  rows = round_up(next, kPage);
  total = round_up(rows + Rows::memory_size(options.fields, capacity), kPage);
}

void write_header(std::byte* memory, const BufferOptions& options) {
  const BufferLayout layout(options);
  auto* header = new (memory) BufferHeader{};
  header->version = BufferHeader::kVersion;
  header->next_step_autoreset = options.next_step_autoreset ? 1 : 0;
  header->total_bytes = layout.total;
  header->num_lanes = options.num_lanes;
  header->rows_per_lane = options.rows_per_lane;
  header->n_step = options.n_step;
  header->gamma = options.gamma;
  header->seed = options.seed;
  header->num_fields = static_cast<std::int64_t>(options.fields.size());
  header->num_samplers = static_cast<std::int64_t>(options.samplers.size());
  header->limiter = options.limiter;
  header->identity = random_number();
  header->mutex.initialize();
  mark_open(*header);
  std::memcpy(memory + layout.fields, options.fields.data(), options.fields.size() * sizeof(Field));
  std::memcpy(memory + layout.sampler_options, options.samplers.data(),
              options.samplers.size() * sizeof(SamplerOptions));
}

void mark_complete(std::byte* memory) {
  auto* header = reinterpret_cast<BufferHeader*>(memory);
  std::memcpy(header->magic, BufferHeader::kMagic, sizeof(header->magic));
}

void mark_open(BufferHeader& header) {
  const std::string boot = boot_id();
  std::memset(header.boot, 0, sizeof(header.boot));
  std::memcpy(header.boot, boot.data(), boot.size());
  header.is_closed = 0;
}

void reopen_header(BufferHeader& header, const char* where) {
  if (header.is_closed == 0 && boot_id() != std::string(header.boot)) {
    throw std::runtime_error(
        concat(where,
               ": was in use when the system went down, so its rows may be of different "
               "times; what was saved is whole"));
  }
  header.mutex.initialize();
  mark_open(header);
}

bool has_magic(const std::byte* memory, std::size_t size) {
  return size >= sizeof(BufferHeader::kMagic) &&
         std::memcmp(memory, BufferHeader::kMagic, sizeof(BufferHeader::kMagic)) == 0;
}

BufferOptions read_header(const std::byte* memory, std::size_t size, const char* where) {
  const auto fail = [&](const std::string& what) {
    throw std::invalid_argument(concat(where, ": ", what));
  };
  const auto* header = reinterpret_cast<const BufferHeader*>(memory);
  if (size < sizeof(BufferHeader) || !has_magic(memory, size)) {
    fail("not a replay buffer, or one that was never completed");
  }
  if (header->version != BufferHeader::kVersion) {
    fail(concat("a replay buffer of version ", header->version, ", this build reads version ",
                BufferHeader::kVersion));
  }
  if (header->total_bytes != size) {
    fail(concat("a replay buffer of ", header->total_bytes, " bytes, but ", size, " are there"));
  }
  BufferOptions options;
  options.num_lanes = header->num_lanes;
  options.rows_per_lane = header->rows_per_lane;
  options.n_step = header->n_step;
  options.gamma = header->gamma;
  options.next_step_autoreset = header->next_step_autoreset != 0;
  options.seed = header->seed;
  options.limiter = header->limiter;
  const std::size_t fields = round_up(sizeof(BufferHeader), 64);
  const auto num_fields = static_cast<std::size_t>(header->num_fields);
  const auto num_samplers = static_cast<std::size_t>(header->num_samplers);
  const std::size_t samplers = fields + round_up(num_fields * sizeof(Field), 64);
  if (num_fields > size / sizeof(Field) || num_samplers > size / sizeof(SamplerOptions) ||
      samplers + num_samplers * sizeof(SamplerOptions) > size) {
    fail("a header that contradicts itself");
  }
  options.fields.resize(num_fields);
  options.samplers.resize(num_samplers);
  std::memcpy(options.fields.data(), memory + fields, num_fields * sizeof(Field));
  std::memcpy(options.samplers.data(), memory + samplers, num_samplers * sizeof(SamplerOptions));
  if (BufferLayout(options).total != size) fail("a header that contradicts itself");
  return options;
}

}  // namespace fastrl
