import Comparison
import Foundation

extension Evaluation {
  /// What the numbers say.
  ///
  /// FAIL only where the gap is beyond noise; PASS only where the same samples were run on both sides, nothing is missing,
  /// and a drop by `margin` is ruled out. Whatever lies between is INCONCLUSIVE, with the samples that would settle it.
  public var conclusion: Conclusion {
    guard let gap else {
      return inconclusive(
        "no-samples", "A side has no sample: nothing can be compared.", next: "See why it wrote none.")
    }
    if otherReferences > 0 || otherPrompts > 0 {
      return inconclusive(
        otherReferences > 0 ? "other-data" : "other-prompts",
        "The sides did not run the same evaluation, so their scores (\(scores)) say nothing of the engine.",
        next: "Send the same prompts: few-shot examples, chat template and data set alike on both sides.")
    }
    if gap.isSignificant, gap.difference < 0 { return worse(gap) }
    if gap.isSignificant {
      return inconclusive(
        "better",
        "The target is better than the reference beyond noise (\(scores), p \(figure(gap.p))), which the same "
          + "model should not be.",
        next: "Check that both ran the same evaluation: rollcall playbook harness validates the reference.")
    }
    if gap.shared == 0 || !problems.isEmpty {
      return inconclusive(
        "incomplete", "No gap beyond noise (\(scores)), but the sides did not run the same samples whole.",
        next: "Mend what is named, and run the same samples on both sides.")
    }
    if reference.isNearChance {
      return inconclusive(
        "reference-at-chance",
        "The reference itself cannot be told from guessing (\(percent(reference.score))): no loss could show.",
        next: "Validate the harness first: rollcall playbook harness.")
    }
    guard gap.interval.lowerBound > -margin else {
      let needed = gap.neededSamples.map { ", about \(max($0, gap.shared)) for one of this size" } ?? ""
      return inconclusive(
        "noise",
        "The gap of \(points(gap.difference)) is inside noise (\(scores), p \(figure(gap.p))), and \(gap.shared) samples "
          + "cannot rule out a drop by \(points(margin, signed: false)).",
        next: "Run more samples: about \(samplesForMargin(gap)) to rule it out\(needed) with a power of 0.8.")
    }
    return Conclusion(
      verdict: .pass, kind: "no-bug",
      summary: gap.difference == 0
        ? "No bug: both sides score \(percent(gap.target)), and a drop by \(points(margin, signed: false)) is ruled out."
        : "No bug: the gap of \(points(gap.difference)) is noise (\(scores), p \(figure(gap.p))), and a drop by "
          + "\(points(margin, signed: false)) is ruled out.",
      evidence: evidence(gap),
      next: gap.neededSamples.map { "To see a gap of this size at all, about \($0) samples are needed." }
        ?? "Nothing is left to do here.")
  }

  private func worse(_ gap: Gap) -> Conclusion {
    var summary =
      "The target is worse beyond noise by \(points(gap.difference, signed: false)) (\(scores), p \(figure(gap.p)))"
    let pattern = patterns.first { $0.lost > 0 }
    // Without pairs the most frequent kind stands for the lost ones.
    let main = pattern ?? patterns.first { $0.target > $0.reference }
    if let main {
      summary +=
        ": \(main.pattern.words) in \(pattern == nil ? main.target : main.lost) answers"
        + (sameAnswer.map { main.pattern == .wrong ? ", mostly \(shown($0.answer))" : "" } ?? "")
    }
    if target.isNearChance { summary += "; it cannot be told from guessing" }
    let cause = main?.pattern.likelyCause
    return Conclusion(
      verdict: .fail, kind: main.map { "worse-\($0.pattern.rawValue)" } ?? "worse", summary: summary + ".",
      subject: shape.flatMap { $0.categories.first },
      evidence: evidence(gap) + (cause.map { ["Likely: \($0)."] } ?? []),
      next: next(main?.pattern))
  }

  private func next(_ pattern: OutputPattern?) -> String {
    switch pattern {
    case .metaText:
      "Compare the first prompt with the evaluator's: few-shot examples, chat template; then rollcall playbook harness."
    case .empty: "Look at the KV cache and at end_id; rollcall playbook triage tells prefill from decode."
    case .gibberish: "rollcall playbook weights, then rollcall playbook ladder: sharding garbles, too."
    case .truncated: "Raise max_tokens (MAX_OUTPUT_LEN) on both sides and run again."
    default: "rollcall playbook ladder, then isolate, then bisect: which world size, component, layer."
    }
  }

  private func inconclusive(_ kind: String, _ summary: String, next: String) -> Conclusion {
    Conclusion(
      verdict: .inconclusive, kind: kind, summary: summary, evidence: gap.map(evidence) ?? problems, next: next)
  }

  private func evidence(_ gap: Gap) -> [String] {
    var lines = problems
    if let lost = gap.lost, let gained = gap.gained, let p = gap.pairedP {
      lines.append(
        "\(gap.shared) shared samples: \(lost) lost, \(gained) gained; McNemar p \(figure(p)), pooled z p "
          + "\(figure(gap.pooledP)); difference \(points(gap.interval.lowerBound)) to \(points(gap.interval.upperBound))."
      )
    } else {
      lines.append(
        "No shared samples; pooled z p \(figure(gap.pooledP)); difference \(points(gap.interval.lowerBound)) to "
          + "\(points(gap.interval.upperBound)).")
    }
    for category in categories where category.isSignificant {
      lines.append("\(category.name): \(percent(category.reference)) → \(percent(category.target)).")
    }
    if let chance {
      let near = categories.filter { $0.isNearChance && !$0.isReferenceNearChance }.map(\.name)
      if !near.isEmpty {
        lines.append(
          "Near chance (\(figure(chance * 100)) %) and not so on the reference: \(near.joined(separator: ", ")).")
      }
      let hard = categories.filter { $0.isNearChance && $0.isReferenceNearChance }.map(\.name)
      if !hard.isEmpty {
        lines.append("Near chance on the reference as well, so hard or few: \(hard.joined(separator: ", ")).")
      }
    }
    // A loss that is the same everywhere says something of precision only where the answers make sense.
    let isCoherent = shape?.kind != .uniform || patterns.first?.pattern == .wrong
    if gap.difference < 0, isCoherent, let sentence = shape?.sentence { lines.append(sentence) }
    return lines
  }

  /// About how many shared samples narrow the interval to the margin, with as large a share of flips as now.
  private func samplesForMargin(_ gap: Gap) -> Int {
    let flips = Double((gap.lost ?? 0) + (gap.gained ?? 0) + 1) / Double(max(1, gap.shared))
    return max(gap.shared + 1, ScoreTest.pairedSampleSize(gap: margin, discordant: flips) ?? 0)
  }

  private var scores: String {
    gap.map { "reference \(percent($0.reference)), target \(percent($0.target))" } ?? ""
  }
}

func figure(_ value: Double) -> String { String(format: "%.2g", value) }

/// `62.0 % (31 of 50)`
func percent(_ score: Proportion) -> String {
  String(format: "%.1f %%", score.value * 100) + " (\(score.count) of \(score.total))"
}

func points(_ difference: Double, signed: Bool = true) -> String {
  String(format: signed ? "%+.1f points" : "%.1f points", (signed ? difference : abs(difference)) * 100)
}
