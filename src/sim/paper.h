// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lifecycle/enrolment.h"

namespace capstan::sim {

// Certificates on paper: who signed what for which key and until when, without the arithmetic, so
// that millions can be issued. Text on the wire, as the real ones are.
struct PaperLeaf {
  lifecycle::Leaf leaf;
  int64_t holder = 0;
  int64_t key = 0;
};
std::string ToText(const PaperLeaf& leaf);
// It must be what ToText() made.
PaperLeaf ParsePaperLeaf(const std::string& text);

struct PaperCsr {
  int64_t holder = 0;
  int64_t key = 0;
};
PaperCsr ParsePaperCsr(const std::string& text);

// What no message between machines may hold.
inline constexpr char kPaperKey[] = "PAPER PRIVATE KEY";

// As X509Enrolment: the same checks in the same words, on paper.
class PaperEnrolment final : public lifecycle::Enrolment {
 public:
  explicit PaperEnrolment(int64_t holder) : holder_(holder) {}
  absl::StatusOr<std::string> NewCsr() override;
  absl::StatusOr<lifecycle::Leaf> Accept(const std::vector<std::string>& answer,
                                         const trust::Bundle& bundle, absl::Time now) override;
  void DropKey() override { pending_ = 0; }
  const PaperLeaf& accepted() const { return accepted_; }

 private:
  const int64_t holder_;
  int64_t last_key_ = 0;
  int64_t pending_ = 0;
  PaperLeaf accepted_{.leaf = {"", *trust::AuthorityId::Parse(std::string(40, '0')), {}, {}}};
};

}  // namespace capstan::sim
