// The maps of FrozenLake: S start, F ice, H hole, G goal.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "envs/grid.h"
#include "envs/options.h"

namespace fastrl {

struct FrozenLakeMap {
  static constexpr int kMaxSize = 32;

  Grid grid;
  std::array<char, kMaxSize * kMaxSize> cells;

  char at(int cell) const { return cells[static_cast<std::size_t>(cell)]; }
  bool ends(int cell) const { return at(cell) == 'G' || at(cell) == 'H'; }
  int num_starts() const;
};

// The options `desc`, `map_name`, and those of a random map.
FrozenLakeMap parse_frozen_lake_map(Options& options, const char* default_name);

}  // namespace fastrl
