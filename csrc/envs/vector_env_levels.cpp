// Levels and contexts from outside: made, checked, drawn from.
#include <algorithm>
#include <array>
#include <cstring>

#include "core/check.h"
#include "envs/foreign.h"
#include "envs/vector_env.h"

namespace fastrl {

std::int64_t VectorEnv::num_levels() const {
  return num_given_levels_ > 0 ? num_given_levels_ : options_.num_levels;
}

// A level may meet any context.
void VectorEnv::check_level(const char* function, const Contexts* contexts, const std::byte* state,
                            std::int64_t index) const {
  if (table_.valid == nullptr) return;
  const Bytes packed(state, state + table_.state_size);
  const std::int64_t n = contexts != nullptr ? contexts->count() : 1;
  for (std::int64_t c = 0; c < n; ++c) {
    const void* params = contexts != nullptr ? contexts->params(c) : params_.get();
    if (is_valid(function, params, packed.data(), true)) continue;
    fail_value(function, "levels", "be running states in every context",
               concat("another at index ", index));
  }
}

void VectorEnv::set_levels(const Snapshot* levels, std::span<const double> weights) {
  if (levels == nullptr) {
    num_given_levels_ = 0;
    given_levels_.clear();
    return;
  }
  check_kind("set_levels", *levels);
  check_states("set_levels", *levels);
  Bytes states(at(levels->count()) * table_.state_size);
  for (std::int64_t l = 0; l < levels->count(); ++l) {
    const std::byte* slot = levels->slots() + at(l) * slot_size_;
    SlotHeader header;
    std::memcpy(&header, slot, sizeof(header));
    if (static_cast<Phase>(header.phase) != Phase::kRunning) {
      fail_value("set_levels", "levels", "be running states", concat("another at index ", l));
    }
    check_level("set_levels", contexts(), state_in(slot), l);
    std::memcpy(states.data() + at(l) * table_.state_size, state_in(slot), table_.state_size);
  }
  if (level_info_ < 0) {
    description_.add_info("level", box<std::int64_t>({}, -1.0, 0x1p53), true);
    level_info_ = description_.num_infos - 1;
    info_sizes_[at(level_info_)] = row_size(description_.infos[level_info_]);
    moving_.resize(at(num_envs()));
  }
  const std::vector<double> even(at(levels->count()), 1.0);
  given_choice_ = WeightedChoice(weights.empty() ? std::span<const double>(even) : weights);
  given_levels_ = std::move(states);
  num_given_levels_ = levels->count();
}

// A slot of an episode that has just begun.
void VectorEnv::begin_slot(std::byte* slot, const LevelSource& source, std::int64_t context,
                           const std::byte* state) const {
  const SlotHeader header{.source = source,
                          .episode_return = 0.0,
                          .level = -1,
                          .elapsed_steps = 0,
                          .phase = static_cast<std::uint32_t>(Phase::kRunning)};
  std::memcpy(slot, &header, sizeof(header));
  alignas(64) std::array<std::byte, 256> stream;
  table_.seed(stream.data(), source.seed, source.group);
  std::memcpy(slot + sizeof(header), stream.data(), table_.random_size);
  std::byte* to = slot + sizeof(header) + table_.random_size;
  std::memcpy(to, state, table_.state_size);
  if (!wrappers_) return;
  Bytes record(wrappers_->record_size());
  if (num_contexts() > 0) wrappers_->set_context(record.data(), context);
  wrappers_->begin(record.data(), state);
  std::ranges::copy(record, to + table_.state_size);
}

Snapshot VectorEnv::make_levels(std::int64_t n, std::uint64_t seed) const {
  Snapshot made(kind_, n);
  parallel(n, 1, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) std::array<std::byte, 256> stream;
    Bytes state(table_.state_size);
    for (auto l = begin; l < end; ++l) {
      const LevelSource source{seed, static_cast<std::uint64_t>(l), 0};
      const std::int64_t context = num_contexts() > 0 ? wrappers_->contexts()->draw(source) : 0;
      const void* params =
          num_contexts() > 0 ? wrappers_->contexts()->params(context) : params_.get();
      table_.seed_level(stream.data(), source.seed, source.group, source.num_resets);
      CallError error;
      table_.reset(params, stream.data(), nullptr, state.data(), &error);
      error.check("levels", table_.id);
      begin_slot(made.slots() + at(l) * slot_size_, source, context, state.data());
    }
  });
  return made;
}

Snapshot VectorEnv::parse_levels(std::span<const std::string> texts) const {
  Snapshot made(kind_, static_cast<std::int64_t>(texts.size()));
  if (table_.parse_level == nullptr) {
    fail_value("parse_levels", "texts", concat("be empty: ", kind_->id, " reads none"),
               concat(texts.size()));
  }
  for (std::size_t l = 0; l < texts.size(); ++l) {
    Bytes state(table_.state_size);
    CallError error;
    table_.parse_level(params_.get(), texts[l].c_str(), state.data(), &error);
    if (error.status == FASTRL_REFUSED) {
      throw std::invalid_argument(concat("parse_levels: `texts[", l, "]` must be a level of ",
                                         kind_->id, ": ", text_of(error)));
    }
    error.check("parse_levels", table_.id);
    check_level("parse_levels", nullptr, state.data(), static_cast<std::int64_t>(l));
    begin_slot(made.slots() + l * slot_size_, {0, l, 0}, 0, state.data());
  }
  return made;
}

void VectorEnv::set_contexts(ContextOptions options) {
  if (num_contexts() == 0) {
    fail_value("set_contexts", "contexts", "be given to make_vec first", "an environment without");
  }
  Description own;
  static_cast<fastrl_description&>(own) = described(table_, params_.get(), "set_contexts");
  auto made =
      std::make_unique<Contexts>(table_, base_options_, std::move(options), own, "set_contexts");
  if (made->num_observed() != wrappers_->contexts()->num_observed()) {
    fail_value(
        "set_contexts", "contexts",
        concat("have ", wrappers_->contexts()->num_observed(), " options, which are observed"),
        concat(made->num_observed()));
  }
  for (std::int64_t l = 0; l < num_given_levels_; ++l) {
    check_level("set_contexts", made.get(), given_levels_.data() + at(l) * table_.state_size, l);
  }
  wrappers_->set_contexts(std::move(*made));
  make_kind();
  std::ranges::fill(records_, std::byte{0});
  std::ranges::fill(phases_, Phase::kUnset);
  history_.forget_all();
  num_unset_ = num_envs();
}

}  // namespace fastrl
