#include "envs/text_games/sokoban.h"

#include "core/check.h"
#include "envs/text_games/sokoban_search.h"

namespace fastrl {

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
  const auto player = static_cast<int>(state.player);
  const auto put_wall = [&] { writer.put('#'); };
  for (int column = 0; column < inside.width + 2; ++column) put_wall();
  int cell = 0;
  for (int row = 0; row < inside.height; ++row) {
    writer.put('\n');
    put_wall();
    for (int column = 0; column < inside.width; ++column, ++cell) {
      constexpr std::array kCells = {character_token('_'), character_token('O'),
                                     character_token('X'), character_token('*'),
                                     character_token('P'), character_token('S')};
      const int index = (state.targets.test(cell) ? 1 : 0) + (state.boxes.test(cell) ? 2 : 0) +
                        (cell == player ? 4 : 0);
      writer.put(state.walls.test(cell) ? character_token('#')
                                        : kCells[static_cast<std::size_t>(index)]);
    }
    put_wall();
  }
  writer.put('\n');
  for (int column = 0; column < inside.width + 2; ++column) put_wall();
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
