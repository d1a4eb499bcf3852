// Credit masks. Python has checked shapes, dtypes and contiguity.
#include "ops/credit.h"

#include "python/bind.h"

namespace fastrl::python {
namespace {

// `pivots` are turns, or tokens where `turn_starts` is null.
void bound_pivot_mask(std::uintptr_t action_mask, std::uintptr_t turn_starts, std::uintptr_t pivots,
                      std::int64_t batch, std::int64_t num_turns, std::int64_t num_tokens,
                      std::uintptr_t cu_seqlens, std::uintptr_t loss_mask) {
  const auto* ends = pointer<const std::int32_t>(cu_seqlens);
  if (ends != nullptr) check_cu_seqlens("pivot_mask", "cu_seqlens", ends, batch, num_tokens);
  const TokenLayout layout{.row_size = num_tokens, .cu_seqlens = ends};
  const auto* actions = pointer<const std::uint8_t>(action_mask);
  const auto* starts = pointer<const std::int64_t>(turn_starts);
  const auto* where = pointer<const std::int64_t>(pivots);
  auto* out = pointer<std::uint8_t>(loss_mask);
  if (starts == nullptr) {
    pivot_mask(actions, where, batch, layout, out);
  } else {
    pivot_mask(actions, starts, where, batch, num_turns, layout, out);
  }
}

TokenLayout checked_layout(const char* ends_name, const char* lengths_name, std::int64_t batch,
                           std::int64_t num_tokens, std::uintptr_t lengths,
                           std::uintptr_t cu_seqlens) {
  const TokenLayout layout{num_tokens, pointer<const std::int64_t>(lengths),
                           pointer<const std::int32_t>(cu_seqlens)};
  if (layout.cu_seqlens != nullptr) {
    check_cu_seqlens("divergence_points", ends_name, layout.cu_seqlens, batch, num_tokens);
  } else if (layout.lengths != nullptr) {
    check_lengths("divergence_points", lengths_name, layout.lengths, batch, num_tokens);
  }
  return layout;
}

// `base_tokens` and `retry_tokens` are per row, or of all sequences when they are packed.
void bound_divergence_points(std::uintptr_t base, std::int64_t base_tokens,
                             std::uintptr_t base_lengths, std::uintptr_t base_cu_seqlens,
                             std::uintptr_t retry, std::int64_t retry_tokens,
                             std::uintptr_t retry_lengths, std::uintptr_t retry_cu_seqlens,
                             std::int64_t batch, bool is_int64, std::uintptr_t points) {
  const TokenLayout base_layout = checked_layout("base_cu_seqlens", "base_lengths", batch,
                                                 base_tokens, base_lengths, base_cu_seqlens);
  const TokenLayout retry_layout = checked_layout("retry_cu_seqlens", "retry_lengths", batch,
                                                  retry_tokens, retry_lengths, retry_cu_seqlens);
  const auto run = [&]<typename Token>(const Token* base_ids) {
    divergence_points(base_ids, base_layout, pointer<const Token>(retry), retry_layout, batch,
                      pointer<std::int32_t>(points));
  };
  is_int64 ? run(pointer<const std::int64_t>(base)) : run(pointer<const std::int32_t>(base));
}

}  // namespace

void bind_credit(nb::module_& m) {
  m.def("pivot_mask", &bound_pivot_mask, nb::arg("action_mask"), nb::arg("turn_starts"),
        nb::arg("pivots"), nb::arg("batch"), nb::arg("num_turns"), nb::arg("num_tokens"),
        nb::arg("cu_seqlens"), nb::arg("loss_mask"), nb::call_guard<nb::gil_scoped_release>());
  m.def("divergence_points", &bound_divergence_points, nb::arg("base"), nb::arg("base_tokens"),
        nb::arg("base_lengths"), nb::arg("base_cu_seqlens"), nb::arg("retry"),
        nb::arg("retry_tokens"), nb::arg("retry_lengths"), nb::arg("retry_cu_seqlens"),
        nb::arg("batch"), nb::arg("is_int64"), nb::arg("points"),
        nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace fastrl::python
