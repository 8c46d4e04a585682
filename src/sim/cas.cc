// SPDX-License-Identifier: Apache-2.0
#include "sim/cas.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/random.h"
#include "server/built_in_ca.h"
#include "sim/node.h"

namespace capstan::sim {
namespace {

std::vector<Ca> MakeAll() {
  const spiffe::TrustDomain domain = *spiffe::TrustDomain::Parse("cluster.local");
  const absl::Time made = Epoch() - absl::Hours(24 * 30);
  std::vector<Ca> cas;
  for (int root = 0; root < kRoots; ++root) {
    const trust::CaSet top = *server::MakeBuiltInCa(domain, x509::KeyType::kEcdsaP256,
                                                    absl::Hours(24 * 3650), SystemRandom(), made);
    const std::shared_ptr<x509::Signer> signer = *x509::NewSigner(top.key);
    for (int i = 1; i <= 2; ++i) {
      cas.push_back({absl::StrCat(std::string(1, static_cast<char>('A' + root)), i), root,
                     *server::MakeIntermediateCa(top.authority.root, *signer, top.bundle, {},
                                                 x509::KeyType::kEcdsaP256, SystemRandom(), made)});
    }
  }
  return cas;
}

}  // namespace

const std::vector<Ca>& AllCas() {
  static const std::vector<Ca>& cas = *new std::vector<Ca>(MakeAll());
  return cas;
}

const Ca& CaNamed(const std::string& name) {
  return *std::find_if(AllCas().begin(), AllCas().end(),
                       [&](const Ca& ca) { return ca.name == name; });
}

const Ca* FindCa(const std::string& authority_hex) {
  const auto found = std::find_if(AllCas().begin(), AllCas().end(), [&](const Ca& ca) {
    return ca.set.authority.id.hex() == authority_hex;
  });
  return found == AllCas().end() ? nullptr : &*found;
}

int RootOf(const std::string& authority_hex) {
  const Ca* ca = FindCa(authority_hex);
  return ca == nullptr ? -1 : ca->root;
}

Roots RootsOf(const trust::Bundle& bundle) {
  static const auto& known = *new std::map<std::string, int>([] {
    std::map<std::string, int> made;
    for (const Ca& ca : AllCas()) made[ca.set.authority.root.fingerprint()] = ca.root;
    return made;
  }());
  Roots roots = 0;
  for (const x509::Certificate& root : bundle.roots()) roots |= 1U << known.at(root.fingerprint());
  return roots;
}

Roots ParseRoots(const std::string& name) {
  Roots roots = 0;
  for (int root = 0; root < kRoots; ++root) {
    if (name.find(static_cast<char>('A' + root)) != std::string::npos) roots |= 1U << root;
  }
  return roots;
}

std::string NameOf(Roots roots) {
  std::string name;
  for (int root = 0; root < kRoots; ++root) {
    if (!Holds(roots, root)) continue;
    absl::StrAppend(&name, name.empty() ? "" : "+", std::string(1, static_cast<char>('A' + root)));
  }
  return name.empty() ? "none" : name;
}

std::string NameOfAuthority(const std::string& authority_hex) {
  const Ca* ca = FindCa(authority_hex);
  return ca == nullptr ? "?" : ca->name;
}

}  // namespace capstan::sim
