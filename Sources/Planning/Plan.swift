public import Alignment
public import OrderedCollections

/// One value of one matrix axis.
public enum AxisValue: Sendable, Hashable, Codable {
  case bool(Bool)
  case int(Int)
  case double(Double)
  case string(String)
}

/// The checked, expanded job: what will run and what will be compared. Stored with the sweep, so that a restart
/// needs no job file.
public struct Plan: Sendable, Hashable, Codable {
  public var name: String
  /// Directory of the job file: `files` and relative reference paths start here.
  public var baseDirectory: String
  /// Axis names in the order of definition.
  public var axes: [String]
  public var cells: [Cell]
  public var repetitions: Int
  /// Runs of a higher one go before those of other sweeps; nil is 0.
  public var priority: Int?
  public var compare: CompareSpec
  public var logs: LogRules
  public var schedule: ScheduleSpec?
  public var notify: [NotifySpec]
  /// What the playbooks may vary.
  public var playbook: PlaybookSpec?
  /// What is allowed and probably not meant; each names its place.
  public var warnings: [String]

  public init(
    name: String, baseDirectory: String, axes: [String], cells: [Cell], repetitions: Int = 1,
    compare: CompareSpec = CompareSpec(), logs: LogRules = LogRules(), schedule: ScheduleSpec? = nil,
    notify: [NotifySpec] = [], playbook: PlaybookSpec? = nil, warnings: [String] = []
  ) {
    self.name = name
    self.baseDirectory = baseDirectory
    self.axes = axes
    self.cells = cells
    self.repetitions = repetitions
    self.compare = compare
    self.logs = logs
    self.schedule = schedule
    self.notify = notify
    self.playbook = playbook
    self.warnings = warnings
  }
}

/// One combination of the matrix, with everything that its runs need, `${{ }}` replaced except for what is
/// known only at launch (`dump_dir`, `run_dir`, `run`, `sweep`, `attempt`, `host`, `repeat`: see
/// `RunSpec.resolved(_:)`).
public struct Cell: Sendable, Hashable, Codable {
  /// First 12 hex digits of SHA-256 of the canonical JSON of `values`: survives reordering of the job file.
  public var id: String
  /// Axis → value, in the order of definition (added keys of `include` last).
  public var values: OrderedDictionary<String, AxisValue>
  public var run: RunSpec
  public var dumps: DumpsSpec?

  public init(id: String, values: OrderedDictionary<String, AxisValue>, run: RunSpec, dumps: DumpsSpec? = nil) {
    self.id = id
    self.values = values
    self.run = run
    self.dumps = dumps
  }

  /// `world_size`, or 1 where the matrix has no such axis.
  public var worldSize: Int { worldSizeAxis(values) }

  /// How many ranks leave files.
  public var dumpingRanks: Int { min(worldSize, dumps?.expect?.ranks ?? worldSize) }
}

/// The axis of the ranks, and the numbers it takes: each rank is looked for in the dumps.
enum WorldSizeAxis {
  static let name = "world_size"
  static let range = 1...65_536
}

func worldSizeAxis(_ values: OrderedDictionary<String, AxisValue>) -> Int {
  guard case .int(let size) = values[WorldSizeAxis.name] else { return 1 }
  // Plans of older releases hold any number.
  return min(max(size, WorldSizeAxis.range.lowerBound), WorldSizeAxis.range.upperBound)
}

/// How one cell's runs are started.
public struct RunSpec: Sendable, Hashable, Codable {
  /// Text for `/bin/sh -c`.
  public var command: String
  public var env: OrderedDictionary<String, String>
  /// Paths relative to the job file; shipped into `files/` of the run directory under their last component.
  public var files: [String]
  /// Name in `files/` → contents that a playbook made, in the place of the file of that name.
  public var written: OrderedDictionary<String, String>?
  /// Gang size; 0 = CPU only.
  public var gpus: Int
  public var nodes: Int
  /// Label selector: every pair must match the host's labels.
  public var hosts: OrderedDictionary<String, String>
  /// Seconds.
  public var timeout: Double
  /// Seconds without output and new dump bytes; nil: no limit.
  public var stallTimeout: Double?
  /// Further attempts after infrastructure failures.
  public var retries: Int

  public init(
    command: String, env: OrderedDictionary<String, String> = [:], files: [String] = [], gpus: Int = 0,
    nodes: Int = 1, hosts: OrderedDictionary<String, String> = [:], timeout: Double = 3_600,
    stallTimeout: Double? = nil, retries: Int = 1
  ) {
    self.command = command
    self.env = env
    self.files = files
    self.gpus = gpus
    self.nodes = nodes
    self.hosts = hosts
    self.timeout = timeout
    self.stallTimeout = stallTimeout
    self.retries = retries
  }
}

/// Where and how a run writes its dumps.
public struct DumpsSpec: Sendable, Hashable, Codable {
  /// A `DumpLayout` raw value: atom, sglang, weights, msprobe, hf, safetensors, npy, custom.
  public var layout: String
  /// Regular expression with named groups, for layout custom.
  public var pattern: String?
  public var slots: Int?
  /// Where a playbook says so, the slot that holds the prompt under test: it is compared with the cell that holds that
  /// prompt alone (`CompareSpec.single`).
  public var slot: Int?
  public var select: Select
  public var expect: Expect?

  public init(
    layout: String, pattern: String? = nil, slots: Int? = nil, select: Select = .prefill, expect: Expect? = nil
  ) {
    self.layout = layout
    self.pattern = pattern
    self.slots = slots
    self.select = select
    self.expect = expect
  }

  public enum Select: Sendable, Hashable, Codable {
    case prefill
    case decode
    case warmUp
    case call(Int)
  }

  /// What must be there. Ranks follow from world_size.
  public struct Expect: Sendable, Hashable, Codable {
    /// Layer numbers, from `0-15` or `[0, 3]`.
    public var layers: [Int]
    public var stages: [String]
    /// How many ranks leave files, from rank 0 on; nil: all of the world. Of an engine whose outputs are whole on rank 0, 1.
    public var ranks: Int?

    public init(layers: [Int] = [], stages: [String] = [], ranks: Int? = nil) {
      self.layers = layers
      self.stages = stages
      self.ranks = ranks
    }
  }
}

/// What is compared with what, and how it is judged.
public struct CompareSpec: Sendable, Hashable, Codable {
  public enum Reference: Sendable, Hashable, Codable {
    /// The cell with these values and all other axes equal.
    case cell(OrderedDictionary<String, AxisValue>)
    case golden
    case path(String)
    case lastPass(job: String)
  }

  public enum Noise: Sendable, Hashable, Codable {
    case measured
    case strict
    case atom
    case triage
    case thresholds(cos: Double?, rel: Double?)
  }

  public enum Mode: String, Sendable, Hashable, Codable {
    /// Every cell against its reference cell.
    case reference
    /// Slot 0 against the other slots within each run, bitwise (batch invariance).
    case slots
  }

  public enum ShardRule: Sendable, Hashable, Codable {
    case auto
    case concat(axis: Int)
    case partial
    case replicated
    case blocks([Int])
    case heads(OrderedDictionary<String, AxisValue>)
    case dims(String)
  }

  public var mode: Mode
  /// nil where mode needs none.
  public var reference: Reference?
  public var noise: Noise
  /// Default rule.
  public var shard: ShardRule
  /// Rules per stage name (regular expression, full match), first match wins; before `shard`.
  public var shardByStage: OrderedDictionary<String, ShardRule>
  /// All runs that are compared go to hosts of one hardware class.
  public var sameHardware: Bool
  /// How names of two formats are joined; nil: only the same names are compared.
  public var names: NameRules?
  /// Reports of comparisons that are known to be right, absolute or relative to the job file: their distances are honest
  /// noise.
  public var knownGood: [String]?
  /// Id of the cell that runs the prompt under test alone, where a playbook compares slots with it.
  public var single: String?

  public init(
    mode: Mode = .reference, reference: Reference? = nil, noise: Noise = .measured, shard: ShardRule = .auto,
    shardByStage: OrderedDictionary<String, ShardRule> = [:], sameHardware: Bool = true, names: NameRules? = nil,
    knownGood: [String]? = nil
  ) {
    self.mode = mode
    self.reference = reference
    self.noise = noise
    self.shard = shard
    self.shardByStage = shardByStage
    self.sameHardware = sameHardware
    self.names = names
    self.knownGood = knownGood
  }
}

/// Patterns over stdout and stderr; a forbidden line or a missing required one makes a run's result INCONCLUSIVE.
public struct LogRules: Sendable, Hashable, Codable {
  public var forbid: [String]
  public var require: [String]

  public init(forbid: [String] = [], require: [String] = []) {
    self.forbid = forbid
    self.require = require
  }
}

/// The schedule as written; `rollcall serve` keeps it.
public struct ScheduleSpec: Sendable, Hashable, Codable {
  /// What becomes of times at which `serve` did not run.
  public enum Missed: String, Sendable, Hashable, Codable, CaseIterable {
    case runOnce = "run-once"
    case skip
    case runAll = "run-all"
  }

  /// What becomes of a time at which the last sweep still runs.
  public enum Overlap: String, Sendable, Hashable, Codable, CaseIterable {
    case skip
    case queue
    case cancelOld = "cancel-old"
  }

  /// A local time of day.
  public struct TimeOfDay: Sendable, Hashable, Codable, CustomStringConvertible {
    public var hour: Int
    public var minute: Int

    /// nil for what is not HH:MM.
    public init?(_ text: String) {
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 2 }), let hour = UInt8(parts[0]),
        let minute = UInt8(parts[1]), hour < 24, minute < 60
      else { return nil }
      self.hour = Int(hour)
      self.minute = Int(minute)
    }

    public var description: String { "\(hour < 10 ? "0" : "")\(hour):\(minute < 10 ? "0" : "")\(minute)" }
  }

  /// Checked: `CronExpression` reads it.
  public var cron: String
  /// IANA name.
  public var timezone: String
  public var missed: Missed
  public var overlap: Overlap
  /// Seconds; nil: none.
  public var jitter: Double?
  /// Seconds from a sweep's start to its being stopped; nil: no limit.
  public var window: Double?
  public var reportBy: TimeOfDay?

  public init(
    cron: String, timezone: String, missed: Missed = .runOnce, overlap: Overlap = .skip, jitter: Double? = nil,
    window: Double? = nil, reportBy: TimeOfDay? = nil
  ) {
    self.cron = cron
    self.timezone = timezone
    self.missed = missed
    self.overlap = overlap
    self.jitter = jitter
    self.window = window
    self.reportBy = reportBy
  }
}

/// One notice target as written. Secrets are named, not held: whoever sends the notice looks them up.
public struct NotifySpec: Sendable, Hashable, Codable {
  /// URL; or the variable or file that holds it.
  public var webhook: String?
  public var webhookEnv: String?
  public var webhookFile: String?
  public var email: String?
  public var command: String?
  /// `change`, `fail` or `always`
  public var on: String
  /// `json` or `slack`
  public var format: String?
  /// Variable or file of the key that webhooks are signed with.
  public var secretEnv: String?
  public var secretFile: String?

  public init(
    webhook: String? = nil, webhookEnv: String? = nil, webhookFile: String? = nil, email: String? = nil,
    command: String? = nil, on: String = "change", format: String? = nil, secretEnv: String? = nil,
    secretFile: String? = nil
  ) {
    self.webhook = webhook
    self.webhookEnv = webhookEnv
    self.webhookFile = webhookFile
    self.email = email
    self.command = command
    self.on = on
    self.format = format
    self.secretEnv = secretEnv
    self.secretFile = secretFile
  }

  public var isWebhook: Bool { webhook != nil || webhookEnv != nil || webhookFile != nil }
}
