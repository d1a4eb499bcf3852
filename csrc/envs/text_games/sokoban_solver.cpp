#include <bit>

#include "core/random.h"
#include "envs/text_games/sokoban_search.h"

namespace fastrl {

PositionSet::PositionSet(std::size_t capacity)
    : capacity_(capacity), table_(std::bit_ceil(2 * capacity)) {
  positions_.reserve(capacity);
}

void PositionSet::clear() {
  for (const Position& position : positions_) table_[position.slot] = 0;
  positions_.clear();
}

bool PositionSet::insert(const Bitboard& boxes, int player, int first_action, int depth) {
  const std::uint64_t hash =
      mix64(boxes.words[0] ^ mix64(boxes.words[1] ^ (static_cast<std::uint64_t>(player) << 56)));
  const std::size_t mask = table_.size() - 1;
  std::size_t slot = hash & mask;
  for (; table_[slot] != 0; slot = (slot + 1) & mask) {
    const Position& known = positions_[table_[slot] - 1];
    if (known.boxes == boxes && known.player == player) return false;
  }
  positions_.push_back({boxes, static_cast<std::int16_t>(player),
                        static_cast<std::int16_t>(first_action), depth,
                        static_cast<std::uint32_t>(slot)});
  table_[slot] = static_cast<std::uint32_t>(positions_.size());
  return true;
}

namespace {

// Cells from which a box alone in the room could still be pushed onto some target: from each
// target, all that pulls can reach. A box anywhere else is lost.
Bitboard live_cells(const Grid& inside, const Bitboard& walls, const Bitboard& targets) {
  Bitboard live = targets;
  std::uint8_t stack[Bitboard::kCapacity];
  int size = 0;
  targets.for_each([&](int cell) { stack[size++] = static_cast<std::uint8_t>(cell); });
  while (size > 0) {
    const int cell = stack[--size];
    for (int d = 0; d < 4; ++d) {
      const auto direction = static_cast<Direction>(d);
      const int pulled = inside.neighbor(cell, direction);
      if (pulled < 0 || walls.test(pulled) || live.test(pulled)) continue;
      const int player = inside.neighbor(pulled, direction);
      if (player < 0 || walls.test(player)) continue;
      live.set(pulled);
      stack[size++] = static_cast<std::uint8_t>(pulled);
    }
  }
  return live;
}

}  // namespace

bool has_dead_box(const Sokoban::Params& params, const Sokoban::State& state) {
  return !state.boxes.within(live_cells(params.inside, state.walls, state.targets));
}

Solution solve_sokoban(const Sokoban::Params& params, const Sokoban::State& state,
                       int max_distance) {
  if (state.solved()) return {.distance = 0};
  const Bitboard live = live_cells(params.inside, state.walls, state.targets);
  if (!state.boxes.within(live)) return {};
  thread_local PositionSet seen(kMaxSolverPositions);
  seen.clear();
  seen.insert(state.boxes, static_cast<int>(state.player), 0, 0);
  for (std::size_t head = 0; head < seen.size(); ++head) {
    const PositionSet::Position from = seen[head];
    if (from.depth >= max_distance) return {.distance = kUnknown};
    for (int action = 0; action < 4; ++action) {
      Sokoban::State next{state.walls, state.targets, from.boxes,
                          static_cast<std::uint64_t>(from.player)};
      if (!Sokoban::move(params, next, static_cast<Direction>(action))) continue;
      const int first = head == 0 ? action : from.first_action;
      if (next.solved()) return {.distance = from.depth + 1, .first_action = first};
      if (!next.boxes.within(live)) continue;
      if (seen.full()) return {.distance = kUnknown};
      seen.insert(next.boxes, static_cast<int>(next.player), first, from.depth + 1);
    }
  }
  return {};
}

}  // namespace fastrl
