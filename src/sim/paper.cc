// SPDX-License-Identifier: Apache-2.0
#include "sim/paper.h"

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "sim/cas.h"

namespace capstan::sim {
namespace {

int64_t Number(std::string_view text) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &number)) std::abort();
  return number;
}

}  // namespace

std::string ToText(const PaperLeaf& paper) {
  return absl::StrCat(paper.leaf.serial, "|", paper.leaf.authority.hex(), "|",
                      absl::ToUnixNanos(paper.leaf.not_before), "|",
                      absl::ToUnixNanos(paper.leaf.not_after), "|", paper.holder, "|", paper.key);
}

PaperLeaf ParsePaperLeaf(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '|');
  return {
      .leaf = {parts.at(0), *trust::AuthorityId::Parse(parts.at(1)),
               absl::FromUnixNanos(Number(parts.at(2))), absl::FromUnixNanos(Number(parts.at(3)))},
      .holder = Number(parts.at(4)),
      .key = Number(parts.at(5))};
}

PaperCsr ParsePaperCsr(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '|');
  return {Number(parts.at(0)), Number(parts.at(1))};
}

absl::StatusOr<std::string> PaperEnrolment::NewCsr() {
  if (pending_ == 0) pending_ = ++last_key_;
  return absl::StrCat(holder_, "|", pending_);
}

absl::StatusOr<lifecycle::Leaf> PaperEnrolment::Accept(const std::vector<std::string>& answer,
                                                       const trust::Bundle& bundle,
                                                       absl::Time now) {
  const PaperLeaf paper = ParsePaperLeaf(answer.at(0));
  if (paper.holder != holder_ || paper.key != pending_) {
    return absl::InvalidArgumentError(
        "the certificate is for another key than the one it was requested with");
  }
  if (paper.leaf.not_after <= now) return absl::InvalidArgumentError("the certificate expired");
  if (paper.leaf.not_before > now) {
    return absl::InvalidArgumentError("the certificate is not valid yet");
  }
  const Ca* signer = FindCa(paper.leaf.authority.hex());
  if (signer == nullptr) return absl::InvalidArgumentError("an authority of nobody signed it");
  if (!bundle.Contains(signer->set.authority.root)) {
    return absl::FailedPreconditionError("it chains to a root that is not in the trust bundle");
  }
  pending_ = 0;
  accepted_ = paper;
  return paper.leaf;
}

}  // namespace capstan::sim
