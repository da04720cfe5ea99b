public import OrderedCollections

/// The section `playbook` of a job: what the playbooks may vary.
public struct PlaybookSpec: Sendable, Hashable, Codable {
  /// Values of the cell under suspicion, as far as given; nil: the job's last cell.
  public var target: OrderedDictionary<String, AxisValue>?
  /// What can be switched, by name.
  public var components: OrderedDictionary<String, Component>
  public var ladder: Ladder
  public var bisect: Bisect
  /// Names of components, in the order in which they are tried; nil: all of them.
  public var isolate: [String]?
  public var ablate: [String]?
  public var necessity: [String]?
  public var quantisation: Quantisation?
  public var invariance: Invariance?
  public var commits: Commits?
  public var evaluation: EvaluationSpec?
  public var triage: TriageSpec?
  public var weights: Weights?

  public init(
    target: OrderedDictionary<String, AxisValue>? = nil, components: OrderedDictionary<String, Component> = [:],
    ladder: Ladder = Ladder(), bisect: Bisect = Bisect(), isolate: [String]? = nil, ablate: [String]? = nil,
    necessity: [String]? = nil, quantisation: Quantisation? = nil, invariance: Invariance? = nil,
    commits: Commits? = nil, evaluation: EvaluationSpec? = nil, triage: TriageSpec? = nil,
    weights: Weights? = nil
  ) {
    self.weights = weights
    self.commits = commits
    self.invariance = invariance
    self.target = target
    self.components = components
    self.ladder = ladder
    self.bisect = bisect
    self.isolate = isolate
    self.ablate = ablate
    self.necessity = necessity
    self.quantisation = quantisation
    self.evaluation = evaluation
    self.triage = triage
  }

  /// One thing that can be on or off. The job as written has it on; a side without changes leaves the run as it is.
  public struct Component: Sendable, Hashable, Codable {
    public var on: RunChange
    public var off: RunChange

    public init(on: RunChange = RunChange(), off: RunChange = RunChange()) {
      self.on = on
      self.off = off
    }
  }

  public struct Ladder: Sendable, Hashable, Codable {
    public var axis: String
    /// nil: the axis' values in the job.
    public var values: [AxisValue]?
    /// Components that are switched on, one at a time, at the first value that breaks, before the model is blamed:
    /// other all-reduce strategies.
    public var strategies: [String]

    public init(axis: String = "world_size", values: [AxisValue]? = nil, strategies: [String] = []) {
      self.axis = axis
      self.values = values
      self.strategies = strategies
    }
  }

  public struct Bisect: Sendable, Hashable, Codable {
    /// The model's layers; nil: those of `dumps.expect`.
    public var layers: [Int]?
    /// Classes of modules, from coarse to fine: each list is dumped in its turn.
    public var classes: [[String]]
    /// The variables that narrow the engine's dump; `${{ }}` has no part in them.
    public var layersVariable: String
    public var classesVariable: String
    /// New layers that one run dumps at most: bounds the disk.
    public var width: Int

    public init(
      layers: [Int]? = nil, classes: [[String]] = [["Block"], ["Attention", "MLP", "MoE"]],
      layersVariable: String = "ATOM_FWD_DUMP_LAYERS", classesVariable: String = "ATOM_FWD_DUMP_BLOCK_CLASS",
      width: Int = 5
    ) {
      self.layers = layers
      self.classes = classes
      self.layersVariable = layersVariable
      self.classesVariable = classesVariable
      self.width = width
    }
  }

  /// What an engine does to weights on purpose: patterns of names, `*` for any characters.
  public struct Weights: Sendable, Hashable, Codable {
    public var shuffled: [String]
    public var rounded: [String]

    public init(shuffled: [String] = [], rounded: [String] = []) {
      self.shuffled = shuffled
      self.rounded = rounded
    }
  }

  /// The commits that `git bisect` goes through.
  public struct Commits: Sendable, Hashable, Codable {
    /// Absolute path of the repository, at the hosts and here.
    public var repository: String
    public var good: String
    public var bad: String
    /// Shell text that builds a work tree, in it.
    public var build: String?
    /// Directory of the work trees at the hosts; nil: in the user's cache.
    public var trees: String?

    public init(repository: String, good: String, bad: String, build: String? = nil, trees: String? = nil) {
      self.repository = repository
      self.good = good
      self.bad = bad
      self.build = build
      self.trees = trees
    }
  }

  /// The batches of seed 002, phase 8, as values of one axis.
  public struct Invariance: Sendable, Hashable, Codable {
    public var axis: String
    /// E0: the prompt under test alone.
    public var single: AxisValue
    /// E1: the prompt in every slot.
    public var same: AxisValue
    /// E2 and on: the prompt in slot 0, 1, …, other prompts in the others.
    public var positions: [AxisValue]

    public init(axis: String, single: AxisValue, same: AxisValue, positions: [AxisValue]) {
      self.axis = axis
      self.single = single
      self.same = same
      self.positions = positions
    }
  }

  /// Components that take the model apart from its quantisation.
  public struct Quantisation: Sendable, Hashable, Codable {
    /// Switched on, it runs the unquantised model.
    public var unquantised: String
    /// Switched on, it quantises and dequantises but multiplies in high precision.
    public var fake: String

    public init(unquantised: String, fake: String) {
      self.unquantised = unquantised
      self.fake = fake
    }
  }
}
