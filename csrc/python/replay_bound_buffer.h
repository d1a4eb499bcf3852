// ReplayBuffer as Python holds it. Arrays that are as they should be are read here; of others
// Python says what is wrong, or converts them and comes again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "python/bind.h"
#include "python/replay_batches.h"
#include "python/saving.h"
#include "replay/replay_buffer.h"

namespace fastrl::python {

// A field as Python names it.
struct Leaf {
  std::vector<nb::object> path;
  std::vector<Py_ssize_t> siblings;  // how many names each dict along the path has
  nb::object dtype;
  std::vector<std::int64_t> shape;
};

class BoundReplayBuffer {
 public:
  BoundReplayBuffer(std::unique_ptr<ReplayBuffer> buffer, std::vector<Leaf> leaves);
  ~BoundReplayBuffer();
  BoundReplayBuffer(const BoundReplayBuffer&) = delete;
  BoundReplayBuffer& operator=(const BoundReplayBuffer&) = delete;

  // Needs the GIL. A forked child opens what its parent shares anew: a thread of the parent, which
  // the child has not, may have been inside of the buffer.
  ReplayBuffer& buffer() {
    if (buffer_->memory().is_inherited()) inherit();
    return *buffer_;
  }
  // Calls call(buffer) without the GIL.
  template <typename Call>
  auto released(Call call) {
    ReplayBuffer& of = buffer();
    const nb::gil_scoped_release without;
    return call(of);
  }

  // What it was loaded from is what it was saved to last.
  void adopt(const SavedFolder& saved) { saver_.adopt(saved); }
  nb::tuple save(const std::string& path, const std::string& layout, const NamedBlobs& others);

  // The handles, or None where an argument is not as it should be.
  nb::object add(const nb::dict& fields, nb::handle terminated, nb::handle truncated,
                 nb::handle final_observations, nb::handle priorities, nb::handle lanes,
                 double timeout);
  bool end_episodes(nb::handle lanes, nb::handle final_observations);
  // How many were applied, or None where an argument is not as it should be.
  nb::object update_priorities(nb::handle handles, nb::handle priorities, std::size_t sampler);
  nb::dict sample(std::int64_t n, std::size_t sampler, double importance_exponent, BatchRing& ring,
                  double timeout);
  nb::dict gather(std::uintptr_t handles, std::int64_t n, BatchRing& ring);

 private:
  void inherit();
  bool read_lanes(nb::handle lanes, NewRows& rows);
  // Addresses by field; with `final` of observations alone, which then lie in `given` itself.
  // Arrays in dicts of the caller's are held: another thread might take them out.
  bool read_values(nb::handle given, const std::vector<std::int64_t>& leading, bool final,
                   std::vector<const std::byte*>& values, std::vector<nb::object>& held) const;

  std::unique_ptr<ReplayBuffer> buffer_;
  std::vector<Leaf> leaves_;
  BoundSaver saver_;
  nb::object empty_, bool_, int64_, uint64_, float32_, float64_;
};

}  // namespace fastrl::python
