#include "replay/replay_buffer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "replay/replay_buffer_guard.h"

namespace fastrl {
namespace {

// Of a buffer that is there; the first to open it makes it ready for all.
BufferOptions options_in(Memory& memory) {
  const char* where = memory.place().name.c_str();
  BufferOptions options = read_header(memory.data(), memory.size(), where);
  auto& header = *reinterpret_cast<BufferHeader*>(memory.data());
  if (memory.is_alone()) {
    reopen_header(header, where);
  } else if (header.is_closed != 0) {  // by one that we waited for
    mark_open(header);
  }
  memory.write_through(sizeof(BufferHeader));
  memory.admit_others();
  return options;
}

}  // namespace

ReplayBuffer::ReplayBuffer(Memory&& memory, BufferOptions options)
    : memory_(std::move(memory)),
      options_(std::move(options)),
      has_observations_(options_.has_observations()),
      history_(options_.history()),
      layout_(options_),
      header_(*reinterpret_cast<BufferHeader*>(memory_.data())),
      lanes_(memory_.data() + layout_.lanes, options_.num_lanes, options_.rows_per_lane),
      drawable_(memory_.data() + layout_.drawable, options_.capacity()),
      limiter_(memory_.data() + layout_.limiter, options_.limiter),
      rows_(memory_.data() + layout_.rows, options_.fields, options_.capacity()),
      writer_(rows_, options_.fields),
      gather_(rows_, lanes_, options_.fields, options_.n_step, options_.gamma) {
  for (std::size_t i = 0; i < options_.samplers.size(); ++i) {
    samplers_.emplace_back(memory_.data() + layout_.samplers[i], options_.samplers[i],
                           options_.capacity(), options_.num_lanes);
  }
  valued_.resize(samplers_.size());
}

ReplayBuffer::ReplayBuffer(const MemoryPlace& place, const BufferOptions& options)
    : ReplayBuffer(Memory::create(place, BufferLayout(options).total), options) {
  initialize();
  mark_complete(memory_.data());
  memory_.admit_others();
}

void ReplayBuffer::initialize() {
  write_header(memory_.data(), options_);
  for (std::size_t i = 0; i < samplers_.size(); ++i) {
    samplers_[i].initialize(options_.seed, i);
    if (!samplers_[i].has_priorities()) continue;
    for (std::int64_t lane = 0; lane < options_.num_lanes; ++lane) {
      samplers_[i].pending(lane) = kNoPriority;
    }
  }
}

ReplayBuffer::ReplayBuffer(Memory memory) : ReplayBuffer(std::move(memory), options_in(memory)) {}

ReplayBuffer::~ReplayBuffer() {
  if (memory_.place().kind != MemoryKind::kFile || !memory_.is_last()) return;
  try {
    memory_.write_through(memory_.size());
    header_.is_closed = 1;
    memory_.write_through(sizeof(BufferHeader));
  } catch (const std::system_error&) {
    header_.is_closed = 0;  // as if it had been killed here
  }
}

std::int64_t ReplayBuffer::size() {
  const Guard guard(*this);
  return lanes_.size();
}

std::int64_t ReplayBuffer::num_drawable() {
  const Guard guard(*this);
  return drawable_.count();
}

ReplayBuffer::Counters ReplayBuffer::counters() {
  const Guard guard(*this);
  return {header_.num_added, header_.num_sampled, header_.refused_updates, header_.num_repairs};
}

LimiterCounts ReplayBuffer::limiter_counts() {
  const Guard guard(*this);
  return counts();
}

void ReplayBuffer::restart_limiter() {
  const Guard guard(*this);
  limiter_.restart(counts());
}

void ReplayBuffer::fail_empty(const char* function, const Sampler& from) const {
  const bool is_marked = from.options().kind == SamplerKind::kMarked;
  const char* why = is_marked ? "no transition is marked" : "all priorities are 0";
  if (drawable_.count() == 0) {
    why = "no transition can be drawn yet, only once the row after it has been added";
  }
  if (lanes_.size() == 0) why = "the buffer is empty";
  throw std::invalid_argument(concat(function, ": ", why));
}

std::optional<Wait> ReplayBuffer::sample(std::int64_t n, std::size_t sampler,
                                         double importance_exponent, const BatchArrays& to) {
  Guard guard(*this);
  if (limiter_.is_on() && !limiter_.may_sample(counts())) return limiter_.sampling_refused();
  Sampler& from = samplers_[sampler];
  const std::int64_t count = from.count(drawable_);
  if (count == 0) fail_empty("sample", from);
  if (from.options().scheme == DrawScheme::kWithoutReplacement && n > count) {
    fail_value("sample", "n", concat("be at most the ", count, " that can be drawn"), concat(n));
  }
  const auto size = static_cast<std::size_t>(n);
  if (slots_.size() < size) slots_.resize(size);
  if (from.is_due()) {
    guard.begin_change();
    from.anneal();
  }
  if (std::isnan(importance_exponent)) importance_exponent = from.importance_exponent();
  from.draw(n, importance_exponent, drawable_, lanes_, slots_.data(), to.probabilities,
            to.importance_weights);
  header_.num_sampled += n;
  gather_.transitions({slots_.data(), size}, to);
  if (limiter_.is_on()) limiter_.wake_adding();
  return std::nullopt;
}

HandleState ReplayBuffer::state_of(const char* function, std::uint64_t handle, std::size_t item,
                                   const char* argument) const {
  const HandleState state = lanes_.state_of(handle);
  if (state == HandleState::kForeign) {
    fail_value(function, argument, "be handles of this buffer's rows",
               concat(handle, " at ", item));
  }
  return state;
}

std::span<const std::int64_t> ReplayBuffer::drawable_slots(const char* function,
                                                           std::span<const std::uint64_t> handles) {
  slots_.resize(std::max(slots_.size(), handles.size()));
  for (std::size_t i = 0; i < handles.size(); ++i) {
    const HandleState state = state_of(function, handles[i], i);
    slots_[i] = Lanes::slot_of(handles[i]);
    if (state == HandleState::kStale || !drawable_.test(slots_[i])) {
      fail_value(function, "handles", "be of transitions that can be drawn",
                 concat(handles[i], " at ", i,
                        state == HandleState::kStale ? ", whose row has been overwritten" : ""));
    }
  }
  return {slots_.data(), handles.size()};
}

void ReplayBuffer::gather(std::span<const std::uint64_t> handles, const BatchArrays& to) {
  const Guard guard(*this);
  gather_.transitions(drawable_slots("gather", handles), to);
}

void ReplayBuffer::gather_rows(std::span<const std::int64_t> lanes,
                               std::span<const std::int64_t> rows, std::size_t field,
                               std::byte* to) {
  const Guard guard(*this);
  slots_.resize(std::max(slots_.size(), rows.size()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (lanes[i] < 0 || lanes[i] >= options_.num_lanes) {
      fail_index("gather_rows", "lanes", concat("be from 0 to ", options_.num_lanes - 1),
                 concat(lanes[i]));
    }
    if (!lanes_.holds(lanes[i], rows[i])) {
      fail_index("gather_rows", "rows",
                 concat("be from ", lanes_.oldest_row(lanes[i]), " to ",
                        lanes_.num_rows(lanes[i]) - 1, " in lane ", lanes[i]),
                 concat(rows[i]));
    }
    slots_[i] = lanes_.slot_of(lanes[i], rows[i]);
  }
  gather_.values({slots_.data(), rows.size()}, field, to);
  if (options_.fields[field].is_observation()) return;
  const auto size =
      static_cast<std::size_t>(options_.fields[field].bytes * options_.fields[field].stack);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows_.header(slots_[i]).is_final()) std::memset(to + i * size, 0, size);
  }
}

bool ReplayBuffer::is_pending(std::int64_t slot) const {
  const std::int64_t lane = lanes_.lane_of(slot);
  return has_observations_ && lanes_.lane(lane).state != LaneState::kBetween &&
         lanes_.row_of(lane, slot) == lanes_.num_rows(lane) - 1 &&
         (rows_.header(slot).flags & RowHeader::kEvicted) == 0;
}

template <typename Priority>
std::int64_t ReplayBuffer::update(std::span<const std::uint64_t> handles,
                                  std::span<const Priority> priorities, std::size_t sampler) {
  Guard guard(*this);
  Sampler& of = samplers_[sampler];
  live_.clear();
  for (std::size_t i = 0; i < handles.size(); ++i) {
    if (!is_priority(priorities[i])) fail_priority("update_priorities", priorities[i], i);
    if (state_of("update_priorities", handles[i], i) == HandleState::kLive) live_.push_back(i);
  }
  guard.begin_change();
  valued_slots_.clear();
  valued_[sampler].clear();
  std::int64_t applied = 0;
  for (const std::size_t i : live_) {
    const std::int64_t slot = Lanes::slot_of(handles[i]);
    if (drawable_.test(slot)) {
      valued_slots_.push_back(slot);
      valued_[sampler].push_back(priorities[i]);
    } else if (is_pending(slot)) {
      set_pending(of, lanes_.lane_of(slot), priorities[i]);
      ++applied;
    }
  }
  of.set_priorities(valued_slots_, valued_[sampler]);
  applied += static_cast<std::int64_t>(valued_slots_.size());
  header_.refused_updates += static_cast<std::int64_t>(handles.size()) - applied;
  return applied;
}

std::int64_t ReplayBuffer::update_priorities(std::span<const std::uint64_t> handles,
                                             std::span<const double> priorities,
                                             std::size_t sampler) {
  return update(handles, priorities, sampler);
}

std::int64_t ReplayBuffer::update_priorities(std::span<const std::uint64_t> handles,
                                             std::span<const float> priorities,
                                             std::size_t sampler) {
  return update(handles, priorities, sampler);
}

void ReplayBuffer::priorities(std::span<const std::uint64_t> handles, std::size_t sampler,
                              double* to) {
  const Guard guard(*this);
  const std::span<const std::int64_t> slots = drawable_slots("priorities", handles);
  for (std::size_t i = 0; i < slots.size(); ++i) to[i] = samplers_[sampler].priority(slots[i]);
}

std::int64_t ReplayBuffer::drawable_handles(std::uint64_t* to, std::int64_t capacity) {
  const Guard guard(*this);
  std::int64_t found = 0;
  for (std::int64_t lane = 0; lane < options_.num_lanes; ++lane) {
    for (std::int64_t row = lanes_.oldest_row(lane); row < lanes_.num_rows(lane); ++row) {
      const std::int64_t slot = lanes_.slot_of(lane, row);
      if (!drawable_.test(slot)) continue;
      if (found < capacity) to[found] = lanes_.handle_of(lane, slot);
      ++found;
    }
  }
  return found;
}

std::int64_t ReplayBuffer::evict(std::span<const std::uint64_t> handles) {
  Guard guard(*this);
  for (std::size_t i = 0; i < handles.size(); ++i) state_of("evict", handles[i], i, "which");
  guard.begin_change();
  std::int64_t evicted = 0;
  valued_slots_.clear();
  for (const std::uint64_t handle : handles) {
    const std::int64_t slot = Lanes::slot_of(handle);
    if (lanes_.state_of(handle) != HandleState::kLive) continue;
    if (drawable_.test(slot)) {
      drawable_.clear(slot, slot + 1);
      valued_slots_.push_back(slot);
    } else if (is_pending(slot)) {
      rows_.header(slot).flags |= RowHeader::kEvicted;
    } else {
      continue;
    }
    ++evicted;
  }
  for (Sampler& sampler : samplers_) sampler.remove(valued_slots_);
  if (limiter_.is_on()) limiter_.wake_adding();
  return evicted;
}

std::uint32_t ReplayBuffer::drawable_flags(std::int64_t lane, std::int64_t row) const {
  if (!lanes_.holds(lane, row)) return 0;
  const std::int64_t slot = lanes_.slot_of(lane, row);
  return drawable_.test(slot) ? rows_.header(slot).flags : 0;
}

void ReplayBuffer::places(std::span<const std::uint64_t> handles, const Places& to) {
  const Guard guard(*this);
  for (std::size_t i = 0; i < handles.size(); ++i) {
    if (state_of("places", handles[i], i) == HandleState::kStale) {
      fail_value("places", "handles", "be of rows that are still there",
                 concat(handles[i], " at ", i));
    }
    const std::int64_t slot = Lanes::slot_of(handles[i]);
    const std::int64_t lane = lanes_.lane_of(slot);
    const Episode episode = lanes_.episode_of(lane, rows_.header(slot).episode);
    to.lanes[i] = lane;
    to.rows[i] = lanes_.row_of(lane, slot);
    to.begins[i] = episode.begin;
    to.first_rows[i] = episode.first;
    to.last_rows[i] = episode.last;
    to.complete[i] = episode.complete ? 1 : 0;
    const std::uint32_t flags = episode.complete ? drawable_flags(lane, episode.last - 1) : 0;
    to.terminated[i] = (flags & RowHeader::kTerminated) != 0 ? 1 : 0;
    to.truncated[i] = (flags & RowHeader::kTruncated) != 0 ? 1 : 0;
  }
}

}  // namespace fastrl
