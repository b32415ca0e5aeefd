// SIMD vectors of 64 bytes: loads and stores with conversion from and to any floating type, and sums.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace mmdla {

template <typename A>
struct Vector {
  typedef A type __attribute__((vector_size(64)));
};

template <typename A>
using Lane = typename Vector<A>::type;

template <typename A>
constexpr int64_t lanes = 64 / sizeof(A);

template <typename A, typename T>
inline Lane<A> load(const T* from) {
  Lane<A> value = {};
  if constexpr (std::is_same_v<T, A>)
    std::memcpy(&value, from, sizeof(value));
  else
    for (int64_t i = 0; i < lanes<A>; ++i) value[i] = A(from[i]);
  return value;
}

template <typename A, typename T>
inline void store(T* to, Lane<A> value) {
  if constexpr (std::is_same_v<T, A>)
    std::memcpy(to, &value, sizeof(value));
  else
    for (int64_t i = 0; i < lanes<A>; ++i) to[i] = T(value[i]);
}

template <typename A>
inline Lane<A> all(A value) {
  return Lane<A>{} + value;
}

template <typename A>
inline Lane<A> relu(Lane<A> value) {  // keeps NaN, as in PyTorch
  return value < 0 ? Lane<A>{} : value;
}

template <typename A>
inline A total(Lane<A> value) {
  typedef A Half __attribute__((vector_size(32)));
  typedef A Quarter __attribute__((vector_size(16)));
  Half halves[2];
  std::memcpy(halves, &value, sizeof(halves));
  halves[0] += halves[1];
  Quarter quarters[2];
  std::memcpy(quarters, halves, sizeof(quarters));
  quarters[0] += quarters[1];
  A sum = 0;
  for (size_t i = 0; i < sizeof(Quarter) / sizeof(A); ++i) sum += quarters[0][i];
  return sum;
}

// count, rounded up to a multiple of the vector's length
template <typename A>
int64_t padded(int64_t count) {
  return (count + lanes<A> - 1) / lanes<A> * lanes<A>;
}

// Reads and writes a vector at position n of a map. `rest` is 0 for a full vector, or the number of
// elements left at the end of the map if they do not fill one.
template <typename A, typename T>
struct In {
  const T* map;
  int64_t rest;
  Lane<A> operator[](int64_t n) const {
    if (!rest) return load<A>(map + n);
    Lane<A> value = {};
    for (int64_t i = 0; i < rest; ++i) value[i] = A(map[n + i]);
    return value;
  }
};

template <typename A, typename T>
struct Out {
  T* map;
  int64_t rest;
  void set(int64_t n, Lane<A> value) const {
    if (!rest) return store<A>(map + n, value);
    for (int64_t i = 0; i < rest; ++i) map[n + i] = T(value[i]);
  }
};

// Calls f(n, rest) for each vector of `count` elements: rest is 0, but for an incomplete last one.
template <typename A, typename F>
inline void for_lanes(int64_t count, F&& f) {
  const int64_t whole = count / lanes<A> * lanes<A>;
  for (int64_t n = 0; n < whole; n += lanes<A>) f(n, int64_t(0));
  if (whole < count) f(whole, count - whole);
}

// The sum of the vectors f(n, rest). Runs of 16 vectors are added up in A, their sums in double.
template <typename A, typename F>
inline double sum_lanes(int64_t count, F&& f) {
  constexpr int64_t run = 16 * lanes<A>;
  double sum = 0;
  for (int64_t start = 0; start < count; start += run) {
    Lane<A> part = {};
    for_lanes<A>(std::min(run, count - start),
                 [&](int64_t n, int64_t rest) { part += f(start + n, rest); });
    sum += total<A>(part);
  }
  return sum;
}

}  // namespace mmdla
