import Alignment
import Diagnosis
import Synchronization

/// The evidence of one row, as it was collected from the dumps.
struct StoredEvidence: Sendable, Codable {
  var key: CaptureKey
  var evidence: RowEvidence
}

/// The diagnosis needs evidence that is not among the stored measures, and the dumps are not to be read.
struct EvidenceNotStored: Error {
  var key: CaptureKey
}

/// Gives the evidence that the diagnosis asks for: what was collected before, else what the dumps say.
///
/// A class, since one judging asks for the same rows several times and what was read is to be kept with the measures.
final class EvidenceBook: Sendable {
  private let entries: Mutex<[CaptureKey: [RowEvidence]]>
  /// False for measures from a file: their tensors are not at hand.
  private let canRead: Bool

  init(_ stored: [StoredEvidence], canRead: Bool) {
    entries = Mutex(stored.reduce(into: [:]) { $0[$1.key, default: []].append($1.evidence) })
    self.canRead = canRead
  }

  var all: [StoredEvidence] {
    entries.withLock { entries in
      entries.sorted { $0.key < $1.key }.flatMap { key, list in
        list.map { StoredEvidence(key: key, evidence: $0) }
      }
    }
  }

  /// - Parameters:
  ///   - base: what is known of the row without its tensors.
  ///   - before: the other rows of its layer.
  /// - Throws: `EvidenceNotStored`, or `DumpError` where the tensors cannot be read.
  func collected(
    _ base: RowEvidence, outcome: PairOutcome, before: [PairOutcome], setting: EvidenceCollector.Setting
  ) throws -> RowEvidence {
    let known = entries.withLock { $0[base.key] ?? [] }
    if let same = known.first(where: { $0.noise == base.noise }) { return same.placed(as: base) }
    guard canRead else {
      // Only the shares of changed values depend on the noise, and on its order of magnitude.
      if let other = known.first { return other.placed(as: base) }
      throw EvidenceNotStored(key: base.key)
    }
    let evidence = try EvidenceCollector.collect(base, outcome: outcome, before: before, setting: setting)
    entries.withLock { $0[base.key, default: []].append(evidence) }
    return evidence
  }
}

extension RowEvidence {
  /// The same collected figures under another judgement.
  fileprivate func placed(as base: RowEvidence) -> RowEvidence {
    var result = self
    // Of a sum of partials the figures are the sum's.
    if !isSumOfPartials {
      result.measures = base.measures
      result.plan = base.plan
      result.divergentRanks = base.divergentRanks
    }
    result.judgement = base.judgement
    result.worldSize = base.worldSize
    result.referenceWorldSize = base.referenceWorldSize
    result.noise = base.noise
    result.usualKind = base.usualKind
    result.aftermath = base.aftermath
    result.inputsAgree = base.inputsAgree
    result.grids = base.grids
    return result
  }
}
