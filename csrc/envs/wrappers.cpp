#include "envs/wrappers.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "envs/snapshot.h"

namespace fastrl {
namespace {

constexpr std::size_t rounded_up(std::size_t size) { return (size + 7) / 8 * 8; }

template <typename T>
T& at_offset(std::byte* record, std::size_t offset) {
  return *reinterpret_cast<T*>(record + offset);
}
template <typename T>
const T& at_offset(const std::byte* record, std::size_t offset) {
  return *reinterpret_cast<const T*>(record + offset);
}

}  // namespace

std::vector<std::string> step_labels(const fastrl_description& description) {
  std::vector<std::string> names(description.labels, description.labels + description.num_labels);
  if (description.reports_success != 0) names.emplace_back("success");
  if (description.is_text != 0) names.emplace_back("malformed");
  return names;
}

Wrappers::Wrappers(const fastrl_environment& table, WrapperOptions options,
                   const OptionValues& base, Description& description)
    : options_(std::move(options)), state_size_(table.state_size) {
  const std::vector<std::string> labels = step_labels(description);
  if (options_.contexts.on()) {
    contexts_.emplace(table, base, options_.contexts, description, "make_vec");
  }
  if (options_.costs.on()) costs_.emplace(options_.costs, labels);
  if (options_.machine.on()) machine_ = options_.machine.machine->over(labels, "make_vec");
  if (options_.attempts.on()) {
    const bool needs_success = options_.attempts.retries || options_.attempts.until_success;
    if (needs_success && description.reports_success == 0) {
      fail_value("make_vec", options_.attempts.retries ? "retries" : "trials",
                 "be of an environment that reports success", table.id);
    }
    attempts_.emplace(options_.attempts);
  }
  add_infos(description);
  extend_observation(description);
  lay_out(table.state_size);
}

void Wrappers::add_infos(Description& description) {
  const auto add = [&](std::int32_t& position, const char* name, const Field& field,
                       bool at_reset) {
    position = description.num_infos;
    description.add_info(name, field, at_reset);
  };
  constexpr double kInteger = 0x1p53;
  const Field index = box<std::int64_t>({}, 0.0, kInteger);
  const Field number = box<double>({}, -kInfinity, kInfinity);
  if (contexts_) add(infos_.context, "context", index, true);
  if (costs_) {
    add(infos_.cost, "cost", number, false);
    add(infos_.episode_cost, "episode_cost", number, false);
  }
  if (attempts_) {
    add(infos_.attempt, "attempt", index, true);
    add(infos_.attempt_ended, "attempt_ended", box<bool>({}, 0.0, 1.0), false);
  }
  if (machine_) {
    add(infos_.labels, "labels", index, false);
    add(infos_.machine_state, "machine_state", index, true);
    if (machine_->num_clocks() > 0) {
      add(infos_.machine_clocks, "machine_clocks",
          box<std::int32_t>({machine_->num_clocks()}, 0.0, kInfinity), true);
    }
    add(infos_.discount, "discount", number, false);
  }
}

void Wrappers::extend_observation(Description& description) {
  const bool context = contexts_ && options_.contexts.observed;
  const bool state = machine_ && options_.machine.observed;
  if (!context && !state) return;
  Field& field = description.observations[0];
  const bool fits = description.structure == FASTRL_SINGLE && field.space == FASTRL_BOX &&
                    field.ndim == 1 &&
                    (field.dtype == FASTRL_FLOAT32 || field.dtype == FASTRL_FLOAT64);
  if (!fits) {
    fail_value("make_vec", context ? "context_observed" : "machine_observed",
               "be False where an observation is not one row of floating-point numbers", "True");
  }
  observed_dtype_ = field.dtype;
  inner_row_size_ = field.shape[0] * (field.dtype == FASTRL_FLOAT32 ? 4 : 8);
  // Bounds of its own for each number, or if these are too many, one pair that holds all.
  std::vector<double> low(field.low, field.low + field.num_bounds);
  std::vector<double> high(field.high, field.high + field.num_bounds);
  low.resize(static_cast<std::size_t>(field.shape[0]), field.low[0]);
  high.resize(static_cast<std::size_t>(field.shape[0]), field.high[0]);
  if (state) {
    low.insert(low.end(), static_cast<std::size_t>(machine_->num_states()), 0.0);
    high.insert(high.end(), static_cast<std::size_t>(machine_->num_states()), 1.0);
  }
  if (context) {
    // Contexts may be set anew.
    low.insert(low.end(), static_cast<std::size_t>(contexts_->num_observed()), -kInfinity);
    high.insert(high.end(), static_cast<std::size_t>(contexts_->num_observed()), kInfinity);
  }
  field.shape[0] = static_cast<std::int64_t>(low.size());
  if (low.size() > FASTRL_MAX_BOUNDS) {
    low = {*std::ranges::min_element(low)};
    high = {*std::ranges::max_element(high)};
  }
  field.num_bounds = static_cast<std::int32_t>(low.size());
  std::ranges::copy(low, field.low);
  std::ranges::copy(high, field.high);
}

void Wrappers::lay_out(std::size_t state_size) {
  std::size_t size = contexts_ ? sizeof(std::int64_t) : 0;
  cost_at_ = size;
  if (costs_) size += sizeof(double);
  machine_at_ = size;
  if (machine_) {
    const auto numbers = 1 + static_cast<std::size_t>(machine_->num_clocks());
    size += rounded_up(numbers * sizeof(std::int32_t));
  }
  attempt_at_ = size;
  if (attempts_) size += attempts_->record_size();
  first_state_at_ = size;
  if (attempts_) size += rounded_up(state_size);
  record_size_ = size;
}

void Wrappers::set_contexts(Contexts contexts) { contexts_.emplace(std::move(contexts)); }

std::int64_t Wrappers::context(const std::byte* record) const {
  return at_offset<std::int64_t>(record, 0);
}
void Wrappers::set_context(std::byte* record, std::int64_t context) const {
  at_offset<std::int64_t>(record, 0) = context;
}
double& Wrappers::episode_cost(std::byte* record) const {
  return at_offset<double>(record, cost_at_);
}
double Wrappers::episode_cost(const std::byte* record) const {
  return at_offset<double>(record, cost_at_);
}
std::int32_t* Wrappers::machine_record(std::byte* record) const {
  return &at_offset<std::int32_t>(record, machine_at_);
}
const std::int32_t* Wrappers::machine_record(const std::byte* record) const {
  return &at_offset<std::int32_t>(record, machine_at_);
}
Attempts::Record& Wrappers::attempt(std::byte* record) const {
  return at_offset<Attempts::Record>(record, attempt_at_);
}
const Attempts::Record& Wrappers::attempt(const std::byte* record) const {
  return at_offset<Attempts::Record>(record, attempt_at_);
}

void Wrappers::begin_machine(std::byte* record) const {
  if (machine_) std::fill_n(machine_record(record), 1 + machine_->num_clocks(), 0);
}

void Wrappers::begin(std::byte* record, const std::byte* state) const {
  if (costs_) episode_cost(record) = 0.0;
  begin_machine(record);
  if (!attempts_) return;
  attempts_->begin(attempt(record));
  std::memcpy(first_state(record), state, state_size_);
}

bool Wrappers::valid(const std::byte* record) const {
  if (contexts_ && (context(record) < 0 || context(record) >= contexts_->count())) return false;
  if (costs_ && !std::isfinite(episode_cost(record))) return false;
  if (machine_) {
    const std::int32_t* numbers = machine_record(record);
    if (numbers[0] < 0 || numbers[0] >= machine_->num_states()) return false;
    for (std::int32_t c = 0; c < machine_->num_clocks(); ++c) {
      if (numbers[1 + c] < 0 || numbers[1 + c] > machine_->cap(c)) return false;
    }
  }
  return !attempts_ || attempts_->valid(attempt(record));
}

void Wrappers::append(const std::byte* record, char* row) const {
  row += inner_row_size_;
  const auto put = [&](double value) {
    if (observed_dtype_ == FASTRL_FLOAT32) {
      const auto number = static_cast<float>(value);
      std::memcpy(row, &number, sizeof(number));
      row += sizeof(number);
    } else {
      std::memcpy(row, &value, sizeof(value));
      row += sizeof(value);
    }
  };
  if (machine_ && options_.machine.observed) {
    const std::int32_t state = machine_record(record)[0];
    for (std::int32_t u = 0; u < machine_->num_states(); ++u) put(u == state ? 1.0 : 0.0);
  }
  if (contexts_) {
    const double* values = contexts_->values(context(record));
    std::for_each_n(values, contexts_->num_observed(), put);
  }
}

std::string Wrappers::canonical() const {
  std::string line;
  const auto add = [&](const auto&... parts) {
    line += concat(line.empty() ? "" : ", ", parts...);
  };
  if (contexts_) add("contexts=", contexts_->count(), ":", contexts_->hash());
  if (costs_) {
    std::string weights;
    for (const auto& [name, weight] : options_.costs.weights) {
      weights += concat(weights.empty() ? "" : " ", name, ":", weight);
    }
    add("costs=", weights);
  }
  if (attempts_) {
    const AttemptOptions& o = attempts_->options();
    if (o.retries) add("retries=", o.max_attempts);
    if (!o.retries) add("trials=", o.max_attempts);
  }
  if (machine_) add("reward_machine=", machine_->num_states(), ":", machine_->hash());
  return line;
}

}  // namespace fastrl
