// Vectorized environments.
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <memory>
#include <optional>
#include <type_traits>

#include "core/check.h"
#include "envs/asynchronous.h"
#include "envs/foreign.h"
#include "envs/vector_env.h"
#include "python/array_view.h"
#include "python/bind.h"
#include "python/output_ring.h"
#include "python/wrapper_options.h"

namespace fastrl::python {
namespace {

template <typename T>
std::span<const T> view(std::uintptr_t address, std::int64_t size) {
  if (address == 0) return {};
  return {pointer<const T>(address), static_cast<std::size_t>(size)};
}

// One batch as Python sees it. A second thread is refused, it does not wait.
class Environment {
 public:
  explicit Environment(std::unique_ptr<VectorEnv> engine)
      : engine_(std::move(engine)), releases_gil_(engine_->num_envs() >= kFewEnvironments) {}
  ~Environment() { end_asynchronous(); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  VectorEnv& engine() { return *engine_; }
  const VectorEnv& engine() const { return *engine_; }

  // Runs `call` alone, while no result of `send` is outstanding.
  template <typename Call>
  auto alone(const char* function, Call&& call) {
    return alone_with_gil(function, [&] {
      const ReleasedGil released(releases_gil_);
      return call(*engine_);
    });
  }

  // None if the array is not as the environment wants it.
  nb::object step(nb::handle actions, OutputRing& ring) {
    const ArrayView buffer(actions, false);
    const Field& field = engine_->description().action;
    if (!buffer.is(field.dtype, &field, engine_->num_envs())) return nb::none();
    OutputSet* set = nullptr;
    alone_with_gil("step", [&] {
      set = &ring.acquire();
      const ReleasedGil released(releases_gil_);
      num_ended_ = engine_->step(buffer.data(), {}, set->outputs);
    });
    begins_with_reset_ = was_reset_first(set->outputs);
    nb::object observation = set->observation();
    nb::object infos = set->info_dict();
    return nb::steal(PyTuple_Pack(5, observation.ptr(), set->rewards.ptr(), set->terminated.ptr(),
                                  set->truncated.ptr(), infos.ptr()));
  }

  // False if an array is not as the environment wants it.
  bool step_into(nb::handle actions, const nb::tuple& observations, nb::handle rewards,
                 nb::handle terminated, nb::handle truncated, OutputSet& rest) {
    const Description& description = engine_->description();
    const std::int64_t n = engine_->num_envs();
    const ArrayView action(actions, false);
    const ArrayView reward(rewards, true);
    const ArrayView ends(terminated, true);
    const ArrayView cuts(truncated, true);
    if (!action.is(description.action.dtype, &description.action, n) ||
        !reward.is(FASTRL_FLOAT64, nullptr, n) || !ends.is(FASTRL_BOOL, nullptr, n) ||
        !cuts.is(FASTRL_BOOL, nullptr, n) ||
        static_cast<std::int32_t>(observations.size()) != description.num_observations) {
      return false;
    }
    std::array<std::optional<ArrayView>, FASTRL_MAX_FIELDS> fields;
    Outputs outputs = rest.outputs;
    for (std::int32_t f = 0; f < description.num_observations; ++f) {
      const Field& field = description.observations[f];
      auto& observed = fields[static_cast<std::size_t>(f)].emplace(observations[f], true);
      if (!observed.is(field.dtype, &field, n)) return false;
      outputs.observations.base[f] = static_cast<char*>(observed.data());
    }
    outputs.rewards = static_cast<double*>(reward.data());
    outputs.terminated = static_cast<std::uint8_t*>(ends.data());
    outputs.truncated = static_cast<std::uint8_t*>(cuts.data());
    alone("step_into", [&](VectorEnv& engine) {
      num_ended_ = engine.step(action.data(), {}, outputs, "step_into");
    });
    return true;
  }

  // The set that was written. It is taken while nobody else can take it, too.
  nb::object step_some(std::uintptr_t actions, std::uintptr_t active, OutputRing& ring) {
    return alone_with_gil("step", [&] {
      OutputSet& set = ring.acquire();
      nb::object taken = ring.last();
      const ReleasedGil released(releases_gil_);
      num_ended_ = engine_->step(pointer<const void>(actions),
                                 view<bool>(active, engine_->num_envs()), set.outputs);
      return taken;
    });
  }

  void send(std::uintptr_t ids, std::int64_t n, std::uintptr_t actions, const nb::callable& rows) {
    const Exclusive exclusive(*this, "send");
    check_process("send");
    if (!asynchronous_) {
      rows_ = rows();
      asynchronous_ = std::make_unique<Asynchronous>(*engine_, nb::cast<OutputSet&>(rows_).outputs);
    }
    asynchronous_->send(view<std::int64_t>(ids, n), pointer<const void>(actions));
  }

  bool receive(std::int64_t n, double timeout, OutputSet& set, std::uintptr_t ids) {
    const Exclusive exclusive(*this, "recv");
    check_process("recv");
    if (!asynchronous_) throw std::runtime_error("recv: nothing has been sent");
    const nb::gil_scoped_release released;
    return asynchronous_->receive(n, timeout, set.outputs, pointer<std::int64_t>(ids));
  }

  std::int64_t num_outstanding() const {
    return asynchronous_ ? asynchronous_->num_outstanding() : 0;
  }
  // Whether the last `step` has more to say than its arrays: episodes that ended in it, or a reset
  // that decides about dtypes (fastrl_field.whole_at_reset).
  bool is_unusual() const { return num_ended_ > 0 || begins_with_reset_; }

  // None for the environment's own. Infos may change: the rows of `send` are made anew.
  void set_levels(const Snapshot* levels, const std::vector<double>& weights) {
    alone("set_levels", [&](VectorEnv& engine) { engine.set_levels(levels, weights); });
    close();
  }

  void close() {
    const Exclusive exclusive(*this, "close");
    const nb::gil_scoped_release released;
    end_asynchronous();
  }

 private:
  // Fewer are stepped faster than the interpreter is handed over.
  static constexpr std::int64_t kFewEnvironments = 32;

  class Exclusive {
   public:
    Exclusive(Environment& env, const char* function) : busy_(env.busy_) {
      if (busy_.test_and_set(std::memory_order_acquire)) {
        throw std::runtime_error(concat(function, ": another thread is using this environment"));
      }
    }
    ~Exclusive() { busy_.clear(std::memory_order_release); }
    Exclusive(const Exclusive&) = delete;
    Exclusive& operator=(const Exclusive&) = delete;

   private:
    std::atomic_flag& busy_;
  };

  class ReleasedGil {
   public:
    explicit ReleasedGil(bool releases) {
      if (releases) release_.emplace();
    }

   private:
    std::optional<nb::gil_scoped_release> release_;
  };

  // In a forked child the parent's thread is missing: results that it had under way never come.
  void check_process(const char* function) {
    if (!asynchronous_ || asynchronous_->is_of_this_process()) return;
    if (const auto n = asynchronous_->num_outstanding(); n > 0) {
      throw std::runtime_error(
          concat(function, ": ", n,
                 " results of send belong to the process that this one was forked from; close this "
                 "environment and reset it"));
    }
    end_asynchronous();
  }

  // What a fork has copied is left behind: to wait for its thread is to wait forever.
  void end_asynchronous() {
    if (asynchronous_ && !asynchronous_->is_of_this_process()) {
      static_cast<void>(asynchronous_.release());
    }
    asynchronous_.reset();
  }

  bool was_reset_first(const Outputs& outputs) const {
    for (std::int64_t i = 0; i < engine_->num_envs(); ++i) {
      if (outputs.informed[i] != 0) return outputs.stepped[i] == 0;
    }
    return false;
  }

  template <typename Call>
  std::invoke_result_t<Call> alone_with_gil(const char* function, Call&& call) {
    const Exclusive exclusive(*this, function);
    if (asynchronous_ && asynchronous_->num_outstanding() > 0) {
      throw std::runtime_error(
          concat(function, ": ", asynchronous_->num_outstanding(),
                 " results of send are outstanding; receive them with recv first"));
    }
    return call();
  }

  std::unique_ptr<VectorEnv> engine_;
  bool releases_gil_;
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  std::int64_t num_ended_ = 0;
  bool begins_with_reset_ = false;
  nb::object rows_;
  std::unique_ptr<Asynchronous> asynchronous_;  // ends before what it uses
};

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

// Addresses by name, as python/fastrl/envs/outputs.py makes them; 0 or missing where there is none.
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
        make_vector_env(nb::cast<std::string>(source), fast, vector_options, std::move(options)));
  }
  const fastrl_environment& table = table_of(source, "make_vec", "id");
  if (fast) {
    fail_value("make_vec", "precision", concat("be 'exact' for ", table.id), "'fast'");
  }
  return std::make_unique<Environment>(
      std::make_unique<VectorEnv>(table, "", vector_options, std::move(options)));
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
      .def("__init__",
           [](OutputSet* self, const Environment& env, const nb::dict& addresses,
              const nb::dict& arrays, const nb::list& infos) {
             new (self) OutputSet;
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
           })
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

void bind_steps(nb::class_<Environment>& c) {
  c.def("seed",
        [](Environment& self, std::uint64_t seed, std::uintptr_t mask) {
          self.alone("reset", [&](VectorEnv& engine) {
            engine.seed(seed, view<bool>(mask, engine.num_envs()));
          });
        })
      .def("seed_each",
           [](Environment& self, std::uintptr_t seeds, std::uintptr_t mask) {
             self.alone("reset", [&](VectorEnv& engine) {
               engine.seed_each(view<std::uint64_t>(seeds, engine.num_envs()),
                                view<bool>(mask, engine.num_envs()));
             });
           })
      .def("reset",
           [](Environment& self, std::uintptr_t mask, std::uintptr_t options, std::uintptr_t levels,
              std::uintptr_t contexts, const OutputSet& set) {
             const ResetChoices choices{.options = pointer<const double>(options),
                                        .levels = pointer<const std::int64_t>(levels),
                                        .contexts = pointer<const std::int64_t>(contexts)};
             self.alone("reset", [&](VectorEnv& engine) {
               engine.reset(view<bool>(mask, engine.num_envs()), choices, set.outputs);
             });
           })
      .def("step", &Environment::step, nb::arg().none(), nb::arg())
      .def("step_some", &Environment::step_some)
      .def("step_into", &Environment::step_into, nb::arg().none(), nb::arg(), nb::arg().none(),
           nb::arg().none(), nb::arg().none(), nb::arg())
      .def("send", &Environment::send)
      .def("receive", &Environment::receive)
      .def("close", &Environment::close)
      .def_prop_ro("num_outstanding", &Environment::num_outstanding)
      .def_prop_ro("is_unusual", &Environment::is_unusual)
      .def("unroll",
           [](Environment& self, std::int64_t steps, std::uintptr_t actions, bool draws,
              std::uint64_t seed, const nb::dict& addresses) {
             const Outputs outputs = outputs_of(self.engine(), addresses);
             self.alone("unroll", [&](VectorEnv& engine) {
               engine.unroll(steps, pointer<void>(actions), draws ? &seed : nullptr, outputs);
             });
           })
      .def("observe",
           [](Environment& self, std::uintptr_t ids, std::int64_t n, const nb::dict& addresses) {
             const Outputs outputs = outputs_of(self.engine(), addresses);
             self.alone("observe", [&](VectorEnv& engine) {
               engine.observe(view<std::int64_t>(ids, n), outputs);
             });
           });
}

void bind_time(nb::class_<Environment>& c) {
  c.def("snapshot",
        [](Environment& self, std::uintptr_t ids, std::int64_t n) {
          return self.alone("snapshot", [&](VectorEnv& engine) {
            return engine.snapshot(view<std::int64_t>(ids, n));
          });
        })
      .def("restore",
           [](Environment& self, const Snapshot& snapshot, std::uintptr_t ids, std::int64_t n,
              int rng) {
             self.alone("restore", [&](VectorEnv& engine) {
               engine.restore(snapshot, view<std::int64_t>(ids, n), static_cast<RngMode>(rng));
             });
           })
      .def("branch",
           [](Environment& self, std::uintptr_t sources, std::int64_t num_sources,
              std::uintptr_t targets, std::int64_t num_targets, int rng) {
             self.alone("branch", [&](VectorEnv& engine) {
               engine.branch(view<std::int64_t>(sources, num_sources),
                             view<std::int64_t>(targets, num_targets), static_cast<RngMode>(rng));
             });
           })
      .def("rewind",
           [](Environment& self, std::uintptr_t ids, std::int64_t n, std::int64_t steps, int rng) {
             self.alone("rewind", [&](VectorEnv& engine) {
               engine.rewind(view<std::int64_t>(ids, n), steps, static_cast<RngMode>(rng));
             });
           })
      .def("rewindable",
           [](Environment& self, std::uintptr_t steps) {
             self.alone("rewindable_steps", [&](VectorEnv& engine) {
               engine.rewindable(pointer<std::int32_t>(steps));
             });
           })
      .def("state_hash",
           [](Environment& self, std::uintptr_t ids, std::int64_t n, std::uintptr_t hashes) {
             self.alone("state_hash", [&](VectorEnv& engine) {
               engine.state_hash(view<std::int64_t>(ids, n), pointer<std::uint64_t>(hashes));
             });
           })
      .def("labels",
           [](Environment& self, std::uintptr_t ids, std::int64_t n, std::uintptr_t labels) {
             self.alone("labels", [&](VectorEnv& engine) {
               engine.labels(view<std::int64_t>(ids, n), pointer<std::uint64_t>(labels));
             });
           })
      .def("solve",
           [](Environment& self, const Snapshot& snapshot, std::uintptr_t solutions) {
             self.alone("solve", [&](VectorEnv& engine) {
               engine.solve(snapshot, pointer<Solution>(solutions));
             });
           })
      .def("episodes", [](Environment& self, std::uintptr_t elapsed, std::uintptr_t returns) {
        self.alone("episodes", [&](VectorEnv& engine) {
          engine.episodes(pointer<std::int32_t>(elapsed), pointer<double>(returns));
        });
      });
}

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

void bind_text(nb::class_<Environment>& c) {
  c.def("render",
        [](Environment& self, std::uintptr_t ids, std::int64_t n, std::uintptr_t tokens,
           std::uintptr_t lengths) {
          self.alone("render_text", [&](VectorEnv& engine) {
            engine.render(view<std::int64_t>(ids, n), pointer<std::int32_t>(tokens),
                          pointer<std::int32_t>(lengths));
          });
        })
      .def("cells",
           [](Environment& self, std::uintptr_t ids, std::int64_t n, std::uintptr_t cells) {
             self.alone("render", [&](VectorEnv& engine) {
               engine.cells(view<std::int64_t>(ids, n), pointer<char>(cells));
             });
           })
      // Parsing reads nothing that a step changes, so it does not exclude one.
      .def("parse_actions",
           [](const Environment& self, const std::vector<std::string>& texts, std::uintptr_t rows,
              std::uintptr_t valid) {
             const std::int64_t size = row_size(self.engine().description().action);
             for (std::size_t i = 0; i < texts.size(); ++i) {
               pointer<bool>(valid)[i] = self.engine().parse_action(
                   texts[i], pointer<char>(rows) + static_cast<std::int64_t>(i) * size);
             }
           })
      .def("parse_action_tokens",
           [](const Environment& self, std::uintptr_t tokens, std::uintptr_t lengths,
              std::int64_t n, std::int64_t width, std::uintptr_t rows, std::uintptr_t valid) {
             const std::int64_t size = row_size(self.engine().description().action);
             for (std::int64_t i = 0; i < n; ++i) {
               const auto said =
                   view<std::int32_t>(tokens, n * width)
                       .subspan(static_cast<std::size_t>(i * width),
                                static_cast<std::size_t>(pointer<const std::int32_t>(lengths)[i]));
               pointer<bool>(valid)[i] =
                   self.engine().parse_action_tokens(said, pointer<char>(rows) + i * size);
             }
           })
      .def("goal_rewards", [](const Environment& self, std::int64_t n, std::uintptr_t achieved,
                              std::uintptr_t desired, std::uintptr_t rewards) {
        const nb::gil_scoped_release released;
        self.engine().goal_rewards(n, pointer<const float>(achieved), pointer<const float>(desired),
                                   pointer<double>(rewards));
      });
}

}  // namespace

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
