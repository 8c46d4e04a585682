// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pcds/resource.h"

namespace capstan::pcds {

inline constexpr char kProxyConfigType[] = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig";
inline constexpr char kListenerType[] = "type.googleapis.com/envoy.config.listener.v3.Listener";
inline constexpr char kClusterType[] = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

// One message of a client, of either front of ADS.
struct Request {
  std::string type_url;
  std::string nonce;    // of the response that this answers; "": the first of its type
  std::string refusal;  // "": none
  std::string node_id;  // on the first message of a stream
};

struct Response {
  std::string type_url;
  std::string version;
  std::string nonce;
  std::shared_ptr<const Resource> resource;  // null: a type of which there are none
};

// One ADS stream of a stock agent: the roots for the agent, and no listeners and no clusters for
// the Envoy behind it, which waits for an answer about both. Other types are not answered. A
// machine.
class Stream {
 public:
  // What is to be said at once. Whoever asks for the roots first gets them by Push().
  std::vector<Response> Requested(const Request& request);

  // The agent has asked for the roots.
  bool subscribed() const { return subscribed_; }
  // What is on its way, or was sent last; null: nothing yet.
  const std::shared_ptr<const Resource>& sent() const { return sent_; }
  // Sends it now. Nothing where nobody asked, or where just that was sent last.
  std::optional<Response> Push(std::shared_ptr<const Resource> resource);

  // The last one that the agent accepted; null: none.
  const std::shared_ptr<const Resource>& acknowledged() const { return acknowledged_; }
  // Why it refused what was sent last; "": it did not.
  const std::string& refusal() const { return refusal_; }
  const std::string& node_id() const { return node_id_; }

 private:
  std::string NextNonce();
  void Answered(const Request& request);

  std::string node_id_;
  bool subscribed_ = false;
  int64_t nonces_ = 0;
  std::string nonce_;  // of sent_
  std::shared_ptr<const Resource> sent_;
  std::shared_ptr<const Resource> acknowledged_;
  std::string refusal_;
};

// When the change to `resource` goes to this agent, after it was published: each one makes its
// agent ask for a certificate, so that they go out over as long as the issuing budget needs for
// `agents` of them. A function of its arguments alone; zero where nothing is to be spread.
absl::Duration SlotOf(const Resource& resource, std::string_view identity,
                      std::string_view instance, int64_t agents, double per_second);

}  // namespace capstan::pcds
