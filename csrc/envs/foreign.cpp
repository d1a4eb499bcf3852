#include "envs/foreign.h"

#include <cstring>
#include <stdexcept>
#include <string>

#include "core/check.h"
#include "envs/fault.h"

namespace fastrl {
namespace {

constexpr std::uint64_t kMaxStateSize = std::uint64_t{1} << 30;
constexpr std::int32_t kMaxLanes = 1024;

[[noreturn]] void refuse(const std::string& id, const std::string& expected,
                         const std::string& actual) {
  fail_value("make_vec", "id", concat("be an environment", expected),
             concat(actual, id.empty() ? "" : " in ", id));
}

void check_field(const std::string& id, const fastrl_field& field) {
  const bool known = field.dtype >= FASTRL_BOOL && field.dtype <= FASTRL_FLOAT64 &&
                     field.space >= FASTRL_BOX && field.space <= FASTRL_MULTI_BINARY;
  if (!known) {
    refuse(id, " with known dtypes and spaces", concat("dtype ", field.dtype, ", ", field.space));
  }
  std::int64_t size = 1;
  const bool has_shape = field.ndim >= 0 && field.ndim <= 4;
  for (std::int32_t i = 0; has_shape && i < field.ndim; ++i) {
    if (field.shape[i] < 1 || field.shape[i] > (std::int64_t{1} << 31) / size) {
      refuse(id, " with fields of 1 to 2^31 elements", concat("a side of ", field.shape[i]));
    }
    size *= field.shape[i];
  }
  if (!has_shape) refuse(id, " with at most 4 dimensions a field", std::to_string(field.ndim));
  const bool has_bounds =
      field.num_bounds == 1 || (field.num_bounds == size && field.num_bounds <= FASTRL_MAX_BOUNDS);
  if (!has_bounds) {
    refuse(id, " with a pair of bounds for a field or for each element",
           std::to_string(field.num_bounds));
  }
  for (std::int32_t i = 0; i < field.num_bounds; ++i) {
    if (!(field.low[i] <= field.high[i])) {
      refuse(id, " with low bounds not above high ones",
             concat(field.low[i], " and ", field.high[i]));
    }
  }
}

bool is_name(const char* name) {
  return std::memchr(name, '\0', FASTRL_NAME_SIZE) != nullptr && name[0] != '\0';
}

}  // namespace

void check_table(const fastrl_environment& table, const char* function, const char* argument) {
  const auto refuse = [&](const std::string& id, const std::string& expected,
                          const std::string& actual) {
    fail_value(function, argument, concat("be an environment", expected),
               concat(actual, id.empty() ? "" : " in ", id));
  };
  if (table.abi_version != FASTRL_ABI_VERSION) {
    refuse("", concat(" built against version ", FASTRL_ABI_VERSION, " of the table"),
           concat("version ", table.abi_version, "; compile it again"));
  }
  if (table.id == nullptr || table.id[0] == '\0') refuse("", " with an id", "none");
  const std::string id = table.id;
  if (table.state_size < 1 || table.state_size > kMaxStateSize ||
      table.random_size > kMaxStateSize) {
    refuse(id, " whose states have 1 byte to 1 GiB",
           concat(table.state_size, " and ", table.random_size));
  }
  if (table.lanes < 1 || table.lanes > kMaxLanes) {
    refuse(id, concat(" with 1 to ", kMaxLanes, " lanes"), std::to_string(table.lanes));
  }
  const struct {
    const char* name;
    bool is_there;
  } functions[] = {{"create", table.create != nullptr},
                   {"destroy", table.destroy != nullptr},
                   {"describe", table.describe != nullptr},
                   {"seed", table.seed != nullptr},
                   {"seed_level", table.seed_level != nullptr},
                   {"fork", table.fork != nullptr},
                   {"reset", table.reset != nullptr},
                   {"step", table.step != nullptr},
                   {"observe", table.observe != nullptr},
                   {"get", table.lanes == 1 || table.get != nullptr},
                   {"put", table.lanes == 1 || table.put != nullptr}};
  for (const auto& one : functions) {
    if (!one.is_there) refuse(id, concat(" with a function ", one.name), "none");
  }
}

void* created(const fastrl_environment& table, Options& options, const char* function) {
  CallError error;
  void* params = table.create(&options, &error);
  if (params == nullptr && !error.failed()) {
    throw std::runtime_error(concat(function, ": ", table.id, " has failed: no parameters"));
  }
  error.check(function, table.id);
  return params;
}

fastrl_description described(const fastrl_environment& table, const void* params,
                             const char* function) {
  fastrl_description description{};
  CallError error;
  table.describe(params, &description, &error);
  error.check(function, table.id);
  return description;
}

void check_description(const fastrl_environment& table, const fastrl_description& description) {
  const std::string id = table.id;
  const auto count = [&](const char* what, std::int32_t n, std::int32_t low, std::int32_t high) {
    if (n < low || n > high) {
      refuse(id, concat(" with ", low, " to ", high, " ", what), std::to_string(n));
    }
  };
  count("observations", description.num_observations, 1, FASTRL_MAX_FIELDS);
  count("infos", description.num_infos, 0, FASTRL_MAX_FIELDS);
  count("reset options", description.num_reset_options, 0, FASTRL_MAX_FIELDS);
  count("labels", description.num_labels, 0, FASTRL_MAX_LABELS);
  count("kinds of structure", description.structure, FASTRL_SINGLE, FASTRL_TUPLE);
  if (description.structure == FASTRL_SINGLE) {
    count("observations outside of a dict or tuple", description.num_observations, 1, 1);
  }
  bool named = true;
  for (std::int32_t i = 0; i < description.num_observations; ++i) {
    check_field(id, description.observations[i]);
    named = named &&
            (description.structure != FASTRL_DICT || is_name(description.observations[i].name));
  }
  for (std::int32_t i = 0; i < description.num_infos; ++i) {
    check_field(id, description.infos[i]);
    named = named && is_name(description.infos[i].name);
  }
  for (std::int32_t i = 0; i < description.num_reset_options; ++i) {
    named = named && is_name(description.reset_options[i]);
  }
  for (std::int32_t i = 0; i < description.num_labels; ++i) {
    named = named && is_name(description.labels[i]);
  }
  if (!named) refuse(id, " whose fields, options and labels have names", "one without");
  check_field(id, description.action);
  constexpr std::int64_t kMaxGrid = 4096;
  if (description.grid_height < 0 || description.grid_height > kMaxGrid ||
      description.grid_width < 0 || description.grid_width > kMaxGrid ||
      description.max_episode_steps < 0 || description.goal_size < 0) {
    refuse(id, " with a grid of at most 4096 x 4096 and no negative sizes", "another");
  }
  if (description.is_text != 0) {
    const fastrl_field& tokens = description.observations[0];
    if (tokens.dtype != FASTRL_INT32 || tokens.ndim != 1 || description.render_tokens < 0 ||
        (table.action_token == nullptr && table.parse_action == nullptr)) {
      refuse(id, " of text with tokens of int32, [O], and actions that texts can name", "another");
    }
  }
}

}  // namespace fastrl
