// Priorities to integer weights, and what is checked of them first, in SIMD.
#pragma once

#include <cstdint>
#include <span>

namespace fastrl {

// floor(log2 p^exponent) of a finite p > 0.
std::int64_t weight_log2(double priority, double exponent);

// round(p^exponent · 2^scale), half to even; at least 1 where p > 0; at most 2^32 − 1.
std::uint32_t priority_weight(double priority, double exponent, std::int64_t scale);
void priority_weights(std::span<const float> priorities, double exponent, std::int64_t scale,
                      std::uint32_t* weights);
void priority_weights(std::span<const double> priorities, double exponent, std::int64_t scale,
                      std::uint32_t* weights);

// The largest of some priorities, 0 of none; fails as `function` where one is negative or not
// finite.
float checked_largest(const char* function, std::span<const float> priorities);
double checked_largest(const char* function, std::span<const double> priorities);

// The priority of a new item and the exponent, where they pass.
double checked_new_priority(const char* function, double value);
double checked_exponent(const char* function, double exponent);

// Fails as `function` where a slot is not in [0, capacity).
void check_slots(const char* function, std::span<const std::int64_t> slots, std::int64_t capacity);

}  // namespace fastrl
