// Indices of priorities on their own. Python has checked dtypes, shapes and contiguity.
#include <nanobind/stl/string.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <variant>

#include "core/check.h"
#include "python/bind.h"
#include "replay/importance.h"
#include "replay/priority_index.h"
#include "replay/priority_weights.h"
#include "replay/rank_index.h"

namespace fastrl::python {
namespace {

struct FreeAligned {
  void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t{64}); }
};

template <typename T>
std::span<T> span_at(std::uintptr_t address, std::int64_t n) {
  return {pointer<T>(address), static_cast<std::size_t>(n)};
}

// An index, its memory and its random numbers; calls of several threads take turns.
class Index {
  using Any = std::variant<PriorityIndex, RankIndex>;

  template <typename Call>
  auto visit(Call call) {
    const std::lock_guard lock(mutex_);
    return std::visit(call, index_);
  }
  static void refresh(PriorityIndex&) {}
  static void refresh(RankIndex& index) { index.refresh(); }

 public:
  Index(std::int64_t capacity, bool by_rank, bool keeps_priorities, std::uint64_t seed)
      : bytes_(by_rank ? RankIndex::memory_size(capacity)
                       : PriorityIndex::memory_size(capacity, keeps_priorities)),
        memory_(new (std::align_val_t{64}) std::byte[bytes_]()),
        index_(by_rank ? Any(std::in_place_type<RankIndex>, memory_.get(), capacity)
                       : Any(std::in_place_type<PriorityIndex>, memory_.get(), capacity,
                             keeps_priorities)),
        random_(RandomStream::seeded(seed, 0)) {}

  void set_priorities(const std::string& function, std::uintptr_t slots, std::int64_t n,
                      std::uintptr_t priorities, bool is_double) {
    visit([&](auto& index) {
      const auto at = span_at<const std::int64_t>(slots, n);
      if (is_double) {
        index.set_priorities(function.c_str(), at, span_at<const double>(priorities, n));
      } else {
        index.set_priorities(function.c_str(), at, span_at<const float>(priorities, n));
      }
    });
  }

  void set_new(const std::string& function, std::uintptr_t slots, std::int64_t n, int rule,
               double value) {
    visit([&](auto& index) {
      index.set_new(function.c_str(), span_at<const std::int64_t>(slots, n),
                    static_cast<NewPriority>(rule), value);
    });
  }

  void clear(const std::string& function, std::uintptr_t slots, std::int64_t n) {
    visit([&](auto& index) {
      const auto at = span_at<const std::int64_t>(slots, n);
      check_slots(function.c_str(), at, index.capacity());
      index.clear(at);
    });
  }

  void set_exponent(const std::string& function, double exponent) {
    visit([&](auto& index) { index.set_exponent(function.c_str(), exponent); });
  }

  double draw(const std::string& function, std::int64_t n, int scheme, std::uintptr_t slots,
              std::uintptr_t probabilities) {
    return visit([&](auto& index) {
      return index.draw(function.c_str(), n, static_cast<DrawScheme>(scheme), random_,
                        pointer<std::int64_t>(slots), pointer<double>(probabilities));
    });
  }

  double smallest_probability(std::int64_t n, double tau) {
    return visit([&](auto& index) { return index.smallest_probability(n, tau); });
  }

  // The integer weights of slots.
  void weights(const std::string& function, std::uintptr_t slots, std::int64_t n,
               std::uintptr_t weights) {
    visit([&](auto& index) {
      const auto at = span_at<const std::int64_t>(slots, n);
      check_slots(function.c_str(), at, index.capacity());
      refresh(index);
      index.weights(at, pointer<std::uint64_t>(weights));
    });
  }

  std::uint64_t total() {
    return visit([](auto& index) {
      refresh(index);
      return index.total();
    });
  }
  std::int64_t count() {
    return visit([](auto& index) { return index.count(); });
  }
  double exponent() {
    return visit([](auto& index) { return index.exponent(); });
  }
  double largest_ever() {
    return visit([](auto& index) { return index.largest_ever(); });
  }
  std::size_t bytes() const { return bytes_; }

  // A copy of all that it remembers, random numbers included.
  nb::bytearray state() {
    nb::bytearray copy;
    copy.resize(bytes_ + sizeof(RandomStream));
    auto* to = static_cast<std::byte*>(copy.data());
    const nb::gil_scoped_release released;
    const std::lock_guard lock(mutex_);
    std::memcpy(to, memory_.get(), bytes_);
    std::memcpy(to + bytes_, &random_, sizeof(RandomStream));
    return copy;
  }

  // False for that of an index of another size or kind.
  bool restore(std::uintptr_t state, std::size_t size) {
    if (size != bytes_ + sizeof(RandomStream)) return false;
    const std::lock_guard lock(mutex_);
    std::memcpy(memory_.get(), pointer<const std::byte>(state), bytes_);
    std::memcpy(&random_, pointer<const std::byte>(state) + bytes_, sizeof(RandomStream));
    return true;
  }

 private:
  std::size_t bytes_;
  std::unique_ptr<std::byte, FreeAligned> memory_;
  Any index_;
  RandomStream random_;
  std::mutex mutex_;
};

void bound_importance_weights(std::uintptr_t probabilities, std::int64_t n, std::int64_t count,
                              double exponent, int normalization, double smallest_probability,
                              std::uintptr_t weights) {
  importance_weights(span_at<const double>(probabilities, n), count, exponent,
                     static_cast<WeightNormalization>(normalization), smallest_probability,
                     pointer<float>(weights));
}

}  // namespace

void bind_replay_index(nb::module_& m) {
  using NoGil = nb::call_guard<nb::gil_scoped_release>;
  nb::class_<Index>(m, "ReplayIndex", "Addresses of checked arrays; see replay/priority_index.py.")
      .def(nb::init<std::int64_t, bool, bool, std::uint64_t>(), nb::arg("capacity"),
           nb::arg("by_rank"), nb::arg("keeps_priorities"), nb::arg("seed"))
      .def("set_priorities", &Index::set_priorities, nb::arg("function"), nb::arg("slots"),
           nb::arg("n"), nb::arg("priorities"), nb::arg("is_double"), NoGil())
      .def("set_new", &Index::set_new, nb::arg("function"), nb::arg("slots"), nb::arg("n"),
           nb::arg("rule"), nb::arg("value"), NoGil())
      .def("clear", &Index::clear, nb::arg("function"), nb::arg("slots"), nb::arg("n"), NoGil())
      .def("set_exponent", &Index::set_exponent, nb::arg("function"), nb::arg("exponent"), NoGil())
      .def("draw", &Index::draw, nb::arg("function"), nb::arg("n"), nb::arg("scheme"),
           nb::arg("slots"), nb::arg("probabilities"), NoGil())
      .def("smallest_probability", &Index::smallest_probability, nb::arg("n"), nb::arg("tau"),
           NoGil())
      .def("weights", &Index::weights, nb::arg("function"), nb::arg("slots"), nb::arg("n"),
           nb::arg("weights"), NoGil())
      .def_prop_ro("total", &Index::total, NoGil())
      .def_prop_ro("count", &Index::count, NoGil())
      .def_prop_ro("exponent", &Index::exponent, NoGil())
      .def_prop_ro("largest_ever", &Index::largest_ever, NoGil())
      .def_prop_ro("bytes", &Index::bytes)
      .def("state", &Index::state)
      .def("restore", &Index::restore, nb::arg("state"), nb::arg("size"), NoGil());
  m.def("importance_weights", &bound_importance_weights, nb::arg("probabilities"), nb::arg("n"),
        nb::arg("count"), nb::arg("exponent"), nb::arg("normalization"),
        nb::arg("smallest_probability"), nb::arg("weights"), NoGil());
}

}  // namespace fastrl::python
