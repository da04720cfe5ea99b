public import Alignment
public import Comparison
public import Diagnosis
public import Dumps

/// The record of one comparison, `rollcall.comparison/1` in JSON (see DESIGN, contract 7).
///
/// Values only; `ComparisonReport+JSON` writes it. Every capture that was compared has a row, also the equal ones.
public struct ComparisonReport: Sendable, Hashable {
  public struct Side: Sendable, Hashable {
    public var path: String
    public var worldSize: Int
    /// Cell label for sweeps, for instance `world_size=8 backend=eager`; nil for plain directories.
    public var label: String?

    public init(path: String, worldSize: Int, label: String? = nil) {
      self.path = path
      self.worldSize = worldSize
      self.label = label
    }
  }

  /// What was compared, and everything that was not, by name.
  public struct Coverage: Sendable, Hashable {
    /// Captures (layer × stage × tensor) that should have been compared.
    public var expected: Int
    public var compared: Int
    /// Captures of one side without a partner, and expected ones that neither side has: a sentence each.
    public var unmatched: [String]
    public var unreadable: [Unreadable]
    /// Captures of calls that were not chosen.
    public var otherCalls: Int
    /// What became of every file and capture; nil in records that do not have it.
    public var ledger: CoverageLedger?

    public init(
      expected: Int, compared: Int, unmatched: [String], unreadable: [Unreadable], otherCalls: Int,
      ledger: CoverageLedger? = nil
    ) {
      self.ledger = ledger
      self.expected = expected
      self.compared = compared
      self.unmatched = unmatched
      self.unreadable = unreadable
      self.otherCalls = otherCalls
    }
  }

  public struct RowCall: Sendable, Hashable, Codable {
    public var reference: Int?
    public var target: Int?
    public var rule: CallRule
    public var why: String
    /// What ran the target's sequences one by one, whose calls were joined; nil: nothing did.
    public var loop: CallChoice.SequenceLoop?

    public init(
      reference: Int?, target: Int?, rule: CallRule, why: String, loop: CallChoice.SequenceLoop? = nil
    ) {
      self.loop = loop
      self.reference = reference
      self.target = target
      self.rule = rule
      self.why = why
    }
  }

  public struct Row: Sendable, Hashable {
    public var layer: Int?
    public var stage: String
    public var tensor: String
    /// For slot comparisons: the slot compared with slot 0.
    public var slot: Int?
    public var call: RowCall
    public var shard: ShardPlan
    /// Elements' type on the target side, and the logical shape.
    public var dtype: DType
    public var shape: [Int]
    /// nil when the pair could not be measured (shape mismatch and the like; `why` says it).
    public var measures: Measures?
    /// The relative L2 that honest noise gives here; nil under fixed profiles.
    public var floor: Double?
    /// relL2 / max(largest relL2 of the stages before, floor): the onset figure; nil where not computed.
    public var jump: Double?
    public var verdict: Verdict
    /// One sentence for the verdict, always for those that are not PASS.
    public var why: String?
    /// What the seeds' fixed tables say of the same numbers, profile name → flag (`atom` → `?`).
    public var profileFlags: [String: String]
    /// First token row that is none of the batch's; nil where there is none.
    public var paddingStart: Int?

    public init(
      layer: Int?, stage: String, tensor: String, slot: Int? = nil, call: RowCall, shard: ShardPlan, dtype: DType,
      shape: [Int], measures: Measures?, floor: Double? = nil, jump: Double? = nil, verdict: Verdict,
      why: String? = nil, profileFlags: [String: String] = [:]
    ) {
      self.layer = layer
      self.stage = stage
      self.tensor = tensor
      self.slot = slot
      self.call = call
      self.shard = shard
      self.dtype = dtype
      self.shape = shape
      self.measures = measures
      self.floor = floor
      self.jump = jump
      self.verdict = verdict
      self.why = why
      self.profileFlags = profileFlags
    }
  }

  public struct Divergence: Sendable, Hashable {
    public var layer: Int?
    public var stage: String

    public init(layer: Int?, stage: String) {
      self.layer = layer
      self.stage = stage
    }
  }

  public var verdict: Verdict
  public var reference: Side
  public var target: Side
  public var coverage: Coverage
  /// In execution order.
  public var rows: [Row]
  public var firstDivergence: Divergence?
  public var findings: [Finding]
  /// Sentences that a reader must know: the noise policy used, why it is inconclusive.
  public var notes: [String]
  /// What the comparison of several world sizes needs of the first divergence; nil where there is none.
  public var evidence: DivergenceEvidence?
  /// Causes that were looked for at the first divergence and not named, the nearest first.
  public var considered: [Considered] = []

  public init(
    verdict: Verdict, reference: Side, target: Side, coverage: Coverage, rows: [Row], firstDivergence: Divergence?,
    findings: [Finding], notes: [String], evidence: DivergenceEvidence? = nil
  ) {
    self.verdict = verdict
    self.reference = reference
    self.target = target
    self.coverage = coverage
    self.rows = rows
    self.firstDivergence = firstDivergence
    self.findings = findings
    self.notes = notes
    self.evidence = evidence
  }
}
