// What a batch shows as it stands: observations, texts, pictures of grids.
#include <algorithm>
#include <vector>

#include "envs/vector_env.h"

namespace fastrl {
void VectorEnv::observe(std::span<const std::int64_t> ids, const Outputs& outputs) const {
  check_ids("observe", "ids", ids);
  check_started("observe", ids);
  const auto n = static_cast<std::int64_t>(ids.size());
  const std::vector<std::uint8_t> all(ids.size(), 1);
  FaultLog log;
  parallel(n, grain_, [&](std::int64_t begin, std::int64_t end) {
    CallError error;
    Faults faults;
    show(io(ids.data(), all.data(), outputs, error), begin, end, false, faults);
    if (!faults.empty()) log.add(faults);
  });
  log.check("observe", table_.id);
}

void VectorEnv::render(std::span<const std::int64_t> ids, std::int32_t* tokens,
                       std::int32_t* lengths) const {
  check_ids("render_text", "ids", ids);
  check_started("render_text", ids);
  Bytes state(table_.state_size);
  const std::int64_t width = description_.render_tokens;
  for (std::size_t k = 0; k < ids.size(); ++k) {
    std::int32_t* row = tokens + static_cast<std::int64_t>(k) * width;
    get_state(ids[k], state.data());
    CallError error;
    lengths[k] = table_.render(params(ids[k]), state.data(), elapsed_[at(ids[k])], row, &error);
    error.check("render_text", table_.id);
    std::fill(row + lengths[k], row + width, static_cast<std::int32_t>(kPadToken));
  }
}

void VectorEnv::cells(std::span<const std::int64_t> ids, char* cells) const {
  check_ids("render", "ids", ids);
  check_started("render", ids);
  Bytes state(table_.state_size);
  const std::int64_t size =
      std::int64_t{description_.grid_height} * std::int64_t{description_.grid_width};
  for (std::size_t k = 0; k < ids.size(); ++k) {
    get_state(ids[k], state.data());
    CallError error;
    table_.cells(params(ids[k]), state.data(), cells + static_cast<std::int64_t>(k) * size, &error);
    error.check("render", table_.id);
  }
}

}  // namespace fastrl
