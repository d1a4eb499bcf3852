// ReplayBuffer. Arrays that are as they should be are read here; of others Python says what is
// wrong, or converts them and comes again.
#include "replay/replay_buffer.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "core/check.h"
#include "python/numpy_head.h"
#include "python/patience.h"
#include "python/replay_batches.h"
#include "python/saving.h"

namespace fastrl::python {
namespace {

// An array argument that is laid out as wanted, or nothing.
class Argument {
 public:
  // `array` must be contiguous, of this dtype and one of NumPy's own.
  Argument(nb::handle array, nb::handle dtype) : head_(numpy_head(array.ptr())) {
    if (head_ == nullptr) return;
    const bool is_wanted = head_->has(NumpyHead::kContiguous | NumpyHead::kAligned) &&
                           (head_->dtype == dtype.ptr() || nb::handle(head_->dtype).equal(dtype));
    if (!is_wanted) head_ = nullptr;
  }
  bool has_shape(const std::vector<std::int64_t>& leading,
                 const std::vector<std::int64_t>& own) const {
    if (head_ == nullptr) return false;
    if (static_cast<std::size_t>(head_->ndim) != leading.size() + own.size()) return false;
    return std::equal(leading.begin(), leading.end(), head_->shape) &&
           std::equal(own.begin(), own.end(), head_->shape + leading.size());
  }
  std::vector<std::int64_t> shape() const {
    if (head_ == nullptr) return {};
    return {head_->shape, head_->shape + head_->ndim};
  }
  template <typename T>
  const T* data() const {
    return reinterpret_cast<const T*>(head_->data);
  }

 private:
  const NumpyHead* head_;
};

// A field as Python names it.
struct Leaf {
  std::vector<nb::object> path;
  std::vector<Py_ssize_t> siblings;  // how many names each dict along the path has
  nb::object dtype;
  std::vector<std::int64_t> shape;
};

class BoundReplayBuffer {
 public:
  BoundReplayBuffer(std::unique_ptr<ReplayBuffer> buffer, std::vector<Leaf> leaves)
      : buffer_(std::move(buffer)), leaves_(std::move(leaves)) {
    const nb::module_ numpy = nb::module_::import_("numpy");
    empty_ = numpy.attr("empty");
    bool_ = numpy.attr("dtype")("bool");
    int64_ = numpy.attr("dtype")("int64");
    uint64_ = numpy.attr("dtype")("uint64");
    float32_ = numpy.attr("dtype")("float32");
    float64_ = numpy.attr("dtype")("float64");
  }

  ~BoundReplayBuffer() {
    if (buffer_->memory().is_inherited()) {
      buffer_.release();  // NOLINT(bugprone-unused-return-value): see buffer()
      return;
    }
    const nb::gil_scoped_release released;  // the last one writes a file through
    buffer_.reset();
  }
  BoundReplayBuffer(const BoundReplayBuffer&) = delete;
  BoundReplayBuffer& operator=(const BoundReplayBuffer&) = delete;

  // Needs the GIL. A forked child opens what its parent shares anew: a thread of the parent, which
  // the child has not, may have been inside of the buffer.
  ReplayBuffer& buffer() {
    if (buffer_->memory().is_inherited()) {
      auto own = std::make_unique<ReplayBuffer>(Memory::inherit(buffer_->memory()));
      buffer_.release();  // NOLINT(bugprone-unused-return-value): it cannot be taken apart here
      buffer_ = std::move(own);
    }
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

  nb::tuple save(const std::string& path, const std::string& layout, const NamedBlobs& others) {
    ReplayBuffer& of = buffer();
    const std::vector<Blob> blobs = blobs_of(others);
    return saver_.save([&](Saver& saver) { return of.save(saver, path, layout, blobs); });
  }

  // The handles, or None where an argument is not as it should be.
  nb::object add(const nb::dict& fields, nb::handle terminated, nb::handle truncated,
                 nb::handle final_observations, nb::handle priorities, nb::handle lanes,
                 double timeout) {
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
    nb::object handles =
        empty_(nb::cast(leading.size() == 2 ? nb::make_tuple(leading[0], leading[1])
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

  bool end_episodes(nb::handle lanes, nb::handle final_observations) {
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

  // How many were applied, or None where an argument is not as it should be.
  nb::object update_priorities(nb::handle handles, nb::handle priorities, std::size_t sampler) {
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

  nb::dict sample(std::int64_t n, std::size_t sampler, double importance_exponent, BatchRing& ring,
                  double timeout) {
    const nb::object held = ring.acquire();
    const auto& set = nb::cast<const BatchSet&>(held);
    nb::dict batch = set.hand_out();
    ReplayBuffer& from = buffer();
    const bool waited = patiently(
        "sample", timeout,
        [&] { return from.sample(n, sampler, importance_exponent, set.arrays()); },
        [&] {
          return released([](ReplayBuffer& of) {
            return of.limiter().why_sampling_waits(of.limiter_counts());
          });
        });
    if (waited) from.limiter().count_sample_wait();
    return batch;
  }

  nb::dict gather(std::uintptr_t handles, std::int64_t n, BatchRing& ring) {
    const nb::object held = ring.acquire();
    const auto& set = nb::cast<const BatchSet&>(held);
    nb::dict batch = set.hand_out();
    const std::span<const std::uint64_t> of{pointer<const std::uint64_t>(handles),
                                            static_cast<std::size_t>(n)};
    released([&](ReplayBuffer& from) { from.gather(of, set.arrays()); });
    return batch;
  }

 private:
  bool read_lanes(nb::handle lanes, NewRows& rows) {
    if (lanes.is_none()) return rows.num_lanes == buffer_->options().num_lanes;
    const Argument chosen(lanes, int64_);
    if (!chosen.has_shape({rows.num_lanes}, {})) return false;
    rows.lanes = chosen.data<std::int64_t>();
    return true;
  }

  // Addresses by field; with `final` of observations alone, which then lie in `given` itself.
  // Arrays in dicts of the caller's are held: another thread might take them out.
  bool read_values(nb::handle given, const std::vector<std::int64_t>& leading, bool final,
                   std::vector<const std::byte*>& values, std::vector<nb::object>& held) const {
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

  std::unique_ptr<ReplayBuffer> buffer_;
  std::vector<Leaf> leaves_;
  BoundSaver saver_;
  nb::object empty_, bool_, int64_, uint64_, float32_, float64_;
};

template <std::size_t kSize>
void copy_name(char (&to)[kSize], const std::string& name) {
  if (name.size() >= kSize) {
    fail_value("ReplayBuffer", "fields", concat("have names of at most ", kSize - 1, " bytes"),
               concat("'", name, "'"));
  }
  std::memcpy(to, name.c_str(), name.size() + 1);
}

template <typename T>
T item(const nb::dict& options, const char* name) {
  return nb::cast<T>(options[name]);
}

Field field_of(const nb::dict& given) {
  Field field{};
  copy_name(field.name, item<std::string>(given, "name"));
  copy_name(field.dtype, item<std::string>(given, "dtype"));
  field.role = static_cast<FieldRole>(item<int>(given, "role"));
  const auto shape = item<std::vector<std::int64_t>>(given, "shape");
  field.num_dimensions = static_cast<std::int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), field.shape);
  field.item_bytes = item<std::int64_t>(given, "item_bytes");
  field.bytes = field.item_bytes;
  for (const std::int64_t size : shape) field.bytes *= size;
  field.stack = item<std::int64_t>(given, "stack");
  field.padding = static_cast<StackPadding>(item<int>(given, "padding"));
  return field;
}

SamplerOptions sampler_of(const nb::dict& given) {
  SamplerOptions options{};
  copy_name(options.name, item<std::string>(given, "name"));
  options.kind = static_cast<SamplerKind>(item<int>(given, "kind"));
  options.scheme = static_cast<DrawScheme>(item<int>(given, "scheme"));
  options.priority_start = item<double>(given, "priority_start");
  options.priority_end = item<double>(given, "priority_end");
  options.priority_steps = item<std::int64_t>(given, "priority_steps");
  options.epsilon = item<double>(given, "epsilon");
  options.new_priority = static_cast<NewPriority>(item<int>(given, "new_priority"));
  options.normalization = static_cast<WeightNormalization>(item<int>(given, "normalization"));
  options.new_value = item<double>(given, "new_value");
  options.importance_start = item<double>(given, "importance_start");
  options.importance_end = item<double>(given, "importance_end");
  options.importance_steps = item<std::int64_t>(given, "importance_steps");
  return options;
}

BufferOptions options_of(const nb::dict& given) {
  BufferOptions options;
  options.num_lanes = item<std::int64_t>(given, "num_lanes");
  options.rows_per_lane = item<std::int64_t>(given, "rows_per_lane");
  options.n_step = item<std::int64_t>(given, "n_step");
  options.gamma = item<double>(given, "gamma");
  options.next_step_autoreset = item<bool>(given, "next_step_autoreset");
  options.seed = item<std::uint64_t>(given, "seed");
  const auto limiter = item<nb::dict>(given, "limiter");
  options.limiter = {item<double>(limiter, "samples_per_insert"),
                     item<double>(limiter, "error_buffer"),
                     item<std::int64_t>(limiter, "min_size")};
  for (const nb::handle field : item<nb::list>(given, "fields")) {
    options.fields.push_back(field_of(nb::cast<nb::dict>(field)));
  }
  for (const nb::handle sampler : item<nb::list>(given, "samplers")) {
    options.samplers.push_back(sampler_of(nb::cast<nb::dict>(sampler)));
  }
  return options;
}

std::vector<Leaf> leaves_of(const nb::list& given) {
  std::vector<Leaf> leaves;
  for (const nb::handle one : given) {
    const auto of = nb::cast<nb::dict>(one);
    Leaf leaf;
    for (const nb::handle name : item<nb::tuple>(of, "path")) {
      leaf.path.push_back(nb::borrow(name));
    }
    for (const nb::handle count : item<nb::tuple>(of, "siblings")) {
      leaf.siblings.push_back(nb::cast<Py_ssize_t>(count));
    }
    leaf.dtype = of["dtype_object"];
    leaf.shape = item<std::vector<std::int64_t>>(of, "shape");
    leaves.push_back(std::move(leaf));
  }
  return leaves;
}

nb::dict described(const Field& field) {
  nb::dict of;
  of["name"] = field.name;
  of["dtype"] = field.dtype;
  of["role"] = static_cast<int>(field.role);
  of["shape"] = std::vector<std::int64_t>(field.shape, field.shape + field.num_dimensions);
  of["stack"] = field.stack;
  of["padding"] = static_cast<int>(field.padding);
  return of;
}

nb::dict described(const SamplerOptions& options) {
  nb::dict of;
  of["name"] = options.name;
  of["kind"] = static_cast<int>(options.kind);
  of["scheme"] = static_cast<int>(options.scheme);
  of["priority_start"] = options.priority_start;
  of["priority_end"] = options.priority_end;
  of["priority_steps"] = options.priority_steps;
  of["epsilon"] = options.epsilon;
  of["new_priority"] = static_cast<int>(options.new_priority);
  of["normalization"] = static_cast<int>(options.normalization);
  of["new_value"] = options.new_value;
  of["importance_start"] = options.importance_start;
  of["importance_end"] = options.importance_end;
  of["importance_steps"] = options.importance_steps;
  return of;
}

nb::dict described(const BufferOptions& options) {
  nb::dict of;
  of["num_lanes"] = options.num_lanes;
  of["rows_per_lane"] = options.rows_per_lane;
  of["n_step"] = options.n_step;
  of["gamma"] = options.gamma;
  of["next_step_autoreset"] = options.next_step_autoreset;
  of["seed"] = options.seed;
  nb::dict limiter;
  limiter["samples_per_insert"] = options.limiter.samples_per_insert;
  limiter["error_buffer"] = options.limiter.error_buffer;
  limiter["min_size"] = options.limiter.min_size;
  of["limiter"] = limiter;
  nb::list fields;
  for (const Field& field : options.fields) fields.append(described(field));
  nb::list samplers;
  for (const SamplerOptions& sampler : options.samplers) samplers.append(described(sampler));
  of["fields"] = fields;
  of["samplers"] = samplers;
  return of;
}

MemoryPlace place_of(int kind, const std::string& name) {
  return {static_cast<MemoryKind>(kind), name};
}

template <typename T>
std::span<const T> span_at(std::uintptr_t address, std::int64_t n) {
  return {pointer<const T>(address), static_cast<std::size_t>(n)};
}

void raise_os_error(const std::system_error& error) {
  const nb::object arguments = nb::make_tuple(error.code().value(), error.what());
  PyErr_SetObject(PyExc_OSError, arguments.ptr());
}

void bind_calls(nb::class_<BoundReplayBuffer>& bound) {
  bound.def("add", &BoundReplayBuffer::add, nb::arg("fields"), nb::arg("terminated"),
            nb::arg("truncated"), nb::arg("final_observations").none(),
            nb::arg("priorities").none(), nb::arg("lanes").none(), nb::arg("timeout"));
  bound.def("end_episodes", &BoundReplayBuffer::end_episodes, nb::arg("lanes"),
            nb::arg("final_observations").none());
  bound.def("sample", &BoundReplayBuffer::sample, nb::arg("n"), nb::arg("sampler"),
            nb::arg("importance_exponent"), nb::arg("ring"), nb::arg("timeout"));
  bound.def("gather", &BoundReplayBuffer::gather, nb::arg("handles"), nb::arg("n"),
            nb::arg("ring"));
  bound.def(
      "gather_rows",
      [](BoundReplayBuffer& self, std::uintptr_t lanes, std::uintptr_t rows, std::int64_t n,
         std::size_t field, std::uintptr_t to) {
        self.released([&](ReplayBuffer& from) {
          from.gather_rows(span_at<std::int64_t>(lanes, n), span_at<std::int64_t>(rows, n), field,
                           pointer<std::byte>(to));
        });
      },
      nb::arg("lanes"), nb::arg("rows"), nb::arg("n"), nb::arg("field"), nb::arg("to"));
  bound.def("update_priorities", &BoundReplayBuffer::update_priorities, nb::arg("handles"),
            nb::arg("priorities"), nb::arg("sampler"));
  bound.def(
      "priorities",
      [](BoundReplayBuffer& self, std::uintptr_t handles, std::int64_t n, std::size_t sampler,
         std::uintptr_t to) {
        self.released([&](ReplayBuffer& from) {
          from.priorities(span_at<std::uint64_t>(handles, n), sampler, pointer<double>(to));
        });
      },
      nb::arg("handles"), nb::arg("n"), nb::arg("sampler"), nb::arg("to"));
  bound.def(
      "evict",
      [](BoundReplayBuffer& self, std::uintptr_t handles, std::int64_t n) {
        return self.released(
            [&](ReplayBuffer& from) { return from.evict(span_at<std::uint64_t>(handles, n)); });
      },
      nb::arg("handles"), nb::arg("n"));
  bound.def(
      "num_drawable_by",
      [](BoundReplayBuffer& self, std::size_t sampler) {
        return self.released([&](ReplayBuffer& of) { return of.num_drawable(sampler); });
      },
      nb::arg("sampler"));
  bound.def(
      "first_foreign",
      [](BoundReplayBuffer& self, std::uintptr_t handles, std::int64_t n) {
        return self.released([&](ReplayBuffer& of) {
          return of.first_foreign(span_at<std::uint64_t>(handles, n));
        });
      },
      nb::arg("handles"), nb::arg("n"));
  bound.def(
      "are_drawable",
      [](BoundReplayBuffer& self, std::uintptr_t handles, std::int64_t n, std::uintptr_t to) {
        self.released([&](ReplayBuffer& of) {
          of.are_drawable(span_at<std::uint64_t>(handles, n), pointer<std::uint8_t>(to));
        });
      },
      nb::arg("handles"), nb::arg("n"), nb::arg("to"));
  bound.def(
      "ended_episodes",
      [](BoundReplayBuffer& self, std::uintptr_t after, std::uintptr_t lanes,
         std::uintptr_t numbers, std::uintptr_t begins, std::uintptr_t last_rows,
         std::uintptr_t oldest_rows, std::int64_t capacity) {
        return self.released([&](ReplayBuffer& of) {
          return of.ended_episodes(span_at<std::int64_t>(after, of.options().num_lanes),
                                   {pointer<std::int64_t>(lanes), pointer<std::int64_t>(numbers),
                                    pointer<std::int64_t>(begins), pointer<std::int64_t>(last_rows),
                                    pointer<std::int64_t>(oldest_rows)},
                                   capacity);
        });
      },
      nb::arg("after"), nb::arg("lanes"), nb::arg("numbers"), nb::arg("begins"),
      nb::arg("last_rows"), nb::arg("oldest_rows"), nb::arg("capacity"));
  bound.def(
      "lane_states",
      [](BoundReplayBuffer& self, std::uintptr_t to) {
        self.released([&](ReplayBuffer& of) { of.lane_states(pointer<std::int32_t>(to)); });
      },
      nb::arg("to"));
  bound.def(
      "places",
      [](BoundReplayBuffer& self, std::uintptr_t handles, std::int64_t n, std::uintptr_t lanes,
         std::uintptr_t rows, std::uintptr_t first_rows, std::uintptr_t last_rows,
         std::uintptr_t complete) {
        const ReplayBuffer::Places to{pointer<std::int64_t>(lanes), pointer<std::int64_t>(rows),
                                      pointer<std::int64_t>(first_rows),
                                      pointer<std::int64_t>(last_rows),
                                      pointer<std::uint8_t>(complete)};
        self.released(
            [&](ReplayBuffer& from) { from.places(span_at<std::uint64_t>(handles, n), to); });
      },
      nb::arg("handles"), nb::arg("n"), nb::arg("lanes"), nb::arg("rows"), nb::arg("first_rows"),
      nb::arg("last_rows"), nb::arg("complete"));
  bound.def(
      "drawable_handles",
      [](BoundReplayBuffer& self, std::uintptr_t to, std::int64_t capacity) {
        return self.released([&](ReplayBuffer& from) {
          return from.drawable_handles(pointer<std::uint64_t>(to), capacity);
        });
      },
      nb::arg("to"), nb::arg("capacity"));
  bound.def("restart_limiter", [](BoundReplayBuffer& self) {
    self.released([](ReplayBuffer& of) { of.restart_limiter(); });
  });
  bound.def_prop_ro("num_waits", [](BoundReplayBuffer& self) {
    const Limiter& of = self.buffer().limiter();
    return nb::make_tuple(of.num_add_waits(), of.num_sample_waits());
  });
}

}  // namespace

void bind_replay_buffer(nb::module_& m) {
  nb::register_exception_translator(
      [](const std::exception_ptr& thrown, void*) {
        try {
          std::rethrow_exception(thrown);
        } catch (const std::system_error& error) {
          raise_os_error(error);
        }
      },
      nullptr);
  nb::exception<LimiterTimeout>(m, "LimiterTimeout", PyExc_TimeoutError);
  bind_replay_batches(m);
  nb::class_<BoundReplayBuffer> bound(m, "ReplayBuffer");
  bound.def(
      "__init__",
      [](BoundReplayBuffer* self, int kind, const std::string& name, const nb::dict& options) {
        const BufferOptions read = options_of(options);
        std::unique_ptr<ReplayBuffer> made;
        {
          const nb::gil_scoped_release released;  // all of a large file is reserved here
          made = std::make_unique<ReplayBuffer>(place_of(kind, name), read);
        }
        new (self) BoundReplayBuffer(std::move(made), leaves_of(item<nb::list>(options, "fields")));
      },
      nb::arg("kind"), nb::arg("name"), nb::arg("options"));
  bound.def_static(
      "options_at",
      [](int kind, const std::string& name) {
        const auto read = [&] {
          const nb::gil_scoped_release released;  // it may wait for who makes or closes it
          const Memory memory = Memory::open(place_of(kind, name));
          return read_header(memory.data(), memory.size(), name.c_str());
        };
        return described(read());
      },
      nb::arg("kind"), nb::arg("name"));
  bound.def_static(
      "open",
      [](int kind, const std::string& name, const nb::list& fields) {
        std::unique_ptr<ReplayBuffer> opened;
        {
          const nb::gil_scoped_release released;
          opened = std::make_unique<ReplayBuffer>(Memory::open(place_of(kind, name)));
        }
        return std::make_unique<BoundReplayBuffer>(std::move(opened), leaves_of(fields));
      },
      nb::arg("kind"), nb::arg("name"), nb::arg("fields"));
  bound.def("save", &BoundReplayBuffer::save, nb::arg("path"), nb::arg("layout"),
            nb::arg("others"));
  bound.def_static(
      "load",
      [](const BoundFolder& saved, int kind, const std::string& name, const nb::dict& options) {
        LoadedBlobs others;
        const BufferOptions of = options_of(options);
        std::unique_ptr<ReplayBuffer> loaded;
        {
          const nb::gil_scoped_release released;
          loaded = std::make_unique<ReplayBuffer>(place_of(kind, name), of, saved.folder(),
                                                  others.memory());
        }
        auto buffer = std::make_unique<BoundReplayBuffer>(
            std::move(loaded), leaves_of(item<nb::list>(options, "fields")));
        buffer->adopt(saved.folder());
        return nb::make_tuple(std::move(buffer), others.taken());
      },
      nb::arg("saved"), nb::arg("kind"), nb::arg("name"), nb::arg("options"));
  m.attr("replay_buffer_version") = std::uint32_t{BufferHeader::kVersion};
  bound.def_static(
      "look_at",
      [](const std::string& name) -> nb::object {
        const Memory::Found found =
            Memory::look({MemoryKind::kShared, name}, sizeof(BufferHeader::kMagic));
        if (!has_magic(found.head.data(), found.head.size())) return nb::none();
        return nb::make_tuple(found.size, found.is_open);
      },
      nb::arg("name"));
  bound.def_static(
      "remove", [](const std::string& name) { Memory::remove({MemoryKind::kShared, name}); },
      nb::arg("name"));
  bound.def("__len__", [](BoundReplayBuffer& self) {
    return self.released([](ReplayBuffer& of) { return of.size(); });
  });
  bound.def_prop_ro("num_drawable", [](BoundReplayBuffer& self) {
    return self.released([](ReplayBuffer& of) { return of.num_drawable(); });
  });
  bound.def_prop_ro("counters", [](BoundReplayBuffer& self) {
    const auto counters = self.released([](ReplayBuffer& of) { return of.counters(); });
    return nb::make_tuple(counters.num_added, counters.num_sampled, counters.refused_updates,
                          counters.num_repairs);
  });
  bound.def_prop_ro("identity", [](BoundReplayBuffer& self) { return self.buffer().identity(); });
  bound.def_prop_ro("num_bytes",
                    [](BoundReplayBuffer& self) { return self.buffer().memory().size(); });
  bind_calls(bound);
}

}  // namespace fastrl::python
