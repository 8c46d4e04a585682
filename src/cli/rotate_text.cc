// SPDX-License-Identifier: Apache-2.0
#include "cli/rotate_text.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/strings.h"
#include "cli/control_text.h"
#include "cli/rotate_words.h"
#include "cli/table.h"
#include "cli/time_text.h"
#include "cli/wrap.h"
#include "rotation/canary.h"

namespace capstan::cli {
namespace {

constexpr size_t kShortHex = 12;
constexpr size_t kLabelWidth = 15;
constexpr size_t kStepWidth = 20;
constexpr int kHoldersShown = 8;

std::string Short(const std::string& hex) {
  return hex.empty() ? "-" : hex.substr(0, kShortHex);
}

// "label          value", the value wrapped behind the label.
void Line(std::string& text, std::string_view label, const std::string& value,
          size_t width = kLabelWidth) {
  const std::string lines = Paragraph(Printable(value), width);
  if (lines.empty()) return;
  absl::StrAppend(&text, label, lines.substr(std::min(label.size(), width - 1)));
}

std::string When(absl::Time now, const google::protobuf::Timestamp& time) {
  return absl::StrCat(Utc(ToTime(time)), " (", RelativeTo(now, ToTime(time)), ")");
}

std::string UntilText(const control::v1::Holder& holder) {
  return holder.has_until() ? Utc(ToTime(holder.until())) : "-";
}

std::string Count(int64_t count, std::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

std::string HolderTable(const google::protobuf::RepeatedPtrField<control::v1::Holder>& holders,
                        int most) {
  Table table({"KIND", "NAME", "UNTIL", "WHY"});
  for (int i = 0; i < std::min(holders.size(), most); ++i) {
    const control::v1::Holder& holder = holders[i];
    table.Add({holder.kind(), holder.name(), UntilText(holder), holder.why()});
  }
  return table.Render();
}

std::string RootNames(const google::protobuf::RepeatedPtrField<control::v1::Root>& roots) {
  return absl::StrJoin(roots, ", ", [](std::string* out, const control::v1::Root& root) {
    absl::StrAppend(out, Short(root.fingerprint()),
                    root.subject().empty() ? "" : absl::StrCat(" (", root.subject(), ")"));
  });
}

std::string StateText(const control::v1::Rotation& rotation) {
  std::string text = absl::StrCat(rotation.number(), ", ", rotation.state());
  if (rotation.emergency()) text += ", EMERGENCY (no gates)";
  if (!rotation.source().empty()) absl::StrAppend(&text, ", wished by: ", rotation.source());
  return text;
}

std::string PhaseText(const control::v1::Rotation& rotation, absl::Time now) {
  std::string text = absl::StrCat(rotation.phase(), " (", PhaseNumber(rotation.phase()),
                                  " of 4): ", PhaseWords(rotation.phase()));
  if (rotation.has_phase_since() && !Ended(rotation)) {
    absl::StrAppend(&text, "; for ", TwoUnits(now - ToTime(rotation.phase_since())));
  }
  return text;
}

std::string ProgressText(int64_t count, int64_t of, std::string_view what) {
  return absl::StrCat(count, " of ", of, " ", what);
}

void ProgressLines(std::string& text, const control::v1::Rotation& rotation, absl::Time now) {
  const control::v1::Progress& progress = rotation.progress();
  Line(text, "workloads",
       absl::StrCat(progress.population(), " hold an unexpired certificate, ", progress.connected(),
                    " connected"));
  Line(text, "acknowledged",
       absl::StrCat(ProgressText(progress.acknowledged(), progress.population(),
                                 "the bundle of this moment"),
                    progress.by_word() == 0 ? ""
                                            : absl::StrCat(", ", progress.by_word(),
                                                           " by their stock agents' word alone")));
  Line(text, "proven", ProgressText(progress.proven(), progress.population(), "by a handshake"));
  Line(text, "re-issued",
       ProgressText(progress.moved(), progress.population(), "show a leaf that stays good"));
  if (progress.has_eta()) {
    Line(text, "eta",
         absl::StrCat("re-issue done at ", When(now, progress.eta()), ", ",
                      RateText(progress.certificates_per_second()), " certificates a second"));
  }
  if (progress.has_clock_offset()) {
    const absl::Duration offset = ToDuration(progress.clock_offset());
    Line(text, "clock",
         absl::StrCat(
             "the agents' clocks are ",
             absl::FormatDuration(absl::Trunc(absl::AbsDuration(offset), absl::Milliseconds(100))),
             offset < absl::ZeroDuration() ? " behind" : " ahead of", " capstand's"));
  }
}

void GateLines(std::string& text, const control::v1::Rotation& rotation) {
  const control::v1::Gate& gate = rotation.gate();
  Line(text, "gate", GateText(gate));
  if (Held(gate)) Line(text, "", gate.summary());
  Line(text, "next",
       rotation.next_step().empty()
           ? std::string(StepWords(""))
           : absl::StrCat(rotation.next_step(), ": ", StepWords(rotation.next_step())));
  if (rotation.state() == "paused") Line(text, "PAUSED", "`capstan rotate resume` lets it go on");
}

void HolderLines(std::string& text, const control::v1::Gate& gate) {
  if (gate.holders().empty()) return;
  absl::StrAppend(&text, "\n", HolderTable(gate.holders(), kHoldersShown));
  const int64_t all = std::max<int64_t>(
      gate.laggards() + gate.absent() + gate.unproven() + gate.others(), gate.holders_size());
  if (all > kHoldersShown) {
    absl::StrAppend(&text, "… and ", all - kHoldersShown, " more; ");
  }
  text += "`capstan rotate explain` says what to do about each\n";
}

void Exemptions(std::string& text,
                const google::protobuf::RepeatedPtrField<control::v1::Exemption>& exempt) {
  for (const control::v1::Exemption& exemption : exempt) {
    std::string line = absl::StrCat(exemption.name(), ": ", exemption.why());
    if (exemption.has_at()) absl::StrAppend(&line, " (", Utc(ToTime(exemption.at())), ")");
    Line(text, "passed over", line);
  }
}

void CanaryLines(std::string& text, const control::v1::Canary& canary) {
  if (canary.selector().empty()) return;
  Line(text, "canary", CanaryText(canary));
  Line(text, "", rotation::UntoldText(canary.untold()));
}

void ChangeLines(std::string& text, const control::v1::Rotation& rotation) {
  if (rotation.from_issuer() != rotation.to_issuer()) {
    Line(text, "issuer",
         absl::StrCat(Short(rotation.from_issuer()), " → ", Short(rotation.to_issuer())));
  }
  if (!rotation.added_roots().empty()) Line(text, "comes", RootNames(rotation.added_roots()));
  if (!rotation.leaving_roots().empty()) Line(text, "leaves", RootNames(rotation.leaving_roots()));
}

void TimerLine(std::string& text, const control::v1::Rotation& rotation, absl::Time now) {
  if (const std::string timer = TimerText(rotation.timer(), now); !timer.empty()) {
    Line(text, "timer", timer);
  }
}

std::string TimesText(const control::v1::Rotation& rotation, absl::Time now) {
  if (!rotation.has_finished()) return When(now, rotation.started());
  return absl::StrCat(Utc(ToTime(rotation.started())), ", ended ", Utc(ToTime(rotation.finished())),
                      " after ", TookText(rotation));
}

std::string BudgetText(double own, double per_second) {
  if (own > 0) {
    return absl::StrCat("at a rate of its own, at most ", RateText(own), " a second",
                        per_second > 0 && per_second < own
                            ? absl::StrCat("; capstand's budget allows ", RateText(per_second))
                            : "");
  }
  return absl::StrCat("at capstand's budget",
                      per_second > 0 ? absl::StrCat(", ", RateText(per_second), " a second") : "");
}

void Findings(std::string& text, const control::v1::RotationPlan& plan) {
  for (const control::v1::RotationPlan::Finding& finding : plan.findings()) {
    Line(text, finding.severity() == "error" ? "ERROR" : finding.severity(),
         absl::StrCat(finding.code().empty() ? "" : absl::StrCat(finding.code(), ": "),
                      finding.what(),
                      finding.where().empty() ? "" : absl::StrCat(" [", finding.where(), "]")));
    if (!finding.remedy().empty()) Line(text, "  do", finding.remedy());
  }
  if (!plan.findings().empty()) text += "\n";
}

void Steps(std::string& text, const control::v1::RotationPlan& plan) {
  int number = 0;
  for (const control::v1::RotationPlan::Step& step : plan.steps()) {
    if (!step.gate().empty()) Line(text, "   wait until", step.gate(), kStepWidth);
    Line(text, absl::StrCat(++number, ". ", step.name()), std::string(StepWords(step.name())),
         kStepWidth);
  }
  if (number == 0) Line(text, "steps", "none: this is what is in force already");
  const bool waits = std::any_of(plan.steps().begin(), plan.steps().end(),
                                 [](const auto& step) { return !step.gate().empty(); });
  if (waits) {
    Line(text, "each wait",
         "also until the agents confirm capstand's clock: a wrong one opens no gate", kStepWidth);
  }
}

}  // namespace

std::string RateText(double per_second) {
  std::string text =
      per_second < 1 ? absl::StrFormat("%.3f", per_second) : absl::StrFormat("%.1f", per_second);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string TookText(const control::v1::Rotation& rotation) {
  if (!rotation.has_started()) return "-";
  const absl::Time end =
      rotation.has_finished() ? ToTime(rotation.finished()) : ToTime(rotation.time());
  return TwoUnits(std::max(end - ToTime(rotation.started()), absl::ZeroDuration()));
}

std::string PolicyText(const control::v1::RotationPolicy& policy, double per_second) {
  constexpr absl::Duration kForEver = absl::Hours(24 * 365 * 100);
  std::string text = absl::StrCat("soak ", TwoUnits(ToDuration(policy.soak())), "; ");
  if (policy.has_absent_deadline() && ToDuration(policy.absent_deadline()) < kForEver) {
    absl::StrAppend(&text, "absent workloads are waited for ",
                    TwoUnits(ToDuration(policy.absent_deadline())), " per phase");
  } else {
    text += "absent workloads are waited for until their leaves expire";
  }
  absl::StrAppend(&text,
                  policy.require_proven() ? "; a proof by handshake of every one"
                                          : "; a proof by handshake where one is possible",
                  "; re-issue ", BudgetText(policy.issue_per_second(), per_second));
  return text;
}

bool HasErrors(const control::v1::RotationPlan& plan) {
  return std::any_of(plan.findings().begin(), plan.findings().end(),
                     [](const auto& finding) { return finding.severity() == "error"; });
}

std::string PlanText(const control::v1::RotationPlan& plan) {
  std::string text;
  Findings(text, plan);
  Steps(text, plan);
  text += "\n";
  Line(text, "workloads", absl::StrCat(plan.population(), " hold an unexpired certificate"));
  CanaryLines(text, plan.canary());
  if (plan.has_reissue_takes()) {
    Line(text, "re-issue",
         absl::StrCat(Count(plan.reissued_certificates(), "certificate"), " in ",
                      TwoUnits(ToDuration(plan.reissue_takes())), ", at ",
                      RateText(plan.certificates_per_second()), " a second"));
  }
  if (plan.has_takes()) {
    Line(text, "takes",
         absl::StrCat("at least ", TwoUnits(ToDuration(plan.takes())), ", with everybody there"));
  }
  if (!plan.waited_for().empty()) {
    absl::StrAppend(&text, "\nAs things are, it would wait for\n",
                    HolderTable(plan.waited_for(), kHoldersShown));
    if (plan.waited_for_size() > kHoldersShown) text += "… and more (-o json lists a hundred)\n";
  }
  absl::StrAppend(&text, "\n",
                  HasErrors(plan) ? "It must not start like this. Nothing was changed.\n"
                                  : "Nothing was changed. `capstan rotate start` with the same "
                                    "flags does it.\n");
  return text;
}

std::string RotationText(const control::v1::Rotation& rotation) {
  const absl::Time now = ToTime(rotation.time());
  std::string text;
  if (rotation.number() == 0) {
    text = "There was no rotation yet. `capstan rotate plan` plans one.\n";
    TimerLine(text, rotation, now);
    return text;
  }
  Line(text, "rotation", StateText(rotation));
  Line(text, "started", TimesText(rotation, now));
  Line(text, "phase", PhaseText(rotation, now));
  if (!rotation.turned_why().empty()) Line(text, "turned back", rotation.turned_why());
  CanaryLines(text, rotation.canary());
  if (!Ended(rotation)) {
    GateLines(text, rotation);
    ProgressLines(text, rotation, now);
    Line(text, "policy",
         PolicyText(rotation.policy(), rotation.progress().certificates_per_second()));
  }
  ChangeLines(text, rotation);
  Exemptions(text, rotation.exempt());
  TimerLine(text, rotation, now);
  if (!Ended(rotation)) HolderLines(text, rotation.gate());
  return text;
}

std::string StartedText(const control::v1::Rotation& rotation, const std::string& socket_flag) {
  constexpr std::array<std::array<std::string_view, 2>, 3> kNext = {{
      {"watch", "shows how it goes, until it has ended"},
      {"explain", "says what it waits for, and what to do"},
      {"rollback", "goes back, until the old root has left"},
  }};
  std::string text = absl::StrCat("Rotation ", rotation.number(), " has started.\n");
  CanaryLines(text, rotation.canary());
  for (const auto& [verb, does] : kNext) {
    std::string line = absl::StrCat("  capstan rotate ", verb, socket_flag);
    line.resize(28 + socket_flag.size(), ' ');
    absl::StrAppend(&text, line, does, "\n");
  }
  return text;
}

std::string EmergencyText(const control::v1::RotationPlan& plan) {
  std::string text = "EMERGENCY ROTATION: no gate is waited for. The old root leaves at once.\n";
  const auto item = [&](const std::string& what) {
    const std::string lines = Paragraph(what, 4);
    absl::StrAppend(&text, "  - ", lines.substr(4));
  };
  item(absl::StrCat(Count(plan.population(), "workload"),
                    plan.population() == 1 ? " holds" : " hold",
                    " an unexpired certificate. Until each has both the new bundle and a new leaf, "
                    "new connections between the quick and the slow are refused."));
  item(
      "An agent that is not connected now has to join anew, with a new join file. Join files that "
      "were not used yet lack the new root.");
  item("It cannot be rolled back: the old root is not trusted again.");
  item(
      "Connections that are open go on, those of whoever holds the stolen key too: restart what "
      "must be cut off.");
  if (!plan.waited_for().empty()) {
    absl::StrAppend(&text, "\nA rotation with gates would have waited for\n",
                    HolderTable(plan.waited_for(), kHoldersShown));
  }
  return text;
}

std::string HistoryText(const control::v1::ListRotationsResponse& history) {
  if (history.rotations().empty()) return "There was no rotation yet.\n";
  Table table({"ROTATION", "STATE", "STARTED", "TOOK", "WISHED BY", "FROM", "TO", "PASSED OVER"});
  std::string exempt;
  for (const control::v1::Rotation& rotation : history.rotations()) {
    table.Add({absl::StrCat(rotation.number(), rotation.emergency() ? " emergency" : ""),
               rotation.state(), rotation.has_started() ? Utc(ToTime(rotation.started())) : "-",
               TookText(rotation), rotation.source().empty() ? "-" : rotation.source(),
               Short(rotation.from_issuer()), Short(rotation.to_issuer()),
               rotation.exempt().empty() ? "-" : absl::StrCat(rotation.exempt_size())});
    if (!rotation.turned_why().empty()) {
      absl::StrAppend(&exempt, "\nRotation ", rotation.number(), " turned back ",
                      Printable(rotation.turned_why()), "\n");
    }
    if (rotation.exempt().empty()) continue;
    absl::StrAppend(&exempt, "\nRotation ", rotation.number(), " did not wait for\n");
    Table names({"NAME", "SINCE", "WHY"});
    for (const control::v1::Exemption& exemption : rotation.exempt()) {
      names.Add({exemption.name(), exemption.has_at() ? Utc(ToTime(exemption.at())) : "-",
                 exemption.why()});
    }
    exempt += names.Render();
  }
  return absl::StrCat(table.Render(), exempt);
}

std::string JournalText(const control::v1::ListRotationsResponse& history) {
  if (history.journal().empty()) return "\nThe journal is empty.\n";
  Table table({"AT", "ROTATION", "KIND", "BUNDLE", "EPOCH", "WHY"});
  for (const control::v1::ListRotationsResponse::Entry& entry : history.journal()) {
    table.Add({Utc(ToTime(entry.at())), absl::StrCat(entry.rotation()), entry.kind(),
               absl::StrCat(entry.sequence()), absl::StrCat(entry.issuer_epoch()), entry.why()});
  }
  return absl::StrCat("\n", table.Render());
}

}  // namespace capstan::cli
