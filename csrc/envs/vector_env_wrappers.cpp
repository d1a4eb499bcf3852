// Where the engine calls its wrappers: around a step, at the end of an episode, at its beginning.
//
// Order     actions are repeated innermost, so costs and reward machines see every environment step
//           and attempts count the agent's. A machine's end is the environment's; an attempt ends
//           as an episode would; costs go on from attempt to attempt and their limit ends it all.
#include <algorithm>
#include <array>
#include <cstring>

#include "envs/step_plan.h"
#include "envs/vector_env.h"

namespace fastrl {
namespace {

// Where an info goes, or nullptr if nobody wants it.
template <typename T>
T* cell(const Outputs& out, std::int32_t info, std::int64_t k) {
  if (info < 0 || out.infos.base[info] == nullptr) return nullptr;
  return reinterpret_cast<T*>(out.infos.base[info] + k * out.infos.stride[info]);
}

template <typename T>
void put(const Outputs& out, std::int32_t info, std::int64_t k, T value) {
  if (T* to = cell<T>(out, info, k)) *to = value;
}

// Room for a chunk's rows; kept, so that steps do not allocate.
std::byte* chunk_rows(std::int64_t size) {
  thread_local std::vector<std::byte> rows;
  if (rows.size() < static_cast<std::size_t>(size)) rows.resize(static_cast<std::size_t>(size));
  return rows.data();
}

// Blocks of lanes are cut by context; wider ones are stepped one environment at a time.
constexpr std::int64_t kMaxLanes = 64;

}  // namespace

// Calls call(params, begin, end, run) for stretches of places with one context.
template <typename Call>
void VectorEnv::each_context(const std::int64_t* ids, const std::uint8_t* run, std::int64_t begin,
                             std::int64_t end, Call&& call) const {
  if (num_contexts() == 0) return call(params_.get(), begin, end, run);
  const Contexts& contexts = *wrappers_->contexts();
  const auto of = [&](std::int64_t k) { return context(ids != nullptr ? ids[k] : k); };
  const std::int64_t lanes = table_.lanes <= kMaxLanes ? table_.lanes : 1;
  const auto uniform = [&](std::int64_t first, std::int64_t last, std::int64_t wanted) {
    for (auto k = first; k < last; ++k) {
      if (of(k) != wanted) return false;
    }
    return true;
  };
  for (auto first = begin; first < end;) {
    auto last = std::min(first + lanes, end);
    const std::int64_t wanted = of(first);
    if (uniform(first, last, wanted)) {
      for (auto next = std::min(last + lanes, end); last < end && uniform(last, next, wanted);
           next = std::min(last + lanes, end)) {
        last = next;
      }
      call(contexts.params(wanted), first, last, run);
      first = last;
      continue;
    }
    std::array<std::uint8_t, kMaxLanes> only;
    for (auto k = first; k < last; ++k) {
      const std::int64_t here = of(k);
      bool seen = false;
      for (auto j = first; j < k; ++j) seen |= of(j) == here;
      if (seen) continue;
      only.fill(0);
      for (auto j = k; j < last; ++j) {
        only[at(j - first)] = run[j] != 0 && of(j) == here;
      }
      call(contexts.params(here), first, last, only.data() - first);
    }
    first = last;
  }
}

// table.observe with every wrapper's part. `rows.run` says where.
void VectorEnv::show(const fastrl_step& given, std::int64_t begin, std::int64_t end, bool at_reset,
                     Faults& faults) const {
  const auto observe = [&](const void* params, const fastrl_step& rows, std::int64_t from,
                           std::int64_t to) {
    each_sound(rows, from, to, faults, [&](std::int64_t first) {
      table_.observe(params, states_.data(), first, to, at_reset ? 1 : 0, &rows);
    });
  };
  if (!wrappers_) return observe(params_.get(), given, begin, end);
  fastrl_step rows = given;
  const fastrl_rows outer = rows.observations;
  const std::uint8_t* shown = rows.run;
  narrow(rows, begin, end);
  each_context(
      rows.ids, shown, begin, end,
      [&](const void* params, std::int64_t first, std::int64_t last, const std::uint8_t* run) {
        rows.run = run;
        observe(params, rows, first, last);
      });
  widen(rows, outer, shown, begin, end);
}

// The same in a step or a reset, where who fails is left out from then on.
void VectorEnv::show(const StepPlan& plan, const std::uint8_t* run, std::int64_t begin,
                     std::int64_t end, bool at_reset) {
  CallError error;
  Faults faults;
  show(io(plan.ids, run, plan.out, error), begin, end, at_reset, faults);
  if (!faults.empty()) retire(plan, faults);
}

// Where numbers are appended to observations, the environment writes elsewhere first: its rows are
// narrower, and SIMD forms take them to lie side by side.
void VectorEnv::narrow(fastrl_step& rows, std::int64_t begin, std::int64_t end) const {
  const std::int64_t size = wrappers_->inner_row_size();
  if (size == 0) return;
  auto* first = reinterpret_cast<char*>(chunk_rows((end - begin) * size));
  rows.observations.base[0] = first - begin * size;
  rows.observations.stride[0] = size;
}

void VectorEnv::widen(const fastrl_step& rows, const fastrl_rows& outer, const std::uint8_t* shown,
                      std::int64_t begin, std::int64_t end) const {
  const std::int64_t size = wrappers_->inner_row_size();
  if (size == 0) return;
  for (auto k = begin; k < end; ++k) {
    if (shown[k] == 0) continue;
    char* row = outer.base[0] + k * outer.stride[0];
    std::memcpy(row, rows.observations.base[0] + k * size, at(size));
    wrappers_->append(record(rows.ids != nullptr ? rows.ids[k] : k), row);
  }
}

// --- A step ------------------------------------------------------------------------------------

// What is true after environment step and action, bit by bit of step_labels.
std::uint64_t VectorEnv::step_labels_of(const StepPlan& plan, std::int64_t k,
                                        CallError& error) const {
  const std::int64_t i = plan.id(k);
  std::uint64_t labels = 0;
  if (table_.labels != nullptr) {
    alignas(64) std::array<std::byte, 1024> unpacked;
    const std::byte* state = states_.data() + at(i) * table_.state_size;
    if (table_.lanes > 1) {
      get_state(i, unpacked.data());
      state = unpacked.data();
    }
    labels = table_.labels(params(i), state, &error);
  }
  std::int32_t bit = description_.num_labels;
  if (plan.out.success != nullptr) {
    labels |= std::uint64_t{plan.out.success[k] != 0} << bit++;
  }
  if (description_.is_text != 0 && description_.action.ndim == 0) {
    std::int64_t action;
    std::memcpy(&action, plan.actions + k * action_size_, sizeof(action));
    labels |= std::uint64_t{action == kMalformedAction} << bit;
  }
  return labels;
}

// Counts costs and moves the machine. Returns whether the costs end the episode.
bool VectorEnv::judge(const StepPlan& plan, std::int64_t k) {
  const Outputs& out = plan.out;
  const Wrappers::Infos& infos = wrappers_->infos();
  CallError error;
  const std::uint64_t labels = step_labels_of(plan, k, error);
  if (error.failed()) {
    retire(plan, {{k, plan.id(k), text_of(error)}});
    return false;
  }
  std::byte* bytes = record(plan.id(k));
  if (const auto& machine = wrappers_->machine()) {
    std::int32_t* numbers = wrappers_->machine_record(bytes);
    const auto result = machine->step(numbers[0], numbers + 1, labels);
    numbers[0] = result.next;
    const bool adds = wrappers_->options().machine.adds;
    out.rewards[k] = adds ? out.rewards[k] + result.reward : result.reward;
    if (result.terminated) out.terminated[k] = 1;
    put(out, infos.labels, k, static_cast<std::int64_t>(labels));
    if (auto* discount = cell<double>(out, infos.discount, k)) *discount *= result.discount;
  }
  const auto& costs = wrappers_->costs();
  if (!costs) return false;
  const double cost = costs->of(labels);
  double& sum = wrappers_->episode_cost(bytes);
  sum += cost;
  if (auto* step_cost = cell<double>(out, infos.cost, k)) *step_cost += cost;
  return costs->exceeds(sum);
}

void VectorEnv::step_wrapped(const StepPlan& plan, fastrl_step step, std::int64_t begin,
                             std::int64_t end) {
  const Outputs& out = plan.out;
  const Wrappers::Infos& infos = wrappers_->infos();
  const std::int64_t repeats = wrappers_->options().action_repeat;
  for (auto k = begin; k < end; ++k) {
    moving_[at(k)] = run_[at(k)];
    reward_sums_[at(k)] = 0.0;
    if (run_[at(k)] == 0) continue;
    put(out, infos.cost, k, 0.0);
    put(out, infos.discount, k, 1.0);
    if (const auto& attempts = wrappers_->attempts()) {
      attempts->act(wrappers_->attempt(record(plan.id(k))), plan.actions + k * action_size_,
                    at(action_size_));
    }
  }
  narrow(step, begin, end);
  bool any_moving = true;
  for (std::int64_t n = 0; n < repeats && any_moving; ++n) {
    each_context(
        plan.ids, moving_.data(), begin, end,
        [&](const void* params, std::int64_t first, std::int64_t last, const std::uint8_t* run) {
          step.run = run;
          call_step(plan, params, step, first, last);
        });
    any_moving = false;
    for (auto k = begin; k < end; ++k) {
      if (moving_[at(k)] == 0) continue;
      const bool over = wrappers_->reads_labels() && judge(plan, k);
      if (run_[at(k)] == 0) continue;  // its labels failed
      reward_sums_[at(k)] += out.rewards[k];
      moving_[at(k)] = !over && out.terminated[k] == 0;
      any_moving |= moving_[at(k)] != 0;
    }
  }
  if (repeats > 1) {
    for (auto k = begin; k < end; ++k) {
      if (run_[at(k)] != 0) out.rewards[k] = reward_sums_[at(k)];
    }
  }
  widen(step, out.observations, run_.data(), begin, end);
}

// --- Ends and beginnings -----------------------------------------------------------------------

// Cuts episodes by their costs, begins next attempts, writes infos. Returns whether any episode has
// been cut.
bool VectorEnv::end_wrapped(const StepPlan& plan, std::int64_t begin, std::int64_t end) {
  const Outputs& out = plan.out;
  bool any_cut = false;
  bool any_again = false;
  for (auto k = begin; k < end; ++k) {
    moving_[at(k)] = 0;
    if (run_[at(k)] == 0) continue;
    const std::int64_t i = plan.id(k);
    if (!wrappers_) {
      inform(out, k, i);
      continue;
    }
    const bool over =
        wrappers_->costs() && wrappers_->costs()->exceeds(wrappers_->episode_cost(record(i)));
    if (over) {
      out.truncated[k] = 1;
      phases_[at(i)] = Phase::kEnded;
      any_cut = true;
    }
    std::int64_t attempt = 0;
    bool ended = false;
    if (wrappers_->attempts()) {
      attempt = wrappers_->attempt(record(i)).attempt;
      ended = (out.terminated[k] | out.truncated[k]) != 0;
      moving_[at(k)] = end_attempt(plan, k, ended, over);
      any_again |= moving_[at(k)] != 0;
    }
    inform(out, k, i);
    put(out, wrappers_->infos().attempt, k, attempt);
    put(out, wrappers_->infos().attempt_ended, k, ended);
  }
  if (any_again) show(plan, moving_.data(), begin, end, false);
  return any_cut;
}

// Returns whether the level begins anew.
bool VectorEnv::end_attempt(const StepPlan& plan, std::int64_t k, bool ended, bool over) {
  const Outputs& out = plan.out;
  const std::int64_t i = plan.id(k);
  const Attempts& attempts = *wrappers_->attempts();
  Attempts::Outcome outcome;
  if (ended) {
    const bool success = out.success != nullptr && out.success[k] != 0;
    outcome = attempts.end(wrappers_->attempt(record(i)), success, over);
  }
  if (attempts.options().retries) {
    out.rewards[k] = outcome.reward;
    returns_[at(i)] = outcome.reward;
  }
  if (!outcome.again) return false;
  keep_final(out, k);
  out.terminated[k] = 0;
  out.truncated[k] = 0;
  phases_[at(i)] = Phase::kRunning;
  elapsed_[at(i)] = 0;
  put_state(i, wrappers_->first_state(record(i)));
  wrappers_->begin_machine(record(i));
  return true;
}

void VectorEnv::begin_record(std::int64_t i) {
  alignas(64) std::array<std::byte, 1024> unpacked;
  const std::byte* state = states_.data() + at(i) * table_.state_size;
  if (table_.lanes > 1) {
    get_state(i, unpacked.data());
    state = unpacked.data();
  }
  wrappers_->begin(record(i), state);
}

// The infos that say where an environment stands.
void VectorEnv::inform(const Outputs& out, std::int64_t k, std::int64_t i) const {
  put(out, level_info_, k, level_indices_[at(i)]);
  if (!wrappers_) return;
  const Wrappers::Infos& infos = wrappers_->infos();
  const std::byte* bytes = record(i);
  if (num_contexts() > 0) put(out, infos.context, k, context(i));
  if (wrappers_->costs()) put(out, infos.episode_cost, k, wrappers_->episode_cost(bytes));
  if (wrappers_->attempts()) put(out, infos.attempt, k, wrappers_->attempt(bytes).attempt);
  if (const auto& machine = wrappers_->machine()) {
    const std::int32_t* numbers = wrappers_->machine_record(bytes);
    put(out, infos.machine_state, k, std::int64_t{numbers[0]});
    if (auto* clocks = cell<std::int32_t>(out, infos.machine_clocks, k)) {
      std::copy_n(numbers + 1, machine->num_clocks(), clocks);
    }
  }
}

}  // namespace fastrl
