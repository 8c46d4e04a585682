// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>

namespace capstan::x509 {

// A value made at the first call, whichever thread calls, and kept. Every call must bring the same
// `make`.
template <typename T>
class Lazy {
 public:
  template <typename Make>
  const T& Get(Make make) const {
    std::call_once(once_, [&] { value_ = make(); });
    return value_;
  }

 private:
  mutable std::once_flag once_;
  mutable T value_{};
};

}  // namespace capstan::x509
