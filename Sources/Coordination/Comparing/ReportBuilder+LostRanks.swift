import Alignment
import Comparison
import Diagnosis
import Dumps
import Reporting

extension ReportBuilder {
  /// Equal slices of a side that make up only a part of the other's tensor, where nothing says how many ranks there
  /// were: as likely as a fault is that the last ones are not here.
  ///
  /// Nothing of that side that needs all ranks is judged then, unless something else was put together from them rightly.
  func judgeLostRanks(_ lines: inout [Line]) -> [Finding] {
    guard request.rank == nil else { return [] }
    var findings: [Finding] = []
    for (isTarget, summary) in [(true, matching.target), (false, matching.reference)] {
      guard !summary.isWorldSizeStated, summary.ranks.count > 1 else { continue }
      let failed = lines.indices.filter { lines[$0].judgement.verdict == .fail }
      guard
        let first = failed.first(where: { impliedRanks(lines[$0].outcome, isTarget) != nil }),
        let implied = impliedRanks(lines[first].outcome, isTarget),
        !lines.contains(where: { isWhole($0, isTarget) })
      else { continue }
      let name = isTarget ? "target" : "reference"
      for index in failed where needsAllRanks(lines[index].outcome, isTarget) {
        let why = lines[index].judgement.why.map { ": \($0)" } ?? ""
        lines[index].judgement.verdict = .inconclusive
        lines[index].judgement.why = "ranks of the \(name) may be lost" + why
      }
      let (key, seen) = (lines[first].outcome.key, summary.ranks.count)
      findings.append(
        Finding(
          cause: "incomplete-ranks", layer: key.layer, stage: key.stage, ranks: Array((seen..<implied).prefix(64)),
          confidence: .possible, evidence: ["ranks_seen": Double(seen), "ranks_implied": Double(implied)],
          summary: "The \(seen) ranks of the \(name) hold \(seen) of \(implied) slices of \(key), and nothing says how "
            + "many ranks there were.",
          next: "State --\(name)-world-size: with \(seen) this is a fault, with \(implied) the last ranks are lost."))
    }
    return findings
  }

  /// How many ranks would hold the other side's tensor in slices as these; nil where all of it is here, or it cannot be
  /// cut so.
  private func impliedRanks(_ outcome: PairOutcome, _ isTarget: Bool) -> Int? {
    let (own, others) = isTarget ? (outcome.targets, outcome.references) : (outcome.references, outcome.targets)
    guard outcome.measures == nil, outcome.decision == nil, own.count > 1, let part = own.first?.shape,
      own.allSatisfy({ $0.shape == part }), others.count == 1, let whole = others.first?.shape,
      whole.count == part.count
    else { return nil }
    let axes = part.indices.filter { part[$0] != whole[$0] }
    guard axes.count == 1, let axis = axes.first, part[axis] > 0, whole[axis] % part[axis] == 0 else { return nil }
    let implied = whole[axis] / part[axis]
    return implied > own.count ? implied : nil
  }

  /// Whether a tensor was put together from all of a side's ranks, and is right.
  private func isWhole(_ line: Line, _ isTarget: Bool) -> Bool {
    guard line.judgement.verdict == .pass, let decision = line.outcome.decision else { return false }
    let layout = isTarget ? decision.target.layout : decision.reference.layout
    return [.concat, .blocks, .heads, .partial].contains(layout.kind) && layout.pieces.count > 1
  }

  /// Not so where each of several ranks holds the whole, or a value is not finite.
  private func needsAllRanks(_ outcome: PairOutcome, _ isTarget: Bool) -> Bool {
    guard (isTarget ? outcome.targets : outcome.references).count > 1 else { return false }
    if outcome.measures.map({ $0.nonfiniteTarget > 0 }) ?? false { return false }
    guard let decision = outcome.decision else { return impliedRanks(outcome, isTarget) != nil }
    let layout = isTarget ? decision.target.layout : decision.reference.layout
    let divergent = isTarget ? outcome.divergentRanks : outcome.divergentReferenceRanks
    return layout.kind != .replicated || !divergent.isEmpty
  }
}
