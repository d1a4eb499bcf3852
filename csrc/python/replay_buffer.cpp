// ReplayBuffer: how it is made, opened and called. Arrays of hot calls are read by
// BoundReplayBuffer, of all others Python has checked dtypes, shapes and contiguity.
#include "replay/replay_buffer.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <system_error>

#include "python/bind.h"
#include "python/patience.h"
#include "python/replay_batches.h"
#include "python/replay_bound_buffer.h"
#include "python/replay_options.h"
#include "python/saving.h"

namespace fastrl::python {
namespace {

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
  bound.def("add", &BoundReplayBuffer::add, nb::arg("fields"), nb::arg("terminated").none(),
            nb::arg("truncated").none(), nb::arg("final_observations").none(),
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
  bound.def("update_priorities", &BoundReplayBuffer::update_priorities, nb::arg("handles").none(),
            nb::arg("priorities").none(), nb::arg("sampler"));
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
        return self.released(
            [&](ReplayBuffer& of) { return of.first_foreign(span_at<std::uint64_t>(handles, n)); });
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
         std::uintptr_t rows, std::uintptr_t begins, std::uintptr_t first_rows,
         std::uintptr_t last_rows, std::uintptr_t complete, std::uintptr_t terminated,
         std::uintptr_t truncated) {
        const ReplayBuffer::Places to{
            pointer<std::int64_t>(lanes),      pointer<std::int64_t>(rows),
            pointer<std::int64_t>(begins),     pointer<std::int64_t>(first_rows),
            pointer<std::int64_t>(last_rows),  pointer<std::uint8_t>(complete),
            pointer<std::uint8_t>(terminated), pointer<std::uint8_t>(truncated)};
        self.released(
            [&](ReplayBuffer& from) { from.places(span_at<std::uint64_t>(handles, n), to); });
      },
      nb::arg("handles"), nb::arg("n"), nb::arg("lanes"), nb::arg("rows"), nb::arg("begins"),
      nb::arg("first_rows"), nb::arg("last_rows"), nb::arg("complete"), nb::arg("terminated"),
      nb::arg("truncated"));
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
        new (self) BoundReplayBuffer(std::move(made), leaves_of(options));
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
      [](int kind, const std::string& name, const nb::dict& options) {
        std::unique_ptr<ReplayBuffer> opened;
        {
          const nb::gil_scoped_release released;
          opened = std::make_unique<ReplayBuffer>(Memory::open(place_of(kind, name)));
        }
        return std::make_unique<BoundReplayBuffer>(std::move(opened), leaves_of(options));
      },
      nb::arg("kind"), nb::arg("name"), nb::arg("options"));
  bound.def("save", &BoundReplayBuffer::save, nb::arg("path"), nb::arg("layout"),
            nb::arg("others"));
  bound.def_static(
      "load",
      [](const BoundFolder& saved, int kind, const std::string& name, const nb::dict& options) {
        LoadedBlobs others;
        const ReplayBuffer::Destination to{place_of(kind, name), options_of(options)};
        std::unique_ptr<ReplayBuffer> loaded;
        {
          const nb::gil_scoped_release released;
          loaded = ReplayBuffer::load(to, saved.folder(), others.memory());
        }
        auto buffer = std::make_unique<BoundReplayBuffer>(std::move(loaded), leaves_of(options));
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
