import Alignment
import Dumps
import Reporting

/// Draws up the coverage ledger: every file and every capture of a side has one place in it.
enum CoverageAccount {
  /// - Parameter unmeasured: places that have a partner and were not measured, with the reason.
  static func ledger(_ matching: CaptureMatching, rank: Int?, unmeasured: [CaptureKey: String]) -> CoverageLedger {
    CoverageLedger(
      reference: side(matching.reference, rank: rank, unmeasured: unmeasured) { matching.fates[$0]?.reference },
      target: side(matching.target, rank: rank, unmeasured: unmeasured) { matching.fates[$0]?.target })
  }

  private struct Cause: Hashable {
    var reason: CoverageLedger.Reason
    var why: String?
  }

  private static func side(
    _ index: CaptureIndex, rank: Int?, unmeasured: [CaptureKey: String],
    fate: (CaptureKey) -> CaptureMatching.Fate?
  ) -> CoverageLedger.Side {
    let set = index.side.set
    let stale = Set(index.stale)
    var listed: [String: [Cause: [String]]] = [:]
    var compared = 0
    func cause(_ capture: Capture) -> Cause? {
      if let rank, capture.rank != rank { return Cause(reason: .otherRank) }
      if stale.contains(capture) { return Cause(reason: .stale) }
      if index.duplicateCaptures.contains(capture) { return Cause(reason: .duplicate) }
      let key = index.names.name(of: CaptureKey(capture))
      let incomplete = Cause(reason: .notMeasured, why: "rank \(capture.rank) lacks others that belong with it")
      guard index.captures[key]?[capture.call]?[capture.rank] != nil else { return incomplete }
      switch fate(key) {
      case .paired(let calls, let used) where calls.contains(capture.call):
        guard let own = used[capture.rank] else { return incomplete }
        guard own.contains(capture.call) else {
          return Cause(reason: .otherCall, why: "of one row a sequence, only the last call's count")
        }
        return unmeasured[key].map { Cause(reason: .notMeasured, why: $0) }
      case .partnerless(let calls, let why) where calls.contains(capture.call):
        return Cause(reason: .noPartner, why: why)
      case .unjoined(let calls, let why) where calls.contains(capture.call):
        return Cause(reason: .notMeasured, why: why)
      case .outside(let why): return Cause(reason: .noRule, why: why)
      case .undecided(let why): return Cause(reason: .undecidedCall, why: why)
      case .paired, .partnerless, .unjoined, .notThere: return Cause(reason: .otherCall)
      case nil: return Cause(reason: .notMeasured, why: "the place was not looked at")
      }
    }
    for capture in set.captures {
      if let cause = cause(capture) {
        listed[capture.file, default: [:]][cause, default: []].append(capture.tensor.name)
      } else {
        compared += 1
      }
    }
    var entries = listed.flatMap { file, causes in
      causes.map { CoverageLedger.Entry(file: file, values: $0.value, reason: $0.key.reason, why: $0.key.why) }
    }
    entries += set.unreadable.map {
      CoverageLedger.Entry(file: $0.file, values: $0.values ?? [], reason: .unreadable, why: $0.why)
    }
    entries += set.unrecognised.map { CoverageLedger.Entry(file: $0, reason: .unrecognised) }
    entries += Dictionary(grouping: set.plain, by: \.file).map {
      CoverageLedger.Entry(file: $0.key, values: $0.value.map(\.name), reason: .plain)
    }
    var files = Set(set.captures.map(\.file)).union(set.unreadable.map(\.file)).union(set.unrecognised)
      .union(set.plain.map(\.file))
    entries += set.files.filter { files.insert($0).inserted }.map { CoverageLedger.Entry(file: $0, reason: .index) }
    let values = set.unreadable.reduce(0) { $0 + ($1.values?.count ?? 0) } + set.plain.count
    return CoverageLedger.Side(
      files: files.count, captures: set.captures.count + values, compared: compared, entries: entries)
  }
}
