import Alignment
import Dumps
import Reporting

/// What the report needs of the captures of one side once they are measured.
struct SideSummary: Sendable, Codable {
  /// A capture of an earlier run.
  struct StaleCapture: Sendable, Codable {
    var file: String
    var rank: Int
    var layer: Int?
    var stage: String
  }

  struct WorldSizes: Sendable, Codable {
    var given: Int
    var stated: Int
  }

  var root: String
  var worldSize: Int
  /// Ranks with a capture.
  var ranks: [Int]
  /// The world size was given, or stated by the dumps, not taken from the files that are there.
  var isWorldSizeStated: Bool
  /// Where what was given and what the dumps state are not the same: both; nil in measures of an earlier version.
  var worldSizes: WorldSizes?
  var startTime: Int64?
  var stale: [StaleCapture]
  var duplicates: [String]
  var unreadable: [Unreadable]
  var unrecognisedCount: Int
  /// Its captures are parameters, not what was computed.
  var isCheckpoint: Bool
  /// Of these, by their names, dumps that should have been read; nil in measures of an earlier version.
  var overlookedDumps: [String]?
  /// Its ranks hold different layers, and do not all say which stage of a pipeline they are; nil in measures of an
  /// earlier version.
  var isCutByLayers: Bool?

  var mayBePipelined: Bool { isCutByLayers == true }

  init(_ index: CaptureIndex) {
    root = index.side.set.root
    worldSize = index.worldSize
    ranks = index.ranks
    isWorldSizeStated = index.side.worldSize != nil || index.side.set.statedWorldSize != nil
    if let given = index.side.worldSize, let stated = index.side.set.statedWorldSize, given != stated,
      max(given, stated) > index.side.set.worldSizeSeen
    {
      worldSizes = WorldSizes(given: given, stated: stated)
    }
    startTime = index.side.startTime
    stale = index.stale.map { StaleCapture(file: $0.file, rank: $0.rank, layer: $0.layer, stage: $0.stage) }
    duplicates = index.duplicates
    unreadable = index.side.set.unreadable
    unrecognisedCount = index.side.set.unrecognised.count
    isCheckpoint = index.side.set.isCheckpoint
    overlookedDumps = index.side.set.overlooked
    isCutByLayers = index.isCutByLayers && index.pipelineStages == nil
  }

  /// Ranks below the world size without any capture.
  func missingRanks(only rank: Int?) -> [Int] {
    guard rank == nil else { return ranks.isEmpty ? [rank ?? 0] : [] }
    let there = Set(ranks)
    return (0..<worldSize).filter { !there.contains($0) }
  }
}

/// What the report needs of a matching once its pairs are measured.
struct MatchingSummary: Sendable, Codable {
  struct StageProblem: Sendable, Codable {
    var problem: CallProblem
    /// nil: of the whole side.
    var stage: String?
  }

  var reference: SideSummary
  var target: SideSummary
  /// Places that should have been compared.
  var expected: Int
  var unmatched: [String]
  var otherCalls: Int
  var callProblems: [StageProblem]
  var ledger: CoverageLedger
  /// Of a joined prefill the target's call of each row; empty where it is one call.
  var rowCalls: [Int]
  /// Tokens of the target's chosen call.
  var tokens: Int?
  var namesNote: String?
  /// What the two sides state otherwise beside their tensors; nil in measures of an earlier version.
  var plain: [PlainDifference]?
  /// How the token rows of a batch in two dimensions are counted; nil where there is none.
  var batchNote: String?

  var areParameters: Bool { reference.isCheckpoint && target.isCheckpoint }

  /// - Parameters:
  ///   - unmeasured: places that have a partner and were not measured, with the reason.
  ///   - strung: which side's batches are read with one dimension less.
  init(_ matching: CaptureMatching, rank: Int?, unmeasured: [CaptureKey: String], strung: String? = nil) {
    reference = SideSummary(matching.reference)
    target = SideSummary(matching.target)
    expected = matching.expected
    unmatched = matching.unmatched
    otherCalls = matching.otherCalls
    callProblems = matching.callProblems.map { StageProblem(problem: $0.problem, stage: $0.stage) }
    namesNote = matching.namesNote
    (rowCalls, tokens) = (matching.rowCalls, matching.tokens)
    if let batch = BatchExtents(matching.pairs), matching.pairs.contains(where: { batch.flattened($0) != nil }) {
      batchNote = batch.note
    } else {
      batchNote = strung
    }
    plain = PlainDifference.all(matching, rank: rank)
    ledger = CoverageAccount.ledger(matching, rank: rank, unmeasured: unmeasured)
  }
}
