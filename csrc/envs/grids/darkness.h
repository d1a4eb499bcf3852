// What the dark rooms share: a square without walls in which the agent sees only where it is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>

#include "envs/environment.h"
#include "envs/grid.h"

namespace fastrl {

inline constexpr int kMaxRoomSize = 100;

enum class Start { kCenter, kCorner, kRandom };

inline Start parse_start(Options& options, const char* fallback) {
  return static_cast<Start>(options.choice("start", fallback, {"center", "corner", "random"}));
}

inline void describe_dark(const Grid& grid, Description& description) {
  description.add_observation(multi_discrete<std::int64_t>({2}, grid.height));
  description.set_action(discrete(5));
  description.reports_success = 1;
  description.grid_height = grid.height;
  description.grid_width = grid.width;
}

inline int draw_start(const Grid& grid, Start start, RandomStream& level) {
  if (start == Start::kCorner) return 0;
  if (start == Start::kCenter) return grid.height / 2 * grid.width + grid.width / 2;
  return static_cast<int>(level.below(static_cast<std::uint32_t>(grid.size())));
}

// Any cell but those taken.
inline int draw_other(const Grid& grid, RandomStream& level, std::initializer_list<int> taken) {
  while (true) {
    const auto cell = static_cast<int>(level.below(static_cast<std::uint32_t>(grid.size())));
    if (std::ranges::find(taken, cell) == taken.end()) return cell;
  }
}

// Up, Down, Left, Right, stay; the walls stop the agent.
inline int walk(const Grid& grid, int agent, int action) {
  if (action == 4) return agent;
  const int next = grid.neighbor(agent, static_cast<Direction>(action));
  return next < 0 ? agent : next;
}

inline void observe_place(const Grid& grid, int agent, const Rows& rows) {
  auto* to = rows.at<std::int64_t>(0);
  to[0] = grid.row(agent);
  to[1] = grid.column(agent);
}

inline Solution shortest_way(const Grid& grid, int from, int to) {
  const int down = grid.row(to) - grid.row(from);
  const int right = grid.column(to) - grid.column(from);
  const int vertical = down < 0 ? kUp : kDown;
  const int horizontal = right < 0 ? kLeft : kRight;
  const int first = down != 0 ? vertical : right != 0 ? horizontal : -1;
  return {.distance = std::abs(down) + std::abs(right), .first_action = first};
}

}  // namespace fastrl
