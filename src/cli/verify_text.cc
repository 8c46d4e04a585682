// SPDX-License-Identifier: Apache-2.0
#include "cli/verify_text.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/strings.h"
#include "cli/inspect_text.h"

namespace capstan::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string Rfc3339(absl::Time time) {
  return absl::FormatTime("%E4Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

}  // namespace

absl::StatusOr<absl::Time> ParseMoment(std::string_view text, absl::Time now) {
  absl::Time time;
  absl::Duration distance;
  if ((text.starts_with('+') || text.starts_with('-')) && absl::ParseDuration(text, &distance)) {
    return now + distance;
  }
  if (absl::ParseTime(absl::RFC3339_full, text, &time, nullptr)) return time;
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text, "\" is no time: write 2026-12-24T18:00:00Z, or a distance from now as ",
      "+720h or -5m"));
}

std::string VerdictText(const x509::Verdict& verdict, absl::Time at) {
  std::string text;
  for (const x509::VerifyStep& step : verdict.steps) {
    absl::StrAppend(&text, step.ok ? "ok    " : "FAIL  ", ForTerminal(step.text), "\n");
  }
  if (!verdict.status.ok()) {
    return absl::StrCat(text, "not trusted at ", Rfc3339(at), ": ",
                        ForTerminal(Std(verdict.status.message())), "\n");
  }
  const auto subject = [](std::string* out, const x509::Certificate& certificate) {
    absl::StrAppend(out, Label(certificate));
  };
  return absl::StrCat(text, "trusted at ", Rfc3339(at), ": ",
                      absl::StrJoin(verdict.chain, " <- ", subject), "\n");
}

std::string VerdictJson(const x509::Verdict& verdict, absl::Time at) {
  Json steps = Json::array();
  for (const x509::VerifyStep& step : verdict.steps) {
    steps.push_back({{"ok", step.ok},
                     {"position", step.position < 0 ? Json(nullptr) : Json(step.position)},
                     {"text", ForTerminal(step.text)}});
  }
  Json chain = Json::array();
  for (const x509::Certificate& certificate : verdict.chain) {
    chain.push_back({{"subject", ForTerminal(certificate.Subject())},
                     {"sha256", certificate.FingerprintHex()}});
  }
  const Json document = {{"trusted", verdict.status.ok()},
                         {"reason", ForTerminal(Std(verdict.status.message()))},
                         {"at", Rfc3339(at)},
                         {"steps", steps},
                         {"chain", chain}};
  return document.dump(2) + "\n";
}

}  // namespace capstan::cli
