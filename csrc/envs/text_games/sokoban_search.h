// Search over the positions of a Sokoban level, forwards for solutions and backwards for levels.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "envs/bitboard.h"
#include "envs/environment.h"
#include "envs/text_games/sokoban.h"

namespace fastrl {

// A set of positions in the order in which they were found. Memory is kept between searches, so
// one per thread is enough.
class PositionSet {
 public:
  struct Position {
    Bitboard boxes;
    std::int16_t player;
    std::int16_t first_action;  // of the path that led here
    std::int32_t depth;
    std::uint32_t slot;  // in the table below
  };

  explicit PositionSet(std::size_t capacity);

  void clear();

  std::size_t size() const { return positions_.size(); }
  bool full() const { return positions_.size() == capacity_; }
  const Position& operator[](std::size_t i) const { return positions_[i]; }

  // False if it is there already. The set is not full.
  bool insert(const Bitboard& boxes, int player, int first_action, int depth);

 private:
  std::size_t capacity_;
  std::vector<Position> positions_;
  std::vector<std::uint32_t> table_;  // 1 + index into positions_, 0 where free
};

// Whether some box could not be pushed onto any target even if it were alone in the room.
bool has_dead_box(const Sokoban::Params& params, const Sokoban::State& state);

inline constexpr std::size_t kMaxSolverPositions = 1 << 18;

// The fewest actions that solve `state`; kUnknown after kMaxSolverPositions, or where it takes more
// than `max_distance`.
Solution solve_sokoban(const Sokoban::Params& params, const Sokoban::State& state,
                       int max_distance = std::numeric_limits<int>::max());

// A level whose shortest solution has params.min_solution to params.max_solution actions (the
// former is a goal where kMaxSolverPositions do not suffice to rule out a shorter one). Throws
// std::invalid_argument when the options leave none to be found.
Sokoban::State make_sokoban_level(const Sokoban::Params& params, RandomStream& random);

}  // namespace fastrl
