// SPDX-License-Identifier: Apache-2.0
#include "mesh/roots.h"

#include <filesystem>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/random.h"
#include "base/status.h"
#include "mesh/process.h"
#include "x509/csr.h"
#include "x509/sign.h"

namespace capstan::mesh {
namespace {

constexpr const char* kCaFiles[] = {"ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"};

}  // namespace

std::string Root::Ski() const {
  return absl::BytesToHexString(root.subject_key_id());
}

std::string Root::IntermediateSki() const {
  return absl::BytesToHexString(intermediate.subject_key_id());
}

absl::StatusOr<Root> MakeRoot(const Tools& tools, const std::string& folder,
                              const std::string& label, const std::string& key_type) {
  const std::string at = absl::StrCat(folder, "/root", label);
  const std::string intermediate = absl::StrCat("intermediate", label);
  const std::string capstan = absl::StrCat(tools.programs, "/capstan");
  CAPSTAN_RETURN_IF_ERROR(MakePrivateDirectory(at));
  for (std::vector<std::string> made :
       {std::vector<std::string>{"root-ca"}, {"intermediate-cacerts", intermediate}}) {
    made.insert(made.begin(), {capstan, "pki"});
    made.insert(made.end(), {"--dir", at, "--key-type", key_type});
    CAPSTAN_RETURN_IF_ERROR(RunProgram(made).status());
  }
  trust::CaFiles files;
  for (const char* name : kCaFiles) {
    CAPSTAN_ASSIGN_OR_RETURN(files[name], ReadFile(absl::StrCat(at, "/", intermediate, "/", name)));
  }
  CAPSTAN_ASSIGN_OR_RETURN(auto roots, x509::ParsePemCertificates(files["root-cert.pem"]));
  CAPSTAN_ASSIGN_OR_RETURN(auto signing, x509::ParsePemCertificates(files["ca-cert.pem"]));
  CAPSTAN_ASSIGN_OR_RETURN(auto key, x509::PrivateKey::ParsePem(files["ca-key.pem"]));
  return Root{label, roots.front(), signing.front(), key, std::move(files)};
}

trust::CaFiles CaFilesOf(const Root& issuer, const std::vector<const Root*>& roots) {
  trust::CaFiles files = issuer.files;
  files["root-cert.pem"].clear();
  for (const Root* root : roots) files["root-cert.pem"] += root->root.ToPem();
  return files;
}

absl::Status ReplaceCaFiles(const std::string& directory, const trust::CaFiles& files) {
  std::error_code ignored;
  for (const std::string& name : trust::CaFileNames()) {
    std::filesystem::remove(absl::StrCat(directory, "/", name), ignored);
  }
  for (const auto& [name, bytes] : files) {
    CAPSTAN_RETURN_IF_ERROR(
        WriteFileAtomically(absl::StrCat(directory, "/", name), bytes, 0600, Overwrite::kReplace));
  }
  return absl::OkStatus();
}

absl::StatusOr<ClientIdentity> MakeClient(const Root& issuer, const std::string& spiffe_id,
                                          absl::Time now) {
  CAPSTAN_ASSIGN_OR_RETURN(auto key, x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256));
  CAPSTAN_ASSIGN_OR_RETURN(auto signer, x509::NewSigner(issuer.intermediate_key));
  CAPSTAN_ASSIGN_OR_RETURN(auto leaves, x509::LeafTemplate::For(issuer.intermediate));
  x509::SubjectAltNames sans;
  sans.uris = {spiffe_id};
  CAPSTAN_ASSIGN_OR_RETURN(
      std::string der,
      leaves.SignDer(x509::NewSerial(SystemRandom().Bytes(16)), now - absl::Minutes(1),
                     now + absl::Minutes(10), sans, key.public_key(), *signer));
  CAPSTAN_ASSIGN_OR_RETURN(auto leaf, x509::Certificate::ParseDer(der));
  return ClientIdentity{{leaf, issuer.intermediate}, key};
}

}  // namespace capstan::mesh
