public import Comparison
public import Diagnosis
public import OrderedCollections
public import Planning

/// What one experiment showed: a sweep's report as far as playbooks look at it.
public struct Outcome: Sendable, Hashable, Codable {
  /// What ran the sequences of the batch one by one.
  public enum SequenceLoop: String, Sendable, Hashable, Codable {
    /// This stage alone, inside a pass of the whole batch.
    case stage
    /// The whole model: no stage ever sees two sequences.
    case model
  }

  /// One compared tensor.
  public struct Row: Sendable, Hashable, Codable {
    public var layer: Int?
    public var stage: String
    public var tensor: String
    public var slot: Int?
    public var verdict: Verdict
    /// nil: could not be measured.
    public var cos: Double?
    /// ‖a − b‖ / ‖b‖
    public var relL2: Double?
    /// The factor that brings the reference nearest to the target.
    public var alpha: Double?
    public var isByteEqual: Bool?
    /// What ran the sequences of the batch one by one; nil: nothing did.
    public var loop: SequenceLoop?

    public init(
      layer: Int?, stage: String, tensor: String, slot: Int? = nil, verdict: Verdict, cos: Double? = nil,
      relL2: Double? = nil, alpha: Double? = nil, isByteEqual: Bool? = nil, loop: SequenceLoop? = nil
    ) {
      self.loop = loop
      self.layer = layer
      self.stage = stage
      self.tensor = tensor
      self.slot = slot
      self.verdict = verdict
      self.cos = cos
      self.relL2 = relL2
      self.alpha = alpha
      self.isByteEqual = isByteEqual
    }

    /// It went into its module: every layout calls such tensors `input` or `input_fields.…`.
    var isInput: Bool { tensor == "input" || tensor.hasPrefix("input_fields") }
    var isParameter: Bool { tensor.hasPrefix("parameters.") }

    /// `layer 3 MoE`
    public var place: String { layer.map { "layer \($0) \(stage)" } ?? stage }
  }

  public struct Pair: Sendable, Hashable, Codable {
    /// `reference`, `repeat` or `slots`
    public var kind: String
    public var reference: OrderedDictionary<String, AxisValue>
    public var target: OrderedDictionary<String, AxisValue>
    public var verdict: Verdict
    /// The nearest cause first.
    public var findings: [Finding]
    /// In execution order.
    public var rows: [Row]
    /// What one side alone has, or what is expected and missing: a sentence each.
    public var unmatched: [String]

    public init(
      kind: String, reference: OrderedDictionary<String, AxisValue>, target: OrderedDictionary<String, AxisValue>,
      verdict: Verdict, findings: [Finding] = [], rows: [Row] = [], unmatched: [String] = []
    ) {
      self.unmatched = unmatched
      self.kind = kind
      self.reference = reference
      self.target = target
      self.verdict = verdict
      self.findings = findings
      self.rows = rows
    }
  }

  /// Empty where it was a look.
  public var sweep: String
  public var verdict: Verdict
  /// The answer in one sentence.
  public var sentence: String
  /// Runs of the sweep; and those that failed, with the reason.
  public var runCount: Int
  public var failedRuns: [String]
  public var pairs: [Pair]
  public var notes: [String]
  /// What the runs' evaluations wrote; nil where nobody asked.
  public var samples: [RunSamples]?
  /// What a look of a triage saw; nil: it was a sweep.
  public var seen: TriageEvidence?
  /// What the look at weights saw; nil: nobody asked.
  public var weights: WeightsEvidence?

  /// No run was made for it.
  public var isLook: Bool { seen != nil || weights != nil }

  public init(
    sweep: String, verdict: Verdict, sentence: String, runCount: Int, failedRuns: [String] = [], pairs: [Pair] = [],
    notes: [String] = []
  ) {
    self.sweep = sweep
    self.verdict = verdict
    self.sentence = sentence
    self.runCount = runCount
    self.failedRuns = failedRuns
    self.pairs = pairs
    self.notes = notes
  }

  /// Of all pairs, the gravest place first.
  var findings: [Finding] { pairs.flatMap(\.findings) }

  /// The pair that answers the question, not the one of repeats.
  var judged: Pair? { pairs.first { $0.kind != "repeat" } }

  /// PASS, FAIL or INCONCLUSIVE; where scores were only taken, and the playbook compares them, MEASURED.
  public var word: String { samples != nil && verdict == .pass ? "MEASURED" : verdict.rawValue.uppercased() }

  /// Whether the same cell gave two results that rounding cannot explain.
  var nondeterminism: Finding? { findings.first { $0.cause == "nondeterminism" } }

  /// The first place that is wrong, in execution order.
  var firstFailure: Row? { judged?.rows.first { $0.verdict == .fail } }
}

/// An experiment and what it showed.
public struct Step: Sendable, Hashable, Codable {
  public var experiment: Experiment
  public var outcome: Outcome

  public init(experiment: Experiment, outcome: Outcome) {
    self.experiment = experiment
    self.outcome = outcome
  }
}
