#include "envs/toy_text/frozen_lake_map.h"

#include <algorithm>
#include <string>

#include "core/check.h"
#include "core/numpy_random.h"

namespace fastrl {
namespace {

constexpr const char* kFunction = "make_vec";
constexpr int kMaxDraws = 10000;

constexpr const char* k4x4 = "SFFF\nFHFH\nFFFH\nHFFG";
constexpr const char* k8x8 =
    "SFFFFFFF\nFFFFFFFF\nFFFHFFFF\nFFFFFHFF\nFFFHFFFF\nFHHFFFHF\nFHFFHFHF\nFFFHFFFG";

[[noreturn]] void refuse_desc(const std::string& expected, const std::string& actual) {
  fail_value(kFunction, "desc", expected, actual);
}

FrozenLakeMap read_rows(std::string_view text) {
  FrozenLakeMap map{};
  map.grid = {0, static_cast<int>(std::min(text.find('\n'), text.size()))};
  std::size_t written = 0;
  for (std::size_t begin = 0; begin <= text.size(); ++map.grid.height) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view row = text.substr(begin, end - begin);
    if (row.size() != static_cast<std::size_t>(map.grid.width)) {
      refuse_desc(concat("have rows of equal length, ", map.grid.width, " as the first"),
                  concat("'", row, "'"));
    }
    if (row.empty() || written + row.size() > map.cells.size()) {
      refuse_desc(concat("have 1 to ", map.cells.size(), " cells"),
                  row.empty() ? std::string("none") : concat("more"));
    }
    for (const char letter : row) {
      if (std::string_view("SFHG").find(letter) == std::string_view::npos) {
        refuse_desc("be rows of S, F, H and G, joined by newlines, or 'random'",
                    concat("'", row, "'"));
      }
      map.cells[written++] = letter;
    }
    begin = end + 1;
  }
  if (map.num_starts() == 0) refuse_desc("have a start, S", "none");
  return map;
}

// Whether a goal can be reached from the first cell.
bool has_path(const FrozenLakeMap& map) {
  std::array<int, FrozenLakeMap::kMaxSize * FrozenLakeMap::kMaxSize> frontier{};
  std::array<bool, FrozenLakeMap::kMaxSize * FrozenLakeMap::kMaxSize> seen{true};
  std::size_t size = 1;
  while (size > 0) {
    const int cell = frontier[--size];
    for (const Direction direction : {kUp, kDown, kLeft, kRight}) {
      const int next = map.grid.neighbor(cell, direction);
      if (next < 0 || map.at(next) == 'H' || seen[static_cast<std::size_t>(next)]) continue;
      if (map.at(next) == 'G') return true;
      seen[static_cast<std::size_t>(next)] = true;
      frontier[size++] = next;
    }
  }
  return false;
}

// generate_random_map(size, p, seed) of Gymnasium, draw by draw.
FrozenLakeMap draw_map(int size, double frozen_probability, std::uint64_t seed) {
  // As Generator.choice normalizes its probabilities.
  const double frozen = frozen_probability / (frozen_probability + (1.0 - frozen_probability));
  NumpyRandom random = NumpyRandom::seeded(seed);
  FrozenLakeMap map{};
  map.grid = {size, size};
  for (int draw = 0; draw < kMaxDraws; ++draw) {
    for (int cell = 0; cell < map.grid.size(); ++cell) {
      map.cells[static_cast<std::size_t>(cell)] = random.random() < frozen ? 'F' : 'H';
    }
    map.cells.front() = 'S';
    map.cells[static_cast<std::size_t>(map.grid.size() - 1)] = 'G';
    if (has_path(map)) return map;
  }
  fail_value(kFunction, "frozen_probability",
             concat("leave a path to the goal in one of ", kMaxDraws, " maps of size ", size),
             concat(frozen_probability));
}

}  // namespace

int FrozenLakeMap::num_starts() const {
  const auto end = cells.begin() + grid.size();
  return static_cast<int>(std::count(cells.begin(), end, 'S'));
}

FrozenLakeMap parse_frozen_lake_map(Options& options, const char* default_name) {
  const bool named_8x8 = options.choice("map_name", default_name, {"4x4", "8x8"}) == 1;
  const std::string_view desc = options.text("desc", named_8x8 ? k8x8 : k4x4);
  // What the map is does not depend on how it was named.
  options.omit("map_name");
  if (desc != "random") return read_rows(desc);
  const auto size = static_cast<int>(options.integer("map_size", 8, 2, FrozenLakeMap::kMaxSize));
  const double frozen = options.number("frozen_probability", 0.8, 0.05, 1.0);
  const std::int64_t seed = options.integer("map_seed", 0, 0, INT64_MAX);
  return draw_map(size, frozen, static_cast<std::uint64_t>(seed));
}

}  // namespace fastrl
