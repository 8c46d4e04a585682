// SPDX-License-Identifier: Apache-2.0
// The files of an agent's state directory: total; what is accepted survives printing and reading.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "agent/state_files.h"

namespace agent = capstan::agent;

namespace {

template <typename T, typename Parse>
void CheckRoundTrip(std::string_view text, Parse parse) {
  const absl::StatusOr<T> value = parse(text);
  if (!value.ok()) {
    if (value.status().message().empty()) std::abort();
    return;
  }
  const absl::StatusOr<T> again = parse(agent::ToJson(*value));
  if (!again.ok() || *again != *value) std::abort();
}

// A certificate and its key as one file: the key begins at its PEM header.
void CheckCredential(std::string_view text) {
  const size_t key = text.find("-----BEGIN PRIVATE KEY-----");
  if (key == std::string_view::npos) return;
  const auto credential = agent::ParseCredential(text.substr(0, key), text.substr(key));
  if (credential.ok() && credential->chain.empty()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  CheckRoundTrip<agent::Membership>(text, agent::ParseMembership);
  CheckRoundTrip<capstan::lifecycle::Trust>(text, agent::ParseTrust);
  CheckCredential(text);
  const auto instance = agent::ParseInstance(text);
  if (instance.ok() && instance->size() != 36) std::abort();
  return 0;
}
