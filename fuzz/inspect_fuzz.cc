// SPDX-License-Identifier: Apache-2.0
// `capstan inspect` over any bytes: it always answers, its JSON parses, and what it shows without
// --short holds nothing that a terminal would obey.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "cli/certificate_input.h"
#include "cli/findings.h"
#include "cli/go_url.h"
#include "cli/inspect_short.h"
#include "cli/inspect_text.h"

namespace {

namespace cli = capstan::cli;

void CheckPrintable(std::string_view text) {
  for (char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if ((byte < 0x20 && c != '\n') || byte == 0x7f) std::abort();
  }
}

void CheckJson(const std::string& text) {
  if (nlohmann::json::parse(text, nullptr, false).is_discarded()) std::abort();
}

void CheckShort(std::string_view bytes) {
  const auto one = cli::ShortTextOfBytes(bytes, "-", false);
  const auto all = cli::ShortTextOfBytes(bytes, "-", true);
  if (one.ok() != all.ok()) std::abort();
  if (one.ok() && (!one->starts_with("X.509v3 ") || !all->starts_with(*one))) std::abort();
}

void CheckLong(std::string_view bytes) {
  const auto held = cli::ReadHeld(bytes);
  if (!held.ok()) {
    if (held.status().message().empty()) std::abort();
    return;
  }
  if (const auto* request = std::get_if<capstan::x509::RequestDescription>(&*held)) {
    CheckPrintable(cli::LongText(*request));
    CheckJson(cli::JsonText(*request));
    return;
  }
  const auto& certificates = std::get<std::vector<capstan::x509::Certificate>>(*held);
  const absl::Time now = absl::FromUnixSeconds(1'750'000'000);
  const auto findings = cli::Findings(certificates, now);
  for (const cli::Finding& finding : findings) {
    if (finding.certificate >= certificates.size() || finding.text.empty()) std::abort();
  }
  CheckPrintable(cli::LongText(certificates, findings, now));
  CheckJson(cli::JsonText(certificates, findings, now));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  CheckShort(bytes);
  CheckLong(bytes);
  cli::GoUrlString(bytes);
  cli::ParseEndpoint(bytes);
  return 0;
}
