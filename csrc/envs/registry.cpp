#include "envs/registry.h"

#include <algorithm>
#include <string_view>

#include "core/check.h"
#include "envs/vector_env.h"

namespace fastrl {
namespace {

// By id.
const std::vector<RegisteredEnvironment>& all() {
  static const std::vector<RegisteredEnvironment> sorted = [] {
    std::vector<RegisteredEnvironment> found;
    for (const auto folder :
         {classic_control(), decisions(), goals(), grids(), text_games(), toy_text()}) {
      found.insert(found.end(), folder.begin(), folder.end());
    }
    std::ranges::sort(found, {}, [](const RegisteredEnvironment& known) {
      return std::string_view(known.exact->id);
    });
    return found;
  }();
  return sorted;
}

const RegisteredEnvironment& registered(const std::string& id) {
  std::string listed;
  for (const RegisteredEnvironment& known : all()) {
    if (known.exact->id == id) return known;
    listed += concat(listed.empty() ? "" : ", ", "'", known.exact->id, "'");
  }
  fail_value("make_vec", "id", concat("be one of ", listed), concat("'", id, "'"));
}

}  // namespace

std::vector<std::string> environment_ids() {
  std::vector<std::string> ids;
  for (const RegisteredEnvironment& known : all()) ids.emplace_back(known.exact->id);
  return ids;
}

bool has_fast_form(const std::string& id) { return registered(id).fast != nullptr; }

std::unique_ptr<VectorEnv> make_vector_env(const std::string& id, bool fast,
                                           const VectorOptions& options,
                                           std::map<std::string, OptionValue> environment_options) {
  const RegisteredEnvironment& known = registered(id);
  if (fast && known.fast == nullptr) {
    fail_value("make_vec", "precision", concat("be 'exact' for ", id, ", which has no fast form"),
               "'fast'");
  }
  return std::make_unique<VectorEnv>(fast ? *known.fast : *known.exact, fast ? "fast" : "", options,
                                     std::move(environment_options));
}

}  // namespace fastrl
