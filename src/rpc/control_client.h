// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "capstan/control/v1/control.pb.h"

namespace capstan::rpc {

// The operator's calls to a capstand on this machine. Every call is bounded in time. Unavailable
// says which socket nobody answers at, and what to do; the rest is what the control plane answered.
class ControlClient {
 public:
  // Connects at the first call. InvalidArgument: the path is too long for a socket.
  static absl::StatusOr<std::unique_ptr<ControlClient>> Create(
      const std::string& socket, absl::Duration timeout = absl::Seconds(30));
  virtual ~ControlClient() = default;

  virtual absl::StatusOr<control::v1::Status> GetStatus() = 0;
  virtual absl::StatusOr<control::v1::ListFleetResponse> ListFleet() = 0;
  virtual absl::StatusOr<control::v1::ReloadResponse> Reload() = 0;
  virtual absl::StatusOr<control::v1::CreateTokenResponse> CreateToken(
      const control::v1::CreateTokenRequest& request) = 0;
  virtual absl::StatusOr<control::v1::Rotation> GetRotation() = 0;
  // These two may make and verify RSA keys: they wait for kPatience instead of the timeout where
  // that is longer.
  virtual absl::StatusOr<control::v1::RotationPlan> PlanRotation(
      const control::v1::StartRotationRequest& request) = 0;
  virtual absl::StatusOr<control::v1::Rotation> StartRotation(
      const control::v1::StartRotationRequest& request) = 0;
  static constexpr absl::Duration kPatience = absl::Minutes(3);
  virtual absl::StatusOr<control::v1::Rotation> SteerRotation(
      const control::v1::SteerRotationRequest& request) = 0;
  virtual absl::StatusOr<control::v1::ListRotationsResponse> ListRotations() = 0;
};

}  // namespace capstan::rpc
