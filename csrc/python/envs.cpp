// Vectorized environments, snapshots and the vocabulary.
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "envs/vector_env.h"
#include "python/bind.h"

namespace fastrl::python {
namespace {

using Release = nb::call_guard<nb::gil_scoped_release>;

template <typename T>
std::span<const T> view(std::uintptr_t address, std::int64_t size) {
  if (address == 0) return {};
  return {pointer<const T>(address), static_cast<std::size_t>(size)};
}

// One set of output arrays of one batch; addresses cross once, not at each step.
struct StepBuffers {
  StepOutputs outputs;
  std::span<const std::int64_t> actions;
  std::span<const bool> active;
};

StepBuffers bind_buffers(std::int64_t num_envs, std::uintptr_t actions, std::uintptr_t active,
                         std::uintptr_t final_observations, std::uintptr_t observations,
                         std::uintptr_t observation_lengths, std::uintptr_t rewards,
                         std::uintptr_t terminated, std::uintptr_t truncated,
                         std::uintptr_t action_valid, std::uintptr_t success,
                         std::uintptr_t stepped) {
  return {.outputs = {.observations = pointer<std::int32_t>(observations),
                      .observation_lengths = pointer<std::int32_t>(observation_lengths),
                      .rewards = pointer<double>(rewards),
                      .terminated = pointer<bool>(terminated),
                      .truncated = pointer<bool>(truncated),
                      .action_valid = pointer<bool>(action_valid),
                      .success = pointer<bool>(success),
                      .stepped = pointer<bool>(stepped),
                      .final_observations = pointer<std::int32_t>(final_observations)},
          .actions = view<std::int64_t>(actions, num_envs),
          .active = view<bool>(active, num_envs)};
}

std::unique_ptr<VectorEnv> make(const std::string& id, std::int64_t num_envs,
                                std::int64_t group_size, std::int64_t num_levels,
                                std::uint64_t level_seed, std::int32_t max_episode_steps,
                                int autoreset_mode, double invalid_penalty,
                                std::map<std::string, OptionValue> options) {
  return make_vector_env(id,
                         {.num_envs = num_envs,
                          .group_size = group_size,
                          .num_levels = num_levels,
                          .level_seed = level_seed,
                          .max_episode_steps = max_episode_steps,
                          .autoreset_mode = static_cast<AutoresetMode>(autoreset_mode),
                          .invalid_penalty = invalid_penalty},
                         std::move(options));
}

void bind_snapshot(nb::module_& m) {
  nb::class_<Snapshot>(m, "Snapshot")
      .def("__len__", &Snapshot::count)
      .def_prop_ro("id", [](const Snapshot& self) { return self.kind().id; })
      .def_prop_ro("options", [](const Snapshot& self) { return self.kind().options; })
      .def("select", [](const Snapshot& self, std::uintptr_t indices,
                        std::int64_t n) { return self.select(view<std::int64_t>(indices, n)); })
      .def("to_bytes",
           [](const Snapshot& self) {
             const std::string bytes = self.to_bytes();
             return nb::bytes(bytes.data(), bytes.size());
           })
      .def_static(
          "from_bytes",
          [](const nb::bytes& data) {
            return Snapshot::from_bytes({static_cast<const std::byte*>(data.data()), data.size()});
          })
      .def_static("concatenate", [](const std::vector<const Snapshot*>& parts) {
        return Snapshot::concatenate(parts);
      });
}

void bind_vector_env(nb::module_& m) {
  nb::class_<StepBuffers>(m, "StepBuffers");
  m.def("bind_step_buffers", &bind_buffers);
  nb::class_<VectorEnv>(m, "VectorEnv")
      .def_prop_ro("max_observation_tokens", &VectorEnv::max_observation_tokens)
      .def_prop_ro("whole_observation_tokens", &VectorEnv::whole_observation_tokens)
      .def_prop_ro("max_episode_steps",
                   [](const VectorEnv& self) { return self.options().max_episode_steps; })
      .def_prop_ro("action_tokens", &VectorEnv::action_tokens)
      .def_prop_ro("action_names", &VectorEnv::action_names)
      .def_prop_ro("options", [](const VectorEnv& self) { return self.kind()->options; })
      .def(
          "seed",
          [](VectorEnv& self, std::uint64_t seed, std::uintptr_t mask) {
            self.seed(seed, view<bool>(mask, self.num_envs()));
          },
          Release())
      .def(
          "seed_each",
          [](VectorEnv& self, std::uintptr_t seeds, std::uintptr_t mask) {
            self.seed_each(view<std::uint64_t>(seeds, self.num_envs()),
                           view<bool>(mask, self.num_envs()));
          },
          Release())
      .def(
          "reset",
          [](VectorEnv& self, std::uintptr_t mask, std::uintptr_t observations,
             std::uintptr_t lengths) {
            self.reset(view<bool>(mask, self.num_envs()), pointer<std::int32_t>(observations),
                       pointer<std::int32_t>(lengths));
          },
          Release())
      .def(
          "step",
          [](VectorEnv& self, const StepBuffers& buffers, bool all_active) {
            return self.step(buffers.actions, all_active ? std::span<const bool>() : buffers.active,
                             buffers.outputs);
          },
          Release())
      .def(
          "observe",
          [](const VectorEnv& self, std::uintptr_t ids, std::int64_t n, bool whole,
             std::uintptr_t observations, std::uintptr_t lengths) {
            self.observe(view<std::int64_t>(ids, n), whole, pointer<std::int32_t>(observations),
                         pointer<std::int32_t>(lengths));
          },
          Release())
      .def(
          "snapshot",
          [](const VectorEnv& self, std::uintptr_t ids, std::int64_t n) {
            return self.snapshot(view<std::int64_t>(ids, n));
          },
          Release())
      .def(
          "restore",
          [](VectorEnv& self, const Snapshot& snapshot, std::uintptr_t ids, std::int64_t n,
             int rng) {
            self.restore(snapshot, view<std::int64_t>(ids, n), static_cast<RngMode>(rng));
          },
          Release())
      .def(
          "branch",
          [](VectorEnv& self, std::uintptr_t sources, std::int64_t num_sources,
             std::uintptr_t targets, std::int64_t num_targets, int rng) {
            self.branch(view<std::int64_t>(sources, num_sources),
                        view<std::int64_t>(targets, num_targets), static_cast<RngMode>(rng));
          },
          Release())
      .def(
          "state_hash",
          [](const VectorEnv& self, std::uintptr_t ids, std::int64_t n, std::uintptr_t hashes) {
            self.state_hash(view<std::int64_t>(ids, n), pointer<std::uint64_t>(hashes));
          },
          Release())
      .def(
          "solve",
          [](const VectorEnv& self, const Snapshot& snapshot, std::uintptr_t solutions) {
            self.solve(snapshot, pointer<Solution>(solutions));
          },
          Release())
      .def("episodes",
           [](const VectorEnv& self, std::uintptr_t elapsed_steps, std::uintptr_t returns) {
             self.episodes(pointer<std::int32_t>(elapsed_steps), pointer<double>(returns));
           })
      .def(
          "parse_actions",
          [](const VectorEnv& self, const std::vector<std::string>& texts, std::uintptr_t actions) {
            auto* out = pointer<std::int32_t>(actions);
            for (const std::string& text : texts) *out++ = parse_action(text, self.action_names());
          })
      .def(
          "parse_action_tokens",
          [](const VectorEnv& self, std::uintptr_t tokens, std::uintptr_t lengths, std::int64_t n,
             std::int64_t width, std::uintptr_t actions) {
            for (std::int64_t i = 0; i < n; ++i) {
              const auto length = pointer<const std::int32_t>(lengths)[i];
              pointer<std::int32_t>(actions)[i] =
                  parse_action_tokens(view<std::int32_t>(tokens, n * width)
                                          .subspan(static_cast<std::size_t>(i * width),
                                                   static_cast<std::size_t>(length)),
                                      self.action_names());
            }
          },
          Release());
  m.def("make_vector_env", &make);
  m.def("environment_ids", &environment_ids);
}

}  // namespace

void bind_envs(nb::module_& m) {
  bind_snapshot(m);
  bind_vector_env(m);
  m.def("tokenize", &tokenize);
  m.def("detokenize", [](const std::vector<std::int32_t>& tokens) { return detokenize(tokens); });
  m.def("detokenize_rows",
        [](std::uintptr_t tokens, std::uintptr_t lengths, std::int64_t n, std::int64_t width) {
          std::vector<std::string> texts;
          for (std::int64_t i = 0; i < n; ++i) {
            texts.push_back(
                detokenize({pointer<const std::int32_t>(tokens) + i * width,
                            static_cast<std::size_t>(pointer<const std::int32_t>(lengths)[i])}));
          }
          return texts;
        });
  m.def("vocabulary", [] {
    std::vector<std::string_view> spellings;
    for (std::int32_t token = 0; token < kVocabularySize; ++token) {
      spellings.push_back(spelling(token));
    }
    return spellings;
  });
}

}  // namespace fastrl::python
