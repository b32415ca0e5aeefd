// Pointers to the memory of tensors, dispatch on their dtype, and threads.
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

namespace mmdla {

template <typename T>
T* pointer(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr<T>() : nullptr;
}

template <typename T>
T* pointer(const std::optional<at::Tensor>& tensor) {
  return tensor ? pointer<T>(*tensor) : nullptr;
}

template <typename T>
std::vector<T*> pointers(at::TensorList maps) {
  std::vector<T*> found;
  for (const at::Tensor& map : maps) found.push_back(pointer<T>(map));
  return found;
}

// Runs code with scalar_t, the dtype of maps, and A, the type of sums: float, or double for double.
#define FLOATING(TYPE, NAME, ...)                                             \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, TYPE, NAME, [&] { \
    using A [[maybe_unused]] = at::opmath_type<scalar_t>;                     \
    __VA_ARGS__                                                               \
  })

// Whether a map (B, C, H, W) is channels_last, and not contiguous as well.
inline bool is_nhwc(const at::Tensor& map) {
  return !map.is_contiguous() && map.is_contiguous(at::MemoryFormat::ChannelsLast);
}

template <typename F>
void for_each(int64_t count, F&& work) {
  at::parallel_for(0, count, 1, std::forward<F>(work));
}

}  // namespace mmdla
