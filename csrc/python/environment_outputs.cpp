// What an environment says of itself, and where its steps write.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "python/environment.h"

namespace fastrl::python {
namespace {

fastrl_rows rows_of(const std::vector<std::uintptr_t>& addresses,
                    const std::vector<std::int64_t>& strides) {
  fastrl_rows rows{};
  for (std::size_t f = 0; f < addresses.size(); ++f) {
    rows.base[f] = pointer<char>(addresses[f]);
    rows.stride[f] = strides[f];
  }
  return rows;
}

std::vector<std::int64_t> strides_of(const Field* fields, std::int32_t n) {
  std::vector<std::int64_t> strides;
  for (std::int32_t f = 0; f < n; ++f) strides.push_back(row_size(fields[f]));
  return strides;
}

}  // namespace

Outputs outputs_of(const VectorEnv& env, const nb::dict& addresses) {
  const Description& d = env.description();
  const auto one = [&](const char* name) {
    return addresses.contains(name) ? nb::cast<std::uintptr_t>(addresses[name]) : 0;
  };
  const auto many = [&](const char* name, const Field* fields, std::int32_t n) {
    if (!addresses.contains(name)) return fastrl_rows{};
    return rows_of(nb::cast<std::vector<std::uintptr_t>>(addresses[name]), strides_of(fields, n));
  };
  const auto flags = [&](const char* name) { return pointer<std::uint8_t>(one(name)); };
  return {.observations = many("observations", d.observations, d.num_observations),
          .observation_lengths = pointer<std::int32_t>(one("lengths")),
          .infos = many("infos", d.infos, d.num_infos),
          .rewards = pointer<double>(one("rewards")),
          .terminated = flags("terminated"),
          .truncated = flags("truncated"),
          .stepped = flags("stepped"),
          .informed = flags("informed"),
          .success = flags("success"),
          .action_valid = flags("action_valid"),
          .final_observations = many("final_observations", d.observations, d.num_observations),
          .final_infos = many("final_infos", d.infos, d.num_infos)};
}

void bind_description(nb::module_& m) {
  nb::class_<Field>(m, "Field")
      .def_prop_ro("name", [](const Field& self) { return std::string(self.name); })
      .def_ro("dtype", &Field::dtype)
      .def_ro("space", &Field::space)
      .def_prop_ro("shape",
                   [](const Field& self) {
                     return std::vector<std::int64_t>(self.shape, self.shape + self.ndim);
                   })
      .def_prop_ro("low",
                   [](const Field& self) {
                     return std::vector<double>(self.low, self.low + self.num_bounds);
                   })
      .def_prop_ro("high",
                   [](const Field& self) {
                     return std::vector<double>(self.high, self.high + self.num_bounds);
                   })
      .def_prop_ro("at_reset", [](const Field& self) { return self.at_reset != 0; })
      .def_prop_ro("whole_at_reset", [](const Field& self) { return self.whole_at_reset != 0; });
  const auto fields = [](const Field* first, std::int32_t n) {
    return std::vector<Field>(first, first + n);
  };
  const auto names = [](const char (*first)[FASTRL_NAME_SIZE], std::int32_t n) {
    return std::vector<std::string>(first, first + n);
  };
  nb::class_<Description>(m, "Description")
      .def_ro("structure", &Description::structure)
      .def_ro("action", &Description::action)
      .def_prop_ro("observations",
                   [fields](const Description& self) {
                     return fields(self.observations, self.num_observations);
                   })
      .def_prop_ro("infos",
                   [fields](const Description& self) { return fields(self.infos, self.num_infos); })
      .def_prop_ro("reset_options",
                   [names](const Description& self) {
                     return names(self.reset_options, self.num_reset_options);
                   })
      .def_prop_ro("labels",
                   [names](const Description& self) { return names(self.labels, self.num_labels); })
      .def_prop_ro("reports_success",
                   [](const Description& self) { return self.reports_success != 0; })
      .def_prop_ro("is_text", [](const Description& self) { return self.is_text != 0; })
      .def_ro("render_tokens", &Description::render_tokens)
      .def_ro("grid_height", &Description::grid_height)
      .def_ro("grid_width", &Description::grid_width)
      .def_ro("goal_size", &Description::goal_size);
}

void bind_outputs(nb::module_& m) {
  nb::class_<OutputSet>(m, "OutputSet")
      .def(
          "__init__",
          [](OutputSet* self, const Environment& env, const nb::dict& addresses,
             const nb::dict& arrays, const nb::list& infos, nb::object finals) {
            new (self) OutputSet;
            self->finals = std::move(finals);
            self->generation = env.generation();
            const Description& d = env.engine().description();
            self->outputs = outputs_of(env.engine(), addresses);
            self->structure = d.structure;
            for (nb::handle array : nb::cast<nb::list>(arrays["observations"])) {
              self->observations.push_back(nb::borrow(array));
            }
            for (std::int32_t f = 0; f < d.num_observations; ++f) {
              self->keys.push_back(nb::str(d.observations[f].name));
            }
            self->rewards = arrays["rewards"];
            self->terminated = arrays["terminated"];
            self->truncated = arrays["truncated"];
            self->stepped = arrays["stepped"];
            self->informed = arrays["informed"];
            self->lengths = arrays["lengths"];
            for (nb::handle entry : infos) {
              const auto info = nb::cast<nb::tuple>(entry);
              self->infos.push_back({info[0], info[1], info[2], info[3]});
            }
            self->settle();
          },
          nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none())
      .def("observation", &OutputSet::observation)
      .def("info_dict", &OutputSet::info_dict)
      .def_prop_ro("rewards", [](const OutputSet& self) { return self.rewards; })
      .def_prop_ro("terminated", [](const OutputSet& self) { return self.terminated; })
      .def_prop_ro("truncated", [](const OutputSet& self) { return self.truncated; })
      .def_prop_ro("stepped", [](const OutputSet& self) { return self.stepped; })
      .def_prop_ro("informed", [](const OutputSet& self) { return self.informed; })
      .def_prop_ro("lengths", [](const OutputSet& self) { return self.lengths; });
  nb::class_<OutputRing>(m, "OutputRing")
      .def(nb::init<nb::callable>())
      .def("acquire",
           [](OutputRing& self) {
             self.acquire();
             return self.last();
           })
      .def_prop_ro("last", &OutputRing::last);
}

}  // namespace fastrl::python
