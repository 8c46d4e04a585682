// SPDX-License-Identifier: Apache-2.0
// For tests of the control plane without a network.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/ca_directory.h"
#include "server/control_plane.h"
#include "server/plane_fixture.h"

namespace capstan::server::testing {

inline constexpr char kHttpbin[] = "spiffe://cluster.local/ns/default/sa/httpbin";

class ControlPlaneTest : public PlaneTest {
 protected:
  ControlPlaneTest() { Restart(); }

  void Restart() {
    Crash();
    plane_ = NewPlane(store_);
    ASSERT_TRUE(plane_->Start().ok());
  }

  std::unique_ptr<ControlPlane> NewPlane(store::Store& store) {
    TrustKeeperOptions keeper{.serving_names = Names(), .rotation = policy_};
    return PlaneOn(store, {Domain(),
                           keeper,
                           "127.0.0.1:15012",
                           "ca.example:15012",
                           std::make_shared<CaDirectory>("/etc/cacerts"),
                           {},
                           x509::KeyType::kEcdsaP256,
                           absl::Hours(87600),
                           budget_,
                           rejoin_grace_});
  }

  std::string NewCsr(const x509::PrivateKey& key) {
    x509::Extensions wanted;
    wanted.sans.uris = {"spiffe://cluster.local/capstan/control-plane"};
    return x509::Csr::Create(key, {}, wanted)->ToPem();
  }
  std::string NewCsr() { return NewCsr(*x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256)); }

  Secret NewToken(const std::string& id = kHttpbin) {
    control::v1::CreateTokenRequest request;
    request.set_spiffe_id(id);
    absl::StatusOr<control::v1::CreateTokenResponse> made = plane_->CreateToken(request);
    EXPECT_TRUE(made.ok()) << made.status();
    return Secret(made->token());
  }

  absl::StatusOr<authn::Caller> With(const Secret& token) {
    authn::Credentials shown;
    shown.bearer = token;
    return plane_->Authenticate(shown);
  }
  absl::StatusOr<authn::Caller> With(const std::vector<std::string>& chain) {
    authn::Credentials shown;
    for (size_t i = 0; i + 1 < chain.size(); ++i) {
      shown.peer_chain.push_back(x509::ParsePemCertificates(chain[i])->front());
    }
    return plane_->Authenticate(shown);
  }

  rpc::IssueRequest Request(std::string csr, absl::Duration ttl = absl::ZeroDuration()) {
    return {std::move(csr), ttl, "instance-1", false};
  }

  // A certificate for kHttpbin by a fresh token.
  std::vector<std::string> Join() {
    return plane_->Issue(*With(NewToken()), Request(NewCsr()))->chain;
  }

  std::string Message(const absl::Status& status, absl::StatusCode code) {
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }

  fleet::v1::Report ReportWith(const std::string& serial, const std::string& authority) {
    fleet::v1::Report report;
    report.mutable_leaf()->set_serial(serial);
    report.mutable_leaf()->set_authority_id(authority);
    report.mutable_leaf()->mutable_not_after()->set_seconds(
        absl::ToUnixSeconds(clock_.Now() + absl::Hours(1)));
    *report.mutable_bundle() = plane_->update()->bundle().version();
    fleet::v1::Consumer& envoy = *report.add_consumers();
    envoy.set_id("envoy-1");
    envoy.set_kind(fleet::v1::Consumer::ENVOY);
    envoy.set_connected(true);
    *envoy.mutable_acknowledged_bundle() = report.bundle();
    envoy.set_acknowledged_leaf_serial(serial);
    return report;
  }

  rotation::Policy policy_{.immediate = true};
  double budget_ = 0;  // certificates per second, of the next plane
  absl::Duration rejoin_grace_ = absl::ZeroDuration();
};

class WithCaTest : public ControlPlaneTest {
 protected:
  WithCaTest() { EXPECT_TRUE(plane_->Offer(a_.Set(), {.source = "directory"}).ok()); }
};

}  // namespace capstan::server::testing
