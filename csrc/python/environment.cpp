// Steps of a batch, at once and in the background.
#include "python/environment.h"

#include <algorithm>
#include <array>
#include <utility>

namespace fastrl::python {

Environment::Environment(std::unique_ptr<VectorEnv> engine, bool is_of_others)
    : engine_(std::move(engine)),
      releases_gil_(is_of_others || engine_->description().heavy_reset != 0 ||
                    engine_->num_envs() * engine_->options().wrappers.action_repeat >= kManySteps),
      action_(engine_->description().action, engine_->num_envs(), false),
      reward_(FASTRL_FLOAT64, engine_->num_envs(), true),
      flag_(FASTRL_BOOL, engine_->num_envs(), true) {
  const Description& description = engine_->description();
  for (std::int32_t f = 0; f < description.num_observations; ++f) {
    observations_.emplace_back(description.observations[f], engine_->num_envs(), true);
  }
}

nb::object Environment::step(nb::handle actions, OutputRing& ring) {
  const ArrayView action(actions, action_);
  if (!action.is_as_wanted()) return nb::none();
  OutputSet* set = nullptr;
  alone_with_gil("step", [&] {
    set = &ring.acquire();
    const ReleasedGil released(releases_gil_);
    num_ended_ = engine_->step(action.data(), {}, set->outputs);
  });
  begins_with_reset_ = was_reset_first(set->outputs);
  nb::object observation = set->observation();
  nb::object infos = set->info_dict();
  return nb::steal(PyTuple_Pack(5, observation.ptr(), set->rewards.ptr(), set->terminated.ptr(),
                                set->truncated.ptr(), infos.ptr()));
}

bool Environment::step_into(nb::handle actions, nb::handle observations, nb::handle rewards,
                            nb::handle terminated, nb::handle truncated, const nb::object& into) {
  if (!into.is_valid()) return false;
  const nb::object kept = into;  // whatever becomes of `into_` from here on
  const ArrayView action(actions, action_);
  const ArrayView reward(rewards, reward_);
  const ArrayView ends(terminated, flag_);
  const ArrayView cuts(truncated, flag_);
  if (!action.is_as_wanted() || !reward.is_as_wanted() || !ends.is_as_wanted() ||
      !cuts.is_as_wanted()) {
    return false;
  }
  const auto step = [&](const std::array<std::byte*, FASTRL_MAX_FIELDS>& rows) {
    if (!are_apart(action.data(), rows, reward.data(), ends.data(), cuts.data())) return false;
    OutputSet& set = *nb::inst_ptr<OutputSet>(kept);
    if (set.generation != generation_) return false;
    alone_with_gil("step_into", [&] {
      std::ranges::copy_n(reinterpret_cast<char* const*>(rows.data()), std::ssize(observations_),
                          set.outputs.observations.base);
      set.outputs.rewards = reinterpret_cast<double*>(reward.data());
      set.outputs.terminated = reinterpret_cast<std::uint8_t*>(ends.data());
      set.outputs.truncated = reinterpret_cast<std::uint8_t*>(cuts.data());
      const ReleasedGil released(releases_gil_);
      num_ended_ = engine_->step(action.data(), {}, set.outputs, "step_into");
    });
    if (!into_.is(kept)) into_ = kept;
    return true;
  };
  std::array<std::byte*, FASTRL_MAX_FIELDS> rows;
  if (engine_->description().structure == FASTRL_SINGLE) {
    const ArrayView row(observations, observations_[0]);
    if (!row.is_as_wanted()) return false;
    rows[0] = row.data();
    return step(rows);
  }
  if (!PyTuple_CheckExact(observations.ptr()) ||
      PyTuple_GET_SIZE(observations.ptr()) != std::ssize(observations_)) {
    return false;
  }
  std::array<std::optional<ArrayView>, FASTRL_MAX_FIELDS> views;
  for (std::size_t f = 0; f < observations_.size(); ++f) {
    const nb::handle array = PyTuple_GET_ITEM(observations.ptr(), static_cast<Py_ssize_t>(f));
    const ArrayView& row = views[f].emplace(array, observations_[f]);
    if (!row.is_as_wanted()) return false;
    rows[f] = row.data();
  }
  return step(rows);
}

// What is written is also read again: an episode's end from `terminated`, for one.
bool Environment::are_apart(const std::byte* action,
                            const std::array<std::byte*, FASTRL_MAX_FIELDS>& rows,
                            const std::byte* reward, const std::byte* ends,
                            const std::byte* cuts) const {
  std::array<std::span<const std::byte>, FASTRL_MAX_FIELDS + 4> arrays;
  std::size_t num_arrays = 0;
  const auto is_apart = [&](const std::byte* begin, const ArrayLayout& layout) {
    const std::byte* end = begin + layout.bytes;
    for (std::size_t a = 0; a < num_arrays; ++a) {
      if (begin < std::to_address(arrays[a].end()) && arrays[a].data() < end) return false;
    }
    arrays[num_arrays++] = {begin, end};
    return true;
  };
  for (std::size_t f = 0; f < observations_.size(); ++f) {
    if (!is_apart(rows[f], observations_[f])) return false;
  }
  return is_apart(action, action_) && is_apart(reward, reward_) && is_apart(ends, flag_) &&
         is_apart(cuts, flag_);
}

nb::object Environment::step_some(std::uintptr_t actions, std::uintptr_t active, OutputRing& ring) {
  return alone_with_gil("step", [&] {
    OutputSet& set = ring.acquire();
    nb::object taken = ring.last();
    const ReleasedGil released(releases_gil_);
    num_ended_ = engine_->step(pointer<const void>(actions),
                               view<bool>(active, engine_->num_envs()), set.outputs);
    return taken;
  });
}

void Environment::send(std::uintptr_t ids, std::int64_t n, std::uintptr_t actions,
                       const nb::callable& rows) {
  const Exclusive exclusive(*this, "send");
  check_open("send");
  check_process("send");
  if (!asynchronous_) {
    rows_ = rows();
    asynchronous_ = std::make_unique<Asynchronous>(*engine_, nb::cast<OutputSet&>(rows_).outputs);
  }
  asynchronous_->send(view<std::int64_t>(ids, n), pointer<const void>(actions));
}

bool Environment::receive(std::int64_t n, double timeout, OutputSet& set, std::uintptr_t ids) {
  const Exclusive exclusive(*this, "recv");
  check_open("recv");
  check_process("recv");
  if (!asynchronous_) throw std::runtime_error("recv: nothing has been sent");
  const nb::gil_scoped_release released;
  return asynchronous_->receive(n, timeout, set.outputs, pointer<std::int64_t>(ids));
}

void Environment::set_levels(const Snapshot* levels, const std::vector<double>& weights) {
  alone("set_levels", [&](VectorEnv& engine) { engine.set_levels(levels, weights); });
  ++generation_;
  into_.reset();
  end_asynchronous();
}

void Environment::close() {
  const Exclusive exclusive(*this, "close");
  const nb::gil_scoped_release released;
  // In a forked child this drops what is the parent's; the environment can be reset then.
  closed_ = !asynchronous_ || asynchronous_->is_of_this_process();
  end_asynchronous();
}

void Environment::check_open(const char* function) const {
  if (closed_) throw std::runtime_error(concat(function, ": this environment is closed"));
}

// In a forked child the parent's thread is missing: results that it had under way never come.
void Environment::check_process(const char* function) {
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
void Environment::end_asynchronous() {
  if (asynchronous_ && !asynchronous_->is_of_this_process()) {
    static_cast<void>(asynchronous_.release());
  }
  asynchronous_.reset();
}

bool Environment::was_reset_first(const Outputs& outputs) const {
  for (std::int64_t i = 0; i < engine_->num_envs(); ++i) {
    if (outputs.informed[i] != 0) return outputs.stepped[i] == 0;
  }
  return false;
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
      .def(
          "step_into",
          [](Environment& self, nb::handle actions, nb::handle observations, nb::handle rewards,
             nb::handle terminated, nb::handle truncated, nb::handle_t<OutputSet> into) {
            return self.step_into(actions, observations, rewards, terminated, truncated,
                                  nb::borrow(into));
          },
          nb::arg().none(), nb::arg().none(), nb::arg().none(), nb::arg().none(), nb::arg().none(),
          nb::arg())
      .def_prop_ro(
          "into",
          [](const Environment& self) { return self.into().is_valid() ? self.into() : nb::none(); })
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

}  // namespace fastrl::python
