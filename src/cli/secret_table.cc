// SPDX-License-Identifier: Apache-2.0
#include "cli/secret_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "cli/inspect_text.h"
#include "cli/table.h"

namespace capstan::cli {
namespace {

constexpr size_t kSerialDigits = 32;  // istioctl's %032x

using Row = std::vector<std::string>;

std::string Serial(const x509::Certificate& certificate) {
  std::string hex = certificate.serial().ToHex();
  if (hex.size() < kSerialDigits) hex.insert(0, kSerialDigits - hex.size(), '0');
  return hex;
}

std::string Rfc3339(absl::Time time) {
  return absl::FormatTime("%E4Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

Row Start(const envoy::HeldSecret& secret) {
  return {secret.name, std::string(envoy::Name(secret.type)),
          std::string(envoy::Name(secret.state))};
}

std::vector<Row> RowsOf(const envoy::HeldSecret& secret, bool trust_domains, absl::Time now) {
  std::vector<Row> rows;
  for (size_t i = 0; i < secret.certificates.size(); ++i) {
    const x509::Certificate& certificate = secret.certificates[i];
    const bool valid = now >= certificate.not_before() && now <= certificate.not_after();
    Row row = Start(secret);
    row.insert(row.end(), {valid ? "true" : "false", Serial(certificate),
                           Rfc3339(certificate.not_after()), Rfc3339(certificate.not_before())});
    if (trust_domains) {
      row.push_back(i < secret.trust_domains.size() ? secret.trust_domains[i] : "-");
    }
    rows.push_back(std::move(row));
  }
  if (rows.empty()) {
    Row row = Start(secret);
    row.insert(row.end(), trust_domains ? 5 : 4, "-");
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

std::string SecretTable(const std::vector<envoy::HeldSecret>& secrets, absl::Time now) {
  if (secrets.empty()) return "No active or warming secrets found.\n";
  const bool trust_domains =
      std::any_of(secrets.begin(), secrets.end(),
                  [](const envoy::HeldSecret& secret) { return !secret.trust_domains.empty(); });
  Row header = {"NAME", "TYPE", "STATUS", "VALID", "SERIAL", "NOT AFTER", "NOT BEFORE"};
  if (trust_domains) header.push_back("TRUST DOMAIN");
  Table table(std::move(header));
  std::string notes;
  for (const envoy::HeldSecret& secret : secrets) {
    for (Row& row : RowsOf(secret, trust_domains, now)) table.Add(std::move(row));
    for (const std::string& note : {secret.problem, secret.error}) {
      if (!note.empty()) {
        absl::StrAppend(&notes, ForTerminal(secret.name), ": ", ForTerminal(note), "\n");
      }
    }
  }
  return table.Render() + notes;
}

}  // namespace capstan::cli
