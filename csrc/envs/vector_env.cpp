#include "envs/vector_env.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

#include "core/check.h"
#include "envs/foreign.h"

namespace fastrl {
namespace {

// So many fixed levels are made once and kept; more are made anew at each reset.
constexpr std::int64_t kMaxKeptLevels = 4096;
// A chunk is a few µs of work. Multiples of any number of lanes.
constexpr std::int64_t kLaneGrain = 1024;
constexpr std::int64_t kGrain = 256;
constexpr std::int64_t kTextGrain = 64;

constexpr double kMaxBytes = 0x1p62;  // sizes of more would not fit into their type

// Becomes MemoryError in Python.
class OutOfMemory : public std::bad_alloc {
 public:
  OutOfMemory(std::int64_t num_envs, double bytes)
      : message_(concat("make_vec: `num_envs` must leave room in memory, got ", num_envs,
                        ", which take ", bytes, " bytes")) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

}  // namespace

std::int64_t size_of(std::int32_t dtype) {
  switch (dtype) {
    case FASTRL_BOOL:
    case FASTRL_INT8:
    case FASTRL_UINT8:
      return 1;
    case FASTRL_INT32:
    case FASTRL_FLOAT32:
      return 4;
    case FASTRL_INT64:
    case FASTRL_FLOAT64:
      return 8;
    default:
      fail_value("make_vec", "id", "be an environment with known dtypes", concat(dtype));
  }
}

std::int64_t row_size(const Field& field) {
  std::int64_t size = size_of(field.dtype);
  for (std::int32_t i = 0; i < field.ndim; ++i) size *= field.shape[i];
  return size;
}

VectorEnv::VectorEnv(const fastrl_environment& table, const char* precision, VectorOptions options,
                     std::map<std::string, OptionValue> environment_options,
                     std::shared_ptr<const void> owner)
    : table_((check_table(table), table)),
      owner_(std::move(owner)),
      options_(std::move(options)),
      params_(nullptr, ParamsDeleter{table.destroy}) {
  base_options_ = environment_options;
  GivenOptions reader(table.id, std::move(environment_options));
  params_.reset(created(table_, reader, "make_vec"));
  reader.finish();
  static_cast<fastrl_description&>(description_) = described(table_, params_.get(), "make_vec");
  check_description(table_, description_);
  if (options_.max_episode_steps == 0) options_.max_episode_steps = description_.max_episode_steps;
  if (options_.wrappers.any()) {
    wrappers_ = std::make_unique<Wrappers>(table_, options_.wrappers, base_options_, description_);
  }
  for (std::int32_t i = 0; i < description_.num_observations; ++i) {
    observation_sizes_[at(i)] = row_size(description_.observations[i]);
  }
  for (std::int32_t i = 0; i < description_.num_infos; ++i) {
    info_sizes_[at(i)] = row_size(description_.infos[i]);
  }
  const Field& action = description_.action;
  action_size_ = row_size(action);
  action_columns_ = action_size_ / size_of(action.dtype);
  if (action.space != FASTRL_BOX) {
    const bool may_be_malformed = description_.is_text != 0 && action_columns_ == 1;
    lowest_action_ = may_be_malformed ? kMalformedAction : static_cast<std::int64_t>(action.low[0]);
    action_range_ =
        static_cast<std::uint64_t>(static_cast<std::int64_t>(action.high[0]) - lowest_action_);
  }
  grain_ = table_.lanes > 1 ? kLaneGrain : description_.is_text != 0 ? kTextGrain : kGrain;
  name_actions();
  options_line_ = reader.canonical();
  if (*precision != '\0') {
    options_line_ =
        concat("precision=", precision, options_line_.empty() ? "" : ", ", options_line_);
  }
  make_kind();
  try {
    if (bytes_needed() > kMaxBytes) throw std::bad_alloc();
    allocate();
  } catch (const std::bad_alloc&) {
    throw OutOfMemory(num_envs(), bytes_needed());
  }
  prepare_levels();
}

void VectorEnv::name_actions() {
  if (table_.action_token == nullptr || description_.action.space != FASTRL_DISCRETE) return;
  const auto n = static_cast<std::int32_t>(description_.action.high[0]) + 1;
  for (std::int32_t action = 0; action < n; ++action) {
    CallError error;
    action_tokens_.push_back(table_.action_token(params_.get(), action, &error));
    error.check("make_vec", table_.id);
    action_names_.push_back(spelling(action_tokens_.back()));
  }
}

void VectorEnv::make_kind() {
  slot_size_ = sizeof(SlotHeader) + table_.random_size + table_.state_size;
  std::string line = options_line_;
  if (wrappers_) {
    slot_size_ += wrappers_->record_size();
    const std::string wrapped = wrappers_->canonical();
    line += concat(line.empty() || wrapped.empty() ? "" : ", ", wrapped);
  }
  const std::uint64_t layout = mix64(
      slot_size_ ^ mix64(table_.state_size ^
                         mix64(table_.random_size ^ mix64(table_.version ^ mix64(kSlotVersion)))));
  kind_ = std::make_shared<SnapshotKind>(
      SnapshotKind{.id = table_.id,
                   .version = table_.version,
                   .slot_size = static_cast<std::uint32_t>(slot_size_),
                   .layout = layout,
                   .options = std::move(line)});
}

// About, and for environments without what their steps write.
double VectorEnv::bytes_needed() const {
  constexpr double kBookkeeping = sizeof(LevelSource) + 64.0;
  const double once = static_cast<double>(slot_size_) + kBookkeeping;
  const double history = static_cast<double>(options_.history) * static_cast<double>(slot_size_);
  return static_cast<double>(num_envs()) * (once + history);
}

void VectorEnv::allocate() {
  const std::size_t n = at(num_envs());
  const auto lanes = static_cast<std::size_t>(table_.lanes);
  states_.resize((n + lanes - 1) / lanes * lanes * table_.state_size);
  randoms_.resize(n * table_.random_size);
  sources_.resize(n);
  begun_.resize(n);
  returns_.resize(n);
  elapsed_.resize(n);
  phases_.resize(n, Phase::kUnset);
  level_indices_.resize(n, -1);
  if (wrappers_) {
    records_.resize(n * wrappers_->record_size());
    moving_.resize(n);
    reward_sums_.resize(n);
  }
  num_unset_ = num_envs();
  const auto array_of = [](auto& values) {
    return History::Array{reinterpret_cast<std::byte*>(values.data()), sizeof(values[0])};
  };
  History::Array records{};
  if (wrappers_) records = {records_.data(), wrappers_->record_size()};
  history_ =
      History(table_, options_.history, num_envs(),
              {.states = {states_.data(), table_.state_size},
               .streams = {randoms_.data(), table_.random_size},
               .begun = array_of(begun_),
               .sources = array_of(sources_),
               .levels = array_of(level_indices_),
               .others = {array_of(returns_), array_of(elapsed_), array_of(phases_), records}});
  run_.resize(n);
  pending_.resize(n);
  to_reset_.reserve(n);
  leaders_.reserve(n + 1);
}

// --- Seeds and levels --------------------------------------------------------------------------

void VectorEnv::seed(std::uint64_t seed, std::span<const bool> mask) {
  for (std::int64_t i = 0; i < num_envs(); ++i) {
    if (!selected(mask, i)) continue;
    sources_[at(i)] = {seed, static_cast<std::uint64_t>(i / options_.group_size), 0};
    ++begun_[at(i)];
    table_.seed(random(i), seed, static_cast<std::uint64_t>(i));
  }
}

void VectorEnv::seed_each(std::span<const std::uint64_t> seeds, std::span<const bool> mask) {
  for (std::int64_t i = 0; i < num_envs(); ++i) {
    if (!selected(mask, i)) continue;
    const std::int64_t member = i % options_.group_size;
    sources_[at(i)] = {seeds[at(i - member)], 0, 0};
    ++begun_[at(i)];
    table_.seed(random(i), seeds[at(i)], static_cast<std::uint64_t>(member));
  }
}

void VectorEnv::prepare_levels() {
  const bool kept = options_.num_levels > 0 && options_.num_levels <= kMaxKeptLevels;
  if (!kept || num_contexts() > 0) return;
  Bytes levels(at(options_.num_levels) * table_.state_size);
  parallel(options_.num_levels, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = begin; i < end; ++i) {
      std::byte* level = levels.data() + at(i) * table_.state_size;
      CallError error;
      fixed_level(i, params_.get(), level, error);
      error.check("make_vec", table_.id);
    }
  });
  levels_ = std::move(levels);
}

const std::byte* VectorEnv::fixed_level(std::int64_t index, const void* params, std::byte* scratch,
                                        CallError& error) const {
  if (!levels_.empty()) return levels_.data() + at(index) * table_.state_size;
  Bytes stream(table_.random_size);
  table_.seed_level(stream.data(), options_.level_seed, static_cast<std::uint64_t>(index), 0);
  table_.reset(params, stream.data(), nullptr, scratch, &error);
  return scratch;
}

// The state that the next episode of environment i begins with; its context has been set.
void VectorEnv::make_state(std::int64_t i, const ResetChoices& choices, std::byte* state,
                           CallError& error) {
  const LevelSource& source = sources_[at(i)];
  const std::int64_t chosen = choices.levels != nullptr ? choices.levels[i] : -1;
  level_indices_[at(i)] = -1;
  ++begun_[at(i)];
  if (num_given_levels_ > 0) {
    const std::int64_t index = chosen >= 0 ? chosen : given_choice_.draw(source.stream());
    level_indices_[at(i)] = index;
    std::memcpy(state, given_levels_.data() + at(index) * table_.state_size, table_.state_size);
    return;
  }
  if (options_.num_levels > 0) {
    auto stream = source.stream();
    const auto n = static_cast<std::uint32_t>(options_.num_levels);
    const std::int64_t index = chosen >= 0 ? chosen : stream.below(n);
    level_indices_[at(i)] = index;
    const std::byte* level = fixed_level(index, params(i), state, error);
    if (level != state) std::memcpy(state, level, table_.state_size);
    return;
  }
  if (table_.numpy_random != 0 && options_.group_size == 1) {
    table_.reset(params(i), random(i), choices.options, state, &error);
    return;
  }
  alignas(64) std::array<std::byte, 256> stream;
  table_.seed_level(stream.data(), source.seed, source.group, source.num_resets);
  table_.reset(params(i), stream.data(), choices.options, state, &error);
}

// --- Checks ------------------------------------------------------------------------------------

void VectorEnv::throw_not_reset(const char* function, std::int64_t id) const {
  const char* why = sources_[at(id)].num_resets == 0 ? "has never been reset" : "needs a reset";
  throw std::runtime_error(concat(function, ": environment ", id, " ", why, "; call reset first"));
}

void VectorEnv::check_ids(const char* function, const char* argument,
                          std::span<const std::int64_t> ids) const {
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= num_envs()) {
      fail_index(function, argument, concat("be from 0 to ", num_envs() - 1), concat(id));
    }
  }
}

void VectorEnv::check_targets(const char* function, const char* argument,
                              std::span<const std::int64_t> ids) const {
  check_ids(function, argument, ids);
  // The common case costs one comparison each.
  if (std::ranges::adjacent_find(ids, std::greater_equal<>()) == ids.end()) return;
  std::vector<bool> seen(at(num_envs()));
  for (const std::int64_t id : ids) {
    if (seen[at(id)]) {
      fail_value(function, argument, "name each environment once", concat(id, " twice"));
    }
    seen[at(id)] = true;
  }
}

void VectorEnv::check_started(const char* function, std::span<const std::int64_t> ids) const {
  if (num_unset_ == 0) return;
  for (const std::int64_t id : ids) {
    if (phases_[at(id)] == Phase::kUnset) throw_not_reset(function, id);
  }
}

void VectorEnv::check_kind(const char* function, const Snapshot& snapshot) const {
  const SnapshotKind& given = snapshot.kind();
  if (&given == kind_.get() || given == *kind_) return;
  if (given.id != kind_->id)
    fail_value(function, "snapshot", concat("be of ", kind_->id), given.id);
  if (given.options != kind_->options) {
    fail_value(function, "snapshot", concat("have the options ", kind_->options), given.options);
  }
  fail_value(function, "snapshot",
             concat("have the layout of ", kind_->id, " version ", kind_->version),
             concat("version ", given.version, " or a layout that differs"));
}

// --- Text and goals ----------------------------------------------------------------------------

bool VectorEnv::parse_action(std::string_view text, void* row) const {
  if (table_.parse_action != nullptr) {
    std::memset(row, description_.action.space == FASTRL_DISCRETE ? -1 : 0, at(action_size_));
    CallError error;
    const bool named =
        table_.parse_action(params_.get(), text.data(), text.size(), row, &error) != 0;
    error.check("parse_actions", table_.id);
    return named;
  }
  const int action = fastrl::parse_action(text, action_names_);
  *static_cast<std::int64_t*>(row) = action;
  return action != kMalformedAction;
}

bool VectorEnv::parse_action_tokens(std::span<const std::int32_t> tokens, void* row) const {
  const auto text = spoken_text(tokens);
  return parse_action(text ? std::string_view(*text) : std::string_view(), row);
}

void VectorEnv::goal_rewards(std::int64_t n, const float* achieved, const float* desired,
                             double* rewards) const {
  const std::int64_t size = description_.goal_size;
  parallel(n, 4096, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = begin; i < end; ++i) {
      CallError error;
      rewards[i] =
          table_.goal_reward(params_.get(), achieved + i * size, desired + i * size, &error);
      error.check("compute_reward", table_.id);
    }
  });
}

}  // namespace fastrl
