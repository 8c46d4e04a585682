// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "rpc/control_plane.h"

namespace capstan::rpc {

// How much one trust stream may ask for, and how long things may take.
struct TrustStreamLimits {
  absl::Duration hello_within = absl::Seconds(10);
  // How long the last message before the end may take to leave; then the stream is cut.
  absl::Duration end_within = absl::Seconds(5);
  // Reports beyond this rate are not refused: the stream reads no faster, and the agent, which
  // sends only its latest state, feels it as back pressure.
  double reports_per_second = 10;
  double report_burst = 50;
};

// A TrustUpdate in the bytes that every stream sends. `number` grows with each one.
struct SerializedUpdate {
  int64_t number = 0;
  grpc::ByteBuffer bytes;
};

class TrustStream;

// What a stream needs of the set it belongs to (TrustHub). Called without the stream's lock.
class TrustStreamSet {
 public:
  virtual ~TrustStreamSet() = default;
  // The stream said who it is: it supersedes the one of the same instance with a smaller
  // generation, and is told of every change from now on.
  virtual void Joined(TrustStream& stream, const std::string& key, int64_t generation) = 0;
  // Nothing more happens on the stream. `key` as it joined with, or empty.
  virtual void Gone(TrustStream& stream, const std::string& key) = 0;
};

// One agent's trust stream. Every method may be called from any thread; gRPC calls the reactions.
class TrustStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                          public std::enable_shared_from_this<TrustStream> {
 public:
  // `crl_number` is that of the trust the caller was authenticated by, or an older one.
  TrustStream(ControlPlane& plane, TrustStreamSet& set, const TrustStreamLimits& limits,
              grpc::CallbackServerContext& context, authn::Credentials shown, authn::Caller caller,
              int64_t crl_number, absl::Duration monotonic);

  void Start();
  // The caller still chains to `trust`, or the stream ends.
  void Recheck(const trust::TrustState& trust);
  // Sends it when the one before has left, unless a newer one comes meanwhile.
  void Push(std::shared_ptr<const SerializedUpdate> update);
  // Sees to everything that time decides. Called every now and then.
  void Tick(absl::Time now, absl::Duration monotonic);
  // Only the first End counts.
  void End(const absl::Status& status);

  const std::string& peer() const { return shown_.peer; }
  const spiffe::SpiffeId& id() const { return id_; }

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  absl::Status Handle(const grpc::ByteBuffer& bytes);
  absl::Status HandleHello(const fleet::v1::Hello& hello);
  absl::Status HandleReport(fleet::v1::Report& report);
  authn::Caller caller() const ABSL_LOCKS_EXCLUDED(mutex_);

  void ReadNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Refill(absl::Duration monotonic) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ControlPlane& plane_;
  TrustStreamSet& set_;
  const TrustStreamLimits limits_;
  grpc::CallbackServerContext& context_;
  const authn::Credentials shown_;
  const spiffe::SpiffeId id_;  // of the caller, whatever it shows later
  const absl::Duration opened_;
  grpc::ByteBuffer incoming_;  // of the read that is under way

  // Set once by the Hello; only reactions to reads use them, and OnDone, which comes last.
  std::string instance_;
  std::string key_;  // of the identity and the instance
  std::optional<int64_t> generation_;

  // gRPC's Start… and Finish are called under it: they never call a reaction themselves.
  mutable Mutex mutex_;
  authn::Caller caller_ ABSL_GUARDED_BY(mutex_);
  int64_t crl_number_ ABSL_GUARDED_BY(mutex_);
  bool joined_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<const SerializedUpdate> next_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const SerializedUpdate> sending_ ABSL_GUARDED_BY(mutex_);
  int64_t newest_number_ ABSL_GUARDED_BY(mutex_) = 0;
  bool read_waits_ ABSL_GUARDED_BY(mutex_) = false;
  double read_credit_ ABSL_GUARDED_BY(mutex_);  // messages that may be read now
  absl::Duration refilled_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Duration> end_seen_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool cut_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace capstan::rpc
