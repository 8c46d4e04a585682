// SPDX-License-Identifier: Apache-2.0
// CA sets that cannot be used: each changes nothing, is named with its file, and costs no request.
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/random.h"
#include "fixture.h"
#include "x509/sign.h"

namespace capstan::e2e {
namespace {

using ::testing::HasSubstr;

class MalformedTest : public MeshTest {
 protected:
  std::string SourceError() {
    auto status = mesh_->Capstan({"status", "-o", "json"});
    if (!status.ok()) return "";
    auto json = nlohmann::json::parse(*status, nullptr, false);
    if (json.is_discarded() || !json.contains("source")) return "";
    return json["source"].value("error", "");
  }

  // With `files` in the directory capstand says an error that mentions `mention`, and goes on as
  // before.
  void ExpectRefused(const std::string& what, const trust::CaFiles& files,
                     const std::string& mention) {
    SCOPED_TRACE(what);
    ReplaceCa(files);
    std::string error;
    EXPECT_TRUE(mesh::WaitFor(absl::Seconds(20), [&] {
      error = SourceError();
      return !error.empty();
    })) << "capstand does not say that it cannot use the set";
    EXPECT_THAT(error, HasSubstr(mention));
    auto log = LogTail();
    EXPECT_THAT(log, HasSubstr(mention));
    Await(phases_.front());
    ReplaceCa(phases_.front().files);
    EXPECT_TRUE(mesh::WaitFor(absl::Seconds(20), [&] { return SourceError().empty(); }))
        << "the good set came back and the error stays: " << SourceError();
  }

  // Root A's intermediate once more, valid from `from` to `until` only.
  trust::CaFiles WithValidity(absl::Time from, absl::Time until) {
    auto root_key = x509::PrivateKey::ParsePem(
        ReadFile(absl::StrCat(folder_, "/rootA/root-key.pem")).value_or(""));
    auto signer = root_key.ok() ? x509::NewSigner(*root_key) : root_key.status();
    EXPECT_TRUE(signer.ok()) << signer.status();
    x509::CertificateTemplate intermediate{.serial = x509::NewSerial(SystemRandom().Bytes(16)),
                                           .subject = {{{"O", "Istio"}, {"CN", "Intermediate CA"}}},
                                           .not_before = from,
                                           .not_after = until};
    intermediate.extensions.basic_constraints = x509::Extensions::BasicConstraints{.ca = true};
    intermediate.extensions.key_usage = x509::Extensions::Usage{.bits = x509::kKeyCertSign};
    intermediate.extensions.subject_key_id = true;
    intermediate.extensions.authority_key_id = true;
    auto made =
        x509::SignCertificate(intermediate, a_->intermediate_key.public_key(), a_->root, **signer);
    EXPECT_TRUE(made.ok()) << made.status();
    trust::CaFiles files = phases_.front().files;
    files["ca-cert.pem"] = made->ToPem();
    files["cert-chain.pem"] = made->ToPem() + a_->root.ToPem();
    return files;
  }

  std::string LogTail() {
    return mesh::RunProgram({"tail", "-n", "50", mesh_->LogPath("capstand")}).value_or("");
  }
};

TEST_F(MalformedTest, EachIsRefusedByNameAndTrafficGoesOn) {
  const trust::CaFiles& good = phases_.front().files;
  Begin(good);
  Await(phases_.front());
  auto with = [&](const std::string& file, const std::string& bytes) {
    trust::CaFiles files = good;
    files[file] = bytes;
    return files;
  };
  trust::CaFiles missing = good;
  missing.erase("ca-key.pem");
  ExpectRefused("missing file", missing, "ca-key.pem");
  ExpectRefused("foreign key", with("ca-key.pem", b_->files.at("ca-key.pem")), "ca-key.pem");
  ExpectRefused("chain that does not build", with("root-cert.pem", b_->files.at("root-cert.pem")),
                "root-cert.pem");
  ExpectRefused("garbage", with("ca-cert.pem", std::string("\x00\xff garbage", 10)), "ca-cert.pem");
  ExpectRefused("empty", with("root-cert.pem", ""), "root-cert.pem");
  const std::string& chain = good.at("cert-chain.pem");
  ExpectRefused("truncated", with("cert-chain.pem", chain.substr(0, chain.size() / 3)),
                "cert-chain.pem");
  auto leaf = mesh::MakeClient(*a_, "spiffe://cluster.local/ns/x/sa/y", RealClock().Now());
  ASSERT_TRUE(leaf.ok());
  trust::CaFiles not_a_ca = good;
  not_a_ca["ca-cert.pem"] = leaf->chain.front().ToPem();
  not_a_ca["ca-key.pem"] = std::string(leaf->key.ToPkcs8Pem().Reveal());
  not_a_ca["cert-chain.pem"] = leaf->chain.front().ToPem() + good.at("cert-chain.pem");
  ExpectRefused("not a CA", not_a_ca, "ca-cert.pem");
  ExpectRefused("two leaves",
                with("ca-cert.pem", leaf->chain.front().ToPem() + leaf->chain.front().ToPem()),
                "ca-cert.pem");
  const absl::Time now = RealClock().Now();
  ExpectRefused("expired", WithValidity(now - absl::Hours(2), now - absl::Hours(1)), "expired");
  ExpectRefused("not yet valid", WithValidity(now + absl::Hours(1), now + absl::Hours(2)),
                "not valid before");
  ExpectNothingFailed();
}

TEST_F(MalformedTest, AChainInTheWrongOrderIsToleratedWithAWarning) {
  const trust::CaFiles& good = phases_.front().files;
  Begin(good);
  Await(phases_.front());
  trust::CaFiles turned = good;
  turned["cert-chain.pem"] = a_->root.ToPem() + a_->intermediate.ToPem();
  ReplaceCa(turned);
  auto reloaded = mesh_->Capstan({"reload"});
  ASSERT_TRUE(reloaded.ok()) << reloaded.status();
  EXPECT_THAT(*reloaded, HasSubstr("out of order"));
  EXPECT_EQ(SourceError(), "");
  Await(phases_.front());
  ExpectNothingFailed();
}

}  // namespace
}  // namespace capstan::e2e
