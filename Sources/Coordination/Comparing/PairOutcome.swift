import Alignment
import Comparison
import Diagnosis
import Dumps
import Reporting

/// One place on both sides, aligned and measured.
struct PairOutcome: Sendable, Codable {
  var key: CaptureKey
  var call: ComparisonReport.RowCall
  /// The tensors, in rank order.
  var referenceRanks: [Int]
  var targetRanks: [Int]
  var targets: [Tensor]
  var references: [Tensor]
  /// What the producers wrote beside them, in the same order.
  var targetMetadata: [CaptureMetadata?] = []
  var referenceMetadata: [CaptureMetadata?] = []
  var decision: ShardDecision?
  var measures: Measures?
  /// Ranks of the target that should equal the first and do not.
  var divergentRanks: [Int] = []
  /// The same for the reference.
  var divergentReferenceRanks: [Int] = []
  /// The same as `divergentRanks`, of the rows before the padding alone; nil where no row is padding.
  var divergentTokenRanks: [Int]?
  /// Of a router: tokens that took other experts.
  var routerChanges: RouterChanges?
  /// The grids that both sides' values lie on, where the distance is that of a rounding.
  var grids: SideGrids?
  /// What both sides' values were rounded to before they were stored in a finer type, where their distance is more than
  /// that type's own rounding.
  var roundedTo: DType?
  /// Of positions: by how much the target's are off at every token, or on each of three axes.
  var positionOffsets: [Int]?
  /// 2 or 0.5 where every value is exactly that many times the reference's.
  var exactFactor: Double?
  /// What most values of the target are times the reference's, where the best factor of the whole is not 1.
  var usualRatio: Double?
  /// Why there are no measures, and the verdict for it.
  var problem: Problem?
  /// Ranks below the world size without this capture.
  var missingRanks: [Int] = []
  var missingReferenceRanks: [Int] = []

  /// Why a place could not be measured.
  struct Problem: Sendable, Codable {
    var verdict: Verdict
    var why: String

    init(_ verdict: Verdict, _ why: String) {
      self.verdict = verdict
      self.why = why
    }
  }

  var shape: [Int] { decision?.target.shape ?? targets.first?.shape ?? [] }
  var dtype: DType { targets.first?.dtype ?? .float32 }

  /// The type whose rounding is the coarser.
  var noisyType: DType {
    if let roundedTo { return roundedTo }
    guard let reference = references.first?.dtype, reference.isFloatingPoint else { return dtype }
    return Judge.roundingFloor(reference) > Judge.roundingFloor(dtype) ? reference : dtype
  }
}

extension PairOutcome {
  /// Aligns and measures one place; what goes wrong becomes the row's own problem.
  static func make(
    key: CaptureKey, call: ComparisonReport.RowCall, reference: [Int: Capture], target: [Int: Capture],
    missingRanks: [Int], missingReferenceRanks: [Int], rule: ShardRule, usual: ShardLayout? = nil,
    tokens: Int? = nil, audit: StorageAudit? = nil
  ) async -> (outcome: PairOutcome, unreadable: [Unreadable]) {
    let referenceRanks = reference.keys.sorted()
    let targetRanks = target.keys.sorted()
    var outcome = PairOutcome(
      key: key, call: call, referenceRanks: referenceRanks, targetRanks: targetRanks,
      targets: targetRanks.compactMap { target[$0]?.tensor },
      references: referenceRanks.compactMap { reference[$0]?.tensor })
    outcome.targetMetadata = targetRanks.map { target[$0]?.metadata }
    outcome.referenceMetadata = referenceRanks.map { reference[$0]?.metadata }
    outcome.missingRanks = missingRanks
    outcome.missingReferenceRanks = missingReferenceRanks
    do {
      if !missingRanks.isEmpty || !missingReferenceRanks.isEmpty {
        guard try outcome.standsWithout(missingRanks, missingReferenceRanks) else { return (outcome, []) }
      }
      try await outcome.measure(rule: rule, usual: usual, audit: audit)
      try outcome.lookAtRows(tokens: tokens)
      try outcome.verifyStorages(audit)
    } catch let error as AlignmentError {
      // Inputs may be kept in another way on each side; outputs of another shape are wrong.
      let isWrong = error.code == .shapeMismatch && key.role == .output
      outcome.problem = Problem(isWrong ? .fail : .inconclusive, error.message)
    } catch let error as DumpError {
      outcome.problem = Problem(.inconclusive, "not read: \(error.description)")
      outcome.measures = nil
      let file =
        (Array(reference.values) + Array(target.values))
        .first { $0.tensor.storages.contains { $0.path == error.file } }?.file ?? error.file
      return (outcome, [Unreadable(file: file, why: error.reason)])
    } catch {
      outcome.problem = Problem(.inconclusive, "not read: \(error)")
      return (outcome, [Unreadable(file: key.description, why: "\(error)")])
    }
    return (outcome, [])
  }

  /// With ranks missing only replicas can still be compared: two equal ones at least.
  private mutating func standsWithout(_ missing: [Int], _ missingReference: [Int]) throws -> Bool {
    let sides = [(missing, targets, "target"), (missingReference, references, "reference")]
    for (missing, tensors, name) in sides where !missing.isEmpty {
      let areAlike =
        tensors.count >= 2 && tensors.allSatisfy { $0.shape == tensors[0].shape && $0.dtype == tensors[0].dtype }
      if try !areAlike || !PairMeasurer.divergent(tensors).isEmpty {
        let ranks = missing.map(String.init).joined(separator: ", ")
        problem = Problem(
          .inconclusive,
          "rank \(ranks) of the \(name) \(missing.count == 1 ? "is" : "are") missing, so the ranks cannot be joined")
        return false
      }
    }
    return true
  }

  /// What judging may ask of single rows, so that it opens no file.
  private mutating func lookAtRows(tokens: Int?) throws {
    guard measures != nil else { return }
    routerChanges = RoutingProbe.changes(self)
    grids = try GridProbe.grids(self)
    roundedTo = try PrecisionProbe.type(self)
    positionOffsets = try PositionProbe.offsets(self)
    exactFactor = try FactorProbe.factor(self)
    usualRatio = try RatioProbe.ratio(self)
    guard let tokens, !divergentRanks.isEmpty, let rows = shape.first, rows > tokens else { return }
    let heads = targets.compactMap { $0.rows(0..<tokens) }
    guard heads.count == targets.count else { return }
    divergentTokenRanks = try PairMeasurer.divergent(heads).map { targetRanks[$0] }
  }

  /// Bytes that do not fit their recorded checksum never contribute to a verdict.
  private func verifyStorages(_ audit: StorageAudit?) throws {
    guard let audit else { return }
    for storage in (references + targets).flatMap(\.storages) { try audit.verify(storage) }
  }

  private mutating func measure(rule: ShardRule, usual: ShardLayout?, audit: StorageAudit?) async throws {
    var planner = ShardPlanner(rule: rule, place: key.description)
    planner.usual = usual
    (planner.referenceMetadata, planner.targetMetadata) = (referenceMetadata, targetMetadata)
    let decision = try planner.plan(reference: references, target: targets)
    self.decision = decision
    if let doubt = decision.doubt {
      problem = Problem(.inconclusive, doubt)
      return
    }
    divergentRanks = try divergent(decision.target, audit).map { targetRanks[$0] }
    divergentReferenceRanks = try divergent(decision.reference, audit).map { referenceRanks[$0] }
    // Padding is no part of the logical tensor, and says nothing only while it is empty.
    let paddings = [
      (decision.plan.padding, targets, "the target's ranks", "the reference"),
      (decision.plan.referencePadding, references, "the reference's ranks", "the target"),
    ]
    for case (let padding?, let ranks, let holders, let other) in paddings
    where !padding.isEmpty || padding.rowsWon > 0 {
      let wins =
        padding.rowsWon > 0 ? ", the largest of its row in \(padding.rowsWon) of \(padding.rows) rows looked at" : ""
      // Tokens beyond the batch's, and inputs that are kept in another way, prove nothing.
      let isOpen = padding.axis == 0 && padding.rowsWon == 0 || key.role == .input
      problem = Problem(
        isOpen ? .inconclusive : .fail,
        "\(holders) (\(planner.listed(ranks.map(\.shape)))) hold \(padding.count) indices of dimension "
          + "\(padding.axis) more than \(other) (\(decision.target.shape) in all), and they are not empty (largest "
          + "\(padding.largest))\(wins)")
      return
    }
    measures = try await PairMeasurer.measure(
      target: decision.target, reference: decision.reference, shape: decision.target.shape, audit: audit)
  }

  /// Positions whose bytes differ from the first of their group where the layout says that they are copies.
  private func divergent(_ tensor: LogicalTensor, _ audit: StorageAudit?) throws -> [Int] {
    var result: Set<Int> = []
    for group in tensor.layout.copies {
      let views = group.compactMap { slice in
        slice.axis.map { tensor.parts[slice.part].narrowed(axis: $0, start: slice.start, count: slice.count) }
          ?? tensor.parts[slice.part]
      }
      guard views.count == group.count else { continue }
      result.formUnion(try PairMeasurer.divergent(views, audit: audit).map { group[$0].part })
    }
    return result.sorted()
  }
}
