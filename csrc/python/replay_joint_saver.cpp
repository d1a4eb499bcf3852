// Several buffers in one folder, saved and loaded together.
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "python/bind.h"
#include "python/replay_bound_buffer.h"
#include "python/replay_options.h"
#include "python/saving.h"
#include "replay/joint_state.h"

namespace fastrl::python {
namespace {

// Of buffers that are always saved together, in the same order.
class JointSaver {
 public:
  void adopt(const BoundFolder& saved) { saver_.adopt(saved.folder()); }

  nb::tuple save(const std::string& path, const std::string& kind, const std::string& layout,
                 const std::vector<BoundReplayBuffer*>& buffers, const NamedBlobs& others) {
    std::vector<std::unique_ptr<LiveState>> parts;
    for (BoundReplayBuffer* buffer : buffers) parts.push_back(buffer->buffer().live("", {}));
    const std::vector<Blob> blobs = blobs_of(others);
    JointState joint(kind, layout, std::move(parts), blobs);
    return saver_.save([&](Saver& saver) { return saver.save(path, joint); });
  }

 private:
  BoundSaver saver_;
};

// Buffers, each given as (kind of memory, name, options), and the other blobs.
nb::tuple load_buffers(const BoundFolder& saved, const nb::list& given) {
  std::vector<ReplayBuffer::Destination> to;
  std::vector<std::vector<Leaf>> leaves;
  for (const nb::handle one : given) {
    const auto options = nb::cast<nb::dict>(one[2]);
    const MemoryPlace place{static_cast<MemoryKind>(nb::cast<int>(one[0])),
                            nb::cast<std::string>(one[1])};
    to.push_back({place, options_of(options)});
    leaves.push_back(leaves_of(options));
  }
  LoadedBlobs others;
  std::vector<std::unique_ptr<ReplayBuffer>> loaded;
  {
    const nb::gil_scoped_release released;
    loaded = ReplayBuffer::load_parts(to, saved.folder(), others.memory());
  }
  nb::list buffers;
  for (std::size_t i = 0; i < loaded.size(); ++i) {
    buffers.append(std::make_unique<BoundReplayBuffer>(std::move(loaded[i]), std::move(leaves[i])));
  }
  return nb::make_tuple(buffers, others.taken());
}

}  // namespace

void bind_replay_joint_saver(nb::module_& m) {
  nb::class_<JointSaver>(m, "JointSaver")
      .def(nb::init<>())
      .def("adopt", &JointSaver::adopt, nb::arg("saved"))
      .def("save", &JointSaver::save, nb::arg("path"), nb::arg("kind"), nb::arg("layout"),
           nb::arg("buffers"), nb::arg("others"));
  m.def("load_buffers", &load_buffers, nb::arg("saved"), nb::arg("buffers"));
}

}  // namespace fastrl::python
