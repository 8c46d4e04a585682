// SPDX-License-Identifier: Apache-2.0
// Names and key ids that lead a verifier to the wrong CA. Capstan's own verifier tries signatures
// and is not misled; Envoy takes the first CA of the right name whose ids do not contradict, and
// never comes back to another.
#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "rotation/preflight_checks.h"

namespace capstan::rotation::preflight {
namespace {

constexpr size_t kNamed = 3;

using Group = std::vector<const x509::Certificate*>;

// Names as verifiers compare them: neither case nor the kind of string counts.
std::string Folded(const std::string& name) {
  return absl::AsciiStrToLower(name);
}

bool ValidAt(const x509::Certificate& ca, absl::Time now) {
  return ca.not_before() <= now && now <= ca.not_after();
}

size_t KeysOf(const Group& group) {
  std::set<std::string> keys;
  for (const x509::Certificate* ca : group) keys.insert(ca->public_key().spki_der());
  return keys.size();
}

std::string Where(const Scope& scope, const Group& group) {
  std::string where;
  for (size_t i = 0; i < std::min(group.size(), kNamed); ++i) {
    absl::StrAppend(&where, where.empty() ? "" : "; ", scope.Named(*group[i]));
  }
  if (group.size() > kNamed) absl::StrAppend(&where, "; and ", group.size() - kNamed, " more");
  return where;
}

// Why Envoy could take one of `group` for another; "" where key ids tell them apart. Leaves of
// Capstan always have an authority key id.
std::string WhyUnsure(const Scope& scope, const std::string& subject, const Group& group) {
  for (const x509::Certificate* ca : group) {
    if (ca->subject_key_id().empty()) {
      return absl::StrCat(scope.Named(*ca), " has no subject key id");
    }
  }
  for (const x509::Certificate& ca : scope.all) {
    if (scope.IsRoot(ca) || !ca.authority_key_id().empty()) continue;
    if (Folded(ca.Issuer()) == subject) {
      return absl::StrCat(scope.Named(ca), " below has no authority key id");
    }
  }
  return "";
}

void CheckSameSubject(const Scope& scope, const std::string& subject, const Group& group,
                      Findings& findings) {
  const std::string unsure = WhyUnsure(scope, subject, group);
  const std::string several = absl::StrCat(group.size(), " CAs have one subject");
  if (unsure.empty()) {
    findings.push_back({Severity::kNote, "same-subject",
                        absl::StrCat(several,
                                     " and are told apart by their key ids alone: that is sound, "
                                     "and confuses people and tools that print names"),
                        Where(scope, group), "give the next one a subject of its own"});
    return;
  }
  findings.push_back({Severity::kError, "same-subject-no-ids",
                      absl::StrCat(several, ", and ", unsure,
                                   ": while they are there together Envoy takes whichever it finds "
                                   "first, and refuses leaves of the others"),
                      Where(scope, group),
                      "have the new CA issued under another subject, or all of them and what is "
                      "below them with subject and authority key ids"});
}

void CheckSubjects(const Scope& scope, Findings& findings) {
  std::map<std::string, Group> groups;
  for (const x509::Certificate& ca : scope.all) groups[Folded(ca.Subject())].push_back(&ca);
  for (const auto& [subject, group] : groups) {
    if (KeysOf(group) > 1) CheckSameSubject(scope, subject, group, findings);
  }
}

void CheckKeyIds(const Scope& scope, Findings& findings) {
  std::map<std::string, Group> groups;
  for (const x509::Certificate& ca : scope.all) {
    if (!ca.subject_key_id().empty()) groups[ca.subject_key_id()].push_back(&ca);
  }
  for (const auto& [ski, group] : groups) {
    if (KeysOf(group) == 1) continue;
    findings.push_back(
        {Severity::kError, "same-ski",
         "CAs of different keys have one subject key id: a verifier that follows "
         "authority key ids takes the wrong one, and Capstan names authorities by it",
         Where(scope, group),
         "have the new one issued with a key id made from its key "
         "(subjectKeyIdentifier=hash)"});
  }
}

// One root, certified more than once.
void CheckTwins(const Scope& scope, Findings& findings) {
  std::map<std::string, Group> groups;
  for (const x509::Certificate& root : scope.both.roots()) {
    groups[absl::StrCat(Folded(root.Subject()), "\n", root.public_key().spki_der())].push_back(
        &root);
  }
  for (const auto& [name, group] : groups) {
    if (group.size() == 1) continue;
    const bool all_valid = std::all_of(group.begin(), group.end(),
                                       [&](const auto* root) { return ValidAt(*root, scope.now); });
    if (all_valid) {
      findings.push_back({Severity::kNote, "same-key-roots",
                          "roots have one key and subject (a renewed root): each verifies the "
                          "leaves of all, and dropping one does not end trust in the key",
                          Where(scope, group), ""});
    } else {
      findings.push_back(
          {Severity::kError, "expired-twin",
           "roots of one key and subject would be in the bundle together and one of "
           "them is not valid now: Envoy takes whichever it finds first, and refuses "
           "everybody if it is that one",
           Where(scope, group),
           "take the one that is not valid out of the bundle first: the other "
           "verifies the same leaves"});
    }
  }
}

void CheckKnownAuthority(const Scope& scope, Findings& findings) {
  auto known = scope.input.now_is.authorities.find(scope.wanted().id);
  if (known == scope.input.now_is.authorities.end()) return;
  const trust::Authority& before = known->second.authority;
  if (before.root == scope.wanted().root) return;
  findings.push_back({Severity::kError, "same-key-other-root",
                      absl::StrCat("its signing key is known under ", scope.Named(before.root),
                                   ": authorities are named by their key, so this set would be "
                                   "refused"),
                      scope.Named(scope.wanted().certificate),
                      "make a new intermediate with a key of its own under the new root"});
}

}  // namespace

void CheckCollisions(const Scope& scope, Findings& findings) {
  CheckKnownAuthority(scope, findings);
  CheckSubjects(scope, findings);
  CheckKeyIds(scope, findings);
  CheckTwins(scope, findings);
}

}  // namespace capstan::rotation::preflight
