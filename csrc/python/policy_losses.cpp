#include "ops/policy_losses.h"

#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "python/bind.h"

namespace fastrl::python {

void bind_policy_losses(nb::module_& m) {
  m.def("policy_loss_ratios", &policy_loss_ratios);
  m.def("policy_loss_surrogates", &policy_loss_surrogates);
  m.def("policy_loss_kl_estimators", &policy_loss_kl_estimators);
  m.attr("num_policy_loss_statistics") = static_cast<int>(kNumPolicyLossStatistics);
  using Address = std::uintptr_t;
  m.def(
      "policy_loss",
      [](Address log_probs, Address advantages, Address mask, Address old_log_probs,
         Address behavior_log_probs, Address ref_log_probs, Address entropies, Address cu_seqlens,
         std::int64_t num_tokens, std::int64_t num_sequences, bool advantages_per_token,
         std::string_view ratio, std::string_view surrogate, std::string_view kl, float clip_low,
         float clip_high, float opmd_tau, float kl_coef, float entropy_coef,
         bool mean_over_sequence, bool count_tokens, double denominator, Address loss,
         Address statistics, Address scale, Address log_prob_gradients, Address entropy_gradients) {
        const PolicyLossInputs inputs{pointer<const float>(log_probs),
                                      pointer<const float>(advantages),
                                      pointer<const std::uint8_t>(mask),
                                      pointer<const float>(old_log_probs),
                                      pointer<const float>(behavior_log_probs),
                                      pointer<const float>(ref_log_probs),
                                      pointer<const float>(entropies),
                                      pointer<const std::int32_t>(cu_seqlens),
                                      num_tokens,
                                      num_sequences,
                                      advantages_per_token};
        const PolicyLossOptions options{ratio,
                                        surrogate,
                                        kl,
                                        {clip_low, clip_high, opmd_tau, kl_coef, entropy_coef},
                                        mean_over_sequence,
                                        count_tokens,
                                        denominator};
        policy_loss(inputs, options,
                    {pointer<float>(loss), pointer<float>(statistics), pointer<float>(scale),
                     pointer<float>(log_prob_gradients), pointer<float>(entropy_gradients)});
      },
      nb::kw_only(), nb::arg("log_probs"), nb::arg("advantages"), nb::arg("mask"),
      nb::arg("old_log_probs"), nb::arg("behavior_log_probs"), nb::arg("ref_log_probs"),
      nb::arg("entropies"), nb::arg("cu_seqlens"), nb::arg("num_tokens"), nb::arg("num_sequences"),
      nb::arg("advantages_per_token"), nb::arg("ratio"), nb::arg("surrogate"), nb::arg("kl"),
      nb::arg("clip_low"), nb::arg("clip_high"), nb::arg("opmd_tau"), nb::arg("kl_coef"),
      nb::arg("entropy_coef"), nb::arg("mean_over_sequence"), nb::arg("count_tokens"),
      nb::arg("denominator"), nb::arg("loss"), nb::arg("statistics"), nb::arg("scale"),
      nb::arg("log_prob_gradients"), nb::arg("entropy_gradients"),
      nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace fastrl::python
