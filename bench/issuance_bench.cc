// SPDX-License-Identifier: Apache-2.0
// What issuing a leaf costs beside the signature it cannot do without. Each row carries
// per_signature: its time as a multiple of the bare signature with the same key, measured in the
// same run. The naive row is how OpenSSL's manual pages build a certificate.
#include <benchmark/benchmark.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <map>
#include <memory>

#include "x509/csr.h"
#include "x509/sign.h"
#include "x509/test_pki.h"
#include "x509/verify.h"

namespace capstan::x509 {
namespace {

constexpr char kSpiffeId[] = "spiffe://cluster.local/ns/default/sa/httpbin";
constexpr char kNaiveSan[] = "critical,URI:spiffe://cluster.local/ns/default/sa/httpbin";
// About the size of what is signed for a leaf.
constexpr size_t kBodyBytes = 400;

// Of this process: other load on the machine does not count.
double CpuSeconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

struct World {
  explicit World(KeyType type)
      : issuer(testing::MakeRoot({.key_type = type})),
        csr(Csr::Create(PrivateKey::Generate(KeyType::kEcdsaP256).value(), {}, {}).value()),
        leaf(LeafTemplate::For(issuer.certificate).value()) {
    sans.uris = {kSpiffeId};
    constexpr int kRounds = 300;
    const double start = CpuSeconds();
    for (int i = 0; i < kRounds; ++i) {
      benchmark::DoNotOptimize(issuer.signer->Sign(std::string(kBodyBytes, 'x')));
    }
    signature_seconds = (CpuSeconds() - start) / kRounds;
  }
  testing::Ca issuer;
  Csr csr;
  LeafTemplate leaf;
  SubjectAltNames sans;
  double signature_seconds = 0;
};

World& WorldOf(KeyType type) {
  static std::map<KeyType, std::unique_ptr<World>> worlds;
  std::unique_ptr<World>& world = worlds[type];
  if (world == nullptr) {
    world = std::make_unique<World>(type);
  }
  return *world;
}

KeyType TypeOf(const benchmark::State& state) {
  return static_cast<KeyType>(state.range(0));
}

// Made ahead of the loop, it reports when the benchmark ends.
class PerSignature {
 public:
  PerSignature(benchmark::State& state, const World& world)
      : state_(state), signature_seconds_(world.signature_seconds), start_(CpuSeconds()) {
    state.SetLabel(std::string(KeyTypeName(TypeOf(state))));
  }
  ~PerSignature() {
    const double each = (CpuSeconds() - start_) / static_cast<double>(state_.iterations());
    state_.counters["per_signature"] = each / signature_seconds_;
  }

 private:
  benchmark::State& state_;
  const double signature_seconds_;
  const double start_;
};

void BareSignature(benchmark::State& state) {
  World& world = WorldOf(TypeOf(state));
  const std::string body(kBodyBytes, 'x');
  const PerSignature report(state, world);
  for (auto _ : state) {
    benchmark::DoNotOptimize(world.issuer.signer->Sign(body).value());
  }
}

void Template(benchmark::State& state) {
  World& world = WorldOf(TypeOf(state));
  const SerialNumber serial = testing::NextSerial();
  const PerSignature report(state, world);
  for (auto _ : state) {
    benchmark::DoNotOptimize(world.leaf
                                 .SignDer(serial, testing::Now(), testing::Now() + absl::Hours(24),
                                          world.sans, world.csr.public_key(), *world.issuer.signer)
                                 .value());
  }
}

void AddExtension(X509* leaf, X509V3_CTX* context, int nid, const char* value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, context, nid, value);
  X509_add_ext(leaf, extension, -1);
  X509_EXTENSION_free(extension);
}

// One leaf the way of the manual pages; gives back the size of its DER.
int NaiveLeaf(const World& world, EVP_PKEY* key) {
  X509* leaf = X509_new();
  X509_set_version(leaf, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(leaf), 12345);
  X509_set_issuer_name(leaf, X509_get_subject_name(world.issuer.certificate.get()));
  X509_gmtime_adj(X509_getm_notBefore(leaf), -120);
  X509_gmtime_adj(X509_getm_notAfter(leaf), 86400);
  X509_set_pubkey(leaf, key);
  X509V3_CTX context;
  X509V3_set_ctx(&context, world.issuer.certificate.get(), leaf, nullptr, nullptr, 0);
  AddExtension(leaf, &context, NID_key_usage, "critical,digitalSignature,keyEncipherment");
  AddExtension(leaf, &context, NID_ext_key_usage, "serverAuth,clientAuth");
  AddExtension(leaf, &context, NID_basic_constraints, "critical,CA:FALSE");
  AddExtension(leaf, &context, NID_authority_key_identifier, "keyid");
  AddExtension(leaf, &context, NID_subject_alt_name, kNaiveSan);
  X509_sign(leaf, world.issuer.key.get(), EVP_sha256());
  unsigned char* der = nullptr;
  const int size = i2d_X509(leaf, &der);
  OPENSSL_free(der);
  X509_free(leaf);
  return size;
}

void NaiveOpenSsl(benchmark::State& state) {
  const World& world = WorldOf(TypeOf(state));
  const PerSignature report(state, world);
  for (auto _ : state) {
    if (NaiveLeaf(world, world.csr.public_key().get()) <= 0) {
      state.SkipWithError("OpenSSL made no certificate");
      break;
    }
  }
}

// From the request's text to the leaf, as a server does it: parse, check its signature, sign, read
// back.
void RequestToLeaf(benchmark::State& state) {
  World& world = WorldOf(TypeOf(state));
  const std::string pem = world.csr.ToPem();
  const SerialNumber serial = testing::NextSerial();
  const PerSignature report(state, world);
  for (auto _ : state) {
    const Csr csr = Csr::Parse(pem).value();
    const std::string der = world.leaf
                                .SignDer(serial, testing::Now(), testing::Now() + absl::Hours(24),
                                         world.sans, csr.public_key(), *world.issuer.signer)
                                .value();
    benchmark::DoNotOptimize(Certificate::ParseDer(der).value());
  }
}

// A peer's chain against the bundle, decoded from scratch as it comes off the wire.
void VerifyPresented(benchmark::State& state) {
  World& world = WorldOf(TypeOf(state));
  const std::string der = testing::MakeLeaf(world.issuer).certificate.der();
  const PerSignature report(state, world);
  for (auto _ : state) {
    const Certificate leaf = Certificate::ParseDer(der).value();
    if (!VerifySvid({leaf}, {world.issuer.certificate}, testing::Now()).status.ok()) {
      state.SkipWithError("the leaf does not verify");
      break;
    }
  }
}

void EveryIssuer(benchmark::internal::Benchmark* benchmark) {
  for (const KeyType type : {KeyType::kEcdsaP256, KeyType::kEcdsaP384, KeyType::kRsa2048}) {
    benchmark->Arg(static_cast<int64_t>(type));
  }
  benchmark->Unit(benchmark::kMicrosecond);
}

BENCHMARK(BareSignature)->Apply(EveryIssuer);
BENCHMARK(Template)->Apply(EveryIssuer);
BENCHMARK(NaiveOpenSsl)->Apply(EveryIssuer);
BENCHMARK(RequestToLeaf)->Apply(EveryIssuer);
BENCHMARK(VerifyPresented)->Apply(EveryIssuer);

}  // namespace
}  // namespace capstan::x509
