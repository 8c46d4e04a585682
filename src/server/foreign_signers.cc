// SPDX-License-Identifier: Apache-2.0
#include "server/foreign_signers.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace capstan::server {
namespace {

using rotation::Holder;

// Enough that no two roots of a mesh share them.
constexpr size_t kLeastDigits = 8;

absl::StatusOr<ForeignSigner> ParseOne(const std::string& text) {
  const size_t equals = text.find('=');
  ForeignSigner signer{text.substr(0, equals), ""};
  const auto in_name = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("-_./", c);
  };
  if (equals != std::string::npos) {
    signer.root = absl::AsciiStrToLower(absl::StrReplaceAll(text.substr(equals + 1), {{":", ""}}));
  }
  const bool named =
      !signer.name.empty() && std::all_of(signer.name.begin(), signer.name.end(), in_name);
  const bool rooted = signer.root.size() >= kLeastDigits && signer.root.size() <= 64 &&
                      std::all_of(signer.root.begin(), signer.root.end(), absl::ascii_isxdigit);
  if (named && rooted) return signer;
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text, "\" is not NAME=FINGERPRINT: a name of letters, digits and -_./, and ",
      kLeastDigits,
      " or more hexadecimal digits of the SHA-256 fingerprint of its root "
      "(`capstan status` shows them)"));
}

}  // namespace

absl::StatusOr<std::vector<ForeignSigner>> ParseForeignSigners(std::string_view text) {
  std::vector<ForeignSigner> signers;
  for (const auto part : absl::StrSplit(std::string(text), ',', absl::SkipWhitespace())) {
    CAPSTAN_ASSIGN_OR_RETURN(ForeignSigner signer,
                             ParseOne(std::string(absl::StripAsciiWhitespace(part))));
    signers.push_back(std::move(signer));
  }
  return signers;
}

std::string ToString(const std::vector<ForeignSigner>& signers) {
  return absl::StrJoin(signers, ",", [](std::string* out, const ForeignSigner& signer) {
    absl::StrAppend(out, signer.name, "=", signer.root);
  });
}

std::vector<Holder> HoldersAmong(const std::vector<ForeignSigner>& signers,
                                 const std::set<std::string>& leaving) {
  std::vector<Holder> holders;
  for (const ForeignSigner& signer : signers) {
    const auto root = leaving.lower_bound(signer.root);
    if (root == leaving.end() || !absl::StartsWith(*root, signer.root)) continue;
    holders.push_back({Holder::Kind::kForeign, signer.name,
                       absl::StrCat("it is declared (foreign-signers) to sign under root ",
                                    root->substr(0, 12))});
  }
  return holders;
}

}  // namespace capstan::server
