// Advantages. Python has checked shapes, dtypes and contiguity.
#include "ops/advantages.h"

#include "python/bind.h"

namespace fastrl::python {
namespace {

void bound_group_advantages(std::uintptr_t rewards, std::uintptr_t group_ids, std::int64_t batch,
                            bool is_double, int baseline, int scale, double eps, bool unbiased,
                            std::uintptr_t advantages) {
  const GroupAdvantageOptions options{static_cast<Baseline>(baseline),
                                      static_cast<RewardScale>(scale), eps, unbiased};
  const auto run = [&]<typename T>(T* out) {
    group_advantages<T>(pointer<const T>(rewards), pointer<const std::int64_t>(group_ids), batch,
                        options, out);
  };
  is_double ? run(pointer<double>(advantages)) : run(pointer<float>(advantages));
}

void bound_positive_amplification(std::uintptr_t advantages, std::uintptr_t rewards,
                                  std::uintptr_t group_ids, std::int64_t batch, bool is_double,
                                  double alpha, double success_threshold, bool success_is_alpha,
                                  double success_value, std::uintptr_t amplified) {
  const AmplificationOptions options{alpha, success_threshold, success_is_alpha, success_value};
  const auto run = [&]<typename T>(T* out) {
    positive_amplification<T>(pointer<const T>(advantages), pointer<const T>(rewards),
                              pointer<const std::int64_t>(group_ids), batch, options, out);
  };
  is_double ? run(pointer<double>(amplified)) : run(pointer<float>(amplified));
}

void bound_gae(std::int64_t num_steps, std::int64_t num_envs, bool is_double,
               std::uintptr_t rewards, std::uintptr_t values, std::uintptr_t next_values,
               std::uintptr_t terminated, std::uintptr_t truncated, std::uintptr_t stepped,
               double gamma, double lambda, std::uintptr_t advantages) {
  const auto run = [&]<typename T>(T* out) {
    const GaeInputs<T> inputs{num_steps,
                              num_envs,
                              pointer<const T>(rewards),
                              pointer<const T>(values),
                              pointer<const T>(next_values),
                              pointer<const std::uint8_t>(terminated),
                              pointer<const std::uint8_t>(truncated),
                              pointer<const std::uint8_t>(stepped)};
    gae<T>(inputs, gamma, lambda, out);
  };
  is_double ? run(pointer<double>(advantages)) : run(pointer<float>(advantages));
}

}  // namespace

void bind_advantages(nb::module_& m) {
  m.def("group_advantages", &bound_group_advantages, nb::arg("rewards"), nb::arg("group_ids"),
        nb::arg("batch"), nb::arg("is_double"), nb::arg("baseline"), nb::arg("scale"),
        nb::arg("eps"), nb::arg("unbiased"), nb::arg("advantages"),
        nb::call_guard<nb::gil_scoped_release>());
  m.def("positive_amplification", &bound_positive_amplification, nb::arg("advantages"),
        nb::arg("rewards"), nb::arg("group_ids"), nb::arg("batch"), nb::arg("is_double"),
        nb::arg("alpha"), nb::arg("success_threshold"), nb::arg("success_is_alpha"),
        nb::arg("success_value"), nb::arg("amplified"), nb::call_guard<nb::gil_scoped_release>());
  m.def("gae", &bound_gae, nb::arg("num_steps"), nb::arg("num_envs"), nb::arg("is_double"),
        nb::arg("rewards"), nb::arg("values"), nb::arg("next_values"), nb::arg("terminated"),
        nb::arg("truncated"), nb::arg("stepped"), nb::arg("gamma"), nb::arg("lambda_"),
        nb::arg("advantages"), nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace fastrl::python
