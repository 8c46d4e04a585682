// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpc/support/time.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/executor.h"

namespace capstan::rpc {

// A unary call on its way; what derives from it holds its stub and messages.
struct PendingCall {
  grpc::ClientContext context;

  // A span, not a moment: the deadline must not move with the wall clock.
  void EndAfter(absl::Duration timeout) {
    context.set_deadline(gpr_time_from_millis(absl::ToInt64Milliseconds(timeout), GPR_TIMESPAN));
  }
};

// The calls under way of one client, so that none outlives it unnoticed. Thread-safe.
class PendingCalls {
 public:
  void Add(PendingCall* call) {
    absl::MutexLock lock(&mutex_);
    calls_.insert(call);
  }
  void CancelAndWait() {
    absl::MutexLock lock(&mutex_);
    for (PendingCall* call : calls_) call->context.TryCancel();
    mutex_.Await(absl::Condition(
        +[](std::set<PendingCall*>* calls) { return calls->empty(); }, &calls_));
  }

  // Ends a call where its answer is taken, not on the thread of gRPC's that brings it: with the
  // call may go the last reference to a channel that was replaced meanwhile, and that may join this
  // thread.
  template <typename Call, typename Answer, typename Callback>
  void HandOver(std::shared_ptr<Call> call, Answer answer, Executor& executor, Callback done) {
    PendingCall* ended = call.get();
    executor.Post([call = std::move(call), done = std::move(done), answer = std::move(answer)] {
      done(answer);
    });
    absl::MutexLock lock(&mutex_);
    calls_.erase(ended);  // the executor may be gone from here on
  }

 private:
  absl::Mutex mutex_;
  std::set<PendingCall*> calls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace capstan::rpc
