#include "envs/text_games/minesweeper.h"

#include <algorithm>
#include <array>

#include "core/check.h"
#include "envs/level_text.h"

namespace fastrl {
namespace {

// Calls visit(cell) for each of the up to eight cells around one.
template <typename Visit>
void for_each_around(const Grid& grid, int cell, Visit&& visit) {
  const int row = grid.row(cell);
  const int column = grid.column(cell);
  for (int r = std::max(row - 1, 0); r <= std::min(row + 1, grid.height - 1); ++r) {
    for (int c = std::max(column - 1, 0); c <= std::min(column + 1, grid.width - 1); ++c) {
      if (r != row || c != column) visit(r * grid.width + c);
    }
  }
}

}  // namespace

Minesweeper::Params Minesweeper::parse(Options& options) {
  const std::int64_t size = options.integer("size", 6, 2, 22);
  const auto height = static_cast<int>(options.integer("height", size, 2, kMaxSide));
  const auto width = static_cast<int>(options.integer("width", size, 2, kMaxSide));
  options.omit("size");
  if (height * width > kMaxCells) {
    fail_value("make_vec", options.given("height") ? "height" : "width",
               concat("leave at most ", kMaxCells, " cells"), concat(height, " × ", width));
  }
  const bool cascade = options.boolean("cascade", true);
  const bool opening = options.boolean("opening", true);
  // One safe cell must be left to be opened.
  const int most = height * width - (opening ? 2 : 1);
  return {.grid = {height, width},
          .num_mines = static_cast<int>(options.integer("num_mines", std::min(3, most), 1, most)),
          .reward = static_cast<Reward>(options.choice("reward", "lamer", {"lamer", "jumanji"})),
          .cascade = cascade,
          .opening = opening};
}

std::int32_t Minesweeper::max_observation_tokens(const Params& params, ObservationForm form) {
  // "Row 12:", a space and a character for each cell, and a newline.
  const int row = 7 + 2 * params.grid.width + 1;
  const int grid = params.grid.height * row;
  return form == ObservationForm::kGrid ? grid : std::max(grid, 3 * params.grid.size());
}

Minesweeper::State Minesweeper::reset(const Params& params, RandomStream& level) {
  const int cells = params.grid.size();
  State state{};
  // Ends: some mines lie next to the first cell sooner or later, and then it opens alone.
  do {
    state = State{};
    const auto below = [&](int n) {
      return static_cast<int>(level.below(static_cast<std::uint32_t>(n)));
    };
    const int first = below(cells);
    std::array<std::int16_t, kMaxCells> others;
    for (int i = 0; i < cells - 1; ++i) {
      others[static_cast<std::size_t>(i)] = static_cast<std::int16_t>(i < first ? i : i + 1);
    }
    for (int i = 0; i < params.num_mines; ++i) {
      const auto from =
          static_cast<std::size_t>(i) + static_cast<std::size_t>(below(cells - 1 - i));
      std::swap(others[static_cast<std::size_t>(i)], others[from]);
      state.mines.set(others[static_cast<std::size_t>(i)]);
    }
    if (params.opening) open(params, state, first);
  } while (params.opening && won(params, state));
  state.fresh = {};
  return state;
}

void Minesweeper::observe(const Params& params, const State& state, int elapsed_steps,
                          ObservationForm form, TokenWriter& writer) {
  const Grid& grid = params.grid;
  if (form == ObservationForm::kCompact && elapsed_steps > 0) {
    state.fresh.for_each([&](int cell) {
      writer.put_coordinate(grid.row(cell) + 1);
      writer.put_coordinate(grid.column(cell) + 1);
      writer.put(content(params, state, cell));
    });
    return;
  }
  for (int row = 0; row < grid.height; ++row) {
    writer.put(row == 0 ? "Row " : "\nRow ");
    writer.put_number(row + 1);
    writer.put(':');
    for (int column = 0; column < grid.width; ++column) {
      writer.put(' ');
      writer.put(content(params, state, row * grid.width + column));
    }
  }
}

Solution Minesweeper::solve(const Params& params, const State& state) {
  if (hit_mine(state)) return {};
  Solution solution{.distance = 0};
  State rest = state;
  const auto open_next = [&](int cell) {
    if (solution.distance++ == 0) solution.first_action = cell;
    open(params, rest, cell);
  };
  for (const bool alone : {false, true}) {
    for (int cell = 0; cell < params.grid.size(); ++cell) {
      if (rest.open.test(cell) || rest.mines.test(cell)) continue;
      if (alone || mines_around(params, rest.mines, cell) == 0) open_next(cell);
    }
  }
  return solution;
}

bool Minesweeper::valid(const Params& params, const State& state, bool running) {
  Cells all;
  for (int cell = 0; cell < params.grid.size(); ++cell) all.set(cell);
  Cells hit;
  for (int i = 0; i < Cells::kNumWords; ++i) {
    hit.words[i] = state.open.words[i] & state.mines.words[i];
  }
  const bool ended = !hit.empty() || won(params, state);
  return state.mines.within(all) && state.open.within(all) && state.fresh.within(state.open) &&
         state.mines.count() == params.num_mines && hit.count() <= 1 && !(running && ended);
}

Minesweeper::State Minesweeper::parse_level(const Params& params, std::string_view text) {
  const Grid& grid = params.grid;
  const LevelText level(text, grid.height, grid.width, "?*.12345678");
  level.require(params.num_mines, "*", "mines (*)");
  if (level.count("?") == 0) fail_level("have a closed cell (?)", "none");
  State state{};
  for (int cell = 0; cell < grid.size(); ++cell) {
    if (level[cell] == '*') state.mines.set(cell);
    if (level[cell] != '*' && level[cell] != '?') state.open.set(cell);
  }
  state.open.for_each([&](int cell) {
    const char wanted = content(params, state, cell);
    if (level[cell] == wanted) return;
    fail_level(
        concat("have '", wanted, "' in row ", grid.row(cell), ", column ", grid.column(cell)),
        concat("'", level[cell], "'"));
  });
  return state;
}

int Minesweeper::mines_around(const Params& params, const Cells& mines, int cell) {
  int count = 0;
  for_each_around(params.grid, cell, [&](int other) { count += mines.test(other) ? 1 : 0; });
  return count;
}

char Minesweeper::content(const Params& params, const State& state, int cell) {
  if (!state.open.test(cell)) return '?';
  if (state.mines.test(cell)) return '*';
  const int mines = mines_around(params, state.mines, cell);
  return mines == 0 ? '.' : static_cast<char>('0' + mines);
}

// The cell and, with `cascade`, what it opens.
void Minesweeper::open(const Params& params, State& state, int cell) {
  std::array<std::int16_t, kMaxCells> stack;
  std::size_t size = 0;
  const auto add = [&](int next) {
    if (state.open.test(next)) return;
    state.open.set(next);
    state.fresh.set(next);
    stack[size++] = static_cast<std::int16_t>(next);
  };
  add(cell);
  while (size > 0) {
    const int next = stack[--size];
    const bool spreads =
        params.cascade && !state.mines.test(next) && mines_around(params, state.mines, next) == 0;
    if (spreads) for_each_around(params.grid, next, add);
  }
}

}  // namespace fastrl
