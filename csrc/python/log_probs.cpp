// Token log-probs: forward, backward and the check of token ids.
#include "ops/log_probs.h"

#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>

#include <string_view>
#include <tuple>

#include "core/check.h"
#include "core/huge_pages.h"
#include "python/bind.h"

namespace fastrl::python {
namespace {

using Layout = std::tuple<std::int64_t, std::int64_t, std::int64_t>;

FloatType float_type(std::string_view dtype) {
  if (dtype == "float32") return FloatType::kFloat32;
  if (dtype == "bfloat16") return FloatType::kBFloat16;
  if (dtype == "float16") return FloatType::kFloat16;
  fail_value("token_log_probs", "logits", "have dtype float32 or bfloat16 or float16",
             std::string(dtype));
}

RowLayout row_layout(const Layout& layout) {
  return {std::get<0>(layout), std::get<1>(layout), std::get<2>(layout)};
}

LogitsView logits_view(std::uintptr_t logits, std::string_view dtype, std::int64_t rows,
                       std::int64_t vocab_size, const Layout& layout, float temperature,
                       float softcap) {
  return {pointer<const void>(logits), float_type(dtype), rows,   vocab_size,
          row_layout(layout),          temperature,       softcap};
}

TokensView tokens_view(std::uintptr_t ids, std::uintptr_t mask) {
  return {pointer<const std::int64_t>(ids), pointer<const std::uint8_t>(mask)};
}

void forward(std::uintptr_t logits, std::string_view dtype, std::int64_t rows,
             std::int64_t vocab_size, const Layout& layout, float temperature, float softcap,
             std::uintptr_t token_ids, std::uintptr_t mask, std::uintptr_t log_probs,
             std::uintptr_t entropies, std::uintptr_t self_certainties, std::uintptr_t origins,
             std::uintptr_t sums) {
  token_log_probs(
      logits_view(logits, dtype, rows, vocab_size, layout, temperature, softcap),
      tokens_view(token_ids, mask),
      {pointer<float>(log_probs), pointer<float>(entropies), pointer<float>(self_certainties),
       pointer<float>(origins), pointer<float>(sums)});
}

void backward(std::uintptr_t logits, std::string_view dtype, std::int64_t rows,
              std::int64_t vocab_size, const Layout& layout, float temperature, float softcap,
              std::uintptr_t token_ids, std::uintptr_t mask, std::uintptr_t grad_log_probs,
              std::uintptr_t grad_entropies, std::uintptr_t grad_self_certainties,
              std::uintptr_t entropies, std::uintptr_t origins, std::uintptr_t sums,
              std::uintptr_t grad_logits, const Layout& grad_layout) {
  token_log_probs_backward(
      logits_view(logits, dtype, rows, vocab_size, layout, temperature, softcap),
      tokens_view(token_ids, mask),
      {pointer<const float>(grad_log_probs), pointer<const float>(grad_entropies),
       pointer<const float>(grad_self_certainties), pointer<const float>(entropies),
       pointer<const float>(origins), pointer<const float>(sums)},
      pointer<void>(grad_logits), row_layout(grad_layout));
}

}  // namespace

void bind_log_probs(nb::module_& m) {
  m.def("token_log_probs", &forward, nb::arg("logits"), nb::arg("dtype"), nb::arg("rows"),
        nb::arg("vocab_size"), nb::arg("layout"), nb::arg("temperature"), nb::arg("softcap"),
        nb::arg("token_ids"), nb::arg("mask"), nb::arg("log_probs"), nb::arg("entropies"),
        nb::arg("self_certainties"), nb::arg("origins"), nb::arg("sums"),
        nb::call_guard<nb::gil_scoped_release>(),
        "Addresses of checked arrays; 0 where there is none. `softcap` 0 is none.");
  m.def("token_log_probs_backward", &backward, nb::arg("logits"), nb::arg("dtype"), nb::arg("rows"),
        nb::arg("vocab_size"), nb::arg("layout"), nb::arg("temperature"), nb::arg("softcap"),
        nb::arg("token_ids"), nb::arg("mask"), nb::arg("grad_log_probs"), nb::arg("grad_entropies"),
        nb::arg("grad_self_certainties"), nb::arg("entropies"), nb::arg("origins"), nb::arg("sums"),
        nb::arg("grad_logits"), nb::arg("grad_layout"), nb::call_guard<nb::gil_scoped_release>(),
        "The gradient of the logits; `grad_logits` may be `logits`.");
  m.def(
      "prefer_huge_pages",
      [](std::uintptr_t address, std::int64_t bytes) {
        prefer_huge_pages(pointer<void>(address), bytes);
      },
      nb::arg("address"), nb::arg("bytes"), "Advice for fresh memory that is about to be written.");
  m.def(
      "first_token_outside",
      [](std::uintptr_t token_ids, std::uintptr_t mask, std::int64_t rows,
         std::int64_t vocab_size) {
        return first_token_outside(tokens_view(token_ids, mask), rows, vocab_size);
      },
      nb::arg("token_ids"), nb::arg("mask"), nb::arg("rows"), nb::arg("vocab_size"),
      nb::call_guard<nb::gil_scoped_release>(),
      "The first row whose token id is outside the vocabulary, or -1.");
}

}  // namespace fastrl::python
