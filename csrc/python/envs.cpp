// Vectorized environments: what makes one, and its levels.
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "core/check.h"
#include "envs/foreign.h"
#include "envs/vector_env.h"
#include "python/bind.h"
#include "python/environment.h"
#include "python/wrapper_options.h"

namespace fastrl::python {
namespace {

// The table that a capsule of another module or library holds.
const fastrl_environment& table_of(nb::handle capsule, const char* function, const char* argument) {
  const void* held = PyCapsule_GetPointer(capsule.ptr(), FASTRL_CAPSULE_NAME);
  if (held == nullptr) throw nb::python_error();
  const auto& table = *static_cast<const fastrl_environment*>(held);
  check_table(table, function, argument);
  return table;
}

// `source` is an id or a capsule.
std::unique_ptr<Environment> make(nb::handle source, bool fast, const nb::dict& numbers,
                                  const nb::dict& wrappers,
                                  std::map<std::string, OptionValue> options) {
  const auto number = [&](const char* name) { return nb::cast<std::int64_t>(numbers[name]); };
  const VectorOptions vector_options{
      .num_envs = number("num_envs"),
      .group_size = number("group_size"),
      .num_levels = number("num_levels"),
      .level_seed = nb::cast<std::uint64_t>(numbers["level_seed"]),
      .max_episode_steps = number("max_episode_steps"),
      .autoreset_mode = static_cast<AutoresetMode>(number("autoreset_mode")),
      .invalid_penalty = nb::cast<double>(numbers["invalid_penalty"]),
      .num_threads = number("num_threads"),
      .history = number("history"),
      .wrappers = wrapper_options_of(wrappers)};
  if (nb::isinstance<nb::str>(source)) {
    return std::make_unique<Environment>(
        make_vector_env(nb::cast<std::string>(source), fast, vector_options, std::move(options)),
        false);
  }
  const fastrl_environment& table = table_of(source, "make_vec", "id");
  if (fast) {
    fail_value("make_vec", "precision", concat("be 'exact' for ", table.id), "'fast'");
  }
  return std::make_unique<Environment>(
      std::make_unique<VectorEnv>(table, "", vector_options, std::move(options)), true);
}

}  // namespace

void bind_levels(nb::class_<Environment>& c) {
  c.def("set_levels", &Environment::set_levels, nb::arg("levels").none(), nb::arg("weights"))
      .def("make_levels",
           [](Environment& self, std::int64_t n, std::uint64_t seed) {
             return self.alone("levels",
                               [&](VectorEnv& engine) { return engine.make_levels(n, seed); });
           })
      .def("parse_levels",
           [](Environment& self, const std::vector<std::string>& texts) {
             return self.alone("parse_levels",
                               [&](VectorEnv& engine) { return engine.parse_levels(texts); });
           })
      .def("set_contexts",
           [](Environment& self, const nb::dict& given) {
             auto options = context_options_of(given);
             self.alone("set_contexts",
                        [&](VectorEnv& engine) { engine.set_contexts(std::move(options)); });
           })
      .def_prop_ro("num_levels", [](const Environment& self) { return self.engine().num_levels(); })
      .def_prop_ro("num_contexts",
                   [](const Environment& self) { return self.engine().num_contexts(); })
      .def_prop_ro("observes_context",
                   [](const Environment& self) {
                     return self.engine().options().wrappers.contexts.observed;
                   })
      .def_prop_ro("step_labels", [](const Environment& self) {
        return step_labels(self.engine().description());
      });
}

void bind_envs(nb::module_& m) {
  bind_description(m);
  nb::class_<Environment> c(m, "Environment");
  c.def_prop_ro("description", [](const Environment& self) { return self.engine().description(); })
      .def_prop_ro(
          "max_episode_steps",
          [](const Environment& self) { return self.engine().options().max_episode_steps; })
      .def_prop_ro("action_tokens",
                   [](const Environment& self) { return self.engine().action_tokens(); })
      .def_prop_ro("action_names",
                   [](const Environment& self) { return self.engine().action_names(); })
      .def_prop_ro("options", [](const Environment& self) { return self.engine().kind()->options; })
      .def_prop_ro("can_solve", [](const Environment& self) { return self.engine().can_solve(); })
      .def_prop_ro("slot_size", [](const Environment& self) { return self.engine().slot_size(); });
  bind_outputs(m);
  bind_calls(m);
  bind_steps(c);
  bind_time(c);
  bind_levels(c);
  bind_text(c);
  m.def("make_vector_env", &make, nb::keep_alive<0, 1>());
  m.def("environment_id", [](nb::handle capsule, const char* function, const char* argument) {
    return std::string(table_of(capsule, function, argument).id);
  });
  m.def("environment_ids", &environment_ids);
  m.def("has_fast_form", &has_fast_form);
}

}  // namespace fastrl::python
