// SPDX-License-Identifier: Apache-2.0
#include "cli/findings.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "x509/signature_algorithm.h"

namespace capstan::cli {
namespace {

using x509::Certificate;
using Certificates = std::vector<Certificate>;

std::string Ordinal(size_t index) {
  return absl::StrCat("certificate ", index + 1);
}

// Collects the findings about one certificate.
class Examiner {
 public:
  Examiner(const Certificates& all, const std::vector<Place>& places, size_t index, absl::Time now,
           std::vector<Finding>& findings)
      : all_(all), places_(places), index_(index), now_(now), findings_(findings) {}

  void Examine(std::optional<absl::Duration> expiring_within) {
    if (CheckDuplicate()) return;  // all else was said of the first one
    CheckOrder();
    CheckSameSubject();
    CheckIssuer();
    CheckValidity(expiring_within);
    CheckStrength();
    CheckExtensions();
  }

 private:
  const Certificate& Self() const { return all_[index_]; }
  void Add(std::string code, std::string text) {
    findings_.push_back({index_, std::move(code), std::move(text)});
  }

  bool CheckDuplicate() {
    for (size_t i = 0; i < index_; ++i) {
      if (all_[i] == Self()) {
        Add("duplicate", absl::StrCat("the same as ", Ordinal(i)));
        return true;
      }
    }
    return false;
  }

  // In a chain each certificate is followed by the one that signed it.
  void CheckOrder() {
    const std::optional<size_t> signer = places_[index_].signer;
    if (!signer || (index_ + 1 < all_.size() && all_[index_ + 1] == all_[*signer])) return;
    Add("wrong-order", absl::StrCat("signed by ", Ordinal(*signer),
                                    ", which does not directly follow it: a chain goes from the "
                                    "leaf up, and some peers need it so"));
  }

  void CheckSameSubject() {
    for (size_t i = 0; i < index_; ++i) {
      if (all_[i].subject_der() == Self().subject_der() && Self().is_ca() &&
          !(all_[i].public_key() == Self().public_key())) {
        Add("same-subject",
            absl::StrCat("the same subject as ", Ordinal(i),
                         " with another key (normal while a root is replaced): only key "
                         "identifiers and fingerprints tell them apart"));
        return;
      }
    }
  }

  void CheckIssuer() {
    const Place& place = places_[index_];
    if (place.signer) {
      const Certificate& issuer = all_[*place.signer];
      if (Self().not_after() > issuer.not_after()) {
        Add("outlives-issuer",
            absl::StrCat("valid ", HumanDuration(Self().not_after() - issuer.not_after()),
                         " longer than ", Ordinal(*place.signer), ", which signed it"));
      }
      if (!issuer.is_ca()) {
        Add("not-a-ca", absl::StrCat("signed by ", Ordinal(*place.signer), ", which is not a CA"));
      }
      return;
    }
    if (place.role == Role::kRoot) return;
    for (size_t i = 0; i < all_.size(); ++i) {
      if (i != index_ && all_[i].subject_der() == Self().issuer_der() && all_[i].is_ca()) {
        Add("issuer-mismatch",
            absl::StrCat("names ", Ordinal(i), " as its issuer but is not signed by that key"));
        return;
      }
    }
  }

  void CheckValidity(std::optional<absl::Duration> expiring_within) {
    if (now_ < Self().not_before()) {
      Add("not-yet-valid",
          absl::StrCat("valid only in ", HumanDuration(Self().not_before() - now_)));
      return;
    }
    const absl::Duration left = Self().not_after() - now_;
    if (left < absl::ZeroDuration()) {
      Add("expired", absl::StrCat("expired ", HumanDuration(-left), " ago"));
      return;
    }
    const absl::Duration life = Self().not_after() - Self().not_before();
    if (left <= expiring_within.value_or(std::min(life / 5, absl::Hours(30 * 24)))) {
      Add("expiring", absl::StrCat("expires in ", HumanDuration(left)));
    }
  }

  void CheckStrength() {
    if (const absl::Status key = Self().public_key().CheckAcceptable(); !key.ok()) {
      Add("weak-key", std::string(key.message()));
    }
    const std::string algorithm = Self().SignatureAlgorithm();
    if (x509::IsBroken(algorithm)) {
      Add("weak-signature",
          absl::StrCat("signed with ", algorithm, ", which verifiers of today refuse"));
    }
  }

  void CheckExtensions() {
    if (Self().is_ca()) {
      const std::optional<uint32_t> usage = Self().key_usage();
      if (!usage || (*usage & x509::kKeyCertSign) == 0) {
        Add("no-key-cert-sign",
            "a CA without the key usage keyCertSign: peers refuse what it signs");
      }
      if (Self().subject_key_id().empty()) {
        Add("no-ski",
            "a CA without a subject key identifier: not to be told from another of its name");
      }
    }
    if (places_[index_].role != Role::kRoot && Self().authority_key_id().empty()) {
      Add("no-aki",
          "no authority key identifier: with two issuers of one name a peer has to guess");
    }
  }

  const Certificates& all_;
  const std::vector<Place>& places_;
  const size_t index_;
  const absl::Time now_;
  std::vector<Finding>& findings_;
};

bool NamesAsIssuer(const Certificate& subject, const Certificate& issuer) {
  return subject.issuer_der() == issuer.subject_der();
}

Place FindPlace(const Certificates& certificates, size_t index) {
  const Certificate& self = certificates[index];
  if (NamesAsIssuer(self, self) && self.IsSelfSigned()) return {Role::kRoot, std::nullopt};
  Place place{self.is_ca() ? Role::kIntermediate : Role::kLeaf, std::nullopt};
  for (size_t i = 0; i < certificates.size() && !place.signer; ++i) {
    if (NamesAsIssuer(self, certificates[i]) && certificates[i] != self &&
        self.IsSignedBy(certificates[i].public_key())) {
      place.signer = i;
    }
  }
  return place;
}

}  // namespace

std::string_view Name(Role role) {
  switch (role) {
    case Role::kLeaf:
      return "leaf";
    case Role::kIntermediate:
      return "intermediate";
    case Role::kRoot:
      return "root";
  }
  return "leaf";
}

std::vector<Place> Places(const Certificates& certificates) {
  std::vector<Place> places;
  for (size_t i = 0; i < certificates.size(); ++i) {
    places.push_back(FindPlace(certificates, i));
  }
  return places;
}

std::vector<Finding> Findings(const Certificates& certificates, absl::Time now,
                              std::optional<absl::Duration> expiring_within) {
  const std::vector<Place> places = Places(certificates);
  std::vector<Finding> findings;
  for (size_t i = 0; i < certificates.size(); ++i) {
    Examiner(certificates, places, i, now, findings).Examine(expiring_within);
  }
  return findings;
}

std::string HumanDuration(absl::Duration duration) {
  static constexpr std::pair<int64_t, const char*> kUnits[] = {
      {86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}};
  int64_t seconds = absl::ToInt64Seconds(duration);
  std::string text;
  int printed = 0;
  for (const auto& [size, unit] : kUnits) {
    const int64_t count = seconds / size;
    if (printed == 0 && count == 0) continue;
    if (printed == 2) break;
    if (count > 0) absl::StrAppend(&text, text.empty() ? "" : " ", count, unit);
    seconds %= size;
    ++printed;
  }
  return text.empty() ? "0s" : text;
}

}  // namespace capstan::cli
