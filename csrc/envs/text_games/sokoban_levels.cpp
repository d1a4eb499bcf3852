// How levels are made: carve a room, place targets, then play backwards from every solved position
// by pulling boxes. All that is reached backwards can be solved forwards, and where the backward
// search is complete its depth is the length of the shortest solution. Elsewhere the depth is at
// least that length, and a shorter solution is looked for forwards.
#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <utility>

#include "core/check.h"
#include "envs/text_games/sokoban_search.h"

namespace fastrl {
namespace {

constexpr int kMaxRooms = 2000;
// Backward search: enough for every position of a 6×6 room with two boxes; in larger rooms layers
// are thinned out at random to kBeam positions, so that the search still goes deep.
constexpr std::size_t kMaxPositions = 1 << 14;
constexpr std::size_t kBeam = 512;

Sokoban::State empty_room(const Grid& inside) {
  Sokoban::State state{};
  for (int cell = 0; cell < inside.size(); ++cell) state.walls.set(cell);
  return state;
}

// A random walk that stamps shapes into the rock. Every shape holds the walker's cell and cells
// next to it, so the floor is connected.
void carve(const Grid& inside, RandomStream& random, Bitboard& walls) {
  struct Offset {
    int row, column;
  };
  static constexpr Offset kRow[] = {{0, -1}, {0, 0}, {0, 1}};
  static constexpr Offset kColumn[] = {{-1, 0}, {0, 0}, {1, 0}};
  static constexpr Offset kCorner[] = {{0, 0}, {0, 1}, {1, 0}};
  static constexpr Offset kSquare[] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}};
  static constexpr Offset kDot[] = {{0, 0}};
  static constexpr std::span<const Offset> kShapes[] = {kRow, kColumn, kCorner, kSquare, kDot};

  int cell = static_cast<int>(random.below(static_cast<std::uint32_t>(inside.size())));
  auto direction = static_cast<Direction>(random.below(4));
  const int steps = 17 * (inside.height + inside.width + 4) / 10;
  for (int step = 0; step < steps; ++step) {
    for (const Offset offset : kShapes[random.below(std::size(kShapes))]) {
      const int row = inside.row(cell) + offset.row;
      const int column = inside.column(cell) + offset.column;
      if (row < 0 || row >= inside.height || column < 0 || column >= inside.width) continue;
      walls.clear(row * inside.width + column);
    }
    if (random.below(100) < 35) direction = static_cast<Direction>(random.below(4));
    if (const int next = inside.neighbor(cell, direction); next >= 0) cell = next;
  }
}

// `count` different cells of the floor become targets with a box each; false if there is no room.
bool place_targets(const Grid& inside, int count, RandomStream& random, Sokoban::State& state) {
  std::array<std::uint8_t, Bitboard::kCapacity> floor{};
  std::uint32_t size = 0;
  for (int cell = 0; cell < inside.size(); ++cell) {
    if (!state.walls.test(cell)) floor[size++] = static_cast<std::uint8_t>(cell);
  }
  if (static_cast<int>(size) < 2 * count + 1) return false;
  for (int i = 0; i < count; ++i) {
    std::uint8_t& chosen = floor[random.below(size)];
    state.targets.set(chosen);
    chosen = floor[--size];
  }
  state.boxes = state.targets;
  return true;
}

bool is_floor(const Sokoban::State& room, const Bitboard& boxes, int cell) {
  return cell >= 0 && !room.walls.test(cell) && !boxes.test(cell);
}

// Adds the positions from which one action leads to `to`.
void expand_backwards(const Grid& inside, const Sokoban::State& room,
                      const PositionSet::Position& to, PositionSet& seen) {
  for (int d = 0; d < 4 && !seen.full(); ++d) {
    const auto direction = static_cast<Direction>(d);
    const int player = inside.neighbor(to.player, opposite(direction));
    if (!is_floor(room, to.boxes, player)) continue;
    seen.insert(to.boxes, player, d, to.depth + 1);
    const int pushed = inside.neighbor(to.player, direction);
    if (pushed < 0 || !to.boxes.test(pushed) || seen.full()) continue;
    Bitboard boxes = to.boxes;
    boxes.clear(pushed);
    boxes.set(to.player);
    seen.insert(boxes, player, d, to.depth + 1);
  }
}

// Returns a depth from which on solutions may be shorter than the depth at which a position was
// found, but not shorter than this one.
int search_backwards(const Sokoban::Params& params, const Sokoban::State& room,
                     RandomStream& random, PositionSet& seen) {
  seen.clear();
  for (int cell = 0; cell < params.inside.size(); ++cell) {
    if (is_floor(room, room.boxes, cell)) seen.insert(room.boxes, cell, 0, 0);
  }
  int exact_depth = std::numeric_limits<int>::max();
  std::size_t begin = 0;
  while (begin < seen.size() && !seen.full() && seen[begin].depth < params.max_solution) {
    const std::size_t end = seen.size();
    const std::size_t layer = end - begin;
    if (layer > kBeam) exact_depth = std::min(exact_depth, seen[begin].depth + 1);
    // Every position of a thin layer, or a random choice of kBeam from a thick one.
    std::size_t needed = std::min(layer, kBeam);
    for (std::size_t i = begin; i < end && !seen.full(); ++i) {
      if (layer > kBeam && random.below(static_cast<std::uint32_t>(end - i)) >= needed) continue;
      --needed;
      const PositionSet::Position from = seen[i];
      expand_backwards(params.inside, room, from, seen);
    }
    begin = end;
  }
  return exact_depth;
}

}  // namespace

Sokoban::State make_sokoban_level(const Sokoban::Params& params, RandomStream& random) {
  thread_local PositionSet seen(kMaxPositions);
  for (int attempt = 0; attempt < kMaxRooms; ++attempt) {
    Sokoban::State room = empty_room(params.inside);
    carve(params.inside, random, room.walls);
    if (!place_targets(params.inside, params.num_boxes, random, room)) continue;
    const int exact_depth = search_backwards(params, room, random, seen);
    // One of the starts with every box off its target, each with the same probability.
    std::uint32_t candidates = 0;
    std::size_t chosen = 0;
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const bool in_range = seen[i].depth >= params.min_solution;
      if (!in_range || seen[i].boxes.intersects(room.targets)) continue;
      if (random.below(++candidates) == 0) chosen = i;
    }
    if (candidates == 0) continue;
    room.boxes = seen[chosen].boxes;
    room.player = static_cast<std::uint64_t>(seen[chosen].player);
    const bool in_doubt = params.min_solution > exact_depth;
    if (in_doubt && solve_sokoban(params, room, params.min_solution - 1).distance > 0) continue;
    return room;
  }
  fail_value("make_vec", params.extent,
             concat("leave room for a level with ", params.num_boxes, " boxes and a solution of ",
                    params.min_solution, " to ", params.max_solution, " actions"),
             concat(params.inside.height + 2, " × ", params.inside.width + 2));
}

}  // namespace fastrl
