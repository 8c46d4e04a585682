// SPDX-License-Identifier: Apache-2.0
// CA sets that cannot be used: each changes nothing, is named with its file, and costs no request.
#include <nlohmann/json.hpp>

#include "fixture.h"

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
  ExpectNothingFailed();
}

}  // namespace
}  // namespace capstan::e2e
