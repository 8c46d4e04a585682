// SPDX-License-Identifier: Apache-2.0
#include "server/canary_view.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/strings.h"
#include "rotation/canary.h"

namespace capstan::server {
namespace {

constexpr size_t kNamespacesNamed = 20;

std::string Nobody(const CanaryView& view) {
  return absl::StrCat("the canary ", view.canary, " selects none of the ", view.population,
                      " workloads that hold an unexpired leaf");
}

std::string Remedy(const CanaryView& view) {
  if (view.namespaces.empty()) {
    return "rotate without --canary: nobody is there to go first";
  }
  return absl::StrCat(
      "select some of them: their namespaces are ",
      absl::StrJoin(view.namespaces.begin(),
                    view.namespaces.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                  view.namespaces.size(), kNamespacesNamed)),
                    ", "),
      view.namespaces.size() > kNamespacesNamed ? ", … (`capstan fleet list`)" : "");
}

}  // namespace

CanaryView LookAt(const trust::Canary& canary, const fleet::Fleet& fleet, absl::Time now) {
  CanaryView view{.canary = canary.ToString()};
  std::set<std::string> namespaces;
  for (const auto& [key, workload] : fleet.workloads()) {
    if (!fleet::StandingOf(workload, {}, now).counted) continue;
    ++view.population;
    if (const std::string_view ns = trust::NamespaceOf(key.spiffe_id); !ns.empty()) {
      namespaces.emplace(ns);
    }
    if (canary.Selects(key.spiffe_id)) {
      ++view.selected;
    } else if (workload.connected() && workload.report.has_value() &&
               !workload.report->failed_verifications.has_value()) {
      ++view.untold;
    }
  }
  view.namespaces = {namespaces.begin(), namespaces.end()};
  return view;
}

absl::Status CheckSelects(const CanaryView& view) {
  if (view.selected > 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(Nobody(view), "; ", Remedy(view)));
}

std::vector<rotation::Finding> FindingsOf(const CanaryView& view) {
  using rotation::Severity;
  if (view.selected == 0) {
    return {{Severity::kError, "canary-selects-nobody", Nobody(view), "--canary", Remedy(view)}};
  }
  std::vector<rotation::Finding> findings;
  if (view.selected == view.population) {
    findings.push_back(
        {Severity::kWarning, "canary-selects-everybody",
         absl::StrCat("the canary ", view.canary, " selects all of the ", view.population,
                      " workloads: nobody is left who would tell of harm"),
         "--canary", "select fewer"});
  }
  if (view.untold > 0) {
    findings.push_back({Severity::kNote, "canary-untold", rotation::UntoldText(view.untold),
                        "--canary",
                        "give their agents --envoy-admin, so that a rise of refused certificates "
                        "turns the rotation back"});
  }
  return findings;
}

}  // namespace capstan::server
