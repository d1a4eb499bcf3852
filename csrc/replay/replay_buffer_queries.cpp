// ReplayBuffer: what is in it.
#include <algorithm>

#include "replay/replay_buffer.h"
#include "replay/replay_buffer_guard.h"

namespace fastrl {

std::int64_t ReplayBuffer::num_drawable(std::size_t sampler) {
  const Guard guard(*this);
  return samplers_[sampler].count(drawable_);
}

std::int64_t ReplayBuffer::first_foreign(std::span<const std::uint64_t> handles) {
  const Guard guard(*this);
  const auto found = std::ranges::find_if(handles, [this](std::uint64_t handle) {
    return lanes_.state_of(handle) == HandleState::kForeign;
  });
  return found - handles.begin();
}

void ReplayBuffer::are_drawable(std::span<const std::uint64_t> handles, std::uint8_t* to) {
  const Guard guard(*this);
  for (std::size_t i = 0; i < handles.size(); ++i) {
    const HandleState state = state_of("are_drawable", handles[i], i);
    to[i] = state == HandleState::kLive && drawable_.test(Lanes::slot_of(handles[i])) ? 1 : 0;
  }
}

std::int64_t ReplayBuffer::ended_episodes(std::span<const std::int64_t> after,
                                          const EndedEpisodes& to, std::int64_t capacity) {
  const Guard guard(*this);
  std::int64_t found = 0;
  for (std::int64_t lane = 0; lane < options_.num_lanes; ++lane) {
    const std::int64_t oldest = lanes_.oldest_row(lane);
    to.oldest_rows[lane] = oldest;
    if (lanes_.num_rows(lane) == oldest) continue;
    const std::uint32_t mark = rows_.header(lanes_.slot_of(lane, oldest)).episode;
    const std::int64_t held = lanes_.episode_of(lane, mark).number;
    const std::int64_t newest = lanes_.lane(lane).episode;
    for (std::int64_t number = std::max(after[static_cast<std::size_t>(lane)] + 1, held);
         number <= newest; ++number) {
      const Episode episode = lanes_.episode_of(lane, static_cast<std::uint32_t>(number));
      if (!episode.complete) break;
      if (found < capacity) {
        to.lanes[found] = lane;
        to.numbers[found] = number;
        to.begins[found] = episode.begin;
        to.last_rows[found] = episode.last;
      }
      ++found;
    }
  }
  return found;
}

void ReplayBuffer::lane_states(std::int32_t* to) {
  const Guard guard(*this);
  for (std::int64_t lane = 0; lane < options_.num_lanes; ++lane) {
    to[lane] = static_cast<std::int32_t>(lanes_.lane(lane).state);
  }
}

}  // namespace fastrl
