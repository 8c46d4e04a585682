// SPDX-License-Identifier: Apache-2.0
#include "authn/node_pods.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace capstan::authn {
namespace {

constexpr absl::Duration kClocksDiffer = absl::Minutes(1);

}  // namespace

std::optional<NodePods::Pod> NodePodOf(const Json& pod) {
  NodePods::Pod read{kube::NameOf(pod), kube::Metadata(pod, "uid"),
                     TextAt(pod, {"spec", "serviceAccountName"}),
                     TextAt(pod, {"spec", "nodeName"})};
  const std::string phase = TextAt(pod, {"status", "phase"});
  if (read.node.empty() || read.account.empty() || phase == "Succeeded" || phase == "Failed") {
    return std::nullopt;
  }
  if (const std::string end = kube::Metadata(pod, "deletionTimestamp"); !end.empty()) {
    std::string why;
    if (!absl::ParseTime(absl::RFC3339_full, end, &read.end, &why)) return std::nullopt;
    read.end += kClocksDiffer;
  }
  return read;
}

void NodePods::Seen(const Pod& pod) {
  Gone(pod.name);
  const auto node = nodes_.try_emplace(pod.node).first;
  const auto account = node->second.try_emplace(kube::ObjectName{pod.name.ns, pod.account}).first;
  account->second.push_back(pod.end);
  pods_.insert_or_assign(pod.name, Kept{pod.uid, node, account, pod.end});
}

void NodePods::Gone(const kube::ObjectName& name) {
  const auto known = pods_.find(name);
  if (known == pods_.end()) return;
  Drop(known->second);
  pods_.erase(known);
}

void NodePods::Drop(const Kept& kept) {
  Ends& ends = kept.account->second;
  ends.erase(std::find(ends.begin(), ends.end(), kept.end));
  if (!ends.empty()) return;
  kept.node->second.erase(kept.account);
  if (kept.node->second.empty()) nodes_.erase(kept.node);
}

absl::Status NodePods::Check(const Question& question, absl::Time now) const {
  const auto pod = pods_.find(question.pod);
  if (pod == pods_.end() || pod->second.uid != question.uid ||
      pod->second.account->first.name != question.account || pod->second.end <= now) {
    return absl::NotFoundError(absl::StrCat("its pod ", kube::ToString(question.pod), " (uid ",
                                            question.uid, ") runs on no node"));
  }
  const auto& [node, accounts] = *pod->second.node;
  const auto wanted = accounts.find(question.wanted);
  if (wanted == accounts.end() || std::none_of(wanted->second.begin(), wanted->second.end(),
                                               [&](absl::Time end) { return end > now; })) {
    return absl::NotFoundError(
        absl::StrCat("no pod of ", kube::ToString(question.wanted), " runs on its node, ", node));
  }
  return absl::OkStatus();
}

}  // namespace capstan::authn
