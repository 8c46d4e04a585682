// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace capstan {

// Bytes that must not outlive their use: a private key in PEM, a token. Wiped when destroyed, moved
// from or assigned over; never printable (no operator<<), so that it cannot reach a log by
// accident.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string bytes) : bytes_(std::move(bytes)) {}
  Secret(const Secret&) = default;
  Secret& operator=(const Secret& other);
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  ~Secret() { Wipe(); }

  // Valid as long as this object; the caller makes no lasting copy.
  std::string_view Reveal() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }

  // Compares in time that depends on the lengths only.
  friend bool operator==(const Secret& a, const Secret& b);

 private:
  void Wipe();
  std::string bytes_;
};

// Wipes a buffer in a way the compiler may not remove.
void WipeBytes(std::string& bytes);

}  // namespace capstan
