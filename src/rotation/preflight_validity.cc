// SPDX-License-Identifier: Apache-2.0
// When the new CAs begin and end, by this clock and by the agents'.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "rotation/preflight_checks.h"
#include "trust/ca_crl.h"

namespace capstan::rotation::preflight {
namespace {

// A clock may be off by this much more until the rotation is over.
constexpr absl::Duration kSkewMargin = absl::Minutes(5);

struct Clocks {
  absl::Time slowest;
  absl::Time fastest;
};

Clocks ClocksOf(const Scope& scope) {
  Clocks clocks{scope.now, scope.now};
  for (absl::Duration offset : scope.input.clock_offsets) {
    clocks.slowest = std::min(clocks.slowest, scope.now + offset);
    clocks.fastest = std::max(clocks.fastest, scope.now + offset);
  }
  return clocks;
}

std::string Span(absl::Duration duration) {
  return absl::FormatDuration(absl::Trunc(duration, absl::Seconds(1)));
}

void CheckBeginning(const Scope& scope, const x509::Certificate& ca, const Clocks& clocks,
                    Findings& findings) {
  const absl::Time begins = ca.not_before();
  const std::string when = absl::StrCat("it is not valid before ", UtcTime(begins));
  if (begins > scope.now) {
    findings.push_back({Severity::kError, "not-yet-valid",
                        absl::StrCat(when, ", ", Span(begins - scope.now), " from now"),
                        scope.Named(ca), "wait until then, or mend this machine's clock"});
  } else if (begins > clocks.slowest) {
    findings.push_back(
        {Severity::kError, "not-yet-valid-there",
         absl::StrCat(when, ", and the slowest agent's clock, ", Span(scope.now - clocks.slowest),
                      " behind, is not there yet: it would refuse its peers"),
         scope.Named(ca), "mend that agent's clock, or wait as long"});
  } else if (begins > clocks.slowest - kSkewMargin) {
    findings.push_back({Severity::kWarning, "not-yet-valid-there",
                        absl::StrCat(when, ", only ", Span(clocks.slowest - begins),
                                     " before the slowest clock that is known: a host further "
                                     "behind would refuse its peers"),
                        scope.Named(ca),
                        absl::StrCat("wait ", Span(kSkewMargin),
                                     ", or have CAs issued with a beginning in the past")});
  }
}

void CheckEnd(const Scope& scope, const x509::Certificate& ca, const Clocks& clocks,
              Findings& findings) {
  const absl::Time ends = ca.not_after();
  if (ends < scope.now) {
    const bool needed = [&] {
      const std::vector<x509::Certificate> chain = trust::CasOf(scope.wanted());
      return std::find(chain.begin(), chain.end(), ca) != chain.end();
    }();
    findings.push_back({needed ? Severity::kError : Severity::kWarning, "expired",
                        absl::StrCat("it expired at ", UtcTime(ends)), scope.Named(ca),
                        needed ? "have it issued again" : "take it out of the bundle"});
  } else if (ends < clocks.fastest) {
    findings.push_back(
        {Severity::kError, "expired",
         absl::StrCat("it ends at ", UtcTime(ends), ", which is past by the fastest agent's clock"),
         scope.Named(ca), "have it issued again, and mend that clock"});
  } else if (ends < scope.now + scope.input.max_ttl) {
    findings.push_back(
        {Severity::kWarning, "ends-soon",
         absl::StrCat("it ends at ", UtcTime(ends), ", in ", Span(ends - scope.now),
                      ": leaves are shortened to that (the maximum is ", Span(scope.input.max_ttl),
                      "), and the next rotation is due "
                      "before it"),
         scope.Named(ca), "have one issued that lives longer"});
  }
}

void CheckAgainstIssuer(const Scope& scope, Findings& findings) {
  const std::vector<x509::Certificate> chain = trust::CasOf(scope.wanted());
  for (size_t i = 0; i + 1 < chain.size(); ++i) {
    if (chain[i].not_after() <= chain[i + 1].not_after()) continue;
    findings.push_back({Severity::kWarning, "outlives-issuer",
                        absl::StrCat("it ends at ", UtcTime(chain[i].not_after()),
                                     ", after its issuer does (", UtcTime(chain[i + 1].not_after()),
                                     "): leaves may be signed that are worth nothing before they "
                                     "end"),
                        scope.Named(chain[i]), "have it issued to end no later than its issuer"});
  }
}

absl::Time EndOf(const trust::Authority& authority) {
  absl::Time end = absl::InfiniteFuture();
  for (const x509::Certificate& ca : trust::CasOf(authority)) end = std::min(end, ca.not_after());
  return end;
}

void CompareWithOld(const Scope& scope, Findings& findings) {
  if (scope.in_use.empty()) return;
  const absl::Time before = EndOf(scope.in_use.front());
  const absl::Time after = EndOf(scope.wanted());
  if (after >= before) return;
  findings.push_back({Severity::kWarning, "ends-sooner",
                      absl::StrCat("the new chain ends at ", UtcTime(after),
                                   ", sooner than the present one (", UtcTime(before), ")"),
                      scope.Named(scope.wanted().certificate),
                      "make sure that this is the set you mean"});
}

}  // namespace

void CheckValidity(const Scope& scope, Findings& findings) {
  const Clocks clocks = ClocksOf(scope);
  for (const x509::Certificate& ca : scope.candidate) {
    CheckBeginning(scope, ca, clocks, findings);
    CheckEnd(scope, ca, clocks, findings);
  }
  CheckAgainstIssuer(scope, findings);
  CompareWithOld(scope, findings);
}

}  // namespace capstan::rotation::preflight
