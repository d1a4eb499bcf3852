// Steps of a batch, at once and in the background.
#include "python/environment.h"

#include <array>
#include <utility>

#include "python/array_view.h"

namespace fastrl::python {

nb::object Environment::step(nb::handle actions, OutputRing& ring) {
  const Field& field = engine_->description().action;
  const ArrayView buffer(actions, field.dtype, false);
  if (!buffer.is(&field, engine_->num_envs())) return nb::none();
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

bool Environment::step_into(nb::handle actions, nb::handle observations, nb::handle rewards,
                            nb::handle terminated, nb::handle truncated, OutputSet& rest) {
  const Description& description = engine_->description();
  const std::int64_t n = engine_->num_envs();
  const ArrayView action(actions, description.action.dtype, false);
  const ArrayView reward(rewards, FASTRL_FLOAT64, true);
  const ArrayView ends(terminated, FASTRL_BOOL, true);
  const ArrayView cuts(truncated, FASTRL_BOOL, true);
  if (!action.is(&description.action, n) || !reward.is(nullptr, n) || !ends.is(nullptr, n) ||
      !cuts.is(nullptr, n)) {
    return false;
  }
  const bool is_single = description.structure == FASTRL_SINGLE;
  if (!is_single && (!PyTuple_CheckExact(observations.ptr()) ||
                     PyTuple_GET_SIZE(observations.ptr()) != description.num_observations)) {
    return false;
  }
  std::array<std::optional<ArrayView>, FASTRL_MAX_FIELDS> rows;
  for (std::int32_t f = 0; f < description.num_observations; ++f) {
    const Field& field = description.observations[f];
    auto& row = rows[static_cast<std::size_t>(f)].emplace(
        is_single ? observations : nb::handle(PyTuple_GET_ITEM(observations.ptr(), f)), field.dtype,
        true);
    if (!row.is(&field, n)) return false;
  }
  // What is written is also read again: an episode's end from `terminated`, for one.
  std::array<std::pair<const std::byte*, std::size_t>, FASTRL_MAX_FIELDS + 4> arrays;
  std::size_t num_arrays = 0;
  const auto is_apart = [&](const ArrayView& array, std::int64_t row_bytes) {
    const auto* begin = static_cast<const std::byte*>(array.data());
    const auto bytes = static_cast<std::size_t>(n * row_bytes);
    for (std::size_t a = 0; a < num_arrays; ++a) {
      if (begin < arrays[a].first + arrays[a].second && arrays[a].first < begin + bytes)
        return false;
    }
    arrays[num_arrays++] = {begin, bytes};
    return true;
  };
  bool are_apart = is_apart(action, row_size(description.action)) && is_apart(reward, 8) &&
                   is_apart(ends, 1) && is_apart(cuts, 1);
  for (std::int32_t f = 0; are_apart && f < description.num_observations; ++f) {
    are_apart = is_apart(*rows[static_cast<std::size_t>(f)], row_size(description.observations[f]));
  }
  if (!are_apart) return false;
  alone_with_gil("step_into", [&] {
    Outputs& outputs = rest.outputs;
    for (std::int32_t f = 0; f < description.num_observations; ++f) {
      outputs.observations.base[f] = static_cast<char*>(rows[static_cast<std::size_t>(f)]->data());
    }
    outputs.rewards = static_cast<double*>(reward.data());
    outputs.terminated = static_cast<std::uint8_t*>(ends.data());
    outputs.truncated = static_cast<std::uint8_t*>(cuts.data());
    const ReleasedGil released(releases_gil_);
    num_ended_ = engine_->step(action.data(), {}, outputs, "step_into");
  });
  return true;
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
      .def("step_into", &Environment::step_into, nb::arg().none(), nb::arg().none(),
           nb::arg().none(), nb::arg().none(), nb::arg().none(), nb::arg())
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
