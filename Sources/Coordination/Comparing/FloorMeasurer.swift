public import Alignment
public import Comparison
public import Dumps
public import Reporting

extension DumpComparer {
  /// What repeats of one cell differ by: every later repeat against the first, rank by rank.
  ///
  /// - Parameters:
  ///   - repeats: dump sets of runs of the same cell; with fewer than two there is no floor.
  ///   - comparing: compares two of them, for measures that are stored.
  public static func floors(
    repeats: [DumpSet], worldSize: Int? = nil, selection: CallSelection = .prefill, rule: CallRule = .auto,
    slots: Int? = nil, comparing: (ComparisonRequest) async throws -> ComparisonReport = { try await compare($0) }
  ) async throws -> NoiseFloors {
    var floors = NoiseFloors()
    guard let first = repeats.first, repeats.count > 1 else {
      floors.notes.append("one run only: its noise is not measured")
      return floors
    }
    var (nondeterministic, unmeasured): (Set<CaptureKey>, Set<CaptureKey>) = ([], [])
    for (number, other) in repeats.dropFirst().enumerated() {
      let request = ComparisonRequest(
        reference: ComparisonSide(set: first, worldSize: worldSize),
        target: ComparisonSide(set: other, worldSize: worldSize), selection: selection, rule: rule, slots: slots,
        policy: .strict)
      let report = try await comparing(request)
      for row in report.rows {
        let key = CaptureKey(layer: row.layer, stage: row.stage, tensor: row.tensor)
        guard let measures = row.measuresOfTokens else {
          if row.verdict == .fail { unmeasured.insert(key) }
          continue
        }
        if measures.isDifferent { nondeterministic.insert(key) }
        guard measures.relL2.isFinite else {
          // As many on both sides may be what the tensor holds: a mask.
          let isLike = measures.nonfiniteTarget > 0 && measures.nonfiniteTarget == measures.nonfiniteReference
          if measures.isDifferent, !isLike { unmeasured.insert(key) }
          continue
        }
        floors.relL2[key] = max(floors.relL2[key] ?? 0, measures.relL2)
        floors.add(
          NoiseFloor(
            stage: row.stage, tensor: row.tensor, dtype: row.dtype, worldSize: report.target.worldSize,
            relL2: measures.relL2, captures: 1, source: .repeats))
      }
      if report.verdict == .inconclusive {
        floors.notes.append("repeat \(number + 2) is incomplete: " + report.notes.joined(separator: "; "))
      }
    }
    floors.nondeterministic = nondeterministic.union(unmeasured).sorted()
    floors.unmeasured = unmeasured.sorted()
    if let key = floors.nondeterministic.first {
      floors.notes.append(
        "not deterministic: \(floors.nondeterministic.count) captures differ between repeats, first \(key)")
    }
    return floors
  }

  /// What comparisons that are known to be right differ by: floors by stage, type and world size.
  ///
  /// - Parameter good: reports whose verdict is PASS; others are named and left out.
  public static func floors(knownGood good: [ComparisonReport]) -> NoiseFloors {
    var floors = NoiseFloors()
    for report in good {
      guard report.verdict == .pass else {
        floors.notes.append("\(report.target.label ?? report.target.path) did not pass, so it gives no floor")
        continue
      }
      for row in report.rows {
        guard let relL2 = row.measures?.relL2, relL2.isFinite, row.dtype.isFloatingPoint else { continue }
        floors.add(
          NoiseFloor(
            stage: row.stage, tensor: row.tensor, dtype: row.dtype, worldSize: report.target.worldSize, relL2: relL2,
            captures: 1, source: .knownGood))
      }
    }
    return floors
  }
}

extension ComparisonReport.Row {
  /// Without the rows that are padding: what stands there may be anything, in every run something else.
  fileprivate var measuresOfTokens: Measures? {
    guard var measures, let paddingStart, paddingStart < measures.tokenRelL2.count else { return measures }
    measures = measures.without(Set(paddingStart..<measures.tokenRelL2.count))
    // Bytes were counted over all rows.
    if measures.relL2 == 0 { measures.byteEqual = 1 }
    return measures
  }
}

extension Measures {
  /// Not the same bytes; a sum of ranks has none of its own, so there the values tell.
  fileprivate var isDifferent: Bool {
    byteEqual < 1 || byteEqual.isNaN && (relL2 > 0 || nonfiniteReference != nonfiniteTarget)
  }
}
