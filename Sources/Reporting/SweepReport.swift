public import Comparison

/// The record of one sweep, `rollcall.sweep/1` in JSON.
public struct SweepReport: Sendable, Hashable {
  /// One try of a run on a host.
  public struct Attempt: Sendable, Hashable {
    public var id: String
    public var number: Int
    public var host: String
    /// `running`, `succeeded`, `failed`, `timed-out`, `stalled`, `lost`, `cancelled`, …
    public var state: String
    public var exitCode: Int?
    public var signal: Int?
    /// Seconds since 1970.
    public var started: Double?
    public var ended: Double?
    /// GPU, driver, torch, commit, where known.
    public var fingerprint: [String: String]
    /// Why it ended as it did, where that is not plain.
    public var why: String?
    /// Last lines of the logs of an attempt that did not succeed.
    public var logTail: String?

    public init(
      id: String, number: Int, host: String, state: String, exitCode: Int? = nil, signal: Int? = nil,
      started: Double? = nil, ended: Double? = nil, fingerprint: [String: String] = [:], why: String? = nil,
      logTail: String? = nil
    ) {
      self.id = id
      self.number = number
      self.host = host
      self.state = state
      self.exitCode = exitCode
      self.signal = signal
      self.started = started
      self.ended = ended
      self.fingerprint = fingerprint
      self.why = why
      self.logTail = logTail
    }
  }

  public struct Run: Sendable, Hashable {
    public var id: String
    /// 1…repeat
    public var repetition: Int
    public var state: String
    /// Why it stands so, where that is not plain.
    public var why: String?
    public var attempts: [Attempt]
    /// The id of the attempt that its end is told of, where that is one of several hosts' together; nil: the last.
    public var cause: String?
    /// Files and bytes gathered.
    public var fileCount: Int
    public var byteCount: Int
    /// Ranks, layers, stages that `expect` names and the manifest lacks: a sentence each.
    public var missing: [String]

    public init(
      id: String, repetition: Int, state: String, why: String? = nil, attempts: [Attempt], cause: String? = nil,
      fileCount: Int, byteCount: Int, missing: [String]
    ) {
      self.id = id
      self.repetition = repetition
      self.state = state
      self.why = why
      self.attempts = attempts
      self.cause = cause
      self.fileCount = fileCount
      self.byteCount = byteCount
      self.missing = missing
    }
  }

  /// One value of one axis, in the job's order of axes.
  public struct AxisValue: Sendable, Hashable {
    public var axis: String
    public var value: String

    public init(axis: String, value: String) {
      self.axis = axis
      self.value = value
    }
  }

  public struct Cell: Sendable, Hashable {
    public var id: String
    public var values: [AxisValue]
    public var runs: [Run]
    /// Of the comparison in which the cell is the target; nil for the reference cell itself.
    public var verdict: Verdict?
    public var isReference: Bool

    public init(id: String, values: [AxisValue], runs: [Run], verdict: Verdict?, isReference: Bool) {
      self.id = id
      self.values = values
      self.runs = runs
      self.verdict = verdict
      self.isReference = isReference
    }
  }

  /// The comparison of one pair of cells (or of one cell with itself: repeats, slots).
  public struct Pair: Sendable, Hashable {
    public var referenceCell: String
    public var targetCell: String
    /// `reference`, `repeat` or `slots`
    public var kind: String
    public var comparison: ComparisonReport

    public init(referenceCell: String, targetCell: String, kind: String, comparison: ComparisonReport) {
      self.referenceCell = referenceCell
      self.targetCell = targetCell
      self.kind = kind
      self.comparison = comparison
    }
  }

  public var id: String
  public var job: String
  public var verdict: Verdict
  /// True when a run failed (its command or its host): exit code 3 unless the verdict is FAIL.
  public var hasFailedRuns: Bool
  /// The answer in one sentence.
  public var sentence: String
  /// Seconds since 1970.
  public var started: Double
  public var ended: Double?
  public var axes: [String]
  public var cells: [Cell]
  public var pairs: [Pair]
  /// The first axis value that breaks, for instance world_size=2; nil where nothing breaks.
  public var firstAxisValue: AxisValue?
  public var notes: [String]

  public init(
    id: String, job: String, verdict: Verdict, hasFailedRuns: Bool, sentence: String, started: Double,
    ended: Double?, axes: [String], cells: [Cell], pairs: [Pair], firstAxisValue: AxisValue?, notes: [String]
  ) {
    self.id = id
    self.job = job
    self.verdict = verdict
    self.hasFailedRuns = hasFailedRuns
    self.sentence = sentence
    self.started = started
    self.ended = ended
    self.axes = axes
    self.cells = cells
    self.pairs = pairs
    self.firstAxisValue = firstAxisValue
    self.notes = notes
  }
}
