// SPDX-License-Identifier: Apache-2.0
#include "sds/fake_envoy.h"

#include <utility>

namespace capstan::sds {
namespace {

bool IsBad(const std::string& content) {
  return content.starts_with("BAD");
}

}  // namespace

std::string ContentOf(const Edition& edition) {
  return edition.kind == Kind::kTrust ? edition.material->roots_pem : edition.material->leaf_serial;
}

size_t FakeEnvoy::AddSlot(Front front, std::set<std::string> names) {
  slots[next_slot_] = Slot{.front = front, .names = std::move(names)};
  return next_slot_++;
}

void FakeEnvoy::RemoveSlot(size_t slot) {
  std::set<std::string> names;
  for (const auto& [key, secret] : held) {
    if (key.first == slot) {
      names.insert(key.second);
    }
  }
  for (const std::string& name : names) {
    Forget(slot, name);
  }
  slots.erase(slot);
}

void FakeEnvoy::Forget(size_t slot, const std::string& name) {
  const std::pair<size_t, std::string> key(slot, name);
  held.erase(key);
  std::erase_if(contexts, [&](const auto& entry) {
    return entry.first.first == key || entry.first.second == key;
  });
}

void FakeEnvoy::Connect(size_t index, StreamId stream) {
  Slot& slot = slots.at(index);
  slot.stream = stream;
  slot.to_client.clear();
  slot.to_server.clear();
  slot.settled.clear();
  slot.latest_nonce.clear();
  Request first{.node_id = node_id, .type_url = std::string(kSecretType)};
  first.names.assign(slot.names.begin(), slot.names.end());
  first.held_version = slot.version;
  slot.to_server.push_back(std::move(first));
}

void FakeEnvoy::Receive(size_t index) {
  Slot& slot = slots.at(index);
  const Response response = std::move(slot.to_client.front());
  slot.to_client.pop_front();
  bool good = true;
  for (const Resource& resource : response.resources) {
    // A name dropped while its answer was on the way.
    if (slot.names.empty() || slot.names.contains(resource.name)) {
      good = Take(index, resource) && good;
    }
  }
  Request answer{.type_url = std::string(kSecretType), .nonce = response.nonce};
  if (slot.front == Front::kStateOfTheWorld) {
    answer.names.assign(slot.names.begin(), slot.names.end());
  }
  if (!good) {
    answer.error = "Failed to load private key";
  }
  if (good && !response.resources.empty()) {
    slot.version = response.version;
  }
  slot.settled.push_back(response.nonce);
  slot.latest_nonce = response.nonce;
  slot.to_server.push_back(std::move(answer));
}

void FakeEnvoy::DropName(size_t index, std::string name) {
  Slot& slot = slots.at(index);
  slot.names.erase(name);
  Forget(index, name);
  if (!slot.stream.has_value()) {
    return;
  }
  Request request{.type_url = std::string(kSecretType)};
  if (slot.front == Front::kDelta) {
    request.unsubscribe = {std::move(name)};
  } else {
    request.nonce = slot.latest_nonce;
    request.names.assign(slot.names.begin(), slot.names.end());
  }
  slot.to_server.push_back(std::move(request));
}

bool FakeEnvoy::Take(size_t slot, const Resource& resource) {
  const std::pair<size_t, std::string> key(slot, resource.name);
  const std::string bytes = resource.edition.stamp + "\n" + ContentOf(resource.edition);
  const auto [found, inserted] = held.try_emplace(key, Held{.kind = resource.edition.kind});
  if (!inserted && found->second.bytes == bytes) {
    return true;  // never looked at
  }
  found->second.bytes = bytes;
  found->second.content = ContentOf(resource.edition);
  return !refuses && Rebuild(key);
}

// The contexts of the updated secret, one by one, up to the first that cannot be built.
bool FakeEnvoy::Rebuild(const std::pair<size_t, std::string>& updated) {
  const Held& mine = held.at(updated);
  for (const auto& [key, other] : held) {
    if (other.kind == mine.kind) {
      continue;
    }
    if (IsBad(mine.content) || IsBad(other.content)) {
      return false;
    }
    const bool trust = mine.kind == Kind::kTrust;
    const auto [context, fresh] =
        contexts.try_emplace(trust ? std::pair(updated, key) : std::pair(key, updated));
    // Only the part that arrived is taken over: a part that was refused earlier stays out.
    if (trust || fresh) {
      context->second.trust = trust ? mine.content : other.content;
    }
    if (!trust || fresh) {
      context->second.leaf = trust ? other.content : mine.content;
    }
  }
  return !IsBad(mine.content);
}

}  // namespace capstan::sds
