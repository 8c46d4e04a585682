// SPDX-License-Identifier: Apache-2.0
// What an Envoy's admin interface answers, or a saved dump: all parsers are total; the normal form
// of a dump reads back as the same secrets and is its own normal form.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "envoy/config_dump.h"
#include "envoy/stats.h"

namespace {

using capstan::envoy::HeldSecret;

void CheckDump(std::string_view text) {
  const auto secrets = capstan::envoy::ParseSecrets(text);
  const auto normal = capstan::envoy::NormalizeSecrets(text);
  if (secrets.ok() != normal.ok()) std::abort();
  if (!secrets.ok()) {
    if (secrets.status().message().empty()) std::abort();
    return;
  }
  const auto again = capstan::envoy::ParseSecrets(*normal);
  if (!again.ok() || again->size() != secrets->size()) std::abort();
  for (size_t i = 0; i < again->size(); ++i) {
    const HeldSecret& a = (*secrets)[i];
    const HeldSecret& b = (*again)[i];
    if (a.name != b.name || a.type != b.type || a.state != b.state ||
        a.certificates != b.certificates || a.trust_domains != b.trust_domains) {
      std::abort();
    }
    if (!a.trust_domains.empty() && a.trust_domains.size() != a.certificates.size()) std::abort();
  }
  if (capstan::envoy::NormalizeSecrets(*normal).value() != *normal) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  CheckDump(text);
  if (const auto counters = capstan::envoy::ParseStatsJson(text); counters.ok()) {
    capstan::envoy::CountTls(*counters);
  }
  const auto samples = capstan::envoy::ParsePrometheus(text);
  if (!samples.ok() && samples.status().message().empty()) std::abort();
  return 0;
}
