// Reward machines, as python/fastrl/envs/reward_machine.py has checked and compiled them.
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

#include "envs/reward_machine.h"
#include "python/bind.h"

namespace fastrl::python {
namespace {

// (state, next, reward, [(with, without)], [(clock, low, high)], resets)
using GivenTransition =
    std::tuple<std::int32_t, std::int32_t, double,
               std::vector<std::tuple<std::uint64_t, std::uint64_t>>,
               std::vector<std::tuple<std::int32_t, std::int32_t, std::int32_t>>, std::uint64_t>;

std::vector<RewardMachine::Transition> transitions_of(const std::vector<GivenTransition>& given) {
  std::vector<RewardMachine::Transition> transitions;
  for (const auto& [state, next, reward, clauses, bounds, resets] : given) {
    RewardMachine::Transition& made = transitions.emplace_back();
    made.state = state;
    made.next = next;
    made.reward = reward;
    made.resets = resets;
    for (const auto& [with, without] : clauses) made.clauses.push_back({with, without});
    for (const auto& [clock, low, high] : bounds) made.bounds.push_back({clock, low, high});
  }
  return transitions;
}

}  // namespace

void bind_reward_machines(nb::module_& m) {
  nb::class_<RewardMachine>(m, "RewardMachine")
      .def("__init__",
           [](RewardMachine* self, std::int32_t num_states, std::vector<std::string> labels,
              std::vector<std::int32_t> caps, const std::vector<GivenTransition>& transitions,
              const std::vector<std::int32_t>& terminal, const std::vector<std::int32_t>& accepting,
              double discount) {
             new (self) RewardMachine(num_states, std::move(labels), std::move(caps),
                                      transitions_of(transitions), terminal, accepting, discount);
           })
      .def("over",
           [](const RewardMachine& self, const std::vector<std::string>& names) {
             return self.over(names, "counterfactuals");
           })
      .def("counterfactuals",
           [](const RewardMachine& self, std::uintptr_t labels, std::int64_t n,
              std::uintptr_t valuations, std::int64_t num_valuations, std::int32_t elapsed,
              std::uintptr_t next_states, std::uintptr_t next_clocks, std::uintptr_t rewards,
              std::uintptr_t discounts, std::uintptr_t terminated) {
             const nb::gil_scoped_release released;
             counterfactuals(self, pointer<const std::uint64_t>(labels), n,
                             pointer<const std::int32_t>(valuations), num_valuations, elapsed,
                             pointer<std::int64_t>(next_states), pointer<std::int32_t>(next_clocks),
                             pointer<double>(rewards), pointer<double>(discounts),
                             pointer<std::uint8_t>(terminated));
           });
}

}  // namespace fastrl::python
