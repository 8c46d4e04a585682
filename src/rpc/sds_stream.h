// SPDX-License-Identifier: Apache-2.0
// One SDS call as gRPC's callback API has it, turned into events for the thread that decides.
#pragma once

#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>

#include <optional>
#include <string>
#include <utility>

#include "rpc/sds_codec.h"
#include "sds/events.h"

namespace capstan::rpc {

// Where a stream's completions go. Called by gRPC's threads; must not wait.
class SdsStreamEvents {
 public:
  virtual ~SdsStreamEvents() = default;
  virtual void OnRead(sds::StreamId id, bool ok) = 0;
  virtual void OnWritten(sds::StreamId id, bool ok) = 0;
  virtual void OnDone(sds::StreamId id) = 0;  // last; the stream may be deleted then
};

// All methods belong to one thread. At most one read and one write are under way; a Finish during a
// write waits for it.
class SdsStream {
 public:
  virtual ~SdsStream() = default;

  // Nothing after Finish: the call may be gone by then.
  void Read() {
    if (!finish_with_.has_value()) {
      StartReading();
    }
  }
  // The message of the Read that was completed last.
  virtual sds::Request Request() const = 0;

  // Nothing after Finish.
  void Send(const sds::Response& response) {
    if (finish_with_.has_value()) {
      return;
    }
    writing_ = true;
    Write(response);
  }
  void Written() {
    writing_ = false;
    if (finish_with_.has_value()) {
      End(*finish_with_);
    }
  }
  // The first one counts.
  void Finish(grpc::Status status) {
    if (finish_with_.has_value()) {
      return;
    }
    finish_with_ = std::move(status);
    if (!writing_) {
      End(*finish_with_);
    }
  }

 private:
  virtual void StartReading() = 0;
  virtual void Write(const sds::Response& response) = 0;
  virtual void End(const grpc::Status& status) = 0;

  bool writing_ = false;
  std::optional<grpc::Status> finish_with_;
};

template <typename WireRequest, typename WireResponse>
class SdsReactor final : public grpc::ServerBidiReactor<WireRequest, WireResponse>,
                         public SdsStream {
 public:
  SdsReactor(sds::StreamId id, SdsStreamEvents& events) : id_(id), events_(events) {}

  void OnReadDone(bool ok) override { events_.OnRead(id_, ok); }
  void OnWriteDone(bool ok) override { events_.OnWritten(id_, ok); }
  void OnDone() override { events_.OnDone(id_); }

  sds::Request Request() const override { return FromWire(request_); }

 private:
  void StartReading() override { this->StartRead(&request_); }
  void Write(const sds::Response& response) override {
    ToWire(response, response_);
    this->StartWrite(&response_);
  }
  void End(const grpc::Status& status) override {
    grpc::ServerBidiReactor<WireRequest, WireResponse>::Finish(status);
  }

  const sds::StreamId id_;
  SdsStreamEvents& events_;
  WireRequest request_;
  WireResponse response_;
};

}  // namespace capstan::rpc
