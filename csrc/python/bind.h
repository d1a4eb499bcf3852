// What the binding files share: one bind_<topic> each, called from module.cpp.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

namespace fastrl::python {

namespace nb = nanobind;

// The address of an array that Python has checked (type, shape, device, contiguity). Handing over
// an integer costs 60 ns; a torch tensor through DLPack costs 2.2 µs.
template <typename T>
T* pointer(std::uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

void bind_build(nb::module_& m);
void bind_advantages(nb::module_& m);
void bind_credit(nb::module_& m);
void bind_file_errors(nb::module_& m);
void bind_log_probs(nb::module_& m);
void bind_policy_losses(nb::module_& m);
void bind_envs(nb::module_& m);
void bind_replay_index(nb::module_& m);
void bind_replay_buffer(nb::module_& m);
void bind_replay_joint_saver(nb::module_& m);
void bind_saving(nb::module_& m);
void bind_reward_machines(nb::module_& m);
void bind_snapshots(nb::module_& m);
void bind_vocabulary(nb::module_& m);
void bind_trajectory_store(nb::module_& m);

}  // namespace fastrl::python
