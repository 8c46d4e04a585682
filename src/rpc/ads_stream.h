// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "pcds/stream.h"
#include "rpc/ads_codec.h"
#include "rpc/control_plane.h"

namespace capstan::rpc {

class AdsStream;

// What a stream needs of the set it belongs to (AdsHub). Called without the stream's lock.
class AdsStreamSet {
 public:
  virtual ~AdsStreamSet() = default;
  // It asked for the roots: from now on it is told of changes, and it is to have these at once;
  // null: there are none yet.
  virtual std::shared_ptr<const pcds::Resource> Subscribed(AdsStream& stream) = 0;
  virtual void Gone(AdsStream& stream) = 0;
};

// One ADS stream of a stock agent. Every method may be called from any thread; gRPC calls the
// reactions.
class AdsStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                        public std::enable_shared_from_this<AdsStream> {
 public:
  AdsStream(ControlPlane& plane, AdsStreamSet& set, AdsFront front, std::string peer)
      : plane_(plane), set_(set), front_(front), peer_(std::move(peer)) {}

  // Who opened it, or why it is refused; once. Until then nothing is read.
  void Authenticated(const absl::StatusOr<authn::Caller>& caller);
  // Sends it unless it was sent last.
  void Push(const std::shared_ptr<const pcds::Resource>& resource);
  // Only the first End counts.
  void End(const absl::Status& status);

  // Of the identity and the instance; after Authenticated().
  const std::string& identity() const { return identity_; }
  const std::string& instance() const { return instance_; }

  // The hub's, under its lock: when what is wanted now is due here.
  std::shared_ptr<const pcds::Resource> due_resource;
  absl::Duration due = absl::InfiniteDuration();

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  absl::Status Handle(const grpc::ByteBuffer& bytes);
  absl::Status Join();
  absl::Status Report();
  void Send(grpc::ByteBuffer bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ControlPlane& plane_;
  AdsStreamSet& set_;
  const AdsFront front_;
  const std::string peer_;
  // Set once by Authenticated(), before the first read.
  std::optional<authn::Caller> caller_;
  std::string identity_;
  std::string instance_;
  grpc::ByteBuffer incoming_;          // of the read that is under way
  std::optional<int64_t> generation_;  // of reactions to reads, and OnDone

  // gRPC's Start… and Finish are called under it: they never call a reaction themselves.
  mutable Mutex mutex_;
  pcds::Stream machine_ ABSL_GUARDED_BY(mutex_);
  std::deque<grpc::ByteBuffer> outgoing_ ABSL_GUARDED_BY(mutex_);  // the first one is on its way
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace capstan::rpc
