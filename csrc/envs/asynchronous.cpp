#include "envs/asynchronous.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <iterator>
#include <utility>
#include <vector>

#include "core/check.h"

namespace fastrl {
namespace {

// Seconds that a clock can be asked for: longer ones wait without a limit.
constexpr double kLongestTimeout = 1e9;

}  // namespace

Asynchronous::Asynchronous(VectorEnv& env, const Outputs& rows)
    : env_(env),
      rows_(rows),
      action_size_(row_size(env.description().action)),
      ids_(static_cast<std::size_t>(env.num_envs())),
      actions_(static_cast<std::size_t>(env.num_envs() * action_size_)),
      outstanding_(static_cast<std::size_t>(env.num_envs())),
      process_(getpid()),
      worker_([this] { work(); }) {}

Asynchronous::~Asynchronous() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  sent_more_.notify_one();
  worker_.join();
}

bool Asynchronous::is_of_this_process() const { return process_ == getpid(); }

void Asynchronous::send(std::span<const std::int64_t> ids, const void* actions) {
  if (ids.empty()) return;  // to check_step no ids are all of them
  env_.check_targets("send", "ids", ids);
  for (const std::int64_t id : ids) {
    if (outstanding_[static_cast<std::size_t>(id)]) {
      fail_value("send", "ids", "name environments whose result has been received", concat(id));
    }
  }
  // The worker touches environments that are outstanding, none of these.
  env_.check_step("send", ids, actions, {});
  const auto* bytes = static_cast<const std::byte*>(actions);
  for (std::size_t k = 0; k < ids.size(); ++k) {
    const auto to = static_cast<std::size_t>(row(sent_ + static_cast<std::int64_t>(k)));
    const auto size = static_cast<std::size_t>(action_size_);
    ids_[to] = ids[k];
    std::memcpy(actions_.data() + to * size, bytes + k * size, size);
    outstanding_[static_cast<std::size_t>(ids[k])] = true;
  }
  {
    const std::scoped_lock lock(mutex_);
    sent_ += static_cast<std::int64_t>(ids.size());
  }
  sent_more_.notify_one();
}

void Asynchronous::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    sent_more_.wait(lock, [this] { return stopping_ || stepped_ < sent_; });
    if (stopping_) return;
    const std::int64_t first = row(stepped_);
    const std::int64_t n = std::min(sent_ - stepped_, env_.num_envs() - first);
    lock.unlock();
    Faults faults = step({ids_.data() + first, static_cast<std::size_t>(n)}, first);
    lock.lock();
    for (Fault& fault : faults) {
      fault.place += stepped_;
      faults_.push_back(std::move(fault));
    }
    stepped_ += n;
    stepped_more_.notify_one();
  }
}

Faults Asynchronous::step(std::span<const std::int64_t> ids, std::int64_t first) {
  const std::byte* actions = actions_.data() + first * action_size_;
  try {
    return env_.step_some(ids, actions, env_.moved(rows_, first));
  } catch (const std::exception& thrown) {  // no memory: nobody knows how far it came
    Faults faults;
    for (std::size_t k = 0; k < ids.size(); ++k) {
      faults.push_back({static_cast<std::int64_t>(k), ids[k], thrown.what()});
    }
    return faults;
  }
}

bool Asynchronous::receive(std::int64_t n, double timeout, const Outputs& to, std::int64_t* ids) {
  if (n > num_outstanding()) {
    fail_value("recv", "batch_size",
               concat("be at most ", num_outstanding(), ", the actions under way"), concat(n));
  }
  FaultLog log;
  {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return stepped_ - received_ >= n; };
    if (timeout < 0.0 || timeout > kLongestTimeout) {
      stepped_more_.wait(lock, ready);
    } else if (!stepped_more_.wait_for(lock, std::chrono::duration<double>(timeout), ready)) {
      return false;
    }
    const auto taken = [&](const Fault& fault) { return fault.place < received_ + n; };
    std::vector<Fault> now;
    std::ranges::copy_if(faults_, std::back_inserter(now), taken);
    std::erase_if(faults_, taken);
    log.add(now);
  }
  const std::int64_t first = row(received_);
  const std::int64_t straight = std::min(n, env_.num_envs() - first);
  env_.copy_rows(rows_, first, to, 0, straight);
  env_.copy_rows(rows_, 0, to, straight, n - straight);
  for (std::int64_t k = 0; k < n; ++k) {
    ids[k] = ids_[static_cast<std::size_t>(row(received_ + k))];
    outstanding_[static_cast<std::size_t>(ids[k])] = false;
  }
  received_ += n;
  log.check("recv", env_.kind()->id.c_str(), kNeedsReset);
  return true;
}

}  // namespace fastrl
