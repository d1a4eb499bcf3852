#include "python/replay_bound_buffer.h"

#include <span>
#include <utility>

#include "python/patience.h"
#include "python/replay_argument.h"

namespace fastrl::python {

BoundReplayBuffer::BoundReplayBuffer(std::unique_ptr<ReplayBuffer> buffer, std::vector<Leaf> leaves)
    : buffer_(std::move(buffer)), leaves_(std::move(leaves)) {
  const nb::module_ numpy = nb::module_::import_("numpy");
  empty_ = numpy.attr("empty");
  bool_ = numpy.attr("dtype")("bool");
  int64_ = numpy.attr("dtype")("int64");
  uint64_ = numpy.attr("dtype")("uint64");
  float32_ = numpy.attr("dtype")("float32");
  float64_ = numpy.attr("dtype")("float64");
}

BoundReplayBuffer::~BoundReplayBuffer() {
  if (buffer_->memory().is_inherited()) {
    buffer_.release();  // NOLINT(bugprone-unused-return-value): see inherit()
    return;
  }
  const nb::gil_scoped_release released;  // the last one writes a file through
  buffer_.reset();
}

void BoundReplayBuffer::inherit() {
  auto own = std::make_unique<ReplayBuffer>(Memory::inherit(buffer_->memory()));
  buffer_.release();  // NOLINT(bugprone-unused-return-value): it cannot be taken apart here
  buffer_ = std::move(own);
}

nb::tuple BoundReplayBuffer::save(const std::string& path, const std::string& layout,
                                  const NamedBlobs& others) {
  ReplayBuffer& of = buffer();
  const std::vector<Blob> blobs = blobs_of(others);
  return saver_.save([&](Saver& saver) { return of.save(saver, path, layout, blobs); });
}

nb::object BoundReplayBuffer::add(const nb::dict& fields, nb::handle terminated,
                                  nb::handle truncated, nb::handle final_observations,
                                  nb::handle priorities, nb::handle lanes, double timeout) {
  ReplayBuffer& to = buffer();
  const Argument terminations(terminated, bool_);
  const std::vector<std::int64_t> leading = terminations.shape();
  if (leading.empty() || leading.size() > 2) return nb::none();
  NewRows rows;
  rows.num_lanes = leading.back();
  rows.num_steps = leading.size() == 2 ? leading[0] : 1;
  if (!read_lanes(lanes, rows)) return nb::none();
  const Argument truncations(truncated, bool_);
  if (!truncations.has_shape(leading, {})) return nb::none();
  rows.terminated = terminations.data<std::uint8_t>();
  rows.truncated = truncations.data<std::uint8_t>();
  std::vector<nb::object> held;
  if (!read_values(fields, leading, false, rows.values, held)) return nb::none();
  if (!final_observations.is_none() &&
      (to.options().next_step_autoreset ||
       !read_values(final_observations, leading, true, rows.final_values, held))) {
    return nb::none();
  }
  if (!priorities.is_none()) {
    const Argument given(priorities, float64_);
    if (!given.has_shape(leading, {})) return nb::none();
    rows.priorities = given.data<double>();
  }
  nb::object handles = empty_(nb::cast(leading.size() == 2 ? nb::make_tuple(leading[0], leading[1])
                                                           : nb::make_tuple(leading[0])),
                              uint64_);
  auto* written = const_cast<std::uint64_t*>(Argument(handles, uint64_).data<std::uint64_t>());
  const bool waited = patiently(
      "add", timeout, [&] { return to.add(rows, written); },
      [&] {
        return released(
            [](ReplayBuffer& of) { return of.limiter().why_adding_waits(of.limiter_counts()); });
      });
  if (waited) to.limiter().count_add_wait();
  return handles;
}

bool BoundReplayBuffer::end_episodes(nb::handle lanes, nb::handle final_observations) {
  const Argument chosen(lanes, int64_);
  const std::vector<std::int64_t> leading = chosen.shape();
  std::vector<const std::byte*> values;
  if (leading.size() != 1) return false;
  std::vector<nb::object> held;
  if (!final_observations.is_none() &&
      !read_values(final_observations, leading, true, values, held)) {
    return false;
  }
  const std::span<const std::int64_t> of{chosen.data<std::int64_t>(),
                                         static_cast<std::size_t>(leading[0])};
  released([&](ReplayBuffer& to) { to.end_episodes(of, values); });
  return true;
}

nb::object BoundReplayBuffer::update_priorities(nb::handle handles, nb::handle priorities,
                                                std::size_t sampler) {
  const Argument given(handles, uint64_);
  const std::vector<std::int64_t> shape = given.shape();
  if (shape.size() != 1) return nb::none();
  const std::span<const std::uint64_t> of{given.data<std::uint64_t>(),
                                          static_cast<std::size_t>(shape[0])};
  std::int64_t applied = 0;
  const auto update = [&]<typename T>(const T* values) {
    released([&](ReplayBuffer& to) {
      applied = to.update_priorities(of, std::span<const T>(values, of.size()), sampler);
    });
  };
  const Argument doubles(priorities, float64_);
  const Argument floats(priorities, float32_);
  if (doubles.has_shape(shape, {})) {
    update(doubles.data<double>());
  } else if (floats.has_shape(shape, {})) {
    update(floats.data<float>());
  } else {
    return nb::none();
  }
  return nb::int_(applied);
}

nb::dict BoundReplayBuffer::sample(std::int64_t n, std::size_t sampler, double importance_exponent,
                                   BatchRing& ring, double timeout) {
  const nb::object held = ring.acquire();
  const auto& set = nb::cast<const BatchSet&>(held);
  nb::dict batch = set.hand_out();
  ReplayBuffer& from = buffer();
  const bool waited = patiently(
      "sample", timeout, [&] { return from.sample(n, sampler, importance_exponent, set.arrays()); },
      [&] {
        return released(
            [](ReplayBuffer& of) { return of.limiter().why_sampling_waits(of.limiter_counts()); });
      });
  if (waited) from.limiter().count_sample_wait();
  return batch;
}

nb::dict BoundReplayBuffer::gather(std::uintptr_t handles, std::int64_t n, BatchRing& ring) {
  const nb::object held = ring.acquire();
  const auto& set = nb::cast<const BatchSet&>(held);
  nb::dict batch = set.hand_out();
  const std::span<const std::uint64_t> of{pointer<const std::uint64_t>(handles),
                                          static_cast<std::size_t>(n)};
  released([&](ReplayBuffer& from) { from.gather(of, set.arrays()); });
  return batch;
}

bool BoundReplayBuffer::read_lanes(nb::handle lanes, NewRows& rows) {
  if (lanes.is_none()) return rows.num_lanes == buffer_->options().num_lanes;
  const Argument chosen(lanes, int64_);
  if (!chosen.has_shape({rows.num_lanes}, {})) return false;
  rows.lanes = chosen.data<std::int64_t>();
  return true;
}

bool BoundReplayBuffer::read_values(nb::handle given, const std::vector<std::int64_t>& leading,
                                    bool final, std::vector<const std::byte*>& values,
                                    std::vector<nb::object>& held) const {
  if (final && !buffer_->options().has_observations()) return false;
  values.assign(leaves_.size(), nullptr);
  for (std::size_t f = 0; f < leaves_.size(); ++f) {
    if (final && !buffer_->options().fields[f].is_observation()) continue;
    nb::handle value = given;
    for (std::size_t depth = final ? 1 : 0; depth < leaves_[f].path.size(); ++depth) {
      if (!PyDict_CheckExact(value.ptr()) ||
          PyDict_GET_SIZE(value.ptr()) != leaves_[f].siblings[depth]) {
        return false;
      }
      value = PyDict_GetItemWithError(value.ptr(), leaves_[f].path[depth].ptr());
      if (!value.is_valid()) return false;
    }
    const Argument array(value, leaves_[f].dtype);
    if (!array.has_shape(leading, leaves_[f].shape)) return false;
    values[f] = array.data<std::byte>();
    if (leaves_[f].path.size() > 1) held.push_back(nb::borrow(value));
  }
  return true;
}

}  // namespace fastrl::python
