// SPDX-License-Identifier: Apache-2.0
#include "cli/rotate_explain.h"

#include <algorithm>
#include <map>
#include <vector>

#include "base/strings.h"
#include "cli/control_text.h"
#include "cli/rotate_text.h"
#include "cli/rotate_words.h"
#include "cli/table.h"
#include "cli/time_text.h"
#include "cli/wrap.h"
#include "rotation/canary.h"

namespace capstan::cli {
namespace {

using control::v1::Holder;
using control::v1::Rotation;

constexpr size_t kShown = 5;  // of each kind

std::string Sentence(std::string text) {
  if (!text.empty() && text.back() != '.') text += '.';
  return Printable(std::move(text));
}

void Question(std::string& text, std::string_view question) {
  absl::StrAppend(&text, "\n", question, "\n");
}

void Answer(std::string& text, const std::string& answer) {
  text += Paragraph(Sentence(answer), 2);
}

bool OldRootLeaves(const Rotation& rotation) {
  return !rotation.leaving_roots().empty();
}

std::string Until(const Holder& holder, absl::Time now) {
  if (!holder.has_until()) return "";
  return absl::StrCat(" (until ", Utc(ToTime(holder.until())), ", ",
                      RelativeTo(now, ToTime(holder.until())), ")");
}

// Only the gate before the old root leaves asks who depends on it.
bool AsksWhoDepends(const Rotation& rotation) {
  return rotation.gate().name() == "move";
}

bool Depends(const Holder& holder) {
  return holder.kind() != "clock";
}

std::string Opening(const Rotation& rotation) {
  if (rotation.number() == 0) return "There was no rotation yet";
  std::string text = absl::StrCat("Rotation ", rotation.number(), " ");
  if (rotation.state() == "done") return absl::StrCat(text, "is done");
  const std::string why =
      rotation.turned_why().empty() ? "" : absl::StrCat(" ", rotation.turned_why());
  if (rotation.state() == "rolled-back") return absl::StrCat(text, "was rolled back", why);
  if (rotation.state() == "aborted") return absl::StrCat(text, "was aborted", why);
  if (!why.empty()) return absl::StrCat(text, "is on its way back, turned", why);
  return absl::StrCat(text, "is ", rotation.state(), " in phase ", rotation.phase(), " (",
                      PhaseNumber(rotation.phase()), " of 4): ", PhaseWords(rotation.phase()));
}

// "20 a second (the budget of this rotation)".
std::string PaceText(const Rotation& rotation) {
  const double rate = rotation.progress().certificates_per_second();
  const double own = rotation.policy().issue_per_second();
  if (rate <= 0) return "a set pace";
  return absl::StrCat(RateText(rate), " a second (the budget of ",
                      own > 0 && own <= rate ? "this rotation)" : "capstand)");
}

void WhyNotOn(std::string& text, const Rotation& rotation) {
  const control::v1::Gate& gate = rotation.gate();
  Question(text, "Why does it not go on?");
  if (rotation.state() == "paused") {
    Answer(text, "An operator paused it; `capstan rotate resume` lets it go on");
  }
  const std::string next = rotation.next_step().empty()
                               ? std::string("It ends")
                               : absl::StrCat("The next step is ", rotation.next_step(), " (",
                                              StepWords(rotation.next_step()), "). It comes");
  if (gate.name().empty()) {
    Answer(text, absl::StrCat(next, " at once: ", GateWords("")));
  } else if (gate.open()) {
    Answer(text, absl::StrCat(next, " now: the gate ", GateText(gate)));
  } else if (Held(gate)) {
    Answer(text, absl::StrCat(next, " when ", GateWords(gate.name()), ", and that is not so"));
    Answer(text, absl::StrCat("capstand says: ", gate.summary()));
  } else {
    Answer(text, absl::StrCat(next, " by itself: the gate ", GateText(gate)));
  }
  if ((gate.name() == "move" || gate.name() == "canary") && rotation.progress().has_eta()) {
    Answer(text, absl::StrCat(
                     "Leaves are being re-issued at ", PaceText(rotation), "; the last one is due ",
                     RelativeTo(ToTime(rotation.time()), ToTime(rotation.progress().eta())),
                     ". Until then a laggard may only be somebody whose turn has not come"));
  }
}

void CanaryPart(std::string& text, const Rotation& rotation) {
  const control::v1::Canary& canary = rotation.canary();
  if (rotation.gate().name() != "canary" && rotation.next_step() != "start-canary") return;
  Question(text, "How does the canary do?");
  Answer(text, CanaryText(canary));
  Answer(
      text,
      "A workload of it that refuses its new leaf or is refused by a probe, or another one whose "
      "Envoy refuses more certificates than before, turns the rotation back by itself");
  if (canary.untold() > 0) Answer(text, rotation::UntoldText(canary.untold()));
}

void Dependents(std::string& text, const Rotation& rotation) {
  const control::v1::Progress& progress = rotation.progress();
  Question(text, OldRootLeaves(rotation) ? "Who still depends on the old root?"
                                         : "Who still depends on the old authority?");
  const int64_t rest = std::max<int64_t>(progress.population() - progress.moved(), 0);
  if (rotation.phase() == "root-b") {
    Answer(text, "Nobody who was waited for. Who was passed over is in `capstan rotate status`");
    return;
  }
  if (!AsksWhoDepends(rotation)) {
    Answer(text, absl::StrCat(rest, " of ", progress.population(),
                              " workloads: they show a leaf of the old authority, or may. Each is "
                              "named at the gate before the old one leaves"));
    return;
  }
  std::vector<std::string> names;
  for (const Holder& holder : rotation.gate().holders()) {
    if (!Depends(holder)) continue;
    names.push_back(
        absl::StrCat("  ", Printable(holder.name()), Until(holder, ToTime(rotation.time())), "\n"));
  }
  if (names.empty()) Answer(text, "Nobody, as far as can be known");
  for (size_t i = 0; i < std::min(names.size(), 2 * kShown); ++i) text += names[i];
  if (names.size() > 2 * kShown) {
    Answer(text, absl::StrCat("… and more: ", rest, " workloads in all have not moved"));
  }
}

void Safety(std::string& text, const Rotation& rotation) {
  Question(text, "Is it safe to remove the old root now?");
  const Verdict verdict = SafeToRemove(rotation);
  switch (verdict.answer) {
    case Verdict::Answer::kYes:
      Answer(text, absl::StrCat("YES: ", verdict.because));
      break;
    case Verdict::Answer::kNo:
      Answer(text, absl::StrCat("NO: ", verdict.because));
      break;
    case Verdict::Answer::kRemoved:
    case Verdict::Answer::kNoneLeaves:
      Answer(text, verdict.because);
      break;
  }
}

void OneHolder(std::string& text, const Holder& holder, bool excludable, absl::Time now) {
  const Reason reason = ReasonOf(holder);
  absl::StrAppend(&text, "    ", Printable(holder.name()), Until(holder, now), "\n");
  text += Paragraph(Printable(reason.why), 6);
  if (!reason.nack.empty()) {
    text += Paragraph(
        absl::StrCat("NACK of ", Printable(reason.refused), ": ", Printable(reason.nack)), 6);
  }
  if (excludable) absl::StrAppend(&text, "      ", ExcludeCommand(holder.name()), "\n");
}

void OneKind(std::string& text, const std::string& kind, const std::vector<const Holder*>& holders,
             const Rotation& rotation, bool all) {
  const Advice advice = AdviceFor(kind);
  absl::StrAppend(&text, "  ", Printable(kind), " (", holders.size(),
                  advice.means.empty() ? "" : "): ", advice.means.empty() ? ")" : advice.means,
                  "\n");
  text += Paragraph(absl::StrCat("do: ", advice.remedy, "."), 4);
  if (advice.excludable) {
    text += Paragraph(
        absl::StrCat("or pass over it, which costs: ", CostOf(kind, rotation.gate().name()), "."),
        4);
  }
  const size_t shown = all ? holders.size() : std::min(holders.size(), kShown);
  for (size_t i = 0; i < shown; ++i) {
    OneHolder(text, *holders[i], advice.excludable, ToTime(rotation.time()));
  }
  if (shown < holders.size()) {
    absl::StrAppend(&text, "    … and ", holders.size() - shown, " more (--all shows them)\n");
  }
}

void WhatToDo(std::string& text, const Rotation& rotation, bool all) {
  const control::v1::Gate& gate = rotation.gate();
  if (gate.holders().empty()) return;
  Question(text, "What to do?");
  std::map<std::string, std::vector<const Holder*>> kinds;
  for (const Holder& holder : gate.holders()) kinds[holder.kind()].push_back(&holder);
  for (const auto& [kind, holders] : kinds) OneKind(text, kind, holders, rotation, all);
  const int64_t counted = gate.laggards() + gate.absent() + gate.unproven() + gate.others();
  if (counted > gate.holders_size()) {
    Answer(text, absl::StrCat("capstand names the first ", gate.holders_size(), " of ", counted));
  }
}

}  // namespace

Verdict SafeToRemove(const Rotation& rotation) {
  using Answer = Verdict::Answer;
  const control::v1::Gate& gate = rotation.gate();
  if (rotation.number() == 0) {
    return {Answer::kNo, "no rotation has replaced it, and every workload depends on it"};
  }
  if (!OldRootLeaves(rotation)) {
    return {Answer::kNoneLeaves, "No root leaves in this rotation: it changes who signs under it"};
  }
  if (rotation.state() == "rolled-back") {
    return {Answer::kNo, "the rotation was rolled back, and everybody depends on it again"};
  }
  if (rotation.phase() == "root-b") {
    return {Answer::kRemoved, "It has left already, and nobody who was waited for needed it"};
  }
  if (rotation.state() == "aborted") {
    return {Answer::kNo, "the rotation was aborted before anybody could tell"};
  }
  if (rotation.phase() != "new-issuer") {
    return {Answer::kNo, "it is what every leaf chains to: the new authority does not sign yet"};
  }
  if (gate.name() != "move" || rotation.next_step() != "drop-roots") {
    return {Answer::kNo,
            absl::StrCat("the control plane needs it until ",
                         gate.name().empty() ? "its next step is done" : GateWords(gate.name()))};
  }
  if (gate.open()) {
    return {Answer::kYes,
            "nobody that can be known of shows a leaf that needs it; capstand removes it itself"};
  }
  if (Held(gate)) return {Answer::kNo, gate.summary()};
  return {Answer::kNo,
          "nobody needs it as of now, but that has to hold through the soak; capstand then removes "
          "it itself"};
}

std::string ExplainText(const Rotation& rotation, bool all) {
  std::string text = Paragraph(Sentence(Opening(rotation)), 0);
  if (rotation.number() == 0) return text;
  if (!Ended(rotation)) {
    WhyNotOn(text, rotation);
    CanaryPart(text, rotation);
    Dependents(text, rotation);
  }
  Safety(text, rotation);
  if (!Ended(rotation)) WhatToDo(text, rotation, all);
  return text;
}

}  // namespace capstan::cli
