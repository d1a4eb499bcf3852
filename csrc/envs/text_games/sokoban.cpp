#include "envs/text_games/sokoban.h"

#include <algorithm>

#include "core/check.h"
#include "envs/level_text.h"
#include "envs/text_games/sokoban_search.h"

namespace fastrl {
namespace {

constexpr std::string_view kContents = "_OX*PS";

// The position in kContents of what stands on a cell of the floor.
std::size_t content(const Sokoban::State& state, int cell) {
  return (state.targets.test(cell) ? 1U : 0U) + (state.boxes.test(cell) ? 2U : 0U) +
         (cell == static_cast<int>(state.player) ? 4U : 0U);
}

}  // namespace

Sokoban::Params Sokoban::parse(Options& options) {
  // A square of 13 has 121 cells inside, which fit a bitboard; coordinates below 36 are one token.
  const auto size = static_cast<int>(options.integer("size", 6, 5, 13));
  const auto height = static_cast<int>(options.integer("height", size, 3, 36));
  const auto width = static_cast<int>(options.integer("width", size, 3, 36));
  options.omit("size");
  Params params{
      .inside = {height - 2, width - 2},
      .num_boxes = static_cast<int>(options.integer("num_boxes", 1, 1, 32)),
      .min_solution = static_cast<std::int32_t>(options.integer("min_solution_length", 1, 1, 1000)),
      .max_solution =
          static_cast<std::int32_t>(options.integer("max_solution_length", 1000, 1, 1000)),
      .sparse = options.choice("reward", "gym", {"gym", "sparse"}) == 1,
      .extent = options.given("height")  ? "height"
                : options.given("width") ? "width"
                                         : "size"};
  if (params.inside.size() > Bitboard::kCapacity) {
    fail_value("make_vec", params.extent,
               concat("leave at most ", Bitboard::kCapacity, " cells inside the walls"),
               concat(height, " × ", width));
  }
  if (params.max_solution < params.min_solution) {
    fail_value("make_vec", "max_solution_length",
               concat("be at least `min_solution_length` = ", params.min_solution),
               concat(params.max_solution));
  }
  // Impossible options are refused here, not in the middle of a rollout.
  auto probe = RandomStream::seeded(0, 0);
  make_sokoban_level(params, probe);
  return params;
}

Sokoban::State Sokoban::reset(const Params& params, RandomStream& level) {
  return make_sokoban_level(params, level);
}

void Sokoban::observe(const Params& params, const State& state, int elapsed_steps,
                      ObservationForm form, TokenWriter& writer) {
  const Grid& inside = params.inside;
  const auto put_cell = [&](int cell) {
    writer.put_coordinate(inside.row(cell) + 1);
    writer.put_coordinate(inside.column(cell) + 1);
  };
  if (form == ObservationForm::kCompact && elapsed_steps > 0) {
    put_cell(static_cast<int>(state.player));
    state.boxes.for_each(put_cell);
    return;
  }
  const auto put_wall = [&] { writer.put('#'); };
  for (int column = 0; column < inside.width + 2; ++column) put_wall();
  int cell = 0;
  for (int row = 0; row < inside.height; ++row) {
    writer.put('\n');
    put_wall();
    for (int column = 0; column < inside.width; ++column, ++cell) {
      writer.put(state.walls.test(cell) ? '#' : kContents[content(state, cell)]);
    }
    put_wall();
  }
  writer.put('\n');
  for (int column = 0; column < inside.width + 2; ++column) put_wall();
}

void Sokoban::cells(const Params& params, const State& state, char* cells) {
  const int width = params.inside.width + 2;
  std::fill_n(cells, width * (params.inside.height + 2), '#');
  for (int cell = 0; cell < params.inside.size(); ++cell) {
    if (state.walls.test(cell)) continue;
    const int row = params.inside.row(cell) + 1;
    const int column = params.inside.column(cell) + 1;
    cells[row * width + column] = kContents[content(state, cell)];
  }
}

std::uint64_t Sokoban::labels(const Params& params, const State& state) {
  return (on_target(state) > 0 ? 1U : 0U) | (state.solved() ? 2U : 0U) |
         (has_dead_box(params, state) ? 4U : 0U);
}

Sokoban::State Sokoban::parse_level(const Params& params, std::string_view text) {
  const Grid room{params.inside.height + 2, params.inside.width + 2};
  const LevelText level(text, room.height, room.width, "#_OX*PS");
  level.require(1, "PS", "player (P, on a target S)");
  level.require(params.num_boxes, "X*", "boxes (X, on a target *)");
  level.require(params.num_boxes, "O*S", "targets (O, under a box *, under the player S)");
  State state{};
  for (int cell = 0; cell < room.size(); ++cell) {
    const int row = room.row(cell) - 1;
    const int column = room.column(cell) - 1;
    const char c = level[cell];
    if (row < 0 || column < 0 || row >= params.inside.height || column >= params.inside.width) {
      if (c != '#') fail_level("have a wall (#) all around", concat("'", c, "' at the edge"));
      continue;
    }
    const int inside = row * params.inside.width + column;
    if (c == '#') state.walls.set(inside);
    if (c == 'O' || c == '*' || c == 'S') state.targets.set(inside);
    if (c == 'X' || c == '*') state.boxes.set(inside);
    if (c == 'P' || c == 'S') state.player = static_cast<std::uint64_t>(inside);
  }
  const std::int32_t distance = solve(params, state).distance;
  if (distance == 0) fail_level("have a box off its target", "all on targets");
  if (distance == kUnsolvable) fail_level("have a solution", "none");
  return state;
}

Solution Sokoban::solve(const Params& params, const State& state) {
  return solve_sokoban(params, state);
}

bool Sokoban::valid(const Params& params, const State& state, bool) {
  Bitboard floor;
  for (int cell = 0; cell < params.inside.size(); ++cell) {
    if (!state.walls.test(cell)) floor.set(cell);
  }
  const auto size = static_cast<std::uint64_t>(params.inside.size());
  return state.player < size && floor.test(static_cast<int>(state.player)) &&
         !state.boxes.test(static_cast<int>(state.player)) && state.boxes.within(floor) &&
         state.targets.within(floor) && state.boxes.count() == params.num_boxes &&
         state.targets.count() == params.num_boxes;
}

}  // namespace fastrl
