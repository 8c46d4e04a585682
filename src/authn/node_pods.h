// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/json.h"
#include "kube/resource.h"

namespace capstan::authn {

// Which service accounts' pods run on which node of a cluster, as a watch tells: no more of a pod
// is kept than that needs. No clock, no locks, no I/O.
class NodePods {
 public:
  struct Pod {
    kube::ObjectName name;
    std::string uid;
    std::string account;  // of its namespace
    std::string node;
    absl::Time end = absl::InfiniteFuture();  // when nothing of it runs any more, as far as known
    friend bool operator==(const Pod&, const Pod&) = default;
  };
  // Whether a pod's node has pods of an account.
  struct Question {
    kube::ObjectName pod;
    std::string uid;
    std::string account;      // the pod's
    kube::ObjectName wanted;  // namespace and account
  };

  void Seen(const Pod& pod);
  void Gone(const kube::ObjectName& name);
  // NotFound: it has none, or the pod itself is not there; what is missing may just not have been
  // told yet.
  absl::Status Check(const Question& question, absl::Time now) const;
  size_t size() const { return pods_.size(); }

 private:
  using Ends = std::vector<absl::Time>;  // of each pod
  using Accounts = std::map<kube::ObjectName, Ends>;
  using Nodes = std::map<std::string, Accounts>;
  struct Kept {
    std::string uid;
    Nodes::iterator node;
    Accounts::iterator account;
    absl::Time end;
  };
  void Drop(const Kept& kept);

  Nodes nodes_;
  std::map<kube::ObjectName, Kept> pods_;
};

// A pod as it matters here; nullopt where nothing of it runs: it has no node yet, or has ended.
// One that is being deleted runs to the end of its grace period, and is given a minute more, since
// that end is by the API server's clock. Beyond it, only its object is left (a finalizer holds it,
// or its node is gone).
std::optional<NodePods::Pod> NodePodOf(const Json& pod);

}  // namespace capstan::authn
