// SPDX-License-Identifier: Apache-2.0
#include "base/secret.h"

#include <string.h>  // explicit_bzero

#include <utility>

namespace capstan {

void WipeBytes(std::string& bytes) {
  bytes.resize(bytes.capacity());
  explicit_bzero(bytes.data(), bytes.size());
  bytes.clear();
}

void Secret::Wipe() {
  WipeBytes(bytes_);
}

Secret& Secret::operator=(const Secret& other) {
  if (this != &other) {
    Wipe();
    bytes_ = other.bytes_;
  }
  return *this;
}

Secret::Secret(Secret&& other) noexcept : bytes_(std::move(other.bytes_)) {
  other.Wipe();
}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    Wipe();
    bytes_ = std::move(other.bytes_);
    other.Wipe();
  }
  return *this;
}

bool operator==(const Secret& a, const Secret& b) {
  if (a.bytes_.size() != b.bytes_.size()) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < a.bytes_.size(); ++i) {
    difference |= static_cast<unsigned char>(a.bytes_[i] ^ b.bytes_[i]);
  }
  return difference == 0;
}

}  // namespace capstan
