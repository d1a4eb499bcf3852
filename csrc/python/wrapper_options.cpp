#include "python/wrapper_options.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

namespace fastrl::python {

ContextOptions context_options_of(const nb::dict& given) {
  return {.contexts = nb::cast<std::vector<OptionValues>>(given["contexts"]),
          .selector = static_cast<ContextSelector>(nb::cast<int>(given["selector"])),
          .weights = nb::cast<std::vector<double>>(given["weights"]),
          .observed = nb::cast<bool>(given["observed"])};
}

WrapperOptions wrapper_options_of(const nb::dict& given) {
  WrapperOptions options;
  options.action_repeat = nb::cast<std::int64_t>(given["action_repeat"]);
  if (given.contains("contexts")) {
    options.contexts = context_options_of(nb::cast<nb::dict>(given["contexts"]));
  }
  if (given.contains("costs")) {
    const auto costs = nb::cast<nb::dict>(given["costs"]);
    options.costs = {.weights = nb::cast<std::map<std::string, double>>(costs["weights"]),
                     .limit = nb::cast<double>(costs["limit"])};
  }
  if (given.contains("attempts")) {
    const auto attempts = nb::cast<nb::dict>(given["attempts"]);
    options.attempts = {.max_attempts = nb::cast<std::int64_t>(attempts["max_attempts"]),
                        .until_success = nb::cast<bool>(attempts["until_success"]),
                        .retries = nb::cast<bool>(attempts["retries"]),
                        .decay = nb::cast<double>(attempts["decay"]),
                        .repeat_penalty = nb::cast<double>(attempts["repeat_penalty"])};
  }
  if (given.contains("machine")) {
    const auto machine = nb::cast<nb::dict>(given["machine"]);
    options.machine = {.machine = std::make_shared<const RewardMachine>(
                           nb::cast<const RewardMachine&>(machine["machine"])),
                       .adds = nb::cast<bool>(machine["adds"]),
                       .observed = nb::cast<bool>(machine["observed"])};
  }
  return options;
}

}  // namespace fastrl::python
