#include "python/replay_options.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "core/check.h"

namespace fastrl::python {
namespace {

template <std::size_t kSize>
void copy_name(char (&to)[kSize], const std::string& name) {
  if (name.size() >= kSize) {
    fail_value("ReplayBuffer", "fields", concat("have names of at most ", kSize - 1, " bytes"),
               concat("'", name, "'"));
  }
  std::memcpy(to, name.c_str(), name.size() + 1);
}

template <typename T>
T item(const nb::dict& options, const char* name) {
  return nb::cast<T>(options[name]);
}

Field field_of(const nb::dict& given) {
  Field field{};
  copy_name(field.name, item<std::string>(given, "name"));
  copy_name(field.dtype, item<std::string>(given, "dtype"));
  field.role = static_cast<FieldRole>(item<int>(given, "role"));
  const auto shape = item<std::vector<std::int64_t>>(given, "shape");
  field.num_dimensions = static_cast<std::int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), field.shape);
  field.item_bytes = item<std::int64_t>(given, "item_bytes");
  field.bytes = field.item_bytes;
  for (const std::int64_t size : shape) field.bytes *= size;
  field.stack = item<std::int64_t>(given, "stack");
  field.padding = static_cast<StackPadding>(item<int>(given, "padding"));
  return field;
}

SamplerOptions sampler_of(const nb::dict& given) {
  SamplerOptions options{};
  copy_name(options.name, item<std::string>(given, "name"));
  options.kind = static_cast<SamplerKind>(item<int>(given, "kind"));
  options.scheme = static_cast<DrawScheme>(item<int>(given, "scheme"));
  options.priority_start = item<double>(given, "priority_start");
  options.priority_end = item<double>(given, "priority_end");
  options.priority_steps = item<std::int64_t>(given, "priority_steps");
  options.epsilon = item<double>(given, "epsilon");
  options.new_priority = static_cast<NewPriority>(item<int>(given, "new_priority"));
  options.normalization = static_cast<WeightNormalization>(item<int>(given, "normalization"));
  options.new_value = item<double>(given, "new_value");
  options.importance_start = item<double>(given, "importance_start");
  options.importance_end = item<double>(given, "importance_end");
  options.importance_steps = item<std::int64_t>(given, "importance_steps");
  return options;
}

}  // namespace

BufferOptions options_of(const nb::dict& given) {
  BufferOptions options;
  options.num_lanes = item<std::int64_t>(given, "num_lanes");
  options.rows_per_lane = item<std::int64_t>(given, "rows_per_lane");
  options.n_step = item<std::int64_t>(given, "n_step");
  options.gamma = item<double>(given, "gamma");
  options.next_step_autoreset = item<bool>(given, "next_step_autoreset");
  options.seed = item<std::uint64_t>(given, "seed");
  const auto limiter = item<nb::dict>(given, "limiter");
  options.limiter = {item<double>(limiter, "samples_per_insert"),
                     item<double>(limiter, "error_buffer"),
                     item<std::int64_t>(limiter, "min_size")};
  for (const nb::handle field : item<nb::list>(given, "fields")) {
    options.fields.push_back(field_of(nb::cast<nb::dict>(field)));
  }
  for (const nb::handle sampler : item<nb::list>(given, "samplers")) {
    options.samplers.push_back(sampler_of(nb::cast<nb::dict>(sampler)));
  }
  return options;
}

std::vector<Leaf> leaves_of(const nb::dict& given) {
  std::vector<Leaf> leaves;
  for (const nb::handle one : item<nb::list>(given, "fields")) {
    const auto of = nb::cast<nb::dict>(one);
    Leaf leaf;
    for (const nb::handle name : item<nb::tuple>(of, "path")) {
      leaf.path.push_back(nb::borrow(name));
    }
    for (const nb::handle count : item<nb::tuple>(of, "siblings")) {
      leaf.siblings.push_back(nb::cast<Py_ssize_t>(count));
    }
    leaf.dtype = of["dtype_object"];
    leaf.shape = item<std::vector<std::int64_t>>(of, "shape");
    leaves.push_back(std::move(leaf));
  }
  return leaves;
}

namespace {

nb::dict described(const Field& field) {
  nb::dict of;
  of["name"] = field.name;
  of["dtype"] = field.dtype;
  of["role"] = static_cast<int>(field.role);
  of["shape"] = std::vector<std::int64_t>(field.shape, field.shape + field.num_dimensions);
  of["stack"] = field.stack;
  of["padding"] = static_cast<int>(field.padding);
  return of;
}

nb::dict described(const SamplerOptions& options) {
  nb::dict of;
  of["name"] = options.name;
  of["kind"] = static_cast<int>(options.kind);
  of["scheme"] = static_cast<int>(options.scheme);
  of["priority_start"] = options.priority_start;
  of["priority_end"] = options.priority_end;
  of["priority_steps"] = options.priority_steps;
  of["epsilon"] = options.epsilon;
  of["new_priority"] = static_cast<int>(options.new_priority);
  of["normalization"] = static_cast<int>(options.normalization);
  of["new_value"] = options.new_value;
  of["importance_start"] = options.importance_start;
  of["importance_end"] = options.importance_end;
  of["importance_steps"] = options.importance_steps;
  return of;
}

}  // namespace

nb::dict described(const BufferOptions& options) {
  nb::dict of;
  of["num_lanes"] = options.num_lanes;
  of["rows_per_lane"] = options.rows_per_lane;
  of["n_step"] = options.n_step;
  of["gamma"] = options.gamma;
  of["next_step_autoreset"] = options.next_step_autoreset;
  of["seed"] = options.seed;
  nb::dict limiter;
  limiter["samples_per_insert"] = options.limiter.samples_per_insert;
  limiter["error_buffer"] = options.limiter.error_buffer;
  limiter["min_size"] = options.limiter.min_size;
  of["limiter"] = limiter;
  nb::list fields;
  for (const Field& field : options.fields) fields.append(described(field));
  nb::list samplers;
  for (const SamplerOptions& sampler : options.samplers) samplers.append(described(sampler));
  of["fields"] = fields;
  of["samplers"] = samplers;
  return of;
}

}  // namespace fastrl::python
