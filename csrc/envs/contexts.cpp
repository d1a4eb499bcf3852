#include "envs/contexts.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "envs/foreign.h"
#include "envs/snapshot.h"

namespace fastrl {
namespace {

bool same_array(const Field& a, const Field& b) {
  return a.dtype == b.dtype && a.space == b.space && a.ndim == b.ndim &&
         std::equal(a.shape, a.shape + a.ndim, b.shape) && std::strcmp(a.name, b.name) == 0;
}

// Whether rows, labels and pictures of one are those of the other.
bool same_interface(const fastrl_description& a, const fastrl_description& b) {
  bool same = a.structure == b.structure && a.num_observations == b.num_observations &&
              a.num_infos == b.num_infos && a.num_labels == b.num_labels &&
              a.grid_height == b.grid_height && a.grid_width == b.grid_width &&
              a.render_tokens == b.render_tokens && a.goal_size == b.goal_size &&
              a.reports_success == b.reports_success &&
              a.num_reset_options == b.num_reset_options &&
              // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): zeroed, then filled in
              std::memcmp(&a.action, &b.action, sizeof(a.action)) == 0;
  for (std::int32_t f = 0; same && f < a.num_observations; ++f) {
    same = same_array(a.observations[f], b.observations[f]);
  }
  for (std::int32_t f = 0; same && f < a.num_infos; ++f) same = same_array(a.infos[f], b.infos[f]);
  for (std::int32_t l = 0; same && l < a.num_labels; ++l) {
    same = std::strcmp(a.labels[l], b.labels[l]) == 0;
  }
  return same;
}

double number_of(const OptionValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? 1.0 : 0.0;
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return static_cast<double>(*whole);
  if (const auto* number = std::get_if<double>(&value)) return *number;
  return NAN;
}

}  // namespace

Contexts::Contexts(const fastrl_environment& table, const OptionValues& base,
                   ContextOptions options, const Description& described, const char* function)
    : options_(std::move(options)) {
  std::string all;
  for (std::size_t c = 0; c < options_.contexts.size(); ++c) {
    OptionValues merged = options_.contexts[c];
    for (const auto& [name, value] : merged) {
      const double number = number_of(value);
      if (options_.observed && !std::isfinite(number)) {
        fail_value(function, "contexts", "hold numbers where they are observed",
                   concat("`", name, "`"));
      }
      values_.push_back(number);
    }
    num_values_ = static_cast<std::int64_t>(merged.size());
    merged.insert(base.begin(), base.end());
    GivenOptions reader(table.id, std::move(merged));
    params_.emplace_back(created(table, reader, function), table.destroy);
    reader.finish(function, "contexts");
    const fastrl_description made = fastrl::described(table, params_.back().get(), function);
    if (!same_interface(made, described)) {
      fail_value(function, "contexts", "leave observations, actions and infos as they are",
                 concat("context ", c, ", which changes them"));
    }
    all += concat(reader.canonical(), ";");
  }
  if (options_.selector == ContextSelector::kWeights) choice_ = WeightedChoice(options_.weights);
  hash_ = hash_bytes(all.data(), all.size());
}

std::int64_t Contexts::draw(const LevelSource& source) const {
  const auto n = static_cast<std::uint64_t>(count());
  if (options_.selector == ContextSelector::kRoundRobin) {
    return static_cast<std::int64_t>((source.group % n + source.num_resets % n) % n);
  }
  // Levels are drawn from the stream itself.
  constexpr std::uint64_t kSalt = 0x636f6e74657874;
  RandomStream stream = source.stream().forked(kSalt);
  if (options_.selector == ContextSelector::kWeights) return choice_.draw(stream);
  return stream.below(static_cast<std::uint32_t>(n));
}

}  // namespace fastrl
