#include "python/bind.h"

NB_MODULE(_core, m) {
  m.doc() = "The compiled core of fastrl. Private: arguments are checked by the modules above it.";
  fastrl::python::bind_build(m);
  fastrl::python::bind_advantages(m);
  fastrl::python::bind_credit(m);
  fastrl::python::bind_file_errors(m);
  fastrl::python::bind_log_probs(m);
  fastrl::python::bind_policy_losses(m);
  fastrl::python::bind_saving(m);
  fastrl::python::bind_replay_index(m);
  fastrl::python::bind_replay_buffer(m);
  fastrl::python::bind_replay_joint_saver(m);
  fastrl::python::bind_reward_machines(m);
  fastrl::python::bind_envs(m);
  fastrl::python::bind_snapshots(m);
  fastrl::python::bind_vocabulary(m);
  fastrl::python::bind_trajectory_store(m);
}
