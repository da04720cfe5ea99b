public import Alignment
public import Comparison
public import Dumps

/// What is to be there, so that what is missing can be named.
public struct CaptureExpectation: Sendable, Hashable {
  public var layers: [Int]
  public var stages: [String]

  public init(layers: [Int], stages: [String]) {
    self.layers = layers
    self.stages = stages
  }
}

/// One side of a comparison.
public struct ComparisonSide: Sendable {
  public var set: DumpSet
  /// Cell label for sweeps; nil for plain directories.
  public var label: String?
  /// Ranks that must be there; nil: as many as the highest rank seen says.
  public var worldSize: Int?
  /// When the attempt started, nanoseconds since 1970: older files are of an earlier run. nil: not known.
  public var startTime: Int64?

  public init(set: DumpSet, label: String? = nil, worldSize: Int? = nil, startTime: Int64? = nil) {
    self.set = set
    self.label = label
    self.worldSize = worldSize
    self.startTime = startTime
  }
}

/// One comparison: two dump sets, and how calls, ranks and noise are to be taken.
public struct ComparisonRequest: Sendable {
  public var reference: ComparisonSide
  public var target: ComparisonSide
  public var expectation: CaptureExpectation?
  public var selection: CallSelection
  public var rule: CallRule
  /// Sequences in the batch; nil where not known.
  public var slots: Int?
  public var shardRule: ShardRule
  /// Rules for single stages, tried in order before `shardRule`; the pattern is a regular expression that must
  /// match the whole stage name.
  public var shardRules: [(stage: String, rule: ShardRule)]
  public var policy: NoisePolicy
  /// How names of the two sides are joined where they are not the same; empty: only the same names are compared.
  public var names: NameRules
  /// Rank that is compared alone; nil: all.
  public var rank: Int?

  public init(
    reference: ComparisonSide, target: ComparisonSide, expectation: CaptureExpectation? = nil,
    selection: CallSelection = .prefill, rule: CallRule = .auto, slots: Int? = nil, shardRule: ShardRule = .auto,
    shardRules: [(stage: String, rule: ShardRule)] = [], policy: NoisePolicy = .measured(NoiseFloors()),
    names: NameRules = NameRules(), rank: Int? = nil
  ) {
    self.reference = reference
    self.target = target
    self.expectation = expectation
    self.selection = selection
    self.rule = rule
    self.slots = slots
    self.shardRule = shardRule
    self.shardRules = shardRules
    self.policy = policy
    self.names = names
    self.rank = rank
  }
}
