// The environments that come with the library: one line each.
#include "core/check.h"
#include "envs/batch.h"
#include "envs/code_lock.h"
#include "envs/frozen_lake_text.h"
#include "envs/sokoban.h"

namespace fastrl {
namespace {

using Factory = std::unique_ptr<VectorEnv> (*)(const VectorOptions&, Options&);

struct Entry {
  const char* id;
  Factory make;
};

template <Environment E>
constexpr Entry entry() {
  return {E::kId, [](const VectorOptions& vector_options, Options& options) {
            return std::unique_ptr<VectorEnv>(new Batch<E>(vector_options, options));
          }};
}

constexpr Entry kEntries[] = {entry<CodeLock>(), entry<FrozenLakeText>(), entry<Sokoban>()};

}  // namespace

std::vector<std::string> environment_ids() {
  std::vector<std::string> ids;
  for (const Entry& known : kEntries) ids.emplace_back(known.id);
  return ids;
}

std::unique_ptr<VectorEnv> make_vector_env(const std::string& id, const VectorOptions& options,
                                           std::map<std::string, OptionValue> environment_options) {
  std::string listed;
  for (const Entry& known : kEntries) {
    if (known.id == id) {
      Options reader(id, std::move(environment_options));
      return known.make(options, reader);
    }
    listed += concat(listed.empty() ? "" : ", ", "'", known.id, "'");
  }
  fail_value("make_vec", "id", concat("be one of ", listed), concat("'", id, "'"));
}

}  // namespace fastrl
